# images that say themselves that they are longer than they are
. "$LIB"
kernel kernel
disk part.img 1M
put part.img 510 '\125\252'
put part.img 450 '\203'                 # type of partition 1
put part.img 454 '\000\010\000\000'     # first sector 2048
put part.img 458 '\000\040\000\000'     # 8192 sectors
status vmtest create --kernel kernel --image part.img web
truncate -s 5M part.img
vmtest create --kernel kernel --image part.img part
mke2fs -q -t ext4 whole.img 4M
vmtest create --kernel kernel --image whole.img whole
cp whole.img cut.img
truncate -s 3M cut.img
status vmtest create --kernel kernel --image cut.img cut
