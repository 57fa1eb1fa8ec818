# every wrong file is one clear line, and nothing is left behind
. "$LIB"
kernel kernel
disk disk.img 1M
echo "no kernel" >text
status vmtest create web
status vmtest create --kernel absent web
status vmtest create --kernel text web
status vmtest create --kernel . web
: >empty
status vmtest create --kernel empty web
head -c 4096 kernel >short
status vmtest create --kernel short web
status vmtest create --kernel kernel --initrd absent web
status vmtest create --kernel kernel --initrd empty web
status vmtest create --kernel kernel --image absent web
status vmtest create --kernel kernel --image empty web
head -c 1000 /dev/zero >odd
status vmtest create --kernel kernel --image odd web
status vmtest create --kernel kernel --image /dev/null web
status vmtest create --kernel kernel --mem 65G web
status vmtest create --kernel kernel --mem lots web
status vmtest create --kernel kernel --cpu pentium2 web
status vmtest create --kernel kernel --forward 22 web
status vmtest create --kernel kernel --forward 70000:22 web
status vmtest create --kernel kernel -- web
status vmtest create --kernel kernel 'we b'
status vmtest create --kernel kernel one two
status vmtest create --kernel kernel
vmtest list
