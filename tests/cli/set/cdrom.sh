. "$LIB"
echo spin | guest kernel
disk a.iso 8K
disk b.iso 20K
disk odd.iso 5000
vmtest -q create --kernel kernel --mem 16M web
vmtest set --cdrom a.iso --disk-bus ide web
vmtest info web | grep -e disk -e cdrom
status vmtest set --cdrom odd.iso web
vmtest -q start --no-wait web
vmtest -q snapshot web first
status vmtest set --cdrom b.iso --mem 32M web
status vmtest set --cdrom absent.iso web
vmtest set --cdrom b.iso web
vmtest wait --serial --text 'a disc of 20480 bytes' --timeout 60s web
vmtest info web | grep cdrom
vmtest set --cdrom none web
vmtest wait --serial --text 'no disc' --timeout 60s web
vmtest info web | grep cdrom
vmtest -q revert web first
vmtest info web | grep cdrom
vmtest -q stop --force web
vmtest info web | grep cdrom
vmtest -q create --kernel kernel --mem 16M plain
vmtest -q start --no-wait plain
status vmtest set --cdrom b.iso plain
vmtest -q stop --force plain
