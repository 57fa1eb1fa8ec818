# a snapshot holds the hardware; forwards belong to the machine
. "$LIB"
made web
vmtest -q snapshot small
vmtest -q set --mem 64M --forward 2222:22 web
vmtest -q snapshot large
vmtest -q revert small
vmtest info | grep -e memory -e forward
vmtest -q revert large
vmtest info | grep -e memory -e forward
