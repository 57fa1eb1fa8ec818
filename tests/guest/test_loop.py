#!/usr/bin/env python3
"""The main job as it is typed, with its exit codes."""

import os
import tempfile
import unittest

import common
from harness import vmtest


class Loop(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.store = cls.enterClassContext(vmtest.Store())
        cls.store.run("create", "web", *common.debian().words)
        cls.store.run("start", "web")

    def test_the_main_job(self):
        store = self.store
        with tempfile.TemporaryDirectory() as work:
            package = os.path.basename(common.demo_package(work))

            def run(*words, want=0):
                return store.run(*words, want=want, cwd=work)

            clean = run("snapshot", "clean")
            self.assertRegex(clean.text + clean.errors, r"clean.* in [0-9.]+ m?s")
            run("exec", "--", "app", "--self-test", want=127)
            run("install", "./" + package)
            self.assertIn("self-test passed", run("exec", "--", "app", "--self-test").text)
            run("exec", "--", "app", "--no-such-option", want=64)
            run("snapshot", "after")
            names = run("diff", "clean", "after", want=1).text
            self.assertIn("/usr/bin/app", names)
            self.assertIn("vmtest-demo", names)
            done = store.json("revert", "clean", cwd=work)
            self.assertLess(done["seconds"], 1)
            run("exec", "--", "app", "--self-test", want=127)
            self.assertEqual(run("diff", "clean", "clean").text, "")
            with open(os.path.join(work, "test.sh"), "w", encoding="ascii") as script:
                script.write("#!/bin/sh\nset -e\ndpkg -i *.deb\napp --self-test\nexit 7\n")
            os.chmod(os.path.join(work, "test.sh"), 0o755)
            got = run("run", "--from", "clean", "--copy-in", ".", "--", "./test.sh", want=7)
            self.assertIn("self-test passed", got.text)
            # What ran in the copy is not in the machine.
            run("exec", "--", "app", "--self-test", want=127)
            self.assertEqual([s["snapshot"] for s in store.json("snapshots", "web")["snapshots"]], ["clean", "after"])

    def test_streams_and_statuses_of_exec(self):
        store = self.store
        got = store.run("exec", "--", "sh", "-c", "echo out; echo err >&2; exit 3", want=3)
        self.assertEqual((got.text, got.errors), ("out\n", "err\n"))
        self.assertEqual(store.run("exec", "--", "sh", "-c", "kill -TERM $$", want=143).text, "")
        self.assertEqual(store.run("exec", "--", "tr", "a-z", "A-Z", stdin=b"some input\n").text, "SOME INPUT\n")
        store.run("exec", "--", "/no/such/program", want=127)
        store.run("exec", "--", "/etc/passwd", want=126)
        store.run("exec", "--timeout", "1s", "--", "sleep", "100", want=124)
        got = store.run("exec", "--", "head", "-c", "3000000", "/dev/zero")
        self.assertEqual(got.out, bytes(3000000))

    def test_files_go_in_and_out_unchanged(self):
        store = self.store
        with tempfile.TemporaryDirectory() as work:
            data = os.urandom(5 << 20)
            with open(os.path.join(work, "in"), "wb") as f:
                f.write(data)
            store.run("cp", f"{work}/in", ":/root/a file")
            store.run("cp", ":/root/a file", f"{work}/out")
            with open(os.path.join(work, "out"), "rb") as f:
                self.assertEqual(f.read(), data)
            store.run("cp", ":/root/none", f"{work}/none", want=66)
            self.assertFalse(os.path.exists(f"{work}/none"))

    def test_translations_are_kept(self):
        """Of what the first machine from a snapshot ran, the next one translates nothing again; a bad file changes
        nothing."""
        store = self.store
        if store.json("list")["machines"][0]["state"] == "off":
            store.run("start", "web")
        boot = store.run("exec", "--", "cat", "/proc/sys/kernel/random/boot_id").text
        store.run("snapshot", "warm")
        store.run("stop", "--force", "web")

        def translated(words=()):
            store.run("start", "web", "--from", "warm", *words)
            self.assertEqual(store.run("exec", "--", "cat", "/proc/sys/kernel/random/boot_id").text, boot)
            stats = dict(line.split()[:2] for line in store.run("info", "web", "--stats").text.splitlines()
                         if line.startswith("code."))
            store.run("stop", "--force", "web")
            return int(stats["code.blocks"])

        folder = os.path.join(store.env["XDG_CACHE_HOME"], "vmtest/warm")
        first = translated()
        names = os.listdir(folder)
        self.assertEqual(len(names), 1)
        self.assertLess(translated(), first / 4)
        self.assertEqual(os.listdir(folder), names)
        path = os.path.join(folder, names[0])
        with open(path, "r+b") as f:
            f.seek(os.path.getsize(path) // 2)
            byte = f.read(1)[0]
            f.seek(-1, os.SEEK_CUR)
            f.write(bytes([byte ^ 1]))
        self.assertGreater(translated(), first / 2)
        self.assertLess(translated(), first / 4, "a bad file is not replaced")
        os.truncate(path, 100)
        self.assertGreater(translated(), first / 2)


if __name__ == "__main__":
    unittest.main()
