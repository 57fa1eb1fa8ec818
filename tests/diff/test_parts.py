#!/usr/bin/env python3
"""Partition tables, and disks that hold what cannot be read."""

import os
import unittest

import images
from images import run

MIB = 1 << 20


class Parts(images.Images):
    def disk(self, name, script, mib, parts):
        """A disk with a table from sfdisk and images put at byte offsets."""
        disk = self.path(name)
        with open(disk, "wb") as f:
            f.truncate(mib * MIB)
        run("sfdisk", "-q", disk, input=script.encode())
        for offset, image in parts.items():
            with open(disk, "r+b") as f, open(image, "rb") as i:
                f.seek(offset)
                f.write(i.read())
        return disk

    def pair(self):
        a = self.make("fs_a", tree={"etc/name": "one\n", "usr/x": "", "data": "d\n"})
        b = self.copy(a, "fs_b")
        self.change(b, "rm /data")
        return a, b

    def other(self):
        a = self.make("other_a", tree={"boot": "kernel\n"})
        b = self.copy(a, "other_b")
        self.change(b, "sif /boot mode 0100600")
        return a, b

    GPT = "label: gpt\nstart=2048, size=16384\nstart=20480, size=16384\n"
    MBR = "label: dos\n2048 2048 b\n5000 30000 E\n6000 16384 L\n24000 8000 L\n"

    def test_mbr(self):
        script = "label: dos\n2048 16384 83\n"
        a, b = (self.disk(n, script, 16, {MIB: fs}) for n, fs in zip(("a", "b"), self.pair()))
        self.assertEqual(self.diff(a, b), "D\t/data\n")

    def test_logical_partitions(self):
        fs_a, fs_b = self.pair()
        a, b = (self.disk(n, self.MBR, 24, {6000 * 512: fs}) for n, fs in (("a", fs_a), ("b", fs_b)))
        self.assertEqual(self.diff(a, b), "D\t/data\n")
        self.assertEqual(self.fs("cat", "--a", f"file:{a}", "/etc/name"), "one\n")

    def test_gpt_with_two_file_systems(self):
        (fs_a, fs_b), (o_a, o_b) = self.pair(), self.other()
        a = self.disk("a", self.GPT, 24, {20480 * 512: fs_a, MIB: o_a})
        b = self.disk("b", self.GPT, 24, {20480 * 512: fs_b, MIB: o_b})
        self.assertEqual(self.diff(a, b), "M\tp1:/boot\tmode 0644 -> 0600\nD\t/data\n")

    def test_gpt_from_its_backup(self):
        fs_a, fs_b = self.pair()
        a, b = (self.disk(n, self.GPT, 24, {MIB: fs}) for n, fs in (("a", fs_a), ("b", fs_b)))
        for disk in (a, b):
            with open(disk, "r+b") as f:
                f.seek(512 + 40)
                f.write(b"\xff" * 8)
        self.assertEqual(self.diff(a, b), "D\t/data\n")

    def test_a_loop_of_logical_partitions_ends(self):
        fs_a, fs_b = self.pair()
        a, b = (self.disk(n, self.MBR, 24, {6000 * 512: fs}) for n, fs in (("a", fs_a), ("b", fs_b)))
        with open(a, "r+b") as f:  # the second table of the chain names itself as the next
            f.seek(446 + 8)
            f.seek(5000 * 512 + 462 + 8)
            step = int.from_bytes(f.read(4), "little")
            f.seek((5000 + step) * 512 + 462)
            f.write(bytes([0, 0, 0, 0, 5, 0, 0, 0]) + step.to_bytes(4, "little") + (100).to_bytes(4, "little"))
        self.assertIn("D\t/data\n", self.diff(a, b))

    def test_swap_is_noise_and_what_is_not_read_is_said(self):
        fs_a, fs_b = self.pair()
        script = "label: gpt\nstart=2048, size=16384\nstart=20480, size=2048\nstart=24576, size=2048\n"
        swap = [self.write(n, bytes(4086) + b"SWAPSPACE2" + fill * 4096) for n, fill in (("s1", b"1"), ("s2", b"2"))]
        fat = [self.write(n, bytes(54) + b"FAT16   " + bytes(448) + fill) for n, fill in (("f1", b"1"), ("f2", b"2"))]
        a = self.disk("a", script, 24, {MIB: fs_a, 20480 * 512: swap[0], 24576 * 512: fat[0]})
        b = self.disk("b", script, 24, {MIB: fs_a, 20480 * 512: swap[1], 24576 * 512: fat[0]})
        self.assertEqual(self.diff(a, b, want=0), "")
        self.assertEqual(self.stderr, "")
        c = self.disk("c", script, 24, {MIB: fs_a, 20480 * 512: swap[0], 24576 * 512: fat[1]})
        doc = self.json(a, c)
        self.assertEqual((doc["changes"], doc["complete"], doc["same"]), ([], False, False))
        self.assertIn("partition 3: fat", doc["warnings"][0])

    def test_nothing_to_read(self):
        lvm = self.write("lvm", bytes(512) + b"LABELONE" + bytes(MIB))
        empty = self.write("empty", bytes(MIB))
        tiny = self.write("tiny", bytes(100))
        fs_a, _ = self.pair()
        for image, kind in ((lvm, "LVM"), (empty, ""), (tiny, "")):
            self.diff(image, fs_a, want=78)
            self.assertIn("no file system that can be read", self.stderr)
            self.fs("cat", "--a", f"file:{image}", "/x", want=78)
            self.assertIn(kind, self.stderr)

    def test_a_partition_that_came(self):
        fs_a, _ = self.pair()
        a = self.disk("a", "label: dos\n2048 16384 83\n", 24, {MIB: fs_a})
        b = self.disk("b", "label: dos\n2048 16384 83\n20480 2048 83\n", 24, {MIB: fs_a})
        doc = self.json(a, b)
        self.assertEqual(doc["changes"], [])
        self.assertIn("partition 2 is only in the second disk", doc["warnings"])

    def test_truncated_image(self):
        fs_a, _ = self.pair()
        short = self.copy(fs_a, "short")
        os.truncate(short, 3 * MIB)
        self.diff(fs_a, short, want=65)
        self.assertIn("larger than its disk", self.stderr)

    def test_bad_words(self):
        fs_a, _ = self.pair()
        self.fs("diff", "--a", f"file:{fs_a}", want=64)
        self.fs("diff", "--a", "nonsense", "--b", f"file:{fs_a}", want=64)
        self.fs("diff", "--a", f"file:{self.path('none')}", "--b", f"file:{fs_a}", want=66)
        self.fs("diff", "--a", f"file:{self.folder}", "--b", f"file:{fs_a}", want=64)
        self.fs("frobnicate", "--a", f"file:{fs_a}", want=64)
        self.fs("cat", "--a", f"file:{fs_a}", "/nowhere", want=66)
        self.fs("cat", "--a", f"file:{fs_a}", "/etc", want=64)


if __name__ == "__main__":
    unittest.main()
