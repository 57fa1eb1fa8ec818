# a guest without an agent
. "$LIB"
printf 'say up\nspin\n' | guest kernel
made web
vmtest start --no-wait web
vmtest start --no-wait web
vmtest list
vmtest info web | grep -e running -e status
vmtest --json info | python3 -c 'import json, sys; i = json.load(sys.stdin); print(i["running"], i["monitor"]["status"])'
status vmtest start --timeout 50ms web
status vmtest set --mem 8M web
status vmtest rm web
status vmtest exec -- true
status vmtest install ./none.deb
vmtest log web >/dev/null
vmtest stop --force web
vmtest list
