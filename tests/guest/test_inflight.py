#!/usr/bin/env python3
"""Several snapshots asked for before the first is stored: each has the guest of its own moment, and they become durable
in the order in which they were taken, also where the monitor is killed meanwhile. VMTEST_SEED repeats the moments (not
the host's timing)."""

import os
import random
import signal
import tempfile
import unittest
import unittest.mock

import common
from bench import running

AMOUNT = 12  # MiB that the first of them has to store
ROUNDS = int(os.environ.get("VMTEST_ROUNDS", "3"))
# One number after the other into all files, in turn: at any moment the first ones have the next number, or none yet.
FILES = 200
WRITER = (f"(i=0; all=$(seq {FILES}); while :; do i=$((i+1)); for k in $all; do echo $i >/dev/shm/f$k; done; done) & "
          "echo $! >/dev/shm/writer")
LOOK = (f"kill -STOP $(cat /dev/shm/writer); for k in $(seq {FILES}); do read n </dev/shm/f$k || continue; "
        "f=${f:-$n}; test $n -le ${last:-$n} || exit 9; last=$n; done; test $last -ge $((f-1))")


class NoSyncs:
    env = {}

    def count(self):
        return 0


class Machine(unittest.TestCase):
    env = {}

    def setUp(self):
        directory = self.enterContext(tempfile.TemporaryDirectory(dir="/var/tmp"))
        with unittest.mock.patch.dict(os.environ, self.env):
            self.m = self.enterContext(running.Vmtest(common.tiny(), "128M", NoSyncs(), directory))

    def look(self, between):
        """The guest goes on from there, and its memory is of one moment."""
        _, after = between
        self.assertLess(self.m.console.tick(), after + 2000)
        self.m.console.shell(f"({LOOK}); s=$?; kill -KILL $(cat /dev/shm/writer); test $s = 0")


class Bounded(Machine):
    env = {"VMTEST_SNAPSHOT_MEMORY": "1M"}

    def test_a_guest_waits_for_the_store(self):
        """It writes over more than may be held for a snapshot that is being stored."""
        m = self.m
        m.dirty(AMOUNT)
        m.console.shell(WRITER)
        m.console.shell("(while test ! -e /dev/shm/end; do cat /dev/shm/dirty >/dev/shm/again; done; echo >/dev/shm/ended) & true")
        before = m.console.tick()
        m.snapshot("busy")
        stats = dict(line.split() for line in m.qmp.call("vmtest-stats")["text"].splitlines())
        print(f"{stats['mem.stalls']} waits, at most {stats['mem.held_peak']} pages held", flush=True)
        self.assertGreater(int(stats["mem.stalls"]), 0)
        self.assertLessEqual(int(stats["mem.held_peak"]), 256 + 16)  # and one for each time that it was to stop
        m.go_back("busy")
        m.console.shell("touch /dev/shm/end; while test ! -e /dev/shm/ended; do usleep 1000; done")
        self.look((before, m.at["busy"]))


class InFlight(Machine):
    def take(self, names):
        """Takes them one upon the other. {name: (the last tick before it, the first one after)}"""
        m, between = self.m, {}
        m.dirty(AMOUNT)
        m.console.shell(WRITER)
        m.qmp.events.clear()
        for name in names:
            before = m.console.tick()
            answer = m.qmp.call("vmtest-snapshot", name=name, quiesce="no", **{"async": True})
            self.assertIn("stopped_seconds", answer)
            between[name] = before, m.console.tick()
        return between

    def test_each_has_its_own_moment(self):
        m, names = self.m, ["one", "two", "three"]
        between = self.take(names)
        self.assertNotIn("VMTEST_SNAPSHOT", [e["event"] for e in m.qmp.events], "the first was stored too soon to tell")
        stored = []
        while len(stored) < len(names):
            event, data = m.qmp.event("VMTEST_SNAPSHOT", "VMTEST_SNAPSHOT_FAILED")
            self.assertEqual(event, "VMTEST_SNAPSHOT", data)
            self.assertLess(data["stopped_seconds"], 1)
            stored.append(data["name"])
            m.ids[data["name"]] = data["id"]
        self.assertEqual(stored, names)
        parents = {s["snapshot"]: s["parent"] for s in m.store.json("snapshots", "web")["snapshots"]}
        self.assertEqual(parents, {"one": None, "two": "one", "three": "two"})
        for name in ["two", "three", "one", "two"]:
            before, after = between[name]
            m.at[name] = before
            m.revert(name)
            at = next(n for _, n in m.console.ticks[::-1] if n <= after + 1000)
            self.assertGreaterEqual(at, before)
            self.look(between[name])

    def test_a_revert_waits_for_them(self):
        m = self.m
        m.ids["base"] = m.qmp.call("vmtest-snapshot", name="base", quiesce="no")["id"]
        m.at["base"] = m.console.tick()
        self.take(["one", "two"])
        m.go_back("base")
        self.assertEqual([s["snapshot"] for s in m.store.json("snapshots", "web")["snapshots"]], ["base", "one", "two"])
        with self.assertRaisesRegex(Exception, "there is a snapshot of this name|is being stored"):
            m.qmp.call("vmtest-snapshot", name="two", quiesce="no")

    def test_kills(self):
        m, made = self.m, {}
        seed = int(os.environ.get("VMTEST_SEED", random.SystemRandom().getrandbits(32)))
        print(f"seed {seed}", flush=True)
        rnd, least, cut = random.Random(seed), 0, 0
        for number in range(ROUNDS):
            names = [f"k{number}{letter}" for letter in "abc"]
            made.update(self.take(names))
            for _ in range(rnd.randrange(12)):
                m.console.tick()
            os.kill(m.qmp.call("vmtest-info")["pid"], signal.SIGKILL)
            m.detach()
            listed = [s["snapshot"] for s in m.store.json("snapshots", "web")["snapshots"]]
            least = len([n for n in listed if n in names])
            self.assertEqual([n for n in listed if n in names], names[:least], "one is there without those before it")
            cut += least < len(names)
            m.store.run("check")
            if not listed:
                m.start()
                m.console.begin()
                continue
            m.start(listed[-1])
            m.console.gone_on(0, made[listed[-1]][0], made[listed[-1]][1] + 2000)
            self.look(made[listed[-1]])
        self.assertGreater(cut, 0, "no kill came amid them")


if __name__ == "__main__":
    unittest.main()
