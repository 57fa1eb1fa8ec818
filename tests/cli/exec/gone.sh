# a monitor that dies leaves its last words, and who waits for it gets them
. "$LIB"
ulimit -c 0
made web
vmtest start --no-wait web
(status vmtest exec --timeout 60s web -- true) >exec.out &
await /proc/net/unix 2 "$XDG_RUNTIME_DIR/vmtest/.*\.sock" # the socket is listed for itself and for who has connected
for cmdline in /proc/[0-9]*/cmdline; do
    pid=${cmdline#/proc/}
    tr '\0' ' ' 2>/dev/null <"$cmdline" | grep -q "^vmtest-monitor --store $VMTEST_HOME " && kill -SYS "${pid%/*}"
done
wait
sed -e 's/ in thread .*//' exec.out
vmtest log web | sed -n -e 's/ in thread .*//p'
