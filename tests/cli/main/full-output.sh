# a full disk behind standard output is not success
. "$LIB"
status sh -c 'vmtest version >/dev/full'
status sh -c 'vmtest --json version >/dev/full'
