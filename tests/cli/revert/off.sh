. "$LIB"
made web
for s in clean after later; do vmtest -q snapshot $s; done
vmtest revert clean
vmtest snapshots | grep '\*'
vmtest revert web la
vmtest revert web@later~2
vmtest revert later~
vmtest snapshots | grep '\*'
status vmtest revert cleen
status vmtest revert later~9
status vmtest revert web@
status vmtest revert web nobody@x
status vmtest revert nobody clean
status vmtest revert 'web@{5m}'
vmtest --json revert clean
