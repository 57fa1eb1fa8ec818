# --hash: what xxhsum -H2 says of the same bytes (the values here are from it); the same again after a revert, and another after a change
. "$LIB"
printf 'poke 5 1\nwrite 0 7\nflush\nsay up\necho\npoke 5 2\nwrite 0 9\nflush\nsay written\necho\nwrite 0 7\npoke 5 1\nflush\nsay back\nspin\n' |
    guest kernel
disk web.img 1M
disk more.img 4999680 # its last page is not whole
printf x | dd of=more.img bs=1 seek=4999679 conv=notrunc status=none
vmtest -q create --kernel kernel --image web.img --disk more.img --mem 16M web
part() { grep "^hash $1 " "$2" | tr -s ' ' | cut -d ' ' -f 3; }
same() { [ "$(part "$1" "$2")" = "$(part "$1" "$3")" ] && echo "$1 same" || echo "$1 differs"; }

echo "-- off"
vmtest info --hash web | grep '^hash'
vmtest --json info --hash web | grep -o '"hash":{.*}'

vmtest info --hash web >holes
cp --sparse=never web.img full.img
vmtest -q create --kernel kernel --image full.img full
vmtest info --hash full >full
same disk0 holes full
vmtest -q rm full

echo "-- running"
vmtest -q start --no-wait web
mkfifo in
vmtest console web <in >out &
exec 3>in
await out 1 up
vmtest info --hash web >one
grep -e '^hash ram' -e '^hash disk' one
cut -d ' ' -f 1,2 one | grep hash
vmtest --json info web | grep -o '"status":"[a-z]*"'
vmtest -q snapshot --quiesce no one
echo a >&3
await out 1 written
vmtest info --hash web >two
for p in ram disk0 state all; do same $p one two; done
vmtest -q revert --paused one
vmtest info --hash web >three
vmtest -q revert --paused one
vmtest info --hash web >four
for p in ram disk0 state all; do same $p three four; done
same ram one three
same disk0 one three
echo "-- the same content by another way"
vmtest -q resume
echo a >&3
await out 2 written
echo b >&3
await out 1 back
vmtest info --hash web >five
same ram one five
same disk0 one five
exec 3>&-
vmtest -q stop --force web
vmtest info --hash web >six
same disk0 one six
cut -d ' ' -f 1,2 six | grep hash
status vmtest info --hash=md5 web
status vmtest info --hash nobody
