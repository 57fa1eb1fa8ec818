. "$LIB"
made web
status vmtest set web
status vmtest set --mem 7 web
status vmtest set --kernel absent web
status vmtest set --cpu pentium2 web
vmtest set --cpu pentium web
vmtest info web | grep -c cpu
vmtest set --cpu '' web
vmtest set --mem 32M --append more --forward 8080:80 --forward udp:53:53 web
vmtest info web | grep -v -e uuid -e created -e network
vmtest set --forward 8080:8080 --no-forward 53 --append '' web
vmtest info web | grep -e forward -e append
status vmtest set --no-forward 53 web
made db
status vmtest set --name web db
status vmtest set --name 'd b' db
vmtest set --name data db
vmtest list | cut -d ' ' -f 1
