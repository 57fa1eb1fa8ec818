. "$LIB"
guest kernel <<END
show Welcome to the guest
show   indented
say shown
echo
graphics
say drawn
spin
END
made web
status vmtest screen web
vmtest start --no-wait web
vmtest wait --serial --text shown web
vmtest screen web | head -n 3
vmtest screen | wc -l
vmtest --json screen web | python3 -c 'import json, sys
o = json.load(sys.stdin)
print(o["machine"], o["rows"], o["cols"], o["cursor"], repr(o["text"].rstrip()))'
echo go | vmtest console web >console.out &
vmtest wait --serial --text drawn web
status vmtest screen web
status vmtest wait --text Welcome --timeout 100ms web
vmtest stop --force web
wait
