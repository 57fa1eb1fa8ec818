#!/usr/bin/env python3
"""vmtest-store(5) says enough: a reader written from it alone (store_reader.py) finds in a store what the program does,
byte for byte. And a kept store of each format that was ever landed still opens, restores and checks clean.

test_format.py STORE_TOOL"""

import json
import os
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import unittest
from pathlib import Path

import store_reader
import zstandard

TOOL = Path(sys.argv[1]).resolve()
KEPT = Path(__file__).resolve().parent / "kept"


def tool(*words):
    return subprocess.run([TOOL, *words], check=True, stdout=subprocess.PIPE, text=True).stdout


def hashes(text):
    """{(machine, snapshot, slot, root): (bytes, hash)} of what store_tool prints"""
    rows = [line.split() for line in text.splitlines()]
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
        tool("make", cls.folder, Path(cls.scratch.name) / "base.raw")

    @classmethod
    def tearDownClass(cls):
        cls.scratch.cleanup()

    def setUp(self):
        self.store = store_reader.Store(self.folder)
        self.addCleanup(self.store.close)

    def test_every_image_is_read_alike(self):
        want = hashes(tool("hashes", self.folder))
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


def put_base(store, base):
    """Has the disks in a store's folder find their raw file where it is now, with the time that it had."""
    db = sqlite3.connect(store / "store.db")
    for row, text in db.execute("SELECT id, base_file FROM image WHERE base_file IS NOT NULL").fetchall():
        facts = json.loads(text)
        os.utime(base, ns=(facts["mtime_ns"], facts["mtime_ns"]))
        facts["path"] = str(base)
        db.execute("UPDATE image SET base_file = ? WHERE id = ?", (json.dumps(facts), row))
    db.commit()
    db.close()


class Kept(unittest.TestCase):
    """kept/N.tar.zst is a store that kept/make.sh made when N was the schema, kept/N.hashes what it held then."""

    maxDiff = None

    def unpack(self, archive):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        with open(archive, "rb") as f, zstandard.ZstdDecompressor().stream_reader(f) as data:
            with tarfile.open(fileobj=data, mode="r|") as tar:
                tar.extractall(scratch.name)
        folder = Path(scratch.name).resolve()
        put_base(folder / "store", folder / "base.raw")
        return folder

    def test_each_is_small(self):
        archives = sorted(KEPT.glob("*.tar.zst"))
        self.assertEqual([a.name for a in archives], [f"{n + 1}.tar.zst" for n in range(len(archives))])
        self.assertLessEqual(sum(a.stat().st_size for a in archives), len(archives) << 20)

    def test_the_present_one_is_kept(self):
        with tempfile.TemporaryDirectory() as scratch:
            tool("make", Path(scratch) / "store", Path(scratch) / "base.raw")
            db = sqlite3.connect(Path(scratch) / "store/store.db")
            version, = db.execute("PRAGMA user_version").fetchone()
            db.close()
        self.assertTrue((KEPT / f"{version}.tar.zst").exists(), "kept/make.sh keeps one, once the schema is final")

    def test_each_opens_and_restores(self):
        for archive in sorted(KEPT.glob("*.tar.zst")):
            with self.subTest(archive.name):
                folder = self.unpack(archive)
                want = hashes((KEPT / archive.name.replace(".tar.zst", ".hashes")).read_text())
                self.assertGreater(len(want), 12)
                reader = store_reader.Store(folder / "store")
                self.assertEqual(read_hashes(reader, want), want)
                reader.close()
                self.assertEqual(hashes(tool("hashes", folder / "store")), want)
                self.assertRegex(tool("check", folder / "store"), r"^2 snapshots, \d+ images, \d+ frames\n$")
                for snapshot in ("clean", "tests.pass"):
                    tool("revert", folder / "store", "web", snapshot)
                    now = hashes(tool("hashes", folder / "store"))
                    for disk in ("disk0", "disk1"):
                        self.assertEqual(now["web", "-", disk, "flushed"], want["web", snapshot, disk, "live"])
                tool("check", folder / "store")

    def test_a_newer_one_is_refused_untouched(self):
        folder = self.unpack(sorted(KEPT.glob("*.tar.zst"))[-1])
        db = sqlite3.connect(folder / "store/store.db")
        db.execute("PRAGMA user_version = 99")
        db.close()
        before = {p: p.read_bytes() for p in (folder / "store").rglob("*") if p.is_file()}
        done = subprocess.run([TOOL, "hashes", folder / "store"], stderr=subprocess.PIPE, text=True)
        self.assertEqual(done.returncode, 78)
        self.assertRegex(done.stderr, "newer vmtest")
        after = {p: p.read_bytes() for p in before}
        self.assertEqual([p.name for p in before if before[p] != after[p] and not p.name.endswith("-shm")], [])


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v"])
