#!/usr/bin/env python3
"""Every mode of the VGA BIOS and some of VBE's, set by a disk of our own (fixtures/guests/vgamodes.S) under SeaBIOS:
what is on the screen by the modes' definition, and dot by dot as on QEMU where there is one."""

import json
import os
import socket
import subprocess
import tempfile
import unittest
from pathlib import Path

import common  # noqa: F401
from harness import picture, qemu, vmtest

EGA = ["000000", "0000aa", "00aa00", "00aaaa", "aa0000", "aa00aa", "aa5500", "aaaaaa",
       "555555", "5555ff", "55ff55", "55ffff", "ff5555", "ff55ff", "ffff55", "ffffff"]
CGA = ["000000", "55ffff", "ff55ff", "ffffff"]
MONO = ["000000", "ffffff"]
# name: size of the picture, dots a pixel, colours (None: the DAC's 256)
TEXT = {"01": (40, 25), "03": (80, 25)}
GRAPHICS = {
    "04": ((640, 400), (2, 2), CGA), "06": ((640, 400), (1, 2), MONO), "0d": ((640, 400), (2, 2), EGA),
    "0e": ((640, 400), (1, 2), EGA), "10": ((640, 350), (1, 1), EGA), "11": ((640, 480), (1, 1), MONO),
    "12": ((640, 480), (1, 1), EGA), "13": ((640, 400), (2, 2), EGA),
}
VBE = {"640x8": (640, 480), "800x8": (800, 600), "640x15": (640, 480), "800x16": (800, 600), "800x24": (800, 600),
       "800x32": (800, 600), "1280x8": (1280, 1024)}
ORDER = [*TEXT, *GRAPHICS, "latches", "x", "fill13", "fillvbe", *VBE, "all"]


def image():
    directory = os.environ.get("VMTEST_GUESTS")
    found = Path(directory or Path(vmtest.program()).parents[1] / "fixtures" / "guests") / "vgamodes.img"
    assert found.exists(), f"{found} is not built"
    return found


def wide(value, bits):
    return value << (8 - bits) | value >> (2 * bits - 8)


def colour(name, i):
    """The colour of pixel i of a VBE mode, as its bytes i * 11h make it."""
    value = int.from_bytes(bytes([i * 0x11]) * 2, "little")
    if name.endswith("15"):
        return bytes(wide(value >> shift & 31, 5) for shift in (10, 5, 0)).hex()
    if name.endswith("16"):
        return bytes([wide(value >> 11, 5), wide(value >> 5 & 63, 6), wide(value & 31, 5)]).hex()
    return bytes([i * 0x11] * 3).hex()


