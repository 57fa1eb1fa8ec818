# a disk without a file system: the error is the command's, and with --json an object, too
. "$LIB"
made web
vmtest -q snapshot one
status vmtest diff one
status vmtest --json diff one
status vmtest --json cp web@one:/etc/passwd .
