#!/usr/bin/env python3
"""vmtest-store(5) says enough: a reader written from it alone (store_reader.py) finds in a store what the program does,
byte for byte. And a kept store of each format that was ever landed still opens, restores and checks clean.

test_format.py STORE_TOOL KEPT"""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import store_reader

TOOL = Path(sys.argv[1]).resolve()


def hashes(store):
    """{(machine, snapshot, slot, root): (bytes, hash)} as the program reads them"""
    out = subprocess.run([TOOL, "hashes", store], check=True, stdout=subprocess.PIPE, text=True).stdout
    rows = [line.split() for line in out.splitlines()]
    return {tuple(r[:4]): (int(r[4]), int(r[5], 16)) for r in rows}


def read_hashes(store, wanted):
    """The same by the reader."""
    found = {}
    for machine, snapshot, slot, root in wanted:
        if slot == "state":
            state = store.state(machine, snapshot)
            found[machine, snapshot, slot, root] = len(state), store_reader.digest(state)
            continue
        if root == "flushed":
            image = store.head(machine)[slot]
        else:
            image = store.image(store.images(machine, snapshot)[slot], "quiesced_root" if root == "quiesced" else "root")
        found[machine, snapshot, slot, root] = image.size, image.hash()
    return found


class Format(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory()
        cls.folder = Path(cls.scratch.name) / "store"
        subprocess.run([TOOL, "make", cls.folder, Path(cls.scratch.name) / "base.raw"], check=True)

    @classmethod
    def tearDownClass(cls):
        cls.scratch.cleanup()

    def setUp(self):
        self.store = store_reader.Store(self.folder)
        self.addCleanup(self.store.close)

    def test_every_image_is_read_alike(self):
        want = hashes(self.folder)
        self.assertLessEqual({("web", "clean", "ram", "live"), ("web", "clean", "disk0", "quiesced"),
                              ("web", "clean", "state", "live"), ("web", "tests.pass", "disk1", "live"),
                              ("web", "-", "disk0", "flushed"), ("web", "-", "disk1", "flushed")}, want.keys())
        self.assertNotIn(("web", "passing", "disk0", "live"), want)
        self.assertNotEqual(want["web", "clean", "disk0", "live"], want["web", "clean", "disk0", "quiesced"])
        self.assertNotEqual(want["web", "clean", "disk0", "live"], want["web", "-", "disk0", "flushed"])
        self.assertEqual(read_hashes(self.store, want), want)

    def test_trailers_say_what_the_rows_do(self):
        packs = self.store.rows("SELECT * FROM pack WHERE state = 'live'")
        self.assertTrue(packs)
        for pack in packs:
            said = {(off, number, size) for off, number, size, _ in self.store.trailer(pack["id"])}
            rows = {(r["off"], r["id"], r["len"]) for r in
                    self.store.rows("SELECT * FROM frame WHERE pack = ?", pack["id"])}
            self.assertEqual(said, rows)
            for _, number, _, sums in self.store.trailer(pack["id"]):
                self.assertEqual(self.store.frame(number)[1], sums)

    def test_a_wrong_byte_is_seen(self):
        pack = max((self.folder / "packs").iterdir(), key=lambda p: p.stat().st_size)
        data = bytearray(pack.read_bytes())
        data[200] ^= 1
        pack.write_bytes(data)
        self.addCleanup(pack.write_bytes, bytes(data[:200]) + bytes([data[200] ^ 1]) + bytes(data[201:]))
        with self.assertRaises(store_reader.Damaged):
            for row in self.store.rows("SELECT id FROM frame WHERE pack = ?", int(pack.stem)):
                self.store.frame(row["id"])


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v"])
