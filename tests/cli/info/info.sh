. "$LIB"
made web
vmtest info
vmtest --json info w
status vmtest info db
status vmtest info web db
