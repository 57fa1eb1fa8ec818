#!/usr/bin/env python3
"""The boot floppy of fixtures/guests on vmtest: a real-mode program that asks the BIOS for everything, enters protected
mode, runs V86 code, and reads keys that are typed from here; what it shows is read from its screen."""

import re
import tempfile
import unittest
from pathlib import Path

import common  # noqa: F401
from harness import arch, qmp, vmtest

MACHINE = "floppy"
# Code with its data and stack on its own page, written all the time, in parts of the speed of the same code with data
# elsewhere: what it must not fall below.
ONE_PAGE = 0.1
LINES = ["short", "the quick brown fox jumps over the lazy dog", "~!@#$%^&*()_+{}|:<>?", "ABC xyz 0123456789 -=[];',./"]


class Floppy(unittest.TestCase):
    model = ()

    def setUp(self):
        self.store = vmtest.Store()
        run = tempfile.TemporaryDirectory()
        self.addCleanup(run.cleanup)
        self.addCleanup(self.store.close)
        self.store.env["XDG_RUNTIME_DIR"] = run.name
        self.store.run("create", "--floppy", arch.directory() / "bootfloppy.img", "--mem", "64M", *self.model,
                       MACHINE)
        self.store.run("start", "--no-wait", MACHINE)
        self.wait("--text", "type>")

    def wait(self, *words):
        self.store.run("wait", *words, "--timeout", "2m", MACHINE)

    def screen(self):
        return self.store.run("screen", MACHINE).text

    def type(self, line):
        self.store.run("-m", MACHINE, "type", "--key", "ret", line)
        self.wait("--regex", "--text", '^got "' + re.sub(r"([][\\.*^$+?(){}|])", r"\\\1", line) + '"$')

    def test_what_it_checks(self):
        shown = self.screen()
        self.assertRegex(shown, r"(?m)^done: [0-9a-f]+ checks, 0 failed$")
        self.assertNotIn("FAIL", shown)
        self.assertIn("ok V86: its answer", shown)
        mixed, clean = (int(v, 16) for v in re.search(r"rounds (\w+) against (\w+)", shown).groups())
        print(f"code, data and stack on one page: {mixed / clean:.3f} of the speed of clean code")
        self.assertGreater(mixed / clean, ONE_PAGE)

    def test_keys(self):
        for line in LINES:
            self.type(line)
        self.assertIn(f'got "{LINES[-1]}"', self.screen())

    def test_a_held_key_repeats(self):
        client = qmp.Qmp(next(Path(self.store.env["XDG_RUNTIME_DIR"]).glob("vmtest/*/*.sock")))
        self.addCleanup(client.close)
        for down, text in (True, "type> ?aaaaa"), (False, None):
            client.call("input-send-event", events=[{"type": "key", "data": {
                "down": down, "key": {"type": "qcode", "data": "a"}}}])
            if text:
                self.wait("--regex", "--text", text)
        self.store.run("-m", MACHINE, "type", "--key", "ret", "b")
        self.wait("--regex", "--text", '^got "a{5,}b"$')

    def test_a_snapshot_amid_typing(self):
        self.type("before")
        self.store.run("snapshot", "here")
        shown = self.screen()
        self.type("after")
        self.store.run("revert", "here")
        self.assertEqual(self.screen(), shown)
        self.type("again")
        self.store.run("stop", "--force", MACHINE)
        self.store.run("revert", "here")  # in a new process
        self.assertEqual(self.screen(), shown)
        self.type("once more")


class Pentium(Floppy):
    """What such a system was written for, with a local APIC that the BIOS sets up."""

    model = ("--cpu", "pentium")


class I486(Floppy):
    """Nothing lies between the interrupt controllers and the processor."""

    model = ("--cpu", "i486")


if __name__ == "__main__":
    unittest.main()
