. "$LIB"
kernel kernel
disk a.img 1M
disk b.img 2M
vmtest create --kernel kernel --append 'console=ttyS0 quiet' --image a.img --disk b.img --mem 64M --forward 2222:22 web
status vmtest create --kernel kernel web
vmtest info web
# a raw image can be copied in; then the file may go
vmtest create --kernel kernel --image a.img --import own
rm a.img
vmtest check
vmtest info own | grep disk
vmtest --json create --kernel kernel third
