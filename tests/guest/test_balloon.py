#!/usr/bin/env python3
"""Memory that a guest has used and freed: by the balloon's reports it costs the host nothing any more, nor a snapshot."""

import re
import time
import unittest

import common  # noqa: F401
from harness import guest, vmtest

MIB = 1 << 20
FILLED = 200 * MIB
PAGE = 4096
LIMIT = 120  # seconds for the kernel to report: it does so two seconds after pages come free, if it has time

# Linux reports what is free in 2 MiB whole, unless it is told otherwise (an order of 4 KiB pages): how much that is
# depends on where it put a few pages that stay, which may be into each part of what a test uses.
SMALLER = "echo 5 >/sys/module/page_reporting/parameters/page_reporting_order"
REFILL = f"yes words | head -c {FILLED} >/dev/shm/g && yes words | head -c {FILLED} | cmp - /dev/shm/g"


def discarded(store):
    """Bytes that the guest has given back."""
    return int(re.search(r"^mem\.discarded (\d+)$", store.run("info", "--stats", "m").text, re.MULTILINE).group(1)) * PAGE


def shared_memory(pid):
    """What the machine's memory takes on the host, and its translations."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return int(re.search(r"^RssShmem:\s+(\d+) kB", status.read(), re.MULTILINE).group(1)) * 1024


def with_balloon():
    debian = guest.make("debian-amd64", "amd64")
    debian.words.append("--balloon")
    return debian


class Balloon(unittest.TestCase):
    def stored(self):
        return self.store.json("info", "m")["bytes"]

    def test_freed_memory(self):
        with vmtest.Store() as self.store, \
                vmtest.Vmtest(with_balloon(), self.store, "m") as machine:
            self.assertEqual(machine.execute(SMALLER)[0], 0)
            pid = self.store.json("info", "m")["monitor"]["pid"]
            self.store.run("snapshot", "m", "before")
            before, given, memory = self.stored(), discarded(self.store), shared_memory(pid)
            status, out, err = machine.execute(f"head -c {FILLED} /dev/urandom >/dev/shm/f && sha256sum /dev/shm/f")
            self.assertEqual(status, 0, err)
            self.assertGreater(shared_memory(pid), memory + FILLED // 2)
            self.store.run("snapshot", "m", "full")
            full = self.stored()
            self.assertGreater(full - before, FILLED)
            filled, end = shared_memory(pid), time.monotonic() + LIMIT
            self.assertEqual(machine.execute("rm /dev/shm/f")[0], 0)
            while (back := discarded(self.store) - given) < FILLED * 9 // 10:
                self.assertLess(time.monotonic(), end, f"the guest gave back {back} of {FILLED} bytes; what is free in it:\n"
                                + machine.execute("cat /proc/buddyinfo")[1].decode())
                machine.execute("sleep 0.1")  # guest time: it has to come to its work
            self.assertLess(shared_memory(pid), filled - FILLED * 8 // 10)
            self.store.run("snapshot", "m", "after")
            self.assertLess(self.stored() - full, 40 * MIB)
            # what was given back is memory as any other, and what snapshots have of it stands
            self.assertEqual(machine.execute(REFILL)[0], 0)
            self.store.run("stop", "--force", "m")
            self.store.run("revert", "m", "full")
            machine.start()
            self.assertEqual(machine.execute("sha256sum /dev/shm/f")[1], out)
            self.store.run("stop", "--force", "m")
            self.store.run("revert", "m", "after")
            machine.start()
            self.assertEqual(machine.execute(REFILL)[0], 0)


if __name__ == "__main__":
    unittest.main()
