# who cannot be asked to shut down is not pulled down
. "$LIB"
made web
vmtest start --no-wait web
status vmtest stop web
vmtest list
vmtest stop -f web
vmtest stop -f web
