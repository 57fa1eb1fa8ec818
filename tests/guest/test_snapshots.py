#!/usr/bin/env python3
"""Change, snapshot and revert in random order over a tree with branches: each revert brings back files, packages,
processes and memory, and the guest goes on without a reboot. VMTEST_SEED repeats a run."""

import os
import random
import tempfile
import unittest

import common
import keep
from harness import vmtest

CYCLES = 20


class Snapshots(unittest.TestCase):
    maxDiff = None

    def test_twenty_cycles(self):
        seed = int(os.environ.get("VMTEST_SEED", random.SystemRandom().getrandbits(32)))
        rnd = random.Random(seed)
        print(f"seed {seed}", flush=True)
        with tempfile.TemporaryDirectory() as scratch, vmtest.Store() as store:
            kept = keep.Kept(store, "web", common.demo_package(scratch))
            states, parents, at = {}, {}, None
            for cycle in range(CYCLES):
                kept.change(rnd, kept.show())
                name = f"s{cycle}"
                want = kept.show()
                store.run("snapshot", name)
                states[name], parents[name] = want, at
                back = rnd.choice(sorted(states))
                store.run("revert", back)
                at = back
                self.assertEqual(keep.unlike(kept.show(), states[back]), "", f"seed {seed}: after a revert to {back}")
            listed = {s["snapshot"]: s["parent"] for s in store.json("snapshots", "web")["snapshots"]}
            self.assertEqual(listed, parents)
            self.assertLess(len(set(parents.values())), CYCLES, "no branch came about")
            self.assertLess(store.json("revert", sorted(states)[0])["seconds"], 1)

    def test_a_new_process_goes_on_from_a_snapshot(self):
        with tempfile.TemporaryDirectory() as scratch, vmtest.Store() as store:
            kept = keep.Kept(store, "web", common.demo_package(scratch))
            kept.change(random.Random(1), kept.show())
            want = kept.show()
            store.run("snapshot", "warm")
            store.run("stop", "--force", "web")
            store.run("revert", "warm")
            self.assertTrue(store.json("info", "web")["running"])
            self.assertEqual(keep.unlike(kept.show(), want), "")

    def test_snapshots_of_a_stopped_machine(self):
        with tempfile.TemporaryDirectory() as scratch, vmtest.Store() as store:
            kept = keep.Kept(store, "web", common.demo_package(scratch))
            kept.do("echo one >/root/kept/word")
            store.run("stop", "web")
            store.run("snapshot", "off")
            store.run("start", "web")
            kept.do("echo two >/root/kept/word")
            store.run("stop", "web")
            store.run("revert", "off")
            self.assertFalse(store.json("info", "web")["running"])
            store.run("start", "web")
            self.assertEqual(kept.do("cat /root/kept/word"), b"one\n")


if __name__ == "__main__":
    unittest.main()
