# on a TCP port, in a place of its own, once; and where it cannot be
. "$LIB"
kernel kernel
noise web.img 50
vmtest -q create --kernel kernel --image web.img --import --mem 16M web
vmtest -q snapshot clean
vmtest --json serve --once --port 0 clean >out &
await out 1 uri
sed 's/127.0.0.1:[0-9]*/127.0.0.1:PORT/' out
nbdcopy "$(python3 -c 'import json; print(json.load(open("out"))["uri"])')" tcp.raw
wait
cmp tcp.raw web.img && echo "copied, and ended by itself"
vmtest --json serve --once web clean >out2 &
await out2 1 uri
nbdcopy "$(python3 -c 'import json; print(json.load(open("out2"))["uri"])')" own.raw
wait
cmp own.raw web.img && echo "copied again"
find "$XDG_RUNTIME_DIR" -name 'nbd-*'
status vmtest serve clean --port 0 --socket x
status vmtest serve cleen
status vmtest serve --disk disk3 clean
status vmtest serve --port 70000 clean
status vmtest serve --socket nowhere/s.sock clean
touch taken
status vmtest serve --socket taken clean
