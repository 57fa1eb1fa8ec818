# floppy drives and an old network card: kept, shown, changed; what is no floppy is one clear line
. "$LIB"
disk a.img 1440K
disk b.img 360K
disk odd.img 1M
printf 'spin\n' | guest kernel
vmtest create --kernel kernel --floppy a.img --floppy b.img --nic ne2k_pci --mem 16M web
vmtest info web | grep -E '^(network|disk)' | sed 's/[0-9a-f:]\{17\}/MAC/'
vmtest set --nic virtio web
vmtest info web | grep -E '^network' | sed 's/[0-9a-f:]\{17\}/MAC/'
vmtest start --no-wait web
status vmtest set --nic ne2k_pci web
vmtest -q snapshot clean
vmtest stop --force web
status vmtest create --kernel kernel --floppy odd.img other
status vmtest create --kernel kernel --floppy a.img --floppy a.img --floppy a.img other
status vmtest create --kernel kernel --nic rtl8139 other
status vmtest run --kernel kernel --floppy absent
status vmtest run --kernel kernel --floppy odd.img
status vmtest run --from clean --nic virtio -- true
