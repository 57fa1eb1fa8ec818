# at a snapshot: its disks, and its memory where it has one; a page of RAM tells a restore from a boot
. "$LIB"
printf 'poke 1000 65\nsay first\necho\npeek 1000\nsay again\nspin\n' | guest kernel
made web
vmtest -q snapshot made
vmtest start --no-wait web
vmtest wait --serial --text first web
vmtest -q snapshot running
status vmtest start web --from running
vmtest -q stop --force web
status vmtest start --from nobody@running
status vmtest start web --from absent
status vmtest start web --clock snapshot
status vmtest start web --from running --clock noon
vmtest start --no-wait web --from running
vmtest info web | grep -e '^on ' -e '^status'
echo | vmtest console web >console 2>&1 &
vmtest wait --serial --text again web
await console 1 again
cat console
vmtest -q stop --force web
vmtest start --no-wait --paused --from web@running
vmtest info web | grep -e '^status'
vmtest -q stop --force web
vmtest --json start --no-wait --from made
vmtest wait --serial --text first web
