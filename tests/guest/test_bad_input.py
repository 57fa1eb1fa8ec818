#!/usr/bin/env python3
"""What goes wrong gives one clear line and its own exit code, and loses nothing."""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

import common
from harness import vmtest

MOUNTED = 'mount -t tmpfs -o size=80m tmpfs "$1" && exec "$2" "$3" "$1"'


class BadInput(unittest.TestCase):
    def setUp(self):
        self.work = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.store = self.enterContext(vmtest.Store())

    def refused(self, status, *words, mention=(), **kwargs):
        """Runs vmtest WORDS: it must end with status and one line that mentions all of mention."""
        done = self.store.run(*words, want=status, **kwargs)
        self.assertEqual(done.text, "")
        self.assertEqual(len(done.errors.splitlines()), 1, done.errors)
        self.assertTrue(done.errors.startswith("vmtest: "), done.errors)
        for word in mention:
            self.assertIn(str(word), done.errors)
        return done.errors


class Files(BadInput):
    def setUp(self):
        super().setUp()
        self.tiny = common.tiny()

    def test_a_missing_image(self):
        self.refused(66, "create", "web", "--image", self.work / "none.raw", *self.tiny.words, mention=["none.raw"])
        self.assertEqual(self.store.machines(), [])

    def test_a_truncated_image(self):
        cut = self.work / "cut.raw"
        cut.write_bytes(b"")
        self.refused((64, 65), "create", "web", "--image", cut, *self.tiny.words, mention=["cut.raw"])
        qcow = self.work / "cut.qcow2"
        qcow.write_bytes(b"QFI\xfb\0\0\0\3" + bytes(20))
        self.refused((2, 65), "create", "web", "--image", qcow, *self.tiny.words, mention=["cut.qcow2"])
        self.assertEqual(self.store.machines(), [])

    def test_an_image_that_shrinks_later(self):
        image = self.work / "disk.raw"
        with open(image, "wb") as f:
            f.truncate(64 << 20)
        self.store.run("create", "web", "--image", image, *self.tiny.words)
        os.truncate(image, 1 << 20)
        self.refused(65, "start", "--no-wait", "web", mention=["disk.raw"])

    def test_a_kernel_that_is_not_one(self):
        self.refused(65, "create", "web", "--kernel", self.tiny.initrd, mention=["initrd.img"])
        cut = self.work / "vmlinuz"
        cut.write_bytes(Path(self.tiny.kernel).read_bytes()[:100000])
        self.refused(65, "create", "web", "--kernel", cut, mention=["vmlinuz"])
        self.assertEqual(self.store.machines(), [])

    def test_a_kernel_that_is_gone_when_it_starts(self):
        kernel = self.work / "vmlinuz"
        shutil.copyfile(self.tiny.kernel, kernel)
        self.store.run("create", "web", "--kernel", kernel)
        kernel.unlink()
        self.refused(66, "start", "--no-wait", "web", mention=["vmlinuz"])
        self.assertFalse(self.store.json("info", "web")["running"])

    def test_a_package_that_is_none(self):
        text = self.work / "x.deb"
        text.write_text("no package\n")
        self.store.run("create", "web", *self.tiny.words)
        self.refused(75, "-m", "web", "install", text)


class Names(BadInput):
    def setUp(self):
        super().setUp()
        self.tiny = common.tiny()
        self.store.run("create", "web", *self.tiny.words)

    def test_a_name_that_exists(self):
        self.refused(73, "create", "web", *self.tiny.words, mention=["web"])
        self.store.run("snapshot", "one")
        self.refused(73, "snapshot", "one", mention=["one"])

    def test_a_name_that_does_not_exist(self):
        self.refused(66, "start", "wbe", mention=["wbe", "web"])
        self.store.run("snapshot", "clean")
        self.refused(66, "revert", "web@cleen", mention=["cleen", "clean"])
        self.assertEqual([s["snapshot"] for s in self.store.json("snapshots")["snapshots"]], ["clean"])

    def test_a_name_that_cannot_be_one(self):
        for name in ("", "-x", "a b", "a/b", "x" * 64, "ä"):
            with self.subTest(name=name):
                self.refused(64, "create", name, *self.tiny.words)

    def test_a_store_from_a_newer_version(self):
        with sqlite3.connect(self.store.home / "store.db") as db:
            db.execute("PRAGMA user_version = 9999")
        db.close()
        before = (self.store.home / "store.db").read_bytes()
        for words in (["list"], ["start", "web"], ["snapshot", "x"]):
            with self.subTest(words=words):
                self.refused(78, *words, mention=["newer"])
        self.assertEqual((self.store.home / "store.db").read_bytes(), before)

    def test_a_store_that_is_none(self):
        (self.store.home / "store.db").write_bytes(b"not a database" * 1000)
        for extra in ("-wal", "-shm"):
            (self.store.home / f"store.db{extra}").unlink(missing_ok=True)
        self.refused(65, "list")


