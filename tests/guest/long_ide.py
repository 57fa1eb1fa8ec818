#!/usr/bin/env python3
"""Debian with its disk on IDE, by bus-master DMA, beside a CD drive: i386 from a kernel beside the disk, and amd64 as the
BIOS and GRUB boot it. It comes up, its files are what they are natively, and snapshots bring back memory and disk."""

import hashlib
import random
import tempfile
import unittest
from pathlib import Path

import common
import keep
from harness import guest, vmtest


class Ide:
    """What each of the guests must show."""

    @classmethod
    def setUpClass(cls):
        cls.scratch = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        cls.store = cls.enterClassContext(vmtest.Store())
        made = cls.guest()
        made.words += ["--disk-bus", "ide", "--cdrom", "none"]
        cls.kept = keep.Kept(cls.store, "pc", common.demo_package(cls.scratch), made)

    def test_the_disk_is_ide_s_and_uses_dma(self):
        self.assertRegex(self.kept.do("findmnt -no SOURCE /"), rb"^/dev/sda")
        told = self.kept.do("dmesg | grep -e 'ata[12]'").decode()
        self.assertIn("ata1.00: ATA-6: vmtest disk", told)
        self.assertIn("ata2.00: ATAPI: vmtest CD-ROM", told)
        self.assertRegex(self.kept.do("cat /sys/class/ata_device/dev1.0/xfer_mode"), rb"DMA")
        self.assertNotRegex(told, "failed command|exception Emask|hard resetting")

    def test_what_is_written_is_read_back(self):
        """With the cache dropped, so that all comes from the disk."""
        data = random.Random(5).randbytes(24 << 20)
        path = self.scratch / "data"
        path.write_bytes(data)
        self.kept.machine.copy_in(path, "/root/data", 0o644)
        out = self.kept.do("sync; echo 3 >/proc/sys/vm/drop_caches; sha256sum /root/data; "
                           "cd /usr/lib && find . -type f -size +64k | sort | xargs sha256sum | sha256sum; "
                           "echo 3 >/proc/sys/vm/drop_caches; "
                           "cd /usr/lib && find . -type f -size +64k | sort | xargs sha256sum | sha256sum").decode().splitlines()
        self.assertEqual(out[0].split()[0], hashlib.sha256(data).hexdigest())
        self.assertEqual(out[1], out[2])

    def test_snapshot_revert_and_restore_in_a_new_process(self):
        dice = random.Random(11)
        want = self.kept.change(dice, self.kept.show())
        self.store.run("snapshot", "pc", "here")
        self.assertNotEqual(keep.unlike(self.kept.change(dice, want), want), "")
        self.store.run("revert", "pc", "here")
        self.assertEqual(keep.unlike(self.kept.show(), want), "")
        self.kept.change(dice, want)
        self.store.run("stop", "--force", "pc")
        self.store.run("revert", "pc", "here")
        self.assertEqual(keep.unlike(self.kept.show(), want), "", "in a new process")

    def test_snapshots_amid_transfers(self):
        """While the disk is written and read: each goes on where it was, and the sum is right in the end."""
        self.kept.do("rm -f /root/sum; (cd /root && for i in 1 2 3 4 5 6; do dd if=/dev/zero of=big bs=1M count=24 oflag=direct; "
                     "sync; echo 3 >/proc/sys/vm/drop_caches; sha256sum <big; done >sum 2>/dev/null; touch sum.done) "
                     ">/dev/null 2>&1 &")
        zeros = hashlib.sha256(bytes(24 << 20)).hexdigest()
        names = [f"amid{n}" for n in range(4)]
        for name in names:
            self.store.run("snapshot", "pc", name, "--quiesce", "no")
        for name in names:
            self.store.run("revert", "pc", name)
            self.kept.do("while [ ! -e /root/sum.done ]; do sleep 0.2; done")
            self.assertEqual(self.kept.do("sort -u /root/sum").decode().split()[0], zeros, name)
            self.assertEqual(self.kept.do("wc -l </root/sum").strip(), b"6", name)


class Direct(Ide, unittest.TestCase):
    guest = staticmethod(common.debian)


class Bios(Ide, unittest.TestCase):
    @staticmethod
    def guest():
        return guest.make("debian-amd64", "amd64")

    def test_grub_read_the_kernel_from_it(self):
        self.assertIn(b"BOOT_IMAGE=/boot/vmlinuz-", self.kept.do("cat /proc/cmdline"))


if __name__ == "__main__":
    unittest.main()
