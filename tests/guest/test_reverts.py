#!/usr/bin/env python3
"""Reverts without end: a paused guest that has run a little is brought back to the same snapshot again and again. RAM,
video RAM, disk and device state are the same each time; what the monitor holds, and what a revert takes, stays flat.
VMTEST_ROUNDS says how many on 64 MiB; a hundredth of them is on 512 MiB, and no fewer than 50: the times compared are
medians, and that of two rounds is what the host did beside them."""

import os
import random
import tempfile
import time
import unittest
from pathlib import Path
from statistics import median

import common
from harness import vmtest

ROUNDS = int(os.environ.get("VMTEST_ROUNDS", 200))
WORK = 'n=0; while :; do n=$((n+1)); head -c 262144 /dev/urandom >/tmp/x; dd if=/tmp/x of=/dev/vda bs=4k; echo round $n; done'


class Reverts(unittest.TestCase):
    def hashes(self):
        """Of each part of the machine as it stands."""
        return self.store.json("info", "--hash", "m")["hash"]

    def held(self):
        """Of the monitor: memory that is its own (KiB), open files, threads."""
        process = Path(f"/proc/{self.pid}")
        fields = dict(line.split(":", 1) for line in (process / "smaps_rollup").read_text().splitlines()[1:])
        own = sum(int(fields[name].split()[0]) for name in ("Private_Clean", "Private_Dirty", "Swap"))
        return own, len(list((process / "fd").iterdir())), self.threads()

    def threads(self):
        """Once those of commands have ended, which they do after their answer."""
        tasks = Path(f"/proc/{self.pid}/task")
        least, end = len(list(tasks.iterdir())), time.monotonic() + 2
        while time.monotonic() < end:
            least = min(least, len(list(tasks.iterdir())))
            time.sleep(0.02)
        return least

    def boot(self, memory):
        self.store = self.enterContext(vmtest.Store())
        scratch = Path(self.enterContext(tempfile.TemporaryDirectory()))
        (scratch / "disk").write_bytes(bytes(8 << 20))
        tiny = common.tiny()
        self.store.run("create", "--kernel", tiny.kernel, "--initrd", tiny.initrd, "--disk", scratch / "disk", "--append",
                       f'{tiny.append} vmtest.cmd="{WORK}"', "--mem", memory, "m")
        self.store.run("start", "--no-wait", "m")
        self.store.run("wait", "--serial", "--text", "round 3", "--timeout", "2m", "m")
        self.store.run("snapshot", "here", "--quiesce", "no")  # of one that runs: what stands is --paused's doing
        self.store.run("revert", "--paused", "here")
        self.pid = self.store.json("info", "m")["monitor"]["pid"]

    def round(self, dice):
        """Lets it run for a moment, and gives how long the way back took."""
        self.store.run("resume", "m")
        end = time.monotonic() + dice.uniform(0, 0.004)
        while time.monotonic() < end:
            pass
        done = self.store.json("revert", "--paused", "here")
        self.assertEqual(done["power"], "paused")
        return done["seconds"]

    def many(self, rounds, memory):
        dice = random.Random(3)
        self.boot(memory)
        want = self.hashes()
        self.assertEqual(list(want), ["ram", "vram", "disk0", "state", "all"])
        self.store.run("resume", "m")  # it is not the same where it has run on
        self.store.run("wait", "--serial", "--text", "round 20", "--timeout", "2m", "m")
        ran = self.hashes()
        for part in ("ram", "disk0", "state", "all"):
            self.assertNotEqual(ran[part], want[part], part)
        took, early = [], None
        for n in range(1, rounds + 1):
            took.append(self.round(dice))
            self.assertEqual(self.hashes(), want, f"after {n} reverts")
            if n == max(rounds // 5, 1):
                early = self.held()
        late = self.held()
        self.store.run("resume", "m")  # and it still runs
        self.store.run("wait", "--serial", "--text", "round 40", "--timeout", "2m", "m")
        fifth = max(rounds // 5, 1)
        first, last = median(took[:fifth]), median(took[-fifth:])
        print(f"{rounds} reverts of {memory}: median {1000 * first:.2f} ms first, {1000 * last:.2f} ms last; "
              f"own KiB, files, threads {early} after a fifth, {late} in the end", flush=True)
        self.assertLess(late[0], early[0] + 65536)  # guest pages of its own come and go with what each round wrote
        self.assertLess(late[1], early[1] + 20)  # the store keeps some packs open, and a command may be at its end
        self.assertEqual(late[2], early[2])
        self.assertLess(last, 4 * first + 0.02)  # other tests may run beside it

    def test_64_mib(self):
        self.many(ROUNDS, "64M")

    def test_512_mib(self):
        self.many(max(ROUNDS // 100, 50), "512M")


if __name__ == "__main__":
    unittest.main()
