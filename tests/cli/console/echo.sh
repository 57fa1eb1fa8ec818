. "$LIB"
printf 'say up\necho\necho\npoweroff\n' | guest kernel
made web
vmtest start --paused web
printf 'one\ntwo\n' >input
(vmtest console web <input >output; echo "status $?" >>output) &
vmtest resume web
wait
cat output
