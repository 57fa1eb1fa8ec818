"""Pictures of screens, as what tests compare: (width, height, rows of RGB bytes)."""

import struct
import zlib
from pathlib import Path


def png(path):
    """An 8-bit RGB PNG file."""
    data = Path(path).read_bytes()
    width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
    assert (depth, colour) == (8, 2)
    packed, at = b"", 8
    while at < len(data):
        n, kind = struct.unpack(">I4s", data[at:at + 8])
        packed += data[at + 8:at + 8 + n] if kind == b"IDAT" else b""
        at += n + 12
    raw, rows, above = zlib.decompress(packed), [], bytearray(3 * width)
    for y in range(height):
        kind, row = raw[y * (3 * width + 1)], bytearray(raw[y * (3 * width + 1) + 1:(y + 1) * (3 * width + 1)])
        if not any(row) and (kind < 3 or not any(above)):  # nothing new, in most lines of most screens
            row = bytearray(above) if kind == 2 else row
        elif kind:
            for i in range(len(row)):
                left, up, corner = (row[i - 3], above[i], above[i - 3]) if i >= 3 else (0, above[i], 0)
                guess = min((left, up, corner), key=lambda v: abs(left + up - corner - v))
                row[i] = (row[i] + [0, left, up, (left + up) // 2, guess][kind]) & 0xff
        rows.append(bytes(row))
        above = row
    return width, height, rows


def ppm(path):
    """A binary PPM file, as QEMU's screendump writes it."""
    magic, size, depth, data = Path(path).read_bytes().split(b"\n", 3)
    width, height = map(int, size.split())
    assert (magic, depth) == (b"P6", b"255") and len(data) == 3 * width * height
    return width, height, [data[3 * width * y:3 * width * (y + 1)] for y in range(height)]


def enlarged(shown, width, height):
    """The same picture in whole multiples of its size."""
    across, down = width // shown[0], height // shown[1]
    rows = [b"".join(row[x:x + 3] * across for x in range(0, len(row), 3)) for row in shown[2]]
    return shown[0] * across, shown[1] * down, [row for row in rows for _ in range(down)]


def dot(shown, x, y):
    return shown[2][y][3 * x:3 * x + 3].hex()
