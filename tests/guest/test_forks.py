#!/usr/bin/env python3
"""Many machines from one snapshot at once: all of them answer, and they hold most of its memory in common."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

import common
from harness import vmtest

MIB = 1 << 20


def monitors(store):
    """The processes of the store's machines."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"vmtest-monitor") and os.fsencode(store.home.resolve()) in words:
            found.append(entry)
    return found


def pss(process):
    """Bytes: what it holds alone, and its part of what it shares."""
    text = (process / "smaps_rollup").read_text()
    return int(re.search(r"^Pss:\s+(\d+) kB", text, re.M).group(1)) * 1024


class Forks(unittest.TestCase):
    def setUp(self):
        # Where templates can be: not in memory.
        self.store = vmtest.Store(tempfile.mkdtemp(prefix="vmtest-store-", dir="/var/tmp"))
        self.store.own = True
        self.addCleanup(self.store.close)

    def many(self, n, seconds, limit):
        self.store.run("create", "web", *common.debian().words)
        self.store.run("start", "web", timeout=1500)
        self.store.run("exec", "-m", "web", "--", "true")
        self.store.run("snapshot", "clean", "-m", "web")
        self.store.run("stop", "--force", "web")
        # Each stays there until all have answered.
        script = "od -An -tx8 -N 16 /dev/urandom | tr -d ' '; date +%s.%N; exec sleep 1000"
        begin = time.time()
        run = self.store.popen("run", "--from", "clean", "-j", n, "--", "sh", "-c", script, stdout=subprocess.PIPE,
                               text=True)
        self.addCleanup(run.wait)
        self.addCleanup(run.kill)
        self.addCleanup(run.stdout.close)
        lines = [run.stdout.readline().rstrip("\n").split(": ") for _ in range(2 * n)]
        took = time.time() - begin
        held = [pss(p) for p in monitors(self.store)]
        answers = {}
        for job, text in lines:
            answers.setdefault(int(job), []).append(text)
        self.assertEqual(sorted(answers), list(range(1, n + 1)))
        self.assertEqual(len({number for number, _ in answers.values()}), n, answers)
        for _, date in answers.values():
            self.assertTrue(begin - 1 < float(date) < begin + took + 1, (begin, date, took))
        print(json.dumps({"machines": n, "seconds": round(took, 1), "pss_mib": round(sum(held) / MIB),
                          "largest_mib": round(max(held) / MIB)}), file=sys.stderr)
        self.assertEqual(len(held), n)
        self.assertLess(took, seconds)
        self.assertLess(sum(held), limit)

    def test_32_machines(self):
        self.many(32, 60, 3 << 30)


if __name__ == "__main__":
    unittest.main()
