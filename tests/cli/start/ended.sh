# a guest that ends before its agent answered
. "$LIB"
printf 'say up\npoweroff\n' | guest kernel
made web
status vmtest start --timeout 1m web
vmtest stop
