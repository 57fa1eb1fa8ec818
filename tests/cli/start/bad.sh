. "$LIB"
status vmtest start
made web
status vmtest start --cache sometimes web
status vmtest start web db
status vmtest start nobody
rm kernel
status vmtest start --no-wait web
vmtest info web | grep running
