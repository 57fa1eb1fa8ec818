. "$LIB"
guest kernel <<END
graphics
say drawn
spin
END
made web
status vmtest screenshot web a.png
vmtest start --no-wait web
vmtest wait --serial --text drawn web
vmtest screenshot web a.png
vmtest screenshot a2.png
vmtest screenshot web - >b.png
cmp a.png b.png
# size, depth and colour type, then the first line's filter and first dot, by the PNG specification
python3 -c 'import struct, zlib
data = open("a.png", "rb").read()
assert data[:8] == b"\x89PNG\r\n\x1a\n"
print(*struct.unpack(">IIBB", data[16:26]))
chunks, at = b"", 8
while at < len(data):
    n, kind = struct.unpack(">I4s", data[at:at + 8])
    chunks += data[at + 8:at + 8 + n] if kind == b"IDAT" else b""
    at += n + 12
rows = zlib.decompress(chunks)
print(len(rows), rows[1:4])'
status vmtest --json screenshot web -
vmtest --json screenshot web c.png
echo old >kept.png
status vmtest screenshot web nowhere/d.png | sed 's/new-[0-9]*/new-PID/'
status vmtest screenshot
vmtest pause web
vmtest screenshot web e.png
cmp a.png e.png
vmtest stop --force web
status vmtest screenshot web kept.png
cat kept.png
