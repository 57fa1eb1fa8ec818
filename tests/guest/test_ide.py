#!/usr/bin/env python3
"""IDE with a real system's drivers (ata_piix, sd_mod, sr_mod, isofs): a disk and a CD by DMA and by PIO, snapshots taken
amid transfers, and discs that are changed in a running machine."""

import hashlib
import os
import random
import subprocess
import tempfile
import unittest
from pathlib import Path

import common
from harness import vmtest

LIMIT = 120
MIB = 1 << 20
MAKE_ISO = os.environ.get("VMTEST_MAKE_ISO", "make_iso")

# Writes what it reads elsewhere on the disk, reads both again from the medium, and the CD's file, and compares.
ROUND = """\
mount -t iso9660 /dev/sr0 /mnt || exit 3
n=0
while [ $n -lt ROUNDS ]; do
    n=$((n + 1))
    dd if=/dev/sda of=/tmp/a bs=64k skip=$n count=16 2>/dev/null
    dd if=/tmp/a of=/dev/sda bs=64k seek=$((n + 80)) conv=fsync 2>/dev/null
    echo 3 >/proc/sys/vm/drop_caches
    dd if=/dev/sda of=/tmp/b bs=64k skip=$((n + 80)) count=16 2>/dev/null
    cmp /tmp/a /tmp/b || exit 4
    [ "$(sha256sum </mnt/data.bin)" = "SUM  -" ] || exit 5
    echo "round $n is good"
done
"""


