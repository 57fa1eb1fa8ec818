. "$LIB"
# a machine that runs: a revert is taken back by switching it off, with the disk that it was reverted away from
printf 'say up\necho\nwrite 0 7\nflush\nsay written\necho\nspin\n' | guest kernel
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
vmtest undo
vmtest list
vmtest -q export --disk disk0 web now.raw
od -An -tu1 -N1 now.raw
vmtest --json undo --list
vmtest check
