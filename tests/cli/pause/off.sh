. "$LIB"
made web
status vmtest pause
status vmtest --json pause web
status vmtest pause web db
