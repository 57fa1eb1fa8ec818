. "$LIB"
# a machine that runs: a revert is taken back with the memory that it left, as long as its process lives
printf 'say up\npoke 5 1\necho\npoke 5 7\nwrite 0 7\nflush\nsay written\necho\npeek 5\nread 0\nsay on\nspin\n' | guest kernel
disk disk.raw 1M
vmtest -q create --kernel kernel --image disk.raw --mem 16M web
vmtest -q start --no-wait web
mkfifo in
vmtest console web <in >out &
exec 3>in
await out 1 up
vmtest snapshot --quiesce no one | sed 's/(.*//'
echo a >&3
await out 1 written
vmtest revert one | sed 's/(.*//'
vmtest undo --list | cut -c 1-4,44-
vmtest undo
echo b >&3
await out 1 on
tail -n +3 out | grep -v written | tr '\r\n' '  '
echo
status vmtest undo

echo "-- one that stood stands again; --now keeps nothing"
vmtest -q pause
vmtest -q revert one
vmtest --json undo | grep -o '"memory":.*,"power":"[a-z]*"'
vmtest -q revert --now one
status vmtest undo
exec 3>&-

echo "-- the process has ended"
vmtest -q revert one
vmtest -q stop --force
vmtest undo
vmtest list | awk '{ print $1, $2 }'
vmtest -q export --disk disk0 web now.raw
od -An -tu1 -N1 now.raw
vmtest -q start --no-wait --from one web
vmtest -q revert one
vmtest -q stop --force
vmtest --json undo
vmtest --json undo --list
vmtest check
