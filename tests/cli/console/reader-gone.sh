# the console ends with who reads it
. "$LIB"
printf 'say up\nspin\n' | guest kernel
made web
vmtest start --paused web
mkfifo pipe
vmtest console web <pipe | head -n 1 >out &
exec 3>pipe
vmtest resume web
wait
cat out
vmtest stop --force
