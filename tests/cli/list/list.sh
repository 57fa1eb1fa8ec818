. "$LIB"
vmtest list
vmtest --json list
made web
made db
vmtest list
vmtest use web
vmtest list
vmtest --json list
status vmtest --store absent list
status vmtest list web
