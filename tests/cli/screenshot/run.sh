# a one-shot guest leaves a picture behind, however it ends
. "$LIB"
printf 'show hello\npoweroff\n' | guest off
printf 'graphics\nspin\n' | guest hang
vmtest run --kernel off --mem 16M --screenshot off.png
status vmtest run --kernel hang --mem 16M --timeout 300ms --screenshot hang.png
for f in off hang; do
    python3 -c 'import struct, sys
print(*struct.unpack(">II", open(sys.argv[1], "rb").read()[16:24]))' $f.png
done
status vmtest run --kernel off --mem 16M --screenshot nowhere/off.png | sed 's/new-[0-9]*/new-PID/'
