. "$LIB"
made web
status vmtest resume
status vmtest --json resume web
status vmtest resume web db
