#!/usr/bin/env python3
"""The cost of a comparison follows what changed: bytes read are bounded by the inode tables and the changed pages."""

import os
import unittest

import images

INODE = 256


class Cost(images.Images):
    FILES = 2000

    def setUp(self):
        super().setUp()
        tree = {f"dir{i % 200}/file{i}": f"{i}\n" * 500 for i in range(self.FILES)}
        self.before = self.make("a.img", kib=48 * 1024, options=("-t", "ext4", "-b", "4096"), tree=tree)
        self.after = self.copy(self.before, "b.img")

    def check(self, paths, extra=0):
        doc = self.json(self.before, self.after)
        self.assertEqual([c["path"] for c in doc["changes"]], paths)
        with open(self.before, "rb") as f, open(self.after, "rb") as g:
            a, b = f.read(), g.read()
        changed = sum(a[i:i + 4096] != b[i:i + 4096] for i in range(0, len(a), 4096)) * 4096
        self.assertLessEqual(doc["bytes_read"], self.FILES * INODE + 4 * changed + extra)
        self.assertLess(doc["bytes_read"], len(a) / 20, "far less than all")

    # Superblock, descriptors, the path to the root, and the contents for the hashes.
    BASE = 160 * 1024

    def test_a_new_file(self):
        data = self.write("data", "new\n")
        self.change(self.after, f"write {data} /dir7/new")
        self.check(["/dir7/new"], self.BASE)

    def test_a_mode_that_changed(self):
        # The name is found near the inode, without reading all directories.
        self.change(self.after, "sif /dir7/file7 mode 0100600")
        self.check(["/dir7/file7"], self.BASE)

    def test_content_written_behind_the_inode(self):
        with open(self.after, "r+b") as f:
            f.seek(images.blocks_of(self.after, "/dir9/file9")[0] * 4096)
            f.write(b"X")
        self.check(["/dir9/file9"], self.BASE + self.FILES * INODE)  # the tables are read for the owner, then for its name

    def test_nothing(self):
        self.assertEqual(os.path.getsize(self.before), os.path.getsize(self.after))
        doc = self.json(self.before, self.after, want=0)
        self.assertLessEqual(doc["bytes_read"], self.BASE)


if __name__ == "__main__":
    unittest.main()
