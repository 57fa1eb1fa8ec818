#!/usr/bin/env python3
"""kill -9 of the monitor at random moments, some while a snapshot is being written: what was reported as made is
listed, and each restores. VMTEST_ROUNDS says how often; VMTEST_SEED repeats the choices (not the host's timing)."""

import os
import random
import signal
import subprocess
import tempfile
import threading
import time
import unittest

import common
import keep
from harness import vmtest

ROUNDS = int(os.environ.get("VMTEST_ROUNDS", 30))


def monitors(store):
    """Process ids of this store's monitors."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                words = f.read().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"vmtest-monitor") and os.fsencode(store.home) in words:
            found.append(int(pid))
    return found


class Kill(unittest.TestCase):
    def check(self, kept, made):
        """All of made is listed; gives the power of each listed snapshot."""
        listed = {s["snapshot"]: s["power"] for s in kept.store.json("snapshots", kept.name)["snapshots"]}
        self.assertLessEqual(made.keys(), listed.keys())
        return listed

    def restore(self, kept, name, want):
        """Reverts to name. want is what the guest showed; None where the kill came before the snapshot's request, which
        then found a machine that was off, and took its disks alone."""
        power = kept.store.json("revert", name)["power"]
        if want is None:
            self.assertEqual(power, "off")
            return
        self.assertEqual(power, "running")
        self.assertEqual(keep.unlike(kept.show(), want), "", f"after a kill and a revert to {name}")

    def test_kills(self):
        seed = int(os.environ.get("VMTEST_SEED", random.SystemRandom().getrandbits(32)))
        rnd = random.Random(seed)
        print(f"seed {seed}", flush=True)
        with tempfile.TemporaryDirectory() as scratch, vmtest.Store() as store:
            kept = keep.Kept(store, "web", common.demo_package(scratch))
            made = {"first": kept.show()}
            usual = store.run("snapshot", "first").seconds
            cut_short = 0
            for number in range(ROUNDS):
                print(f"round {number}", flush=True)
                want, name = kept.change(rnd, kept.show()), f"k{number}"
                pids = monitors(store)
                self.assertEqual(len(pids), 1)
                # Two of three kills fall within a snapshot's time, the others before or after it.
                delay = rnd.random() * usual * 1.5
                taking = store.popen("snapshot", name, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                     stderr=subprocess.PIPE)
                killer = threading.Timer(delay, os.kill, (pids[0], signal.SIGKILL))
                begin = time.monotonic()
                killer.start()
                _, errors = taking.communicate(timeout=120)
                killer.join()
                if taking.returncode == 0:
                    made[name] = want
                    usual = min(time.monotonic() - begin, 10)
                else:
                    cut_short += 1
                    self.assertIn(taking.returncode, (2, 69, 74, 75))
                    self.assertEqual(len(errors.decode().strip().splitlines()), 1)
                listed = self.check(kept, made)
                if name in listed:  # perhaps durable, and killed before it could say so
                    made[name] = None if listed[name] == "off" else want
                store.run("check")
                back = rnd.choice(sorted(n for n in made if made[n] is not None))
                self.restore(kept, back, made[back])
            self.assertGreater(cut_short, 0, "no kill fell within a snapshot")
            for name, want in made.items():
                with self.subTest(seed=seed, last_round=name):
                    self.restore(kept, name, want)


if __name__ == "__main__":
    unittest.main()
