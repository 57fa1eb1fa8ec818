#!/usr/bin/env python3
"""The same through a store: disks of snapshots and of the head, told apart by their page maps."""

import json
import os
import unittest

import images
from images import run


class Store(images.Images):
    def setUp(self):
        super().setUp()
        tree = {f"dir{i % 50}/file{i}": f"{i}\n" * 900 for i in range(1000)}
        self.before = self.make("a.img", kib=48 * 1024, options=("-t", "ext4", "-b", "4096"), tree=tree)
        self.after = self.copy(self.before, "b.img")
        data = self.write("data", "new\n" * 2000)
        self.change(self.after, f"write {data} /dir7/new", "rm /dir8/file8", "sif /dir9/file9 mode 0100600")
        self.home = self.path("store")
        tool = os.environ.get("VMTEST_MAKE_STORE", "make_store")
        said = run(tool, self.home, self.before, self.after).decode().split()
        self.first, self.second, self.machine, self.unwritten, self.written = said

    def spec(self, ident, root="quiesced", slot="disk0"):
        return f"store:{self.home}:{ident}:{slot}:{root}"

    def between(self, a, b, *options, want=1):
        return self.fs("diff", "--a", a, "--b", b, *options, want=want)

    def test_it_says_what_the_files_say(self):
        want = self.diff(self.before, self.after, "--all")
        a, b = self.spec(self.first), self.spec(self.second)
        self.assertEqual(self.between(a, b, "--all"), want)
        self.assertEqual(self.between(self.spec(self.first, "live"), self.spec(self.second, "live"), "--all"), want)
        self.assertEqual(self.between(a, self.spec(self.machine, "head"), "--all"), want)
        self.assertEqual(self.between(b, self.spec(self.machine, "head"), "--all", want=0), "")
        self.assertEqual(self.between(f"file:{self.before}", b, "--all"), want)
        self.assertEqual(self.between(b, f"file:{self.after}", "--all", want=0), "")

    def test_a_disk_of_the_past(self):
        old, new = (self.spec(self.machine, f"at={t}") for t in (self.unwritten, self.written))
        want = self.diff(self.before, self.after, "--all")
        self.assertEqual(self.between(old, new, "--all"), want)
        self.assertEqual(self.between(self.spec(self.first), old, "--all", want=0), "")
        self.assertEqual(self.between(self.spec(self.second), new, "--all", want=0), "")
        self.between(self.spec(self.machine, "at=5"), new, want=66)
        self.between(self.spec(self.machine, "at=x"), new, want=64)

    def test_it_reads_what_changed(self):
        doc = json.loads(self.between(self.spec(self.first), self.spec(self.second), "--json"))
        self.assertEqual([c["path"] for c in doc["changes"]], ["/dir7/new", "/dir8/file8", "/dir9/file9"])
        self.assertLess(doc["bytes_read"], 1000 * 256 + (1 << 20))

    def test_single_files(self):
        self.assertEqual(self.fs("cat", "--a", self.spec(self.second), "/dir9/file9"), "9\n" * 900)
        self.fs("get", "--a", self.spec(self.first), "/dir8", "--to", self.path("out"))
        self.assertEqual(sorted(os.listdir(self.path("out"))), sorted(f"file{i}" for i in range(8, 1000, 50)))

    def test_what_is_not_there(self):
        a = self.spec(self.first)
        self.between(a, self.spec(999), want=66)
        self.between(a, self.spec(self.second, slot="disk7"), want=66)
        self.between(a, self.spec(self.second, root="other"), want=64)
        self.between(a, self.spec("x"), want=64)
        self.between(a, f"store:{self.path('none')}:1:disk0:live", want=66)


if __name__ == "__main__":
    unittest.main()
