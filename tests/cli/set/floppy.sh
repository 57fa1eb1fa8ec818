. "$LIB"
echo spin | guest kernel
disk a.img 1440K
disk b.img 720K
disk odd.img 5000
vmtest -q create --kernel kernel --floppy a.img --mem 16M web
status vmtest set --floppy odd.img web
status vmtest set --floppy own --floppy none --floppy none web
vmtest set --floppy own --floppy none web
vmtest info web | grep -e floppy
vmtest -q start --no-wait web
vmtest -q snapshot web first
vmtest set --floppy b.img web
vmtest wait --serial --text 'drive 0: a floppy of 737280 bytes, write-protected' --timeout 60s web
vmtest info web | grep floppy
status vmtest set --floppy absent.img web
status vmtest set --floppy own --floppy own web
status vmtest set --floppy a.img --mem 32M web
vmtest set --floppy none --floppy a.img web
vmtest wait --serial --text 'drive 0: no floppy' --timeout 60s web
vmtest wait --serial --text 'drive 1: a floppy of 1474560 bytes, write-protected' --timeout 60s web
vmtest set --floppy own web
vmtest wait --serial --text 'drive 0: a floppy of 1474560 bytes' --timeout 60s web
vmtest info web | grep floppy
vmtest -q revert web first
vmtest info web | grep floppy
vmtest -q stop --force web
vmtest set --floppy own --floppy own web
vmtest info web | grep -c floppy
vmtest -q create --kernel kernel --mem 16M plain
vmtest -q start --no-wait plain
status vmtest set --floppy b.img plain
vmtest -q stop --force plain
vmtest set --floppy b.img plain
vmtest info plain | grep floppy
