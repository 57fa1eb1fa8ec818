#!/usr/bin/env python3
"""The host loses its power: a guest writes, flushes and reports, its monitor is killed, and of the store's files only
what was synced is left, or that and some of the rest. After the restart, all that the guest reported is on its disk.
VMTEST_ROUNDS says how often; VMTEST_SEED repeats the choices (not the timing)."""

import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import unittest
from pathlib import Path

import common
from harness import vmtest
from test_kill import monitors

ROUNDS = int(os.environ.get("VMTEST_ROUNDS", 2))
BLOCKS = 61  # of 4096 bytes, written in turn; the next one has the last number
# Number n goes to block n % BLOCKS; what is printed was flushed before.
GUEST = ("n=`dd if=/dev/vda bs=4096 skip=%d count=1 2>/dev/null | tr -d '\\0'`; n=${n:-0}; while :; do n=$((n+1)); "
         "echo $n | dd of=/dev/vda bs=4096 seek=%d conv=sync,notrunc 2>/dev/null; "
         "echo $n | dd of=/dev/vda bs=4096 seek=$((n%%%d)) conv=sync,notrunc,fsync 2>/dev/null; "
         "echo flushed $n; done" % (BLOCKS, BLOCKS, BLOCKS))


class Op:
    def __init__(self, kind, path, off, data):
        self.kind, self.path, self.off, self.data = kind, path, off, data


def read_journal(path):
    """The operations on the store's own files, in order; what is made anew after a boot of the host is left out."""
    data, at, ops = path.read_bytes(), 0, []
    while at < len(data):
        end = data.index(b"\n", at)
        kind, name, off, length = data[at:end].decode().split(" ")
        at = end + 1
        body = b""
        if kind == "W":
            body = data[at:at + int(length)]
            at += int(length)
        if re.fullmatch(r"\.|packs|heads|store\.db(-wal)?|(packs|heads)/\d+\.\w+", name):
            ops.append(Op(kind, name, int(off), body))
    return ops


def unsynced(ops):
    """Indexes of those that nothing made durable."""
    synced, folders, found = set(), set(), []
    for i in reversed(range(len(ops))):
        op = ops[i]
        folder = op.path.split("/")[0] if "/" in op.path else "."
        if op.kind == "S":
            (folders if op.path in (".", "packs", "heads") else synced).add(op.path)
        elif op.kind in "CU":
            # SQLite syncs the folder with the first sync of a file that it made.
            if folder not in folders and not (op.path.startswith("store.db") and op.path in synced):
                found.append(i)
        elif op.path not in synced:
            found.append(i)
    return found[::-1]


