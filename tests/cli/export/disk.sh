# a disk as a file of each format, against qemu-img's own reading
. "$LIB"
kernel kernel
noise web.img 700
vmtest -q create --kernel kernel --image web.img --import --mem 16M web
vmtest -q snapshot clean
for file in clean.raw clean.img clean.qcow2 clean.vmdk; do
    vmtest export --disk disk0 web@clean $file
    qemu-img info $file | grep '^file format'
    qemu-img compare $file web.img
done
echo "blocks: $(($(stat -c %b clean.raw) * 512 / 4096))"
vmtest export --disk disk0 web now.raw
cmp now.raw web.img
vmtest -q export --disk disk0 "web@{0s}" past.raw
cmp past.raw web.img
status vmtest export --disk disk0 "web@{9d}" x.raw
vmtest export --disk disk0 --format qcow2 web@clean odd.name
qemu-img info odd.name | grep '^file format'
vmtest --json export --disk disk0 web@clean again.raw
echo
status vmtest export --disk disk0 web@clean clean.raw
status vmtest export --disk disk0 web@clean clean.xyz
status vmtest export --disk disk0 --format vdi web@clean x
status vmtest export --disk disk7 web@clean x.raw
status vmtest export --disk disk0 web@cleen x.raw
status vmtest export --disk disk0 web@clean nowhere/x.raw
status vmtest export --format raw web x.raw
mkdir none
status env PATH=none "$(command -v vmtest)" export --disk disk0 web@clean x.qcow2
ls -A
