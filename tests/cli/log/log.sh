. "$LIB"
made web
status vmtest log web
