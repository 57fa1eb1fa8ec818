# words that are no verb, options of every verb, and help
. "$LIB"
status vmtest
status vmtest lst
status vmtest zzzzzz
status vmtest --json lst
status vmtest --store
status vmtest -m
status vmtest --jsno list
status vmtest --json=yes list
status vmtest -x list
vmtest --help | head -n 1
vmtest lis --help | head -n 1
for alias in restore save ls shell poweroff; do vmtest "$alias" --help | head -n 1 | cut -d ' ' -f 1-3; done
vmtest --verbs | cut -f 1 | tr '\n' ' '
