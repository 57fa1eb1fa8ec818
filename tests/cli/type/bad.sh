# what cannot be typed is one clear line, and nothing of it is typed
. "$LIB"
printf 'keys 1\nspin\n' | guest kernel
made web
status vmtest -m web type hello
vmtest start --no-wait web
status vmtest type
status vmtest -m web type 'naïve'
status vmtest type "$(printf 'a\033[A\001')"
status vmtest -m web type --key ctrl-alt-banana
status vmtest -m web type --key a-b-c-d-e-f-g-h-i
status vmtest type --file absent
status vmtest type --file kernel hello
status vmtest -m web type --file kernel
vmtest pause web
status vmtest type hello
vmtest resume web
status vmtest type --timeout 300ms hello
status vmtest -m absent type hello