class Qemu:
    def __init__(self, scratch):
        self.file, path = scratch / "screen.ppm", scratch / "qmp"
        self.process = subprocess.Popen(
            [qemu.PROGRAM, "-accel", "tcg", "-m", "64", "-display", "none", "-vga", "std", "-nic", "none", "-serial",
             "stdio", "-qmp", f"unix:{path},server=on,wait=on", "-drive", f"file={image()},format=raw,snapshot=on"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.socket = socket.socket(socket.AF_UNIX)
        while self.socket.connect_ex(str(path)):
            assert self.process.poll() is None, self.process.stderr.read()
        self.answers = self.socket.makefile("rb")
        self.answers.readline()
        self.call("qmp_capabilities")

    def call(self, command, **arguments):
        self.socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
        while "return" not in (answer := json.loads(self.answers.readline())):
            assert "error" not in answer, answer

    def wait(self, name):
        for line in self.process.stdout:
            if line.strip() == f"shown {name}".encode():
                return
        raise AssertionError(f"QEMU ended before {name}")

    def next(self):
        self.process.stdin.write(b"n")
        self.process.stdin.flush()

    def picture(self):
        self.call("screendump", filename=str(self.file))
        return picture.ppm(self.file)

    def close(self):
        self.process.kill()
        self.process.communicate()
        self.answers.close()
        self.socket.close()


class Modes(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.scratch = Path(scratch.name)
        self.store = vmtest.Store()
        self.addCleanup(self.store.close)
        self.store.run("create", "--image", image(), "--disk-bus", "ide", "--mem", "64M", "web")
        self.store.run("start", "--no-wait", "web")
        self.keys = self.store.popen("console", "web", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        self.addCleanup(self.keys.wait)
        self.addCleanup(self.keys.kill)
        self.addCleanup(self.keys.stdin.close)

    def shown(self, name):
        self.store.run("wait", "--serial", "--regex", "--text", f"^shown {name}$", "--timeout", "1m", "web")
        if name == "all":
            return None
        self.store.run("screenshot", "web", self.scratch / "a.png")
        return picture.png(self.scratch / "a.png")

    def next(self):
        self.keys.stdin.write(b"n")
        self.keys.stdin.flush()

    def check_text(self, name, shown):
        cols, rows = TEXT[name]
        self.assertEqual(shown[:2], (720, 400))
        told = self.store.json("screen", "web")
        self.assertEqual((told["cols"], told["rows"], told["cursor"]), (cols, rows, None))
        self.assertEqual(told["text"].split(), ["Mode"])

    def check_graphics(self, name, shown):
        size, (across, down), colours = GRAPHICS[name]
        self.assertEqual(shown[:2], size)
        for i in range(16):
            want = colours[i & (len(colours) - 1)]
            x, y = (8 + 3 * i) * across, (40 + 5 * i) * down
            self.assertEqual({picture.dot(shown, x + a, y + d) for a in range(across) for d in range(down)}, {want},
                             f"pixel {i}")
            self.assertEqual(picture.dot(shown, x + across, y), "000000")
        self.assertTrue(any(any(row[:3 * 8 * across]) for row in shown[2][:16 * down]), "no letter at the top")

    def check_latches(self, shown):
        self.check_graphics("12", shown)
        self.assertEqual(shown[2][300:380], shown[2][40:120])
        self.assertEqual([picture.dot(shown, x, 200) for x in range(80, 88)], [EGA[0]] * 2 + [EGA[12]] * 4 + [EGA[0]] * 2)

    def check_fill(self, name, shown):
        """Every pixel: one colour an index, and the first sixteen are known."""
        if name == "fill13":
            self.assertEqual(shown[:2], (640, 400))
            index = {(x, y): (x // 2 ^ y // 2) & 255 for x in range(640) for y in range(400)}
        else:
            self.assertEqual(shown[:2], (640, 480))
            index = {(x, y): (640 * y + x & 255) ^ 640 * y + x >> 16 for x in range(640) for y in range(480)}
        colours = {}
        unlike = [at for at, i in index.items() if colours.setdefault(i, picture.dot(shown, *at)) != picture.dot(shown, *at)]
        self.assertEqual(unlike[:8], [])
        self.assertEqual([colours[i] for i in range(16)], EGA)
        self.assertGreater(len(set(colours.values())), 200)

    def check_x(self, shown):
        self.assertEqual(shown[:2], (640, 480))
        self.assertEqual([picture.dot(shown, 160 + 2 * i, 200) for i in range(4)], EGA[9:13])
        self.assertEqual({picture.dot(shown, x, 2) for x in range(640)}, {"ffffff"})
        self.assertEqual(picture.dot(shown, 168, 200), "000000")

    def check_vbe(self, name, shown):
        self.assertEqual(shown[:2], VBE[name])
        lit = {(x, y): picture.dot(shown, x, y) for y, row in enumerate(shown[2]) if any(row)
               for x in range(shown[0]) if any(row[3 * x:3 * x + 3])}
        places = {(100 + 3 * i, 300 + 5 * i): i for i in range(16)}
        self.assertLessEqual(set(lit), set(places))
        if not name.endswith("x8"):
            self.assertEqual(lit, {at: colour(name, i) for at, i in places.items() if i})
        else:
            self.assertGreater(len(lit), 8)

    def test_every_mode(self):
        other = Qemu(self.scratch) if qemu.available() else None
        if other:
            self.addCleanup(other.close)
        else:
            print("no QEMU to compare with", flush=True)
        for name in ORDER:
            shown = self.shown(name)
            if name == "all":
                break
            with self.subTest(mode=name):
                if name in TEXT:
                    self.check_text(name, shown)
                elif name in GRAPHICS:
                    self.check_graphics(name, shown)
                elif name in VBE:
                    self.check_vbe(name, shown)
                elif name.startswith("fill"):
                    self.check_fill(name, shown)
                elif name == "latches":
                    self.check_latches(shown)
                else:
                    self.check_x(shown)
            if other:
                other.wait(name)
                if name != "01":  # QEMU shows its cells 16 dots wide, which are 18
                    with self.subTest(mode=name, against="QEMU"):
                        self.compare(shown, other.picture())
                other.next()
            self.next()

    def compare(self, ours, theirs):
        """QEMU makes eight bits of six or five in another way, and does not double what a monitor would."""
        theirs = picture.enlarged(theirs, *ours[:2])
        self.assertEqual(ours[:2], theirs[:2])
        coarse = bytes(v & 0xf8 for v in range(256))
        rows = [y for y in range(ours[1]) if ours[2][y].translate(coarse) != theirs[2][y].translate(coarse)]
        unlike = [(x, y, picture.dot(ours, x, y), picture.dot(theirs, x, y)) for y in rows for x in range(ours[0])
                  if any((ours[2][y][3 * x + c] ^ theirs[2][y][3 * x + c]) & 0xf8 for c in range(3))]
        self.assertEqual(unlike[:8], [], f"{len(unlike)} dots differ")


if __name__ == "__main__":
    unittest.main()
