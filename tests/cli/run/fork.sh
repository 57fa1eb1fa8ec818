# a fork of a snapshot needs an agent for its command, and says so; nothing stays behind
. "$LIB"
made web
vmtest start --no-wait web
vmtest -q snapshot clean
status vmtest run --from clean --timeout 1s -- true
vmtest list | cut -d ' ' -f 1
vmtest rm --force web | sed 's/, [0-9.]* [KM]*i*B/, SIZE/'
