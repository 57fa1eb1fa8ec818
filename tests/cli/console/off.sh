. "$LIB"
made web
status vmtest console
status vmtest --json console
