# a machine with its tree: the same file each time, from here and from where it was imported
. "$LIB"
echo spin | guest kernel
noise web.img 300
vmtest -q create --kernel kernel --image web.img --mem 16M --forward 2222:22 web
vmtest -q snapshot --note 'as it was' one
vmtest -q snapshot two
vmtest export web web.vmtest
vmtest --json export web again.vmtest
echo
cmp web.vmtest again.vmtest
vmtest export web - >third.vmtest
cmp web.vmtest third.vmtest
vmtest --store other import web.vmtest
vmtest --store other export web from-other.vmtest
cmp web.vmtest from-other.vmtest
zstd -dcq web.vmtest | tar -tf -
status vmtest export web web.vmtest
status vmtest export web@one x.vmtest
status vmtest export nosuch x.vmtest
status vmtest export web nowhere/x.vmtest
status vmtest export web ''
vmtest -q start --no-wait web
status vmtest export --disk disk0 web x.raw
vmtest -q export --disk disk0 web@one one.raw
cmp one.raw web.img
vmtest -q stop --force web
ls -A
