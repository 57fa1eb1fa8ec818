vmtest version
vmtest --version
vmtest --json version
vmtest version --json
. "$LIB"
status vmtest version more
status vmtest version --mroe
status vmtest version -- ls
