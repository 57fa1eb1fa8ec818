# a kernel of one's own: the serial port is ours, and the end of the guest our status
. "$LIB"
printf 'say hello\necho\npoweroff\n' | guest kernel
echo line | vmtest run --kernel kernel
for end in poweroff reset 'exit 21' triple; do
    printf 'say %s\n%s\n' "$end" "$end" | guest kernel
    status vmtest run --kernel kernel --no-reboot --mem 16M --append x
done
echo spin | guest kernel
status vmtest run --kernel kernel --timeout 100ms
# no store was made
ls "$VMTEST_HOME"
