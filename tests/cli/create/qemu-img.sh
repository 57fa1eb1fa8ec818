# other formats go through qemu-img; without it there is one clear sentence
. "$LIB"
kernel kernel
# a qcow2 header, and nothing behind it
printf 'QFI\373\000\000\000\003' >bad.qcow2
status vmtest create --kernel kernel --image bad.qcow2 web 2>&1 | sed 's/converted: .*/converted: .../'
mkdir none
status env PATH=none "$(command -v vmtest)" create --kernel kernel --image bad.qcow2 web
qemu-img create -q -f qcow2 good.qcow2 3M
vmtest create --kernel kernel --image good.qcow2 web
vmtest info web | grep disk
ls "$VMTEST_HOME" | grep import || echo "nothing left behind"
