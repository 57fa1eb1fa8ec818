. "$LIB"
status vmtest snapshots
made web
vmtest snapshots
vmtest --json snapshots
for s in a b c; do vmtest -q snapshot $s; done
vmtest -q revert a
vmtest -q snapshot --note 'other way' d
vmtest -q revert b
vmtest snapshots web
vmtest --json snapshots web
vmtest info --costs | tail -5
