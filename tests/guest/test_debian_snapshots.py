#!/usr/bin/env python3
"""Debian i386 (a kernel given directly) and amd64 (through the BIOS and GRUB), snapshotted at random moments of a boot.
Each snapshot goes on in a new process, to the same end as the boot that it was taken of.

Snapshots are taken throughout the boot, VMTEST_MOMENTS of them (or 4) are drawn and tried. VMTEST_SEED repeats the
choices (not the host's timing)."""

import os
import random
import threading
import time
import unittest

import common
import kernel
from harness import guest, vmtest

MOMENTS = int(os.environ.get("VMTEST_MOMENTS", "4"))
SEED = os.environ.get("VMTEST_SEED", "debian")
# Seconds between snapshots: at random, up to this. A boot takes ten or more.
GAP = min(3.0, 12.0 / MOMENTS)
LIMIT = "20m"

# What each must come to: the system that is up, what its kernel complains of, its files read from the disk, and what a
# program computes.
RESULT = """\
uname -srm
systemctl is-system-running --wait
systemctl --failed --plain --no-legend
findmnt -rn -o TARGET,SOURCE,FSTYPE -t ext4,tmpfs,proc,sysfs | sort
find /etc -xdev -type f -newer /etc/debian_version | sort
sync; echo 3 >/proc/sys/vm/drop_caches
cat /usr/bin/p* /usr/sbin/[a-m]* | sha256sum
python3 -c '
import hashlib, math, zlib
data = b"".join(hashlib.sha256(b"%d" % n).digest() for n in range(20000))
print(hashlib.sha512(zlib.decompress(zlib.compress(data))).hexdigest(), math.fsum(math.sqrt(n) for n in range(20000)))'
"""


class Boot:
    """A started machine, and a thread that takes snapshots of it until it is told to end."""

    def __init__(self, store, name, chance):
        self.store, self.name, self.chance = store, name, chance
        self.taken = []
        self.problem = None
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.take)

    def take(self):
        try:
            while not self.over.wait(self.chance.uniform(0, GAP)):
                snapshot = f"s{len(self.taken)}"
                self.store.run("snapshot", self.name, snapshot)
                self.taken.append(snapshot)
        except Exception as problem:  # of the other thread to tell
            self.problem = problem

    def __enter__(self):
        self.store.run("start", "--no-wait", self.name)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


class Snapshots:
    name = flavour = ""

    def result(self, machine):
        status, out, err = machine.execute(RESULT)
        self.assertEqual(status, 0, err)
        wrong = machine.execute("dmesg --level=emerg,alert,crit,err")[1].decode()
        return out.decode(), sorted({kernel.shape(line) for line in wrong.splitlines()})

    def test_random_moments(self):
        chance = random.Random(f"{SEED} {self.name}")
        with vmtest.Store() as store:
            machine = vmtest.Vmtest(guest.make(self.name, self.flavour), store, "m")
            machine.create()
            begin = time.monotonic()
            with Boot(store, "m", chance) as boot:
                machine.start(LIMIT)
                booted = time.monotonic() - begin
                want = self.result(machine)
            self.assertIsNone(boot.problem)
            self.assertIn("running", want[0].split())
            self.assertGreaterEqual(len(boot.taken), MOMENTS)
            tried = chance.sample(boot.taken, MOMENTS)
            print(f"seed {SEED}: {len(boot.taken)} snapshots while it booted in {booted:.1f} s; {MOMENTS} are tried", flush=True)
            for snapshot in tried:
                with self.subTest(snapshot=snapshot):
                    store.run("stop", "--force", "m")
                    store.run("revert", "m", snapshot)
                    machine.start(LIMIT)  # it runs: this waits until its agent answers
                    self.assertEqual(self.result(machine), want)


class I386(Snapshots, unittest.TestCase):
    name, flavour = "debian-i386", os.environ.get("VMTEST_GUEST_KERNEL")


class Amd64(Snapshots, unittest.TestCase):
    name, flavour = "debian-amd64", "amd64"


if __name__ == "__main__":
    unittest.main()
