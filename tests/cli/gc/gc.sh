. "$LIB"
status vmtest gc
printf 'poke 5 1\nsay up\nspin\n' | guest kernel
made web
vmtest start --paused web
vmtest console web >out &
vmtest -q resume
await out 1 up
vmtest -q snapshot one
vmtest stop -f
vmtest gc
# what a delete leaves behind is gone with it
ls "$VMTEST_HOME/packs" | wc -l
vmtest delete web one
vmtest gc
ls "$VMTEST_HOME/packs" | wc -l
vmtest --json gc
vmtest check
status vmtest gc web
vmtest -q rm --now web
ls "$VMTEST_HOME/packs" | wc -l
