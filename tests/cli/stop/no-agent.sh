# a guest that does not heed the power button is not pulled down
. "$LIB"
made web
vmtest start --no-wait web
status vmtest stop --timeout 200ms web
vmtest list
vmtest stop -f web
vmtest stop -f web
