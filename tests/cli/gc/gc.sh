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
vmtest gc --dry-run | sed 's/[0-9.]* .iB/SIZE/'
vmtest gc --dry-run --now | sed 's/[0-9.]* .iB/SIZE/'
status vmtest gc --keep soon
vmtest --json gc
vmtest check
status vmtest gc web
vmtest -q rm --now web
ls "$VMTEST_HOME/packs" | wc -l
