#!/usr/bin/env python3
"""Change, snapshot and revert in random order over a tree with branches: each revert brings back files, packages,
processes and memory, and the guest goes on without a reboot. VMTEST_SEED repeats a run."""

import copy
import os
import random
import tempfile
import unittest

import common
import keep
from harness import vmtest

CYCLES = 20
FIRST = "first-boot"


class Snapshots(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        scratch = cls.enterClassContext(tempfile.TemporaryDirectory())
        cls.store = cls.enterClassContext(vmtest.Store())
        cls.kept = keep.Kept(cls.store, "web", common.demo_package(scratch))
        cls.store.run("snapshot", "web", FIRST)

    def setUp(self):
        """Each begins with the same boot, and with no snapshot but that one's."""
        self.store.run("revert", "web", FIRST)
        for snapshot in self.listed():
            if snapshot != FIRST:
                self.store.run("delete", "web", snapshot)

    def listed(self):
        """{snapshot: its parent}"""
        return {s["snapshot"]: s["parent"] for s in self.store.json("snapshots", "web")["snapshots"]}

    def test_twenty_cycles(self):
        seed = int(os.environ.get("VMTEST_SEED", random.SystemRandom().getrandbits(32)))
        rnd = random.Random(seed)
        print(f"seed {seed}", flush=True)
        store, kept = self.store, self.kept
        states, parents, at = {}, {FIRST: None}, FIRST
        for cycle in range(CYCLES):
            name = f"s{cycle}"
            want = kept.change(rnd, kept.show())
            store.run("snapshot", name)
            states[name], parents[name] = want, at
            back = rnd.choice(sorted(states))
            store.run("revert", back)
            at = back
            self.assertEqual(keep.unlike(kept.show(), states[back]), "", f"seed {seed}: after a revert to {back}")
        self.assertEqual(self.listed(), parents)
        self.assertLess(len(set(parents.values())), len(parents), "no branch came about")
        self.assertLess(store.json("revert", sorted(states)[0])["seconds"], 1)

    def test_a_new_process_goes_on_from_a_snapshot(self):
        want = self.kept.change(random.Random(1), self.kept.show())
        self.store.run("snapshot", "warm")
        self.store.run("stop", "--force", "web")
        self.store.run("revert", "warm")
        self.assertTrue(self.store.json("info", "web")["running"])
        self.assertEqual(keep.unlike(self.kept.show(), want), "")

    def test_undo_of_a_revert_that_kept_the_memory(self):
        rnd = random.Random(3)
        want = self.kept.change(rnd, self.kept.show())
        self.store.run("revert", "--keep", FIRST)
        self.assertNotEqual(keep.unlike(self.kept.show(), want), "")
        self.store.run("undo")
        self.assertEqual(keep.unlike(self.kept.show(), want), "")
        self.assertEqual(self.kept.change(rnd, want)["boot"], want["boot"])

    def test_snapshots_of_a_stopped_machine(self):
        store, kept = self.store, self.kept
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

    def test_a_machine_moves_with_its_tree(self):
        store, kept, rnd = self.store, self.kept, random.Random(2)
        states = {}
        for name in ("here", "there"):
            states[name] = kept.change(rnd, kept.show())
            store.run("snapshot", name)
        states["now"] = kept.change(rnd, kept.show())
        with tempfile.TemporaryDirectory() as scratch, vmtest.Store() as other:
            file = f"{scratch}/web.vmtest"
            store.run("export", "web", file)
            for words in (["--name", "web", file], ["--name", "again", "--base", f"{scratch}/base"]):
                if "--base" in words:
                    store.run("export", "--base", f"{scratch}/base", "web")
                other.run("import", *words)
                moved = copy.copy(kept)
                moved.machine = vmtest.Vmtest(kept.machine.guest, other, words[1])
                running = [s["snapshot"] for s in other.json("snapshots", words[1])["snapshots"] if s["current"]]
                for name in ("here",) if "--base" in words else ("there", "now", "here"):
                    other.run("revert", words[1], running[0] if name == "now" else name)
                    self.assertEqual(keep.unlike(moved.show(), states[name]), "", f"{words}: {name}")
                self.assertEqual(moved.change(rnd, moved.show())["boot"], states["here"]["boot"])
                other.run("stop", "--force", words[1])
            other.run("check")


if __name__ == "__main__":
    unittest.main()
