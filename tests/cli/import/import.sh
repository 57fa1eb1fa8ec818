# what was exported comes in whole: rows as they were, disks byte for byte
. "$LIB"
kernel kernel
noise web.img 300
noise two.img 40
vmtest -q create --kernel kernel --append quiet --image web.img --disk two.img --import --mem 16M --forward 2222:22 web
vmtest -q snapshot --note 'as it was' one
vmtest -q snapshot two
vmtest -q revert one
vmtest -q snapshot other
vmtest export web web.vmtest
vmtest --store new import web.vmtest
for store in "$VMTEST_HOME" new; do
    vmtest --json --store "$store" snapshots web
    vmtest --json --store "$store" info web
done | sed 's/"own_bytes":[0-9]*/"own_bytes":N/g; s/"seconds":.*//' >rows
head -n 2 rows >here
tail -n 2 rows >there
cmp here there || diff here there
vmtest --store new export --disk disk0 web@one d0.raw >/dev/null
vmtest --store new export --disk disk1 web d1.raw >/dev/null
cmp d0.raw web.img && cmp d1.raw two.img && echo "disks agree"
status vmtest import web.vmtest
vmtest import --name web2 web.vmtest
vmtest import --name web3 - <web.vmtest
vmtest list | cut -d ' ' -f 1
du -b "$VMTEST_HOME/packs" | awk '{ print ($1 < 2 * 340 * 4096 ? "pages are stored once" : $1) }'
vmtest check | sed 's/:.*//'
rm kernel
vmtest import --name web4 web.vmtest
status vmtest import --name 'a b' web.vmtest
status vmtest import nosuch
