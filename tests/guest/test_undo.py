#!/usr/bin/env python3
"""A revert of a machine that runs is taken back with its memory: what a guest has nowhere but in RAM is there again, and
it goes on where it was left. What cannot be had is said, and then the disks come back."""

import random
import tempfile
import unittest

import common
from bench import running

LEFT = 8  # MiB that a guest has in its memory when it is left


class NoSyncs:
    env = {}

    def count(self):
        return 0


class Undo(unittest.TestCase):
    def setUp(self):
        directory = self.enterContext(tempfile.TemporaryDirectory(dir="/var/tmp"))
        self.dice = random.Random()
        self.m = self.enterContext(running.Vmtest(common.tiny(), "128M", NoSyncs(), directory))
        self.m.snapshot("base")

    def write(self, mebibytes):
        """A number in the shell's memory, so much that is random in a file system of memory, and a block on the disk;
        returns what looks whether they are there, and when that was."""
        nonce = self.dice.getrandbits(30)
        self.m.dirty(mebibytes)
        self.m.console.shell(f"N={nonce}; S=$(md5sum </dev/shm/dirty); echo {nonce} >/tmp/n; "
                             f"dd if=/tmp/n of=/dev/vda bs=4k seek=5 conv=sync,fsync 2>/dev/null")
        look = (f'test "$N" = {nonce} && test "$S" = "$(md5sum </dev/shm/dirty)" && '
                f"dd if=/dev/vda bs=4k skip=5 count=1 2>/dev/null | grep -q '^{nonce}$'")
        return look, self.m.console.tick()

    def gone(self):
        self.m.console.shell('test -z "$N" && ! test -e /dev/shm/dirty')

    def undo(self, *words):
        return self.m.store.json("undo", "web", *words)

    def back(self, look, tick):
        """Takes the revert back: what was there is, and the ticks go on from there."""
        begin = len(self.m.console.ticks)
        done = self.undo()
        self.assertEqual((done["memory"], done["power"]), (True, "running"))
        self.m.console.wait(lambda: next((n for _, n in self.m.console.ticks[begin:] if tick <= n < tick + 2000), None),
                            "a tick of what was left", 60)
        self.m.console.shell(look)

    def hashes(self):
        return self.m.store.json("info", "--hash", "web")["hash"]

    def test_at_once_and_later(self):
        m = self.m
        for written in (0, 1, 4):
            look, tick = self.write(LEFT)
            m.go_back_by_command("base")
            self.gone()
            if written:
                self.write(written)
            self.back(look, tick)
        self.assertEqual(len(m.store.json("undo", "--list", "web")["undo"]), 0)
        m.store.run("undo", "web", want=66)
        m.go_back_by_command("base")
        m.console.shell("N=7")  # and nothing on the disk
        tick = m.console.tick()
        m.go_back_by_command("base")
        self.gone()
        self.back('test "$N" = 7', tick)

    def test_all_is_as_it_was(self):
        """Byte for byte; and what a guest does after that is in the next snapshot, and gone after the next revert."""
        m, store = self.m, self.m.store
        look, tick = self.write(LEFT)
        store.run("pause", "web")
        want = self.hashes()
        for busy in (False, True):
            store.run("revert", "web", "base")
            m.console.tick()
            if busy:
                self.write(2 * LEFT)
            self.assertEqual(self.undo()["power"], "paused")
            self.assertEqual(self.hashes(), want)
        store.run("resume", "web")
        m.console.shell(look)
        more, later = self.write(2)
        m.snapshot("more")
        m.go_back_by_command("base")
        self.gone()
        self.back(more, later)
        m.go_back_by_command("more")
        m.console.shell(more)

    def test_across_the_tree(self):
        m = self.m
        self.write(2)
        m.snapshot("branch")
        look, tick = self.write(LEFT)
        m.go_back_by_command("base")
        self.gone()
        m.snapshot("other")  # it takes back no snapshot
        self.back(look, tick)
        tree = m.store.json("snapshots", "web")["snapshots"]
        self.assertEqual({s["snapshot"]: s["parent"] for s in tree}, {"base": None, "branch": "base", "other": "base"})
        self.assertEqual([s["snapshot"] for s in tree if s["current"]], ["branch"])

    def test_a_machine_that_was_booted(self):
        """No snapshot is under its memory."""
        m = self.m
        m.end()
        m.start()
        m.console.begin()
        look, tick = self.write(LEFT)
        m.go_back_by_command("base")
        self.gone()
        self.write(4)
        self.back(look, tick)
        m.snapshot("booted")
        self.write(1)
        m.go_back_by_command("booted")
        m.console.shell(look)

    def disks_alone(self, look, why):
        done = self.undo()
        self.assertEqual((done["memory"], done["power"]), (False, "off"))
        self.assertRegex(done["why"], why)
        self.m.detach()
        self.m.start()
        self.m.console.begin()
        self.m.console.shell(look[look.rindex("&&") + 2:])

    def test_too_much_was_written_since(self):
        look, _ = self.write(40)
        self.m.go_back_by_command("base")
        self.write(60)
        self.disks_alone(look, "written over more of it")

    def test_what_is_not_to_be_kept(self):
        m = self.m
        self.write(1)
        m.store.run("revert", "--now", "web", "base")
        m.store.run("undo", "web", want=66)
        self.write(1)
        m.snapshot("branch")
        look, _ = self.write(1)
        m.go_back_by_command("base")
        m.store.run("delete", "--now", "web", "branch")
        self.disks_alone(look, "snapshot .* was deleted")
        look, _ = self.write(1)
        m.go_back_by_command("base")
        m.end()
        self.disks_alone(look, "in a process that has ended")


if __name__ == "__main__":
    unittest.main()
