# text and keys reach the guest's keyboard as presses and releases
. "$LIB"
printf 'say up\nkeys 10\nkeys 6\nkeys 4\nkeys 2\nspin\n' | guest kernel
made web
vmtest start --no-wait web
vmtest console web </dev/null >out &
await out 1 up
vmtest -m web type 'aB~'
vmtest -m web type --key ctrl-alt-delete
printf '\n\t' >text
vmtest type --file text
printf '1' | vmtest -m web type --file -
await out 1 02
vmtest stop --force web
wait
cat out
