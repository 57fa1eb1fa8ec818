# a snapshot's disk over NBD, read by three programs that know nothing of us
. "$LIB"
kernel kernel
noise web.img 700
vmtest -q create --kernel kernel --image web.img --import --mem 16M web
vmtest -q snapshot clean
vmtest serve --socket s.sock web@clean >out &
server=$!
await out 1 serving
cat out
uri="nbd+unix:///?socket=s.sock"
nbdinfo "$uri" | grep -e size -e read_only -e base:
nbdinfo --map --totals "$uri"
nbdinfo --list "$uri" | grep export
nbdcopy "$uri" copy.raw
cmp copy.raw web.img && echo "copied"
qemu-img compare -f raw -F raw "$uri" web.img
nbdcopy web.img "$uri" 2>&1 | grep -c read-only
nbdinfo "nbd+unix:///other?socket=s.sock" >/dev/null 2>&1 || echo "no such export"
status vmtest delete web clean | tail -n 1
kill $server
wait $server
echo "ended with $?"
[ -e s.sock ] || echo "the socket is gone"
vmtest -q delete web clean
