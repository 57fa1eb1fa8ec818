. "$LIB"
status vmtest undo
made web
status vmtest undo
# a revert: the disk is again what it was, with all that was written since
vmtest -q snapshot one
vmtest -q snapshot two
vmtest -q revert one
vmtest undo --list | cut -c 1-4,44-
vmtest undo
vmtest snapshots | cut -c 1-8
status vmtest undo
# a revert to where it stands already replaces nothing
vmtest -q revert two
status vmtest undo
# deletes, the last first; children hang where they hung
for s in three four; do vmtest -q snapshot $s; done
vmtest -q delete one
vmtest -q delete three
vmtest undo
vmtest undo web
vmtest snapshots | cut -c 1-12
# a name that is taken by now
vmtest -q delete four
vmtest -q snapshot four
status vmtest undo
vmtest -q rename four five
vmtest undo
# a machine, by its name
vmtest -q rm web
status vmtest undo
status vmtest undo we
vmtest --json undo web
vmtest list
vmtest snapshots | cut -c 1-12
vmtest -q rm web
vmtest -q create --kernel kernel web
status vmtest undo web
vmtest -q set --name other
vmtest undo web
vmtest -q rm --now other
status vmtest undo other
vmtest -q delete --now web four
vmtest -q revert --now web one
status vmtest undo web
# --now that replaces nothing lets go of nothing else
vmtest -q snapshot six
vmtest -q snapshot seven
vmtest -q delete six
vmtest -q revert --now seven
vmtest undo
vmtest --json undo --list
vmtest check
