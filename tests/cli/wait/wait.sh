. "$LIB"
guest kernel <<END
show boot: loader 1.2
say console ready
echo
show login:
echo
poweroff
END
made web
status vmtest wait --text login web
vmtest start --no-wait web
vmtest wait --text "boot: loader" web
vmtest wait --regex --text '^boot: [a-z]+ [0-9.]+$'
vmtest wait --serial --text "console ready" web
vmtest --json wait --serial --text "console ready" web
# a fixed string is not an expression, and a screen is not a console
status vmtest wait --text "boot: l....r" --timeout 100ms web
status vmtest wait --text "console ready" --timeout 100ms web
status vmtest wait --serial --text "boot: loader" --timeout 100ms web
# what comes later
vmtest wait --text login: web &
echo first | vmtest console web >console.out &
wait %1
vmtest wait --serial --regex --text '^fir.t$' web
# the machine ends without it: both have connected (the socket is listed for itself and for each of them) before it does
(vmtest -q wait --text never web; echo "status $?") >ended.out 2>&1 &
(vmtest -q wait --serial --regex --text 'nor (this|that)' web; echo "status $?") >ended2.out 2>&1 &
await /proc/net/unix 3 "$XDG_RUNTIME_DIR/vmtest/.*\.sock"
echo second | vmtest console web >console2.out
wait
cat ended.out ended2.out
