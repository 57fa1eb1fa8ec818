. "$LIB"
status vmtest check
made web
vmtest -q snapshot one
vmtest check
vmtest check --quick
vmtest --json check
