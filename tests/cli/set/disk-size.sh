# disks grow, each by its name; what comes new is zero, and a guest that goes on keeps the size that it knows
. "$LIB"
printf 'write 512 7\nflush\nread 512\nread 2097152\nsay end\nspin\n' | guest kernel
disk a.img 1M
disk b.img 1M
vmtest -q create --kernel kernel --image a.img --disk b.img --mem 16M web
vmtest -q snapshot small
vmtest -q start --no-wait web
vmtest wait --timeout 20s --serial --text 'io error' web
vmtest wait --timeout 20s --serial --text end web
vmtest -q snapshot running --quiesce no
status vmtest set --disk-size 4M web
vmtest -q stop --force web
status vmtest set --disk-size 512K web
status vmtest set --disk-size disk1=1000 web
status vmtest set --disk-size disk2=4M web
status vmtest set --disk-size disk1=lots web
vmtest set --disk-size 4M --disk-size disk1=8M web
vmtest info web | grep '^disk'
vmtest -q snapshot large
vmtest -q start --no-wait web
vmtest wait --timeout 20s --serial --text 'disk 0' web
vmtest wait --timeout 20s --serial --text end web
status vmtest revert running
vmtest -q stop --force web
# back at its size, memory and all
vmtest -q start --no-wait --from running
vmtest info web | grep '^disk'
vmtest -q stop --force web
vmtest -q revert large
vmtest info web | grep '^disk'
vmtest check >/dev/null
