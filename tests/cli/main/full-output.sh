# a full disk behind standard output is not success
. "$LIB"
status vmtest version >/dev/full
status sh -c 'vmtest version >/dev/full'