class Ide(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.guest = common.guest.make("tiny-pc", os.environ.get("VMTEST_GUEST_KERNEL"))
        cls.temp = tempfile.TemporaryDirectory()
        cls.dir = Path(cls.temp.name)
        make = random.Random(7)
        cls.data = make.randbytes(2 * MIB + 12345)
        (cls.dir / "data.bin").write_bytes(cls.data)
        cls.sum = hashlib.sha256(cls.data).hexdigest()
        cls.disk = make.randbytes(16 * MIB)
        (cls.dir / "disk.img").write_bytes(cls.disk)
        cls.iso("cd.iso", "data.bin")

    @classmethod
    def tearDownClass(cls):
        cls.temp.cleanup()

    @classmethod
    def iso(cls, name, *files):
        subprocess.run([MAKE_ISO, cls.dir / name, *(cls.dir / f for f in files)], check=True)
        return cls.dir / name

    def line(self, script, options="", rounds=""):
        """The kernel's command line. Scripts go in hexadecimal: it has no quotes within quotes."""
        files = {"script": script, "rounds": rounds}
        command = "mkdir /mnt; " + "".join(f"echo {text.encode().hex()} | xxd -r -p >/tmp/{name}; "
                                           for name, text in files.items()) + "sh /tmp/script"
        return f'{self.guest.append} quiet {options} vmtest.cmd="{command}"'

    def run_guest(self, script, options="", bus="ide"):
        words = [vmtest.program(), "run", "--kernel", self.guest.kernel, "--initrd", self.guest.initrd, "--append",
                 self.line(script, options), "--mem", "128M", "--disk", self.dir / "disk.img", "--disk-bus", bus,
                 "--cdrom", self.dir / "cd.iso", "--timeout", f"{LIMIT}s"]
        done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=LIMIT + 30)
        text = done.stdout.decode(errors="replace").replace("\r", "")
        self.assertEqual(done.returncode, 0, text[-2000:] + done.stderr.decode())
        return text

    def rounds(self, n):
        return ROUND.replace("ROUNDS", str(n)).replace("SUM", self.sum)

    def check_both(self, options, mode):
        text = self.run_guest("cat /sys/class/ata_device/dev*/xfer_mode; sha256sum </dev/sda\n" + self.rounds(3) +
                              "dmesg | grep -E 'ata[0-9].*(exception|error|failed|timeout|lost)' && exit 6\nexit 0\n",
                              options)
        self.assertEqual(text.count(mode), 2, text)
        self.assertIn(hashlib.sha256(self.disk).hexdigest(), text)
        self.assertIn("round 3 is good", text)
        self.assertIn("vmtest-tiny: status 0", text, text)

    def test_by_dma(self):
        self.check_both("", "XFER_MW_DMA_2\n")

    def test_by_pio(self):
        self.check_both("libata.dma=0", "XFER_PIO_4\n")

    def test_the_drives_say_what_they_are(self):
        text = self.run_guest("cat /sys/block/sda/size /sys/block/sr0/size /sys/block/sda/device/model; "
                              "cat /sys/block/sda/queue/logical_block_size; eject -s /dev/sr0; echo tray $?")
        self.assertIn(f"\n{16 * MIB // 512}\n{(self.dir / 'cd.iso').stat().st_size // 512}\nvmtest disk", text)

    def boot(self, *words):
        """What the boot sector says; it leaves by the debug exit port."""
        done = subprocess.run([vmtest.program(), "run", *words, "--mem", "32M", "--timeout", "60s"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=90)
        self.assertEqual(done.returncode, 2 * 20 + 1, done.stdout + done.stderr)
        return done.stdout

    def test_the_bios_boots_from_them(self):
        sector = Path(os.environ["VMTEST_BOOT_IDE"]).read_bytes()
        (self.dir / "boot.img").write_bytes(sector + b"a disk\r\n".ljust(512) + bytes(MIB))
        (self.dir / "boot.bin").write_bytes(sector.ljust(2048))
        subprocess.run([MAKE_ISO, "--boot", "boot.bin", self.dir / "boot.iso", self.dir / "boot.bin"], check=True)
        disk = ["--disk", self.dir / "boot.img", "--disk-bus", "ide"]
        cdrom = ["--cdrom", self.dir / "boot.iso"]
        self.assertEqual(self.boot(*disk), b"a disk\r\n")
        self.assertEqual(self.boot(*cdrom), b"\x01CD001\x01\x00")
        self.assertEqual(self.boot(*disk, *cdrom), b"a disk\r\n")
        self.assertEqual(self.boot(*disk, *cdrom, "--boot", "cdrom,disk"), b"\x01CD001\x01\x00")

    def test_a_disk_of_virtio_beside_the_cd(self):
        text = self.run_guest("ls /dev; sha256sum </dev/sr0", bus="virtio")
        self.assertNotIn("\nsda\n", text)
        self.assertIn(hashlib.sha256((self.dir / "cd.iso").read_bytes()).hexdigest(), text)

    def test_snapshots_amid_transfers(self):
        """Each goes on to the same good end: in this process, and in one of its own."""
        for options in ("", "libata.dma=0"):
            with self.subTest(options=options), vmtest.Store() as store:
                self.go_on(store, options)

    def ends_well(self, store):
        """The guest turns the power off after a good end only."""
        store.run("wait", "--serial", "--text", "nothing says this", "--timeout", "60s", "old", want=1)

    def go_on(self, store, options):
        store.run("create", "--kernel", self.guest.kernel, "--initrd", self.guest.initrd, "--mem", "128M", "--append",
                  self.line("sh /tmp/rounds || exec sleep 100000\n", options, rounds=self.rounds(28)), "--image",
                  self.dir / "disk.img", "--disk-bus", "ide", "--cdrom", self.dir / "cd.iso", "old")
        store.run("start", "--no-wait", "old")
        for n in range(1, 5):
            store.run("wait", "--serial", "--text", f"round {2 * n} is good", "--timeout", "60s", "old")
            store.run("snapshot", "old", f"s{n}")
        for n in (2, 4):
            store.run("revert", "old", f"s{n}")
            self.ends_well(store)

    def test_discs_are_changed(self):
        """The guest sees another disc, none, and after a revert the one that was there."""
        sums = {}
        for name, text in (("one", b"first"), ("two", b"second"), ("three", b"third")):
            (self.dir / name).write_bytes(text * 3000)
            sums[name] = hashlib.sha256(self.iso(f"{name}.iso", name).read_bytes()).hexdigest()
        watch = """\
while :; do
    now=$(sha256sum </dev/sr0 2>/dev/null | cut -c1-64)
    [ "$now" = "$old" ] || echo "disc ${now:-none}"
    old=$now
    usleep 100000
done
"""
        with vmtest.Store() as store:
            store.run("create", "--kernel", self.guest.kernel, "--initrd", self.guest.initrd, "--mem", "128M",
                      "--append", self.line(watch), "--cdrom", self.dir / "one.iso", "old")
            store.run("start", "--no-wait", "old")

            def sees(what):
                store.run("wait", "--serial", "--text", f"disc {what}", "--timeout", "60s", "old")

            sees(sums["one"])
            store.run("set", "--cdrom", self.dir / "two.iso", "old")
            sees(sums["two"])
            store.run("snapshot", "old", "with-two")
            store.run("set", "--cdrom", "none", "old")
            sees("none")
            store.run("revert", "old", "with-two")
            self.assertIn("two.iso", store.run("info", "old").text)
            store.run("set", "--cdrom", self.dir / "three.iso", "old")
            sees(sums["three"])
            store.run("stop", "--force", "old")
            self.assertIn("three.iso", store.run("info", "old").text)


if __name__ == "__main__":
    unittest.main()
