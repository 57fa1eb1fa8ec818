. "$LIB"
# revert --keep: undo brings the memory back too, and the guest goes on where it was left
printf 'say up\necho\npoke 3 7\nwrite 0 7\nflush\nsay changed\necho\npeek 3\nread 0\nsay on\necho\nwrite 0 9\nflush\nsay later\nspin\n' | guest kernel
disk disk.raw 1M
vmtest -q create --kernel kernel --image disk.raw --mem 16M web
vmtest -q start --no-wait web
mkfifo in in2
vmtest console web <in >out &
exec 3>in
await out 1 up
tree() {
    vmtest snapshots web | sed 's/-[0-9]\{8\}-[0-9]\{6\}b\?/-DATE/' | awk '{ print $1, $2 == "*" ? "*" : "" }'
}
vmtest -q snapshot --quiesce no one
echo a >&3
await out 1 changed
vmtest revert --keep one | sed 's/(.*//'
tree
vmtest undo | sed 's/-[0-9]\{8\}-[0-9]\{6\}/-DATE/'
exec 3>&-
wait
tree
vmtest console web <in2 >out &
exec 3>in2
echo b >&3
await out 1 on
head -n 3 out | tr '\r\n' '  '
echo

echo "-- what it did since is not what was kept: once its process has ended, a later revert has disks only"
echo c >&3
await out 1 later
vmtest -q revert one
vmtest -q stop --force
vmtest --json undo | sed 's/"message".*//; s/-[0-9]\{8\}-[0-9]\{6\}/-DATE/'
vmtest list | awk '{ print $1, $2 }'
vmtest -q export --disk disk0 web now.raw
od -An -tu1 -N1 now.raw
exec 3>&-

echo "-- a paused one stays paused, and only the last few are kept"
vmtest -q start --paused --from one
vmtest --json revert --keep one | grep -c '"kept"' # it never ran
vmtest -q pause
vmtest --json revert --keep one | grep -o '"kept":"left-paused'
vmtest -q pause
for i in 1 2 3 4 5; do vmtest -q revert --keep one; vmtest -q pause; done
vmtest snapshots | grep -c left-
vmtest snapshots | grep -c back-
vmtest --json undo | grep -o '"memory":.*,"power":"[a-z]*"'
vmtest --json undo --list | grep -c '"verb":"delete"'

echo "-- set once; and what cannot be"
vmtest -q resume
printf '[revert]\nkeep = yes\n' >vmtest.conf
vmtest --json revert one | grep -o '"kept":"left-'
vmtest --json revert --now one | grep -c '"kept"'
printf '[revert]\nkeep = no\n' >vmtest.conf
vmtest --json revert one | grep -c '"kept"'
printf '[revert]\nkeep = maybe\n' >vmtest.conf
status vmtest revert one
rm vmtest.conf
status vmtest revert --keep --now one
vmtest stop --force web | sed 's/in .*//'
vmtest revert --keep one | sed 's/(.*//'
vmtest -q stop --force
vmtest check | sed 's/[0-9]* snapshots, .* in/N snapshots in/'
