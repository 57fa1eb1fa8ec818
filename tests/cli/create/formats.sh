# each format that other programs write comes in byte for byte, by qemu-img's own comparison
. "$LIB"
noise disk.raw 500
convert() {
    qemu-img convert -O "$1" ${3:+-o "$3"} disk.raw "$2"
}
convert qcow2 a.qcow2
convert qcow2 compressed.qcow2 compat=0.10
convert vmdk b.vmdk
convert vmdk stream.vmdk subformat=streamOptimized
convert vdi c.vdi
convert vhdx d.vhdx
convert vpc e.vpc force_size=on
mkdir ova && cp stream.vmdk ova/appliance-disk1.vmdk && echo '<Envelope/>' >ova/appliance.ovf
tar --format=ustar -C ova -cf f.ova appliance.ovf appliance-disk1.vmdk
for file in disk.raw a.qcow2 compressed.qcow2 b.vmdk stream.vmdk c.vdi d.vhdx e.vpc f.ova; do
    vmtest -q create --boot disk --image $file --import web
    vmtest -q export --disk disk0 web out.raw
    echo "$file: $(qemu-img compare -f raw -F raw out.raw disk.raw)"
    rm out.raw
    vmtest -q rm --force web
done
# appliances that are none, or more than one
cp ova/appliance-disk1.vmdk ova/appliance-disk2.vmdk
tar --format=ustar -C ova -cf two.ova appliance.ovf appliance-disk1.vmdk appliance-disk2.vmdk
tar --format=ustar -C ova -cf none.ova appliance.ovf
head -c 100000 f.ova >cut.ova
for file in two.ova none.ova cut.ova; do
    status vmtest create --boot disk --image $file web
done
ls -A "$VMTEST_HOME" | grep import || echo "nothing left behind"
