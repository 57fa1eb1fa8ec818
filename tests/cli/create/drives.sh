. "$LIB"
kernel kernel
for n in 1 2 3 4; do disk "$n.img" 1M; done
disk cd.iso 8K
disk odd.iso 5000
vmtest create --kernel kernel --image 1.img --disk 2.img --disk 3.img --disk-bus ide --cdrom cd.iso pc
vmtest info pc | grep -e disk -e cdrom
vmtest create --kernel kernel --image 1.img --disk 2.img --disk 3.img --disk 4.img --disk-bus ide four
vmtest create --kernel kernel --cdrom none empty
vmtest info empty | grep -e disk -e cdrom
disk real.iso 64K
put real.iso 32768 '\001CD001'
vmtest create --image real.iso --disk 1.img installer
vmtest info installer | grep -e disk -e cdrom
vmtest create --cdrom cd.iso rescue
status vmtest create --kernel kernel --image 1.img --disk 2.img --disk 3.img --disk 4.img --disk-bus ide --cdrom none five
status vmtest create --kernel kernel --disk-bus scsi six
status vmtest create --kernel kernel --cdrom absent.iso seven
status vmtest create --kernel kernel --cdrom odd.iso eight
vmtest list | cut -d ' ' -f 1
