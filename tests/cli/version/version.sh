vmtest version
vmtest --version
vmtest --json version
vmtest version --json
status() { "$@"; echo "status $?"; }
status vmtest version more
status vmtest version --mroe
status vmtest version -- ls
