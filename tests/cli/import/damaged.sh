# a file that is cut short or damaged, anywhere, is refused in one line, and leaves nothing
. "$LIB"
kernel kernel
noise web.img 100
vmtest -q create --kernel kernel --image web.img --import --mem 16M web
vmtest -q snapshot one
vmtest -q export web web.vmtest
size=$(stat -c %s web.vmtest)
for cut in 0 10 200 1000 $((size / 2)) $((size - 1)); do
    head -c $cut web.vmtest >cut.vmtest
    status vmtest --store new import cut.vmtest
done | sed 's/is no exported machine.*/is no exported machine .../; s/offset [0-9]*/offset N/' | sort | uniq -c
for at in 30 1000 $((size / 2)) $((size - 20)); do
    cp web.vmtest bad.vmtest
    python3 -c 'import sys
f = open("bad.vmtest", "r+b"); f.seek(int(sys.argv[1])); b = f.read(1); f.seek(-1, 1); f.write(bytes([b[0] ^ 0x55]))' $at
    code=0
    vmtest --store new import bad.vmtest 2>&1 | cut -c 1-28
    vmtest --store new import bad.vmtest 2>/dev/null || echo "status $?"
done
echo "some text" >text
status vmtest --store new import text
tar -cf - kernel | zstd -q >other.tar.zst
status vmtest --store new import other.tar.zst
zstd -dcq web.vmtest | tar -xf - machine.json
sed 's/"format":1/"format":9/' machine.json >m && mv m machine.json
tar -cf - machine.json | zstd -q >newer.vmtest
status vmtest --store new import newer.vmtest
vmtest --store new list
vmtest --store new -q gc
ls new/packs
