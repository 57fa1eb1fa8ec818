. "$LIB"
made web
status vmtest reset
status vmtest --json reset web
status vmtest reset web db
