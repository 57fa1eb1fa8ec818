#!/usr/bin/env python3
"""QMP's inject-nmi: the guest program fixtures/guests/nmi.c says when, on vmtest and on QEMU. On vmtest one that waits
for the guest's IRET is in a snapshot, and one that the guest has masked is an error."""

import subprocess
import tempfile
import unittest
from pathlib import Path

import common  # noqa: F401
from harness import arch, qemu, qmp, vmtest

DONE = b"done: 6 checks, 0 failed"


class Nmi(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.scratch = Path(scratch.name)
        self.kernel = arch.directory() / "nmi.elf"

    def read(self, console, text):
        """The console's lines until one that begins with text."""
        lines = []
        for line in console.stdout:
            self.assertNotIn(b"FAIL", line)
            lines.append(line)
            if line.startswith(text):
                return lines
        raise AssertionError(f"the guest ended before {text}: {lines}")

    def pipes(self, process):
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.addCleanup(process.stdin.close)
        self.addCleanup(process.stdout.close)
        return process

    def client(self, path):
        client = qmp.Qmp(path)
        self.addCleanup(client.close)
        return client

    def to_masked(self, console, monitor):
        while True:
            last = self.read(console, b"now")[-1]
            monitor.call("inject-nmi")
            if last.startswith(b"now masked"):
                break

    def go_on(self, console):
        console.stdin.write(b"x")
        console.stdin.flush()
        self.assertEqual(self.read(console, b"done:")[-1].strip(), DONE)

    def console(self, store):
        return self.pipes(store.popen("console", "nmi", stdin=subprocess.PIPE, stdout=subprocess.PIPE))

    def store(self, *words):
        store = vmtest.Store()
        self.addCleanup(store.close)
        store.env["XDG_RUNTIME_DIR"] = str(self.scratch)
        store.run("create", "--mem", "64M", *words, "nmi")
        store.run("start", "--no-wait", "nmi")
        return store, self.client(next(self.scratch.glob("vmtest/*/*.sock")))

    def test_on_vmtest(self):
        store, monitor = self.store("--kernel", self.kernel)
        console = self.console(store)
        self.to_masked(console, monitor)
        store.run("snapshot", "pending")
        self.go_on(console)
        store.run("stop", "nmi")  # nothing to do, or waits for its end
        store.run("revert", "pending")  # in a new process
        self.go_on(self.console(store))

    def test_masked_by_the_guest(self):
        """As after a reset, before SeaBIOS programs LINT1."""
        store, monitor = self.store("--boot", "disk")
        store.run("pause", "nmi")
        monitor.call("system_reset")
        with self.assertRaisesRegex(qmp.QmpError, "masked in its local APIC"):
            monitor.call("inject-nmi")

    def test_without_a_local_apic(self):
        """Nothing can mask it."""
        store, monitor = self.store("--boot", "disk", "--cpu", "i486")
        store.run("pause", "nmi")
        monitor.call("system_reset")
        monitor.call("inject-nmi")

    def test_on_qemu(self):
        if not qemu.available():
            self.skipTest("no QEMU here")
        path = self.scratch / "qmp"
        console = self.pipes(subprocess.Popen(
            [qemu.PROGRAM_64, "-accel", "tcg", "-cpu", "max", "-m", "64", "-nodefaults", "-no-reboot", "-display", "none",
             "-kernel", str(self.kernel), "-serial", "stdio", "-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-S", "-qmp",
             f"unix:{path},server=on,wait=off"], stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        while not path.exists():
            self.assertIsNone(console.poll())
        monitor = self.client(path)
        monitor.call("cont")
        self.to_masked(console, monitor)
        self.go_on(console)


if __name__ == "__main__":
    unittest.main()
