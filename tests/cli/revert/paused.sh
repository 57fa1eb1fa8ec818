# --paused: it stands afterwards, whether it ran, stood or was off, and resume lets it go on
. "$LIB"
printf 'say up\npoke 5 1\nwrite 0 7\nflush\necho\npoke 5 2\nwrite 0 9\nflush\nsay written\npeek 5\nread 0\nspin\n' |
    guest kernel
made web
power() { vmtest --json info web | grep -o '"status":"[a-z]*"'; }
sized() { sed 's/([0-9]* pages, [0-9]* blocks/(N pages, N blocks/'; }
vmtest -q snapshot disks
vmtest -q start --no-wait web
mkfifo in
vmtest console web <in >out &
exec 3>in
await out 1 up
vmtest -q snapshot --quiesce no one
echo a >&3
await out 1 written

echo "-- from running"
power
vmtest revert --paused one | sized
power
echo "-- from paused"
vmtest --json revert web one --paused | grep -o '"power":"[a-z]*"'
power
vmtest resume web
echo b >&3
await out 2 written
power
echo "-- without it"
vmtest -q pause web
vmtest -q revert one
power
echo "-- from off"
exec 3>&-
vmtest -q stop --force web
vmtest revert web@one --paused | sized
power
vmtest info --hash web | grep -c hash
vmtest console web <in >again &
exec 3>in
vmtest -q resume
echo c >&3
await again 1 written
power

echo "-- no memory"
status vmtest revert --paused disks
status vmtest revert --paused 'web@{0s}'
power
exec 3>&-
vmtest -q stop --force web
status vmtest revert --paused disks
status vmtest --json revert --paused 'web@{0s}'
status vmtest revert --paused=yes one
status vmtest revert --pause one
