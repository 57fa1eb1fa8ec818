# a kernel of one's own: the serial port is ours, and the end of the guest our status
. "$LIB"
printf 'say hello\necho\npoweroff\n' | guest kernel
echo line | vmtest run --kernel kernel --mem 16M
for end in poweroff reset 'exit 21' triple; do
    printf 'say %s\n%s\n' "$end" "$end" | guest kernel
    vmtest run --kernel kernel --no-reboot --mem 16M --append x 2>err
    echo "status $?"
    cat err
done
echo spin | guest kernel
status vmtest run --kernel kernel --mem 16M --timeout 100ms
# no store was made
[ -e "$VMTEST_HOME" ] || echo "no store"
