# of a machine that runs: memory, devices and disks at one instant
. "$LIB"
printf 'poke 5 1\nwrite 0 1\nflush\nsay one\necho\npoke 5 2\nwrite 0 2\nflush\nsay two\necho\npeek 5\nread 0\nsay end\nspin\n' |
    guest kernel
# the sizes of compressed pages differ with what stands in them
sized() { sed 's/[0-9.]* [KM]*i*B/SIZE/g' | tr -s ' '; }
made web
vmtest start --paused web
mkfifo in
vmtest console web <in >out &
exec 3>in
vmtest resume web
await out 1 one
vmtest snapshot one | sed 's/([0-9]* pages, [0-9]* blocks/(N pages, N blocks/'
status vmtest snapshot one
echo a >&3
await out 1 two
vmtest snapshot --quiesce no --note second two | sed 's/([0-9]* pages, [0-9]* blocks/(N pages, N blocks/'
status vmtest snapshot --quiesce require three
echo b >&3
await out 1 end
vmtest snapshots | sized
vmtest revert two | sed 's/([0-9]* pages, [0-9]* blocks/(N pages, N blocks/'
echo c >&3
await out 2 end
vmtest stop --force web
cat out
# again from off, in a new process
: >out
vmtest revert web one | sed 's/([0-9]* pages, [0-9]* blocks/(N pages, N blocks/'
vmtest list | sized
vmtest console web <in >out &
exec 3>in
echo d >&3
await out 1 two
echo e >&3
await out 1 end
cat out
status vmtest rename one two
vmtest rename one first
vmtest delete two
vmtest snapshots | sized
vmtest stop --force web
vmtest check | sized
