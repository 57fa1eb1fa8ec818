. "$LIB"
made web
for s in one two three; do vmtest -q snapshot $s; done
status vmtest delete tw
vmtest delete two
status vmtest delete two
vmtest delete web one
vmtest snapshots | cut -d ' ' -f 1-2
vmtest --json delete web@three
vmtest snapshots
vmtest check
