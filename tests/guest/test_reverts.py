#!/usr/bin/env python3
"""Reverts without end: a paused guest that has run a little is brought back to the same snapshot again and again. RAM,
video RAM, disk and device state are the same each time; what the monitor holds, and what a revert takes, stays flat.
VMTEST_ROUNDS says how many on 64 MiB; a hundredth of them is on 512 MiB."""

import os
import random
import subprocess
import tempfile
import time
import unittest
from pathlib import Path
from statistics import median

import common
from harness import vmtest
from store import store_reader

ROUNDS = int(os.environ.get("VMTEST_ROUNDS", 200))
TOOL = os.environ["VMTEST_STORE_TOOL"]
SIZES = (1, 2, 4, 8, 1, 1)  # of the elements of a field, by its type
WORK = 'n=0; while :; do n=$((n+1)); head -c 262144 /dev/urandom >/tmp/x; dd if=/tmp/x of=/dev/vda bs=4k; echo round $n; done'


def fields(blob):
    """{instance.field: bytes} of a saved state (vmtest-store(5))."""
    at = 8
    assert blob[:at] == b"VTSTATE1"

    def number(size):
        nonlocal at
        at += size
        return int.from_bytes(blob[at - size:at], "little")

    def text():
        nonlocal at
        length = number(1)
        at += length
        return blob[at - length:at].decode()

    found = {}
    for _ in range(number(4)):
        instance, _, _, n = text(), text(), number(4), number(4)
        for _ in range(n):
            name, size, count = text(), SIZES[number(1)], number(4)
            found[f"{instance}.{name}"] = blob[at:at + size * count]
            at += size * count
    assert at == len(blob)
    return found


class Reverts(unittest.TestCase):
    def all_of(self, name):
        """What a snapshot has: a hash of each image, and each field of the devices' state."""
        out = subprocess.run([TOOL, "hashes", self.store.home], stdout=subprocess.PIPE, text=True, check=True).stdout
        words = [line.split() for line in out.splitlines()]
        found = {" ".join(w[2:-1]): w[-1] for w in words if w[1] == name and w[2] != "state"}
        store = store_reader.Store(self.store.home)
        found.update(fields(store.state("m", name)))
        store.close()
        del found["clock.wall_offset"]  # the guest has the host's time of day after each revert
        return found

    def held(self):
        """Of the monitor: memory that is its own (KiB), open files, threads."""
        process = Path(f"/proc/{self.pid}")
        fields = dict(line.split(":", 1) for line in (process / "smaps_rollup").read_text().splitlines()[1:])
        own = sum(int(fields[name].split()[0]) for name in ("Private_Clean", "Private_Dirty", "Swap"))
        return own, len(list((process / "fd").iterdir())), len(list((process / "task").iterdir()))

    def probe(self, name):
        """What a snapshot of the machine as it is now has."""
        self.store.run("snapshot", name, "--quiesce", "no")
        found = self.all_of(name)
        self.store.run("delete", name)
        return found

    def boot(self, memory):
        self.store = self.enterContext(vmtest.Store())
        scratch = Path(self.enterContext(tempfile.TemporaryDirectory()))
        (scratch / "disk").write_bytes(bytes(8 << 20))
        tiny = common.tiny()
        self.store.run("create", "--kernel", tiny.kernel, "--initrd", tiny.initrd, "--disk", scratch / "disk", "--append",
                       f'{tiny.append} vmtest.cmd="{WORK}"', "--mem", memory, "m")
        self.store.run("start", "--no-wait", "m")
        self.store.run("wait", "--serial", "--text", "round 3", "--timeout", "2m", "m")
        self.store.run("pause", "m")
        self.store.run("snapshot", "here", "--quiesce", "no")
        self.pid = self.store.json("info", "m")["monitor"]["pid"]

    def round(self, dice):
        """Lets it run for a moment, and gives how long the way back took."""
        self.store.run("resume", "m")
        end = time.monotonic() + dice.uniform(0, 0.004)
        while time.monotonic() < end:
            pass
        done = self.store.json("revert", "here")
        self.assertEqual(done["power"], "paused")
        return done["seconds"]

    def many(self, rounds, memory):
        dice = random.Random(3)
        self.boot(memory)
        want = self.all_of("here")
        self.assertLess({"ram live 67108864" if memory == "64M" else "ram live 536870912", "disk0 live 8388608"}, set(want))
        took, early = [], None
        for n in range(1, rounds + 1):
            took.append(self.round(dice))
            if n % max(rounds // 10, 1) == 0:
                found = self.probe(f"probe{n}")
                unlike = {f: (want.get(f), found.get(f)) for f in want.keys() | found if want.get(f) != found.get(f)}
                self.assertEqual(unlike, {}, f"after {n} reverts")
                self.store.run("revert", "here")
            if n == max(rounds // 5, 1):
                early = self.held()
        late = self.held()
        self.store.run("resume", "m")  # and it still runs
        self.store.run("wait", "--serial", "--text", "round 20", "--timeout", "2m", "m")
        fifth = max(rounds // 5, 1)
        first, last = median(took[:fifth]), median(took[-fifth:])
        print(f"{rounds} reverts of {memory}: median {1000 * first:.2f} ms first, {1000 * last:.2f} ms last; "
              f"own KiB, files, threads {early} after a fifth, {late} in the end", flush=True)
        self.assertLess(late[0], early[0] + 65536)  # guest pages of its own come and go with each probe
        self.assertLess(late[1], early[1] + 20)  # the store keeps some packs open, and a command may be at its end
        self.assertEqual(late[2], early[2])
        self.assertLess(last, 4 * first + 0.02)  # other tests may run beside it

    def test_64_mib(self):
        self.many(ROUNDS, "64M")

    def test_512_mib(self):
        self.many(max(ROUNDS // 100, 10), "512M")


if __name__ == "__main__":
    unittest.main()