class Host:
    """The store's folder as the host's disk has it."""

    def __init__(self, folder):
        self.folder, self.files = Path(folder), {}

    def apply(self, op, torn=False):
        if op.kind == "C":
            self.files.setdefault(op.path, bytearray())
        elif op.kind == "U":
            self.files.pop(op.path, None)
        elif op.path in self.files and op.kind == "T":
            f = self.files[op.path]
            del f[op.off:]
            f.extend(bytes(op.off - len(f)))
        elif op.path in self.files and op.kind == "W":
            f = self.files[op.path]
            data = op.data[:len(op.data) // 1024 * 512] if torn else op.data
            f.extend(bytes(max(0, op.off - len(f))))
            f[op.off:op.off + len(data)] = data

    def lose_power(self, ops, rnd):
        """Of what was not synced nothing is left, or a random half, some of it torn. Gives how much is lost."""
        loose, some, lost = set(unsynced(ops)), rnd.random() < 0.5, 0
        for i, op in enumerate(ops):
            if i in loose and (not some or rnd.random() < 0.5):
                lost += 1
                continue
            self.apply(op, torn=i in loose and rnd.random() < 0.3)
        return lost

    def write(self):
        shutil.rmtree(self.folder)
        for sub in ("packs", "heads"):
            (self.folder / sub).mkdir(parents=True)
        (self.folder / "lock").touch()
        for name, data in self.files.items():
            (self.folder / name).write_bytes(data)


class Reports(threading.Thread):
    """Reads the guest's serial port."""

    def __init__(self, store):
        super().__init__(daemon=True)
        self.last = 0
        self.console = store.popen("console", "web", stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL)
        self.first = threading.Event()
        self.start()

    def run(self):
        for line in self.console.stdout:
            if found := re.match(rb"flushed (\d+)\r?$", line):
                self.last = int(found[1])
                self.first.set()

    def end(self):
        self.console.stdin.close()
        self.console.wait(timeout=60)
        self.join(timeout=60)
        self.console.stdout.close()


class Power(unittest.TestCase):
    def setUp(self):
        self.scratch = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.store = self.enterContext(vmtest.Store())
        self.journal = self.scratch / "journal"
        shim = Path(vmtest.program()).parents[1] / "tests" / "guest" / "libpowershim.so"
        self.assertTrue(shim.exists())
        self.store.env.update(LD_PRELOAD=str(shim), POWERSHIM_DIR=str(self.store.home.resolve()),
                              POWERSHIM_JOURNAL=str(self.journal))
        self.host = Host(self.store.home.resolve())
        guest = common.tiny()
        append = f'{guest.append} vmtest.cmd="{GUEST}"'.strip()
        disk = self.scratch / "disk.raw"
        disk.write_bytes(bytes(1 << 20))
        self.store.run("create", "web", "--kernel", guest.kernel, "--initrd", guest.initrd, "--append", append, "--mem",
                       "64M", "--disk", disk)

    def run_until_power_fails(self, rnd, *start_options):
        """What the guest reported last, and how many operations were lost."""
        self.store.run("start", "--no-wait", *start_options, "web")
        reports = Reports(self.store)
        self.assertTrue(reports.first.wait(timeout=300), "the guest reports nothing")
        time.sleep(rnd.random() * 2)  # the moment is the choice
        pid, = monitors(self.store)
        os.kill(pid, signal.SIGKILL)
        reports.end()
        ops = read_journal(self.journal)
        lost = self.host.lose_power(ops, rnd)
        self.host.write()
        self.journal.unlink()
        return reports.last, lost

    def numbers(self, name):
        """What the blocks of the disk have, by a snapshot of the machine, which is off."""
        out = self.scratch / "out.raw"
        self.store.run("snapshot", "web", name)
        tool = Path(vmtest.program()).parents[1] / "tests" / "guest" / "disk_export"
        number, = [s["id"] for s in self.store.json("snapshots", "web")["snapshots"] if s["snapshot"] == name]
        subprocess.run([tool, self.store.home, str(number), "disk0", "live", out], check=True)
        data = out.read_bytes()
        return [int(data[i * 4096:(i + 1) * 4096].strip(b"\0\n") or b"0") for i in range(BLOCKS + 1)]

    def test_what_was_flushed_is_there(self):
        seed = int(os.environ.get("VMTEST_SEED", random.SystemRandom().getrandbits(32)))
        print(f"seed {seed}", flush=True)
        rnd = random.Random(seed)
        for number in range(ROUNDS):
            reported, lost = self.run_until_power_fails(rnd)
            self.store.run("check")
            found = self.numbers(f"s{number}")
            print(f"round {number}: {reported} reported, {max(found)} found, {lost} operations lost", flush=True)
            for n in range(max(1, reported - BLOCKS + 1), reported + 1):
                self.assertGreaterEqual(found[n % BLOCKS], n)

    def test_an_unsafe_cache_may_lose_it(self):
        """The other way round: that the shim does lose what is not synced."""
        reported, _ = self.run_until_power_fails(random.Random(1), "--cache", "unsafe")
        self.assertLess(max(self.numbers("after")), reported)


if __name__ == "__main__":
    unittest.main()
