. "$LIB"
printf 'say up\nspin\n' | guest kernel
made web
vmtest start --paused web
vmtest resume
vmtest list
vmtest pause
vmtest list
status vmtest pause web
vmtest resume
vmtest reset
vmtest list
vmtest rm --force web
vmtest list