class Guests(BadInput):
    def test_a_guest_that_panics(self):
        tiny = common.tiny()
        self.store.run("create", "bad", "--kernel", tiny.kernel, "--append", "console=ttyS0 panic=0", "--mem", "128M")
        began = time.monotonic()
        self.refused(124, "start", "--timeout", "6s", "bad", mention=["bad"])
        self.assertLess(time.monotonic() - began, 60)
        self.store.run("wait", "--serial", "--text", "Kernel panic", "--timeout", "60s", "bad")
        self.store.run("stop", "--force", "bad")
        self.assertFalse(self.store.json("info", "bad")["running"])

    def test_a_guest_that_turns_itself_off_while_it_starts(self):
        tiny = common.tiny()
        self.store.run("create", "brief", "--kernel", tiny.kernel, "--initrd", tiny.initrd, "--append",
                       tiny.append + " vmtest.cmd=true", "--mem", "128M")
        self.refused(69, "start", "--timeout", "60s", "brief", mention=["brief"])

    def test_an_agent_that_is_not_there(self):
        self.store.run("create", "mute", *common.tiny().words)
        self.refused(124, "start", "--timeout", "6s", "mute", mention=["mute", "agent"])
        done = self.store.run("exec", "--timeout", "3s", "--", "true", want=(124, 125))
        self.assertEqual(len(done.errors.splitlines()), 1)
        # A snapshot needs no agent; one that asks for quiet file systems does.
        self.store.run("snapshot", "plain")
        self.refused((69, 124), "snapshot", "--quiesce", "require", "--quiesce-timeout", "3s", "settled")
        self.assertEqual([s["snapshot"] for s in self.store.json("snapshots")["snapshots"]], ["plain"])


class Running(BadInput):
    """Against one Debian guest."""

    @classmethod
    def setUpClass(cls):
        cls.shared = cls.enterClassContext(vmtest.Store())
        cls.guest = cls.enterClassContext(vmtest.Vmtest(common.debian(), cls.shared, "web"))

    def setUp(self):
        self.store = self.shared

    def together(self, *commands):
        """Runs several commands at once: [(status, stderr)]"""
        running = [self.store.popen(*words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                   for words in commands]
        return [(p.returncode, err.decode()) for p in running for _, err in [p.communicate(timeout=120)]]

    def test_two_snapshots_at_once(self):
        self.assertEqual([s for s, _ in self.together(["snapshot", "left"], ["snapshot", "right"])], [0, 0])
        names = {s["snapshot"] for s in self.store.json("snapshots")["snapshots"]}
        self.assertLessEqual({"left", "right"}, names)

    def test_two_snapshots_of_one_name_at_once(self):
        answers = self.together(["snapshot", "same"], ["snapshot", "same"])
        self.assertEqual(sorted(s for s, _ in answers), [0, 73])
        self.store.run("revert", "same")

    def test_two_starts_at_once(self):
        self.assertEqual([s for s, _ in self.together(["start", "web"], ["start", "web"])], [0, 0])

    def test_a_running_machine_is_not_removed(self):
        self.refused(75, "rm", "web", mention=["web"])
        self.assertTrue(self.store.json("info", "web")["running"])

    def test_an_agent_that_stops_answering(self):
        # Commands go by a helper of their own in the guest; files go by the agent.
        self.store.run("exec", "--", "systemctl", "kill", "-s", "STOP", "qemu-guest-agent")
        self.store.run("exec", "--timeout", "20s", "--", "true")
        self.refused(69, "cp", "/etc/hostname", ":/run/copied", mention=["agent"])
        # It goes on: what came before is not lost, and the next copy works once the agent is back.
        self.store.run("exec", "--", "systemctl", "kill", "-s", "CONT", "qemu-guest-agent")
        self.store.run("cp", "/etc/hostname", ":/run/copied")

    def test_a_file_that_is_no_package(self):
        with tempfile.NamedTemporaryFile(suffix=".deb") as f:
            f.write(b"no package\n")
            f.flush()
            self.refused(65, "install", f.name, mention=[os.path.basename(f.name)])

    def test_a_package_that_does_not_install(self):
        with tempfile.TemporaryDirectory() as work:
            control = Path(work, "pkg", "DEBIAN")
            control.mkdir(parents=True)
            (control / "control").write_text("Package: refuses\nVersion: 1\nArchitecture: all\nMaintainer: m <m@localhost>\n"
                                             "Description: its preinst fails\n")
            (control / "preinst").write_text("#!/bin/sh\nexit 3\n")
            (control / "preinst").chmod(0o755)
            package = Path(work, "refuses.deb")
            subprocess.run(["dpkg-deb", "--root-owner-group", "-b", str(control.parent), str(package)], check=True,
                           stdout=subprocess.DEVNULL)
            done = self.store.run("install", package, want=2)
            self.assertIn("refuses.deb", done.errors.splitlines()[-1])
        self.assertNotEqual(self.guest.execute("dpkg-query -W -f '${db:Status-Status}' refuses")[1], b"installed")


class FullDisk(unittest.TestCase):
    def test_a_full_disk_during_a_snapshot(self):
        user = [] if os.geteuid() == 0 else ["--map-root-user"]
        if subprocess.run(["unshare", "--mount", *user, "sh", "-c", "mount -t tmpfs tmpfs /mnt"],
                          stderr=subprocess.DEVNULL).returncode:
            self.skipTest("this host lets nobody mount a file system of a small size")
        with tempfile.TemporaryDirectory() as place:
            script = common.SOURCE / "tests" / "guest" / "full_disk.py"
            done = subprocess.run(["unshare", "--mount", *user, "sh", "-c", MOUNTED, "sh", place, sys.executable,
                                   str(script)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            self.assertEqual(done.returncode, 0, done.stdout)


if __name__ == "__main__":
    unittest.main()
