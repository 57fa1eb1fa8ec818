# two commands at once: one starts it, the other finds it started
. "$LIB"
made web
vmtest start --no-wait web >one 2>&1 &
vmtest start --no-wait web >two 2>&1
wait
sort one two
vmtest stop --force
