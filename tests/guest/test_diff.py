#!/usr/bin/env python3
"""After an install, `diff --all` lists what debugfs finds different between the two snapshots' quiesced disks."""

import os
import subprocess
import tempfile
import unittest
from pathlib import Path

import common
from harness import debugfs, vmtest

# What debugfs's walk does not look at.
UNSEEN = {"links", "xattr", "times"}


def node(entry):
    """A JSON node of diff as debugfs's walk has it."""
    if entry is None:
        return None
    content = entry.get("sha256") or entry.get("target") or ""
    return debugfs.Node(entry["type"], entry["mode"], entry["uid"], entry["gid"], entry["size"], content)


def listed(diff):
    """{path: (Node or None, Node or None)} of a diff's JSON."""
    found = {}
    for change in diff["changes"]:
        if change["status"] == "modified" and set(change["what"]) <= UNSEEN:
            continue
        assert change["path"] not in found, f"{change['path']} is listed twice"
        found[change["path"]] = (node(change.get("old")), node(change.get("new")))
    return found


def export(store, machine, snapshot, out):
    tool = Path(vmtest.program()).parents[1] / "tests" / "guest" / "disk_export"
    ids = {s["snapshot"]: s["id"] for s in store.json("snapshots", machine)["snapshots"]}
    subprocess.run([os.environ.get("VMTEST_DISK_EXPORT", str(tool)), str(store.home), str(ids[snapshot]), "disk0",
                    "quiesced", out], check=True)


class Diff(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.scratch = cls.enterClassContext(tempfile.TemporaryDirectory())
        cls.store = cls.enterClassContext(vmtest.Store())
        cls.package = common.demo_package(cls.scratch)
        run = cls.store.run
        run("create", "web", *common.debian().words)
        run("start", "web")
        # Kinds of change that the package does not make.
        run("exec", "--", "sh", "-c", "mkdir /root/old && seq 1000 >/root/old/gone && seq 50 >/root/text && "
            "ln -s old /root/link && mkfifo /root/fifo && touch /root/mode /root/owner && "
            "head -c 5000000 /dev/urandom >/root/big && ln /root/big /root/big2 && sync")
        run("snapshot", "clean")
        run("install", cls.package)
        run("exec", "--", "sh", "-c", "rm -r /root/old && sed -i 's/^25$/twenty-five/' /root/text && "
            "ln -sfn elsewhere /root/link && rm /root/fifo && mkdir /root/fifo && chmod 600 /root/mode && "
            "chown 7:8 /root/owner && printf x | dd of=/root/big bs=1 seek=2500000 conv=notrunc 2>/dev/null && "
            "truncate -s 64M /root/sparse && mknod /root/null c 1 3 && mv /root/big2 /root/big3 && "
            "for i in $(seq 300); do echo $i >/root/a-rather-long-name-to-fill-directories-$i; done")
        run("snapshot", "after")

    def test_it_lists_what_debugfs_lists(self):
        walks = []
        for snapshot in ("clean", "after"):
            raw = f"{self.scratch}/{snapshot}.raw"
            export(self.store, "web", snapshot, raw)
            walks.append(debugfs.walk(raw))
        want = debugfs.compare(*walks)
        diff = self.store.json("diff", "--all", "clean", "after", want=1)
        self.assertTrue(diff["complete"])
        self.assertEqual(listed(diff), want)
        self.assertGreater(len(want), 600)

    def test_the_names_and_kinds(self):
        lines = self.store.run("diff", "clean", "after", want=1).text.splitlines()
        for line in ("A\t/usr/bin/app", "A\t/etc/vmtest-demo.conf", "M\t/root/text", "D\t/root/old/gone"):
            self.assertTrue(any(got == line or got.startswith(line + "\t") for got in lines),
                            f"{line!r} is not in\n" + "\n".join(lines))
        self.assertTrue(any("vmtest-demo" in got and got.startswith("P") for got in lines))
        self.assertTrue(any("vmtest-demo.service" in got and got.startswith("U") for got in lines))

    def test_text_as_a_patch(self):
        patch = self.store.run("diff", "-p", "clean", "after", want=1).text
        self.assertIn("-25\n+twenty-five\n", patch)
        self.assertIn('+greeting="hello from the demo"\n', patch)

    def test_a_snapshot_does_not_differ_from_itself(self):
        self.assertEqual(self.store.run("diff", "--all", "clean", "clean").text, "")

    def test_after_a_revert_there_is_no_difference_left(self):
        self.store.run("revert", "clean")
        self.store.run("snapshot", "again")
        changes = self.store.json("diff", "clean", "again", want=(0, 1))["changes"]
        self.assertEqual([c["path"] for c in changes if c["path"].startswith(("/root", "/usr", "/etc"))], [])


if __name__ == "__main__":
    unittest.main()
