#!/usr/bin/env python3
"""A journal that was not written back: vmtest-fs must see what e2fsck's replay makes of it, without writing."""

import unittest

import images
from images import run

BASE = {"keep": "kept\n" * 50, "text": "old\n" * 300, "dir/gone": "gone\n", "dir/stays": "stays\n"}
CHANGES = ("rm /dir/gone", "mkdir /dir/sub", "symlink /dir/sub/link ../stays", "sif /keep mode 0100600",
           "sif /keep uid 70000")


class Journal(images.Images):
    def dirty(self, size, options, open_options, transactions=3):
        """Images before, after, and `dirty`: before with what leads to after in its journal only."""
        a = self.make("a.img", kib=16384, options=("-t", "ext4", "-b", str(size), *options), tree=BASE)
        b = self.copy(a, "b.img")
        new = self.write("new", "new\n" * 400)
        self.change(b, *CHANGES, "rm /text", f"write {new} /text")
        dirty = self.copy(a, "dirty.img")
        with open(a, "rb") as x, open(b, "rb") as y:
            old, now = x.read(), y.read()
        changed = [i for i in range(len(old) // size) if old[i * size:(i + 1) * size] != now[i * size:(i + 1) * size]]
        if size == 4096:
            changed.remove(0)  # the superblock's own block: the journal's state is in it
        else:
            changed = [i for i in changed if i * size != 1024 // size * size]
        commands = [f"jo {open_options}"]
        for k in range(transactions):
            for block in changed[k::transactions]:
                data = self.write(f"block{block}", now[block * size:(block + 1) * size])
                commands.append(f"jw -b {block} {data}")
        self.change(dirty, *commands, "jc")
        return a, b, dirty

    def replayed(self, image):
        """A copy that e2fsck has replayed."""
        copy = self.copy(image, "replayed.img")
        run("e2fsck", "-y", "-E", "journal_only", copy)
        return copy

    def check(self, size, options=(), open_options=""):
        a, b, dirty = self.dirty(size, options, open_options)
        with open(dirty, "rb") as f:
            before = f.read()
        self.assertEqual(self.diff(dirty, self.replayed(dirty), "--all", want=0), "")
        self.assertEqual(self.diff(dirty, b, "--all", want=0), "")
        self.assertEqual(self.diff(a, dirty, "--all"), self.diff(a, b, "--all"))
        with open(dirty, "rb") as f:
            self.assertEqual(before, f.read(), "the image was written")

    def test_checksums_v3(self):
        self.check(4096, open_options="-c")

    def test_checksums_v2(self):
        self.check(4096, open_options="-c -v 2")

    def test_small_blocks(self):
        self.check(1024, open_options="-c")

    def test_no_checksums_no_64_bit(self):
        self.check(4096, ("-O", "^metadata_csum,^64bit"))

    def test_64_bit_without_checksums(self):
        self.check(2048, ("-O", "^metadata_csum,64bit"))

    def test_a_revoked_block_is_not_replayed(self):
        a = self.make("a.img", tree=BASE)
        block = images.blocks_of(a, "/text")[0]
        data = self.write("data", b"R" * 1024)
        dirty = self.copy(a, "dirty.img")
        self.change(dirty, "jo -c", f"jw -b {block} {data}", f"jw -r {block}", "jc")
        self.assertEqual(self.diff(a, dirty, "--all", want=0), "")
        self.assertEqual(self.diff(dirty, self.replayed(dirty), "--all", want=0), "")

    def test_a_block_written_after_its_revocation_is_replayed(self):
        a = self.make("a.img", tree=BASE)
        block = images.blocks_of(a, "/text")[0]
        data = self.write("data", b"R" * 1024)
        dirty = self.copy(a, "dirty.img")
        self.change(dirty, "jo -c", f"jw -r {block}", f"jw -b {block} {data}", "jc")
        self.assertEqual(self.diff(dirty, self.replayed(dirty), "--all", want=0), "")
        self.assertIn("M\t/text\tcontent", self.diff(a, dirty, "--all"))

    def test_a_block_that_looks_like_the_journals_own(self):
        a = self.make("a.img", tree=BASE)
        block = images.blocks_of(a, "/text")[0]
        data = self.write("data", b"\xc0\x3b\x39\x98" + b"E" * 1020)
        dirty = self.copy(a, "dirty.img")
        self.change(dirty, "jo -c", f"jw -b {block} {data}", "jc")
        self.assertEqual(self.fs("cat", "--a", f"file:{dirty}", "/text").encode("utf-8", "surrogateescape")[:8],
                         b"\xc0\x3b\x39\x98EEEE")
        self.assertEqual(self.diff(dirty, self.replayed(dirty), "--all", want=0), "")

    def test_a_transaction_without_its_commit_did_not_happen(self):
        a = self.make("a.img", tree=BASE)
        block = images.blocks_of(a, "/text")[0]
        data = self.write("data", b"N" * 1024)
        dirty = self.copy(a, "dirty.img")
        self.change(dirty, "jo -c", f"jw -b {block} -c {data}", "jc")
        self.assertEqual(self.diff(dirty, self.replayed(dirty), "--all", want=0), "")

    def test_a_wrong_checksum_is_said(self):
        a = self.make("a.img", tree=BASE)
        block = images.blocks_of(a, "/text")[0]
        data = self.write("data", b"Q" * 1024)
        dirty = self.copy(a, "dirty.img")
        self.change(dirty, "jo -c", f"jw -b {block} {data}", "jc")
        with open(dirty, "r+b") as f:
            at = f.read().index(b"Q" * 1024)
            f.seek(at + 100)
            f.write(b"X")
        doc = self.json(a, dirty)
        self.assertFalse(doc["complete"])
        self.assertEqual(doc["changes"], [])
        self.assertIn("wrong checksum", doc["warnings"][0])

    def test_a_journal_superblock_that_does_not_verify(self):
        a, _, dirty = self.dirty(4096, (), "-c")
        with open(dirty, "r+b") as f:
            f.seek(images.blocks_of(dirty, "<8>")[0] * 4096 + 24)  # s_sequence
            f.write(b"\xff")
        self.diff(a, dirty, want=65)
        self.assertIn("journal", self.stderr)

    def test_a_journal_on_another_disk(self):
        a = self.make("a.img", tree=BASE)
        b = self.copy(a, "b.img")
        self.change(b, "ssv journal_inum 0", "feature needs_recovery")
        self.diff(a, b, want=78)
        self.assertIn("another disk", self.stderr)


if __name__ == "__main__":
    unittest.main()
