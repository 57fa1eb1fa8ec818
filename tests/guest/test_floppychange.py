#!/usr/bin/env python3
"""Another disk in the floppy drive of a running machine, as a boot sector of our own (bios/change.S) sees it through
SeaBIOS and the disk change line."""

import os
import subprocess
import tempfile
import unittest
from pathlib import Path

import common  # noqa: F401
from harness import vmtest

SECTOR = Path(os.environ["VMTEST_CHANGE"])


class FloppyChange(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.dir = Path(scratch.name)
        for name, kib in (("one", 1440), ("two", 1440), ("three", 720)):
            image = SECTOR.read_bytes() + f"{name} ".encode().ljust(512, b"\0")
            (self.dir / f"{name}.img").write_bytes(image.ljust(kib << 10, b"\0"))
        self.store = vmtest.Store()
        self.addCleanup(self.store.close)
        self.store.run("create", "--floppy", self.dir / "one.img", "--mem", "16M", "m")
        self.start()

    def start(self, *verb):
        self.store.run(*(verb or ("start", "--no-wait", "m")))
        self.store.run("wait", "--text", "Booting from Floppy", "--timeout", "1m", "m")
        self.console = self.store.popen("console", "m", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for close in (self.console.wait, self.console.kill, self.console.stdin.close, self.console.stdout.close):
            self.addCleanup(close)
        if not verb:
            while self.console.stdout.readline() != b"ready\n":
                pass

    def look(self):
        self.console.stdin.write(b"x")
        self.console.stdin.flush()
        return self.console.stdout.readline().decode().strip()

    def put(self, *disk):
        self.store.run("set", *(word for d in disk for word in ("--floppy", d)), "m")

    def test_changes(self):
        self.assertEqual(self.look(), "same one same written")
        self.put(self.dir / "two.img")
        self.assertEqual(self.look(), "changed two same failed")  # write-protected
        self.store.run("snapshot", "two")
        self.put("none")
        self.assertEqual(self.look(), "changed failed changed failed")
        self.put(self.dir / "three.img")  # of another format
        self.assertEqual(self.look(), "changed three same failed")
        self.put("own")
        self.assertEqual(self.look(), "changed one same written")
        self.store.run("snapshot", "one")
        self.store.run("revert", "two")
        self.assertEqual(self.look(), "same two same failed")
        self.store.run("revert", "one")
        self.assertEqual(self.look(), "same one same written")
        self.store.run("revert", "two")
        self.store.run("stop", "--force", "m")
        self.start()  # it is still in the drive
        self.assertEqual(self.look(), "same two same failed")
        self.store.run("stop", "--force", "m")
        self.start("revert", "one")  # in a new process
        self.assertEqual(self.look(), "same one same written")

    def test_two_drives(self):
        self.store.run("set", "--floppy", "own", "--floppy", "none", "m", want=75)
        self.store.run("stop", "--force", "m")
        self.store.run("set", "--floppy", "own", "--floppy", self.dir / "two.img", "m")
        self.start()
        self.assertEqual(self.look(), "same one same written")
        self.put("none", self.dir / "three.img")
        self.assertEqual(self.look(), "changed failed changed failed")
        self.put(self.dir / "two.img")
        self.assertEqual(self.look(), "changed two same failed")


if __name__ == "__main__":
    unittest.main()
