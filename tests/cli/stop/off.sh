. "$LIB"
made web
vmtest stop web
vmtest stop --force
vmtest --json stop
status vmtest stop nobody
