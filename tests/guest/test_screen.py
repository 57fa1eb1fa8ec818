#!/usr/bin/env python3
"""What a guest shows: its kernel's text console read from video memory, a graphics mode that a program in it sets up
through the display's PCI resources, and both over a snapshot."""

import subprocess
import tempfile
import unittest
from pathlib import Path

import common
from harness import picture, vmtest


class Screen(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.scratch = Path(scratch.name)
        self.store = vmtest.Store()
        self.addCleanup(self.store.close)
        tiny = common.tiny()
        self.store.run("create", "--kernel", tiny.kernel, "--initrd", tiny.initrd, "--mem", "128M", "--append",
                       "console=tty0 console=ttyS0", "web")
        self.store.run("start", "--no-wait", "web")
        self.wait("--serial", "--text", "vmtest-tiny: ready")
        self.keys = self.store.popen("console", "web", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        self.addCleanup(self.keys.wait)
        self.addCleanup(self.keys.kill)
        self.addCleanup(self.keys.stdin.close)

    def wait(self, *words):
        self.store.run("wait", *words, "--timeout", "2m", "web")

    def type(self, line):
        self.keys.stdin.write(line.encode() + b"\n")
        self.keys.stdin.flush()

    def test_text_console(self):
        self.wait("--regex", "--text", r"Run /init as init process$")
        self.assertIn("Run /init as init process", self.store.run("screen", "web").text)
        self.type("printf '\\033c' >/dev/tty1; echo first words >/dev/tty1")
        self.wait("--regex", "--text", "^first words$")
        before = self.store.run("screen", "web").text
        self.assertEqual(before.split(), ["first", "words"])
        self.store.run("screenshot", "web", self.scratch / "before.png")
        width, height, rows = picture.png(self.scratch / "before.png")
        self.assertEqual((width, height), (720, 400))
        lit = {y // 16 for y in range(height) if any(rows[y])}
        self.assertEqual(lit, {0, 1}, "the words, and the cursor below them")
        self.store.run("snapshot", "shown")
        self.type("echo later >/dev/tty1")
        self.wait("--text", "later")
        self.store.run("revert", "shown")
        self.assertEqual(self.store.run("screen", "web").text, before)
        self.store.run("stop", "--force", "web")
        self.store.run("revert", "shown")  # in a new process
        self.assertEqual(self.store.run("screen", "web").text, before)
        self.store.run("screenshot", "web", self.scratch / "after.png")
        self.assertEqual(picture.png(self.scratch / "after.png"), (width, height, rows))

    def test_frame_buffer(self):
        self.type("""cd /sys/bus/pci/devices/0000:00:02.0; echo 1 >enable
            { read fb x; read x; read regs x; } <resource
            reg() { devmem $((regs + 0x500 + 2 * $1)) 16 $2; }
            dot() { devmem $((fb + 4 * ($2 * 640 + $1))) 32 $3; }
            reg 4 0; reg 1 640; reg 2 480; reg 3 32; reg 4 0x41
            dot 0 0 0xff0000; dot 639 479 0x123456; dot 1 100 0xffffff; echo dra''wn""")
        self.wait("--serial", "--regex", "--text", "^drawn$")
        refused = self.store.run("screen", "web", want=75)
        self.assertIn("graphics mode of 640x480", refused.errors)
        self.store.run("screenshot", "web", self.scratch / "a.png")
        width, height, rows = picture.png(self.scratch / "a.png")
        self.assertEqual((width, height), (640, 480))
        lit = {(x, y): rows[y][3 * x:3 * x + 3].hex() for y in range(height) if any(rows[y]) for x in range(width)
               if any(rows[y][3 * x:3 * x + 3])}
        self.assertEqual(lit, {(0, 0): "ff0000", (639, 479): "123456", (1, 100): "ffffff"})
        self.store.run("snapshot", "drawn")
        self.type("dot 0 0 0x00ff00; echo ag''ain")
        self.wait("--serial", "--regex", "--text", "^again$")
        self.store.run("screenshot", "web", self.scratch / "b.png")
        self.assertEqual(picture.png(self.scratch / "b.png")[2][0][:3].hex(), "00ff00")
        self.store.run("revert", "drawn")
        self.store.run("screenshot", "web", self.scratch / "c.png")
        self.assertEqual(picture.png(self.scratch / "c.png"), (width, height, rows))


if __name__ == "__main__":
    unittest.main()
