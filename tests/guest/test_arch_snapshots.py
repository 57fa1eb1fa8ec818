#!/usr/bin/env python3
"""The guest programs of fixtures/guests, each snapshotted at moments of a long run: in real mode, V86, long mode, amid
task switches and page faults. Each snapshot goes on, in a new process, to the same end as a run without."""

import contextlib
import os
import random
import sqlite3
import time
import unittest

import common  # noqa: F401
from harness import arch, vmtest

PROGRAMS = ["avx", "debug", "exceptions", "features", "fpu", "gates", "interrupts", "long", "mixed", "onepage", "paging", "paging64",
            "real", "segments", "smc", "tasks", "v86"]
# Seconds that a run is to take, so that the moments lie within it, and rounds to measure a program's speed by.
SECONDS = 1.2
SAMPLE = 10
# Moments a program; the long suite asks for more.
MOMENTS = int(os.environ.get("VMTEST_MOMENTS", "4"))
SEED = os.environ.get("VMTEST_SEED", "guests")


class Snapshots(unittest.TestCase):
    def measure(self, name):
        """Rounds that take SECONDS, and the last line that they end with."""
        lines, took = [], []
        for rounds in (2, SAMPLE):
            begin = time.monotonic()
            output, _ = arch.run_vmtest(name, "--append", f"rounds={rounds}")
            took.append(time.monotonic() - begin)
            lines.append(arch.done(output))
        one = [(last - first) // (SAMPLE - 2) for first, last in zip(*lines)]
        rounds = max(SAMPLE, 2 * MOMENTS, int(SECONDS / max((took[1] - took[0]) / (SAMPLE - 2), 0.0005)))
        checks, failed = (first + (rounds - 2) * each for first, each in zip(lines[0], one))
        return rounds, f"done: {checks} checks, {failed} failed"

    def wait(self, store, name, regex, want=0):
        return store.run("wait", "--serial", "--regex", "--text", regex, "--timeout", "5m", name, want=want).status

    def one(self, name):
        rounds, last = self.measure(name)
        end = f"^{last}$"
        chance = random.Random(f"{SEED} {name}")
        moments = sorted(chance.sample(range(2, rounds), MOMENTS))
        with vmtest.Store() as store:
            store.run("create", "--kernel", arch.directory() / f"{name}.elf", "--append", f"rounds={rounds} stay", "--mem",
                      "32M", *arch.model(name), name)
            store.run("start", "--no-wait", name)
            for n, moment in enumerate(moments):
                self.wait(store, name, f"^round {moment}$")
                store.run("snapshot", name, f"s{n}")
            self.wait(store, name, "^done: ")
            self.assertEqual(self.wait(store, name, end), 0)
            for n in chance.sample(range(MOMENTS), MOMENTS):
                store.run("stop", "--force", name)
                store.run("revert", name, f"s{n}")
                self.wait(store, name, "^done: ")
                self.assertEqual(self.wait(store, name, end), 0, f"snapshot {n}, seed {SEED}")


class OtherHost(unittest.TestCase):
    def test_a_processor_that_lacks_something(self):
        with vmtest.Store() as store:
            store.run("create", "--kernel", arch.directory() / "avx.elf", "--append", "stay", "--mem", "32M",
                      *arch.model("avx"), "m")
            store.run("start", "--no-wait", "m")
            store.run("wait", "--serial", "--regex", "--text", "^done: ", "--timeout", "30s", "m")
            store.run("snapshot", "m", "s")
            [database] = store.home.glob("*.db")
            with contextlib.closing(sqlite3.connect(database)) as db, db:
                [[features]] = db.execute("SELECT cpu_features FROM snapshot")
                self.assertEqual(features.split()[0], "host")
                db.execute("UPDATE snapshot SET cpu_features = cpu_features || ' avx77 bmi99'")
            why = "s: this host's processor lacks avx77 bmi99"
            self.assertIn(why, store.run("revert", "m", "s", want=None).errors)
            store.run("wait", "--serial", "--regex", "--text", "^done: ", "--timeout", "30s", "m")  # as it was
            store.run("stop", "--force", "m")
            self.assertIn(why, store.run("revert", "m", "s", want=None).errors)


for program in PROGRAMS:
    setattr(Snapshots, f"test_{program}", lambda self, name=program: self.one(name))


if __name__ == "__main__":
    unittest.main()
