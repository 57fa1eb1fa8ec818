# times: which verbs take one, and what is wrong with the words
. "$LIB"
printf 'say up\nwrite 0 7\nflush\nsay seven\necho\nwrite 0 9\nflush\nsay nine\nspin\n' | guest kernel
disk disk.raw 1M
vmtest -q create --kernel kernel --image disk.raw --mem 16M web
disk_now() {
    rm -f now.raw
    vmtest -q export --disk disk0 "web@{0s}" now.raw
    od -An -tu1 -N1 now.raw
}
rfc() {
    date -u +%Y-%m-%dT%H:%M:%S.%NZ
}
before=$(rfc)
vmtest -q start --no-wait web
mkfifo in
vmtest console web <in >out &
exec 3>in
await out 1 seven
then=$(rfc)
echo >&3
await out 1 nine
disk_now

echo "-- a machine that runs: off then, and undo brings back what it had"
status vmtest revert 'web@{9d}' | sed 's/kept; .*/kept; …/'
vmtest list | awk 'NR > 1 { print $2 }'
vmtest revert "web@{$then}"
exec 3>&-
vmtest list | awk 'NR > 1 { print $2 }'
disk_now
vmtest undo
disk_now
vmtest -q start --no-wait web
vmtest wait --serial --text nine --timeout 1ms web 2>/dev/null
vmtest --json revert --keep "web@{$then}" | grep -o '"kept":"left-'
vmtest --json undo | grep -o '"memory":true,"power":"running"'
vmtest -q stop --force web

echo "-- start"
vmtest start --no-wait --from "web@{$then}"
vmtest wait --serial --text seven web
status vmtest start --from "@{$then}" web
vmtest -q stop --force web
vmtest --json start --paused --from "@{$then}" web
vmtest -q stop --force web
disk_now
status vmtest start --clock snapshot --from 'web@{1s}'
status vmtest start --from 'web@{9d}'  | sed 's/kept; .*/kept; …/'

echo "-- no snapshot"
status vmtest run --from 'web@{1s}' -- true
status vmtest serve 'web@{1s}'
status vmtest delete 'web@{1s}'
status vmtest rename 'web@{1s}' x
status vmtest set --note x 'web@{1s}'
status vmtest snapshot 'web@{1s}'

echo "-- no time"
for time in '' '{' '{}' '{5x}' '{-5m}' '{5m' '{5m}~1' '{2026-13-01T00:00:00Z}' '{now}'; do
    status vmtest revert "web@$time"
    status vmtest start --from "web@$time"
    status vmtest diff "web@$time"
done
