. "$LIB"
made web
vmtest start --no-wait web
status vmtest wait --text "" web
status vmtest wait --regex --text "a(b" web
status vmtest wait web
status vmtest wait --text x nobody
vmtest stop --force web
