#!/usr/bin/env python3
"""Commands of two users on one store at once: each does what it says, or ends with 75 and a sentence, having done
nothing. VMTEST_SECONDS says for how long; VMTEST_SEED repeats the choices."""

import os
import random
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import vmtest  # noqa: E402

SECONDS = float(os.environ.get("VMTEST_SECONDS", 10))
BUSY = 75


class User(threading.Thread):
    """Works on the machine "shared", on snapshots that it names itself; so what is there in the end is known."""

    def __init__(self, store, name, seed, end):
        super().__init__()
        self.store, self.mine, self.rnd, self.end = store, name, random.Random(seed), end
        self.has, self.count, self.busy, self.done, self.failure = set(), 0, 0, {}, None

    def act(self, *words):
        """Whether it was done."""
        result = self.store.run(*words, want=(0, BUSY), timeout=120)
        self.done.setdefault(words[0], [0, 0])[result.status == BUSY] += 1
        if result.status == 0:
            return True
        lines = result.errors.strip().splitlines()
        assert len(lines) == 1 and lines[0].startswith("vmtest: ") and len(lines[0]) > 25, result.errors
        self.busy += 1
        return False

    def fresh(self):
        self.count += 1
        return f"{self.mine}{self.count}"

    def some(self):
        return self.rnd.choice(sorted(self.has)) if self.has else None

    def step(self):
        verb = self.rnd.choice(["snapshot"] * 4 + ["revert", "revert", "delete", "rename", "passing", "look", "gc"])
        name = self.some()
        if verb == "snapshot" and len(self.has) < 8:
            fresh = self.fresh()
            if self.act("snapshot", "shared", fresh):
                self.has.add(fresh)
        elif verb == "passing":
            machine = self.fresh()
            if self.act("create", machine, "--disk", self.store.home / "../disk.raw"):
                while not self.act("rm", machine):
                    pass
        elif verb == "gc":
            self.act("gc")
        elif verb == "look":
            self.act(*self.rnd.choice([("snapshots", "shared"), ("list",), ("info", "shared"), ("check",)]))
        elif name and verb == "revert":
            self.act("revert", "shared", name)
        elif name and verb == "delete":
            if self.act("delete", "shared", name):
                self.has.remove(name)
        elif name and verb == "rename":
            fresh = self.fresh()
            if self.act("rename", "shared", name, fresh):
                self.has.remove(name)
                self.has.add(fresh)

    def run(self):
        try:
            while time.monotonic() < self.end:
                self.step()
        except BaseException as failure:  # the test's thread raises it again
            self.failure = failure


class Commands(unittest.TestCase):
    def test_two_users(self):
        seed = int(os.environ.get("VMTEST_SEED", random.SystemRandom().getrandbits(32)))
        print(f"seed {seed}", flush=True)
        scratch = Path(self.enterContext(tempfile.TemporaryDirectory()))
        (scratch / "disk.raw").write_bytes(bytes(range(256)) * 4096)
        store = vmtest.Store(scratch / "store")
        store.run("create", "shared", "--disk", scratch / "disk.raw")
        end = time.monotonic() + SECONDS
        users = [User(store, name, seed + i, end) for i, name in enumerate(("left", "right"))]
        for user in users:
            user.start()
        for user in users:
            user.join(SECONDS + 240)
            self.assertFalse(user.is_alive(), "a command hangs")
            if user.failure:
                raise user.failure
            print(user.mine, {verb: f"{good} done, {busy} busy" for verb, (good, busy) in sorted(user.done.items())},
                  flush=True)
            self.assertLessEqual({"snapshot", "revert", "delete", "create", "rm"}, user.done.keys())
        listed = {s["snapshot"] for s in store.json("snapshots", "shared")["snapshots"]}
        self.assertEqual(listed, users[0].has | users[1].has)
        self.assertEqual(store.machines(), ["shared"])
        store.run("check")


if __name__ == "__main__":
    unittest.main()
