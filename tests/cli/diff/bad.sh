. "$LIB"
made web
vmtest -q snapshot clean
status vmtest diff
status vmtest diff cleen
status vmtest diff clean aftre
status vmtest diff web clean nothing
status vmtest diff a b c d
status vmtest diff --stat -p clean
status vmtest diff 'clean@x@y'
