. "$LIB"
status vmtest use
made web
status vmtest use
made db
status vmtest info
vmtest use w
vmtest use
vmtest info | head -n 1
VMTEST_MACHINE=db vmtest info | head -n 1
VMTEST_MACHINE=db vmtest -m web info | head -n 1
status vmtest use we db
status vmtest -m web info db
vmtest --json use
vmtest use --none
status vmtest use
status vmtest use --none web
