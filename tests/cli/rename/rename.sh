. "$LIB"
made web
for s in one two; do vmtest -q snapshot $s; done
vmtest rename one first
vmtest rename web two second
vmtest rename web@second third
status vmtest rename first third
status vmtest rename fir x
status vmtest rename first 'b d'
status vmtest rename first
vmtest snapshots | cut -d ' ' -f 1-4
