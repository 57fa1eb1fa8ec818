# the console ends with who reads it
. "$LIB"
printf 'say up\nspin\n' | guest kernel
made web
vmtest start --paused web
mkfifo pipe
vmtest console web <pipe | head -n 1 &
exec 3>pipe
vmtest resume web
wait
vmtest stop --force
