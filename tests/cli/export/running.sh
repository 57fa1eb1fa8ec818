# a machine that runs: what it is goes into the file, and it goes on
. "$LIB"
named() {
    sed 's/-[0-9]\{8\}-[0-9]\{6\}b\?/-DATE/g'
}
head_of() {
    zstd -dcq "$1" | tar -xOf - machine.json | python3 -c '
import json, sys
m = json.load(sys.stdin)
print(m["snapshots"][m["head"]["parent"]]["name"], [i["slot"] for i in m["head"]["images"]], json.loads(m["machine"]["config"])["hardware"]["mem"] >> 20)'
}
printf 'say up\necho\npoke 3 7\nwrite 0 7\nflush\nsay changed\necho\npeek 3\nread 0\nsay on\nspin\n' | guest kernel
noise web.img 300
vmtest -q create --kernel kernel --image web.img --mem 16M web
status vmtest export --no-head web x.vmtest
vmtest -q start --no-wait web
mkfifo in in2
vmtest console web <in >out &
exec 3>in
await out 1 up
vmtest -q snapshot --quiesce no one
echo a >&3
await out 1 changed
vmtest export web now.vmtest 2>&1 | named
vmtest snapshots web | cut -d ' ' -f 1-2
vmtest --json undo --list
vmtest list | awk '{ print $1, $2 }'
vmtest --json export --no-head web one.vmtest | named
echo
vmtest export web - 2>/dev/null >again.vmtest
vmtest -q export --base base web
vmtest -q export --base base-one --no-head web
for file in now again one; do head_of $file.vmtest | named; done
status vmtest export web now.vmtest 2>&1 | named
vmtest snapshots web | wc -l
vmtest -q stop --force web

echo "-- elsewhere it goes on; what comes out again is what went in"
vmtest --store other import now.vmtest
vmtest --store other export web from-other.vmtest
cmp now.vmtest from-other.vmtest
vmtest --store other -q start --no-wait --from "$(vmtest --store other snapshots web | grep -o 'export-[-0-9]*')" web
vmtest --store other console web <in2 >out2 &
exec 3>in2
echo b >&3
await out2 1 on
head -n 3 out2 | tr '\r\n' '  '
echo
exec 3>&-
vmtest --store other -q stop --force web
vmtest --store other check --deep | sed 's/[0-9.]* [KM]\?i\?B in/N in/'
vmtest --store third import one.vmtest
vmtest --store third snapshots | cut -d ' ' -f 1-2
vmtest --store third -q import --base base --name based
vmtest --store third -q import --base base-one --name one
vmtest --store third -q start --no-wait --from "$(vmtest --store third snapshots based | grep -o 'export-[-0-9]*')" based
vmtest --store third list | awk '{ print $1, $2, $3 }' | named
vmtest --store third -q stop --force based
vmtest --store third check --deep | sed 's/, [0-9.]* [KM]\?i\?B in/, N in/'
