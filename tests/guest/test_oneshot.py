#!/usr/bin/env python3
"""`vmtest run --kernel`: no store, the serial port on stdout, and an exit status that says how the guest ended."""

import hashlib
import os
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

import common
from harness import guest, vmtest

# A boot takes a few seconds; this is for a guest that hangs.
LIMIT = 120


class OneShot(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.tiny = common.tiny()

    def words(self, command=None, append="", options=(), timeout=f"{LIMIT}s"):
        line = " ".join(filter(None, [self.tiny.append, append, command and f'vmtest.cmd="{command}"']))
        return [vmtest.program(), "run", "--kernel", self.tiny.kernel, "--initrd", self.tiny.initrd, "--append", line,
                "--mem", "128M", "--timeout", timeout, *options]

    def boot(self, *args, **kwargs):
        return subprocess.run(self.words(*args, **kwargs), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=LIMIT + 30)

    def assertEnds(self, done, status):
        self.assertEqual(done.returncode, status, done.stdout.decode(errors="replace")[-1500:] + done.stderr.decode())

    def test_a_power_off_is_0(self):
        done = self.boot("uname -m; echo answer=$((6*7))")
        self.assertEnds(done, 0)
        self.assertEqual(done.stderr, b"")
        for text in (b"vmtest-tiny: ready", b"i686", b"answer=42", b"vmtest-tiny: status 0"):
            self.assertIn(text, done.stdout)

    def test_the_debug_exit_port_is_2v_plus_1_and_memory_as_large_as_asked(self):
        for value, mem, least in ((0, 256, 220), (3, 128, 100), (100, 96, 70)):
            with self.subTest(value=value, mem=mem):
                done = self.boot(f"cat /proc/meminfo; printf '\\{value:03o}' | dd of=/dev/port bs=1 seek=244",
                                 options=["--mem", f"{mem}M"])
                self.assertEnds(done, 2 * value + 1)
                total = int(done.stdout.split(b"MemTotal:")[1].split()[0])
                self.assertTrue(least << 10 < total < mem << 10, total)

    def test_a_reset_under_no_reboot_is_0(self):
        done = self.boot("reboot -f", options=["--no-reboot"])
        self.assertEnds(done, 0)
        self.assertNotIn(b"vmtest-tiny: status", done.stdout)

    def test_a_reset_boots_again(self):
        """The clock's memory outlives it, and so tells the second boot from the first."""
        index = "printf '\\160' | port 112"
        done = self.boot(f"port() {{ dd of=/dev/port bs=1 seek=$1; }}; {index}; "
                         f"dd if=/dev/port bs=1 skip=113 count=1 | grep -q x && exit 9; {index}; printf x | port 113; "
                         "reboot -f")
        self.assertEnds(done, 0)
        self.assertEqual(done.stdout.count(b"vmtest-tiny: ready"), 2)
        self.assertEqual(done.stdout.count(b"vmtest-tiny: status 9"), 1)

    def test_a_triple_fault_is_1(self):
        self.assertEnds(self.boot("reboot -f", append="reboot=t,force"), 1)

    def test_a_time_out_is_124(self):
        done = self.boot("sleep 1000", timeout="2s")
        self.assertEnds(done, 124)

    def test_the_serial_port_takes_input(self):
        with subprocess.Popen(self.words(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as guest:
            out = b""
            # The driver empties the port when it is opened: what is typed before the prompt may be lost.
            while not out.endswith(b"/ # ") and (got := guest.stdout.read(4096)):
                out += re.sub(rb"\x1b\[\w+", b"", got)
            guest.stdin.write(b"echo sum=$((40+2)); poweroff -f\n")
            out, _ = guest.communicate(timeout=LIMIT)
        self.assertEqual(guest.returncode, 0, out)
        self.assertIn(b"sum=42", out)

    def test_memory_above_4_gib(self):
        big = guest.make("tiny-amd64")
        with tempfile.TemporaryDirectory() as directory:
            disk = Path(directory) / "disk"
            disk.write_bytes(os.urandom(64 << 20))
            # what the disk reads is kept as long as the disk is open, and comes from the last zone first
            command = ("cat /proc/meminfo; exec 3</dev/vda; md5sum <&3; awk '/zone +Normal/ {n = 1} "
                       "n && /nr_zone_inactive_file/ {print $1, $2; exit}' /proc/zoneinfo")
            done = subprocess.run([vmtest.program(), "run", "--kernel", big.kernel, "--initrd", big.initrd, "--append",
                                   f'{big.append} vmtest.cmd="{command}"', "--mem", "6G", "--disk", str(disk),
                                   "--timeout", f"{LIMIT}s"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, timeout=LIMIT + 30)
            self.assertEnds(done, 0)
            self.assertIn(hashlib.md5(disk.read_bytes()).hexdigest().encode(), done.stdout)
        self.assertGreater(int(done.stdout.split(b"MemTotal:")[1].split()[0]), 5600 << 10)
        above = re.search(rb"^nr_zone_inactive_file (\d+)", done.stdout, re.M)
        self.assertGreater(int(above[1]), 8 << 20 >> 12)

    def test_what_is_no_kernel_is_refused(self):
        done = subprocess.run([vmtest.program(), "run", "--kernel", self.tiny.initrd], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=30)
        self.assertIn(done.returncode, (65, 125))
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertIn(b"initrd.img", done.stderr)


if __name__ == "__main__":
    unittest.main()
