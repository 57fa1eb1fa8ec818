#!/usr/bin/env python3
"""A private network of two machines: they reach each other, and nothing else; one of them is reverted, killed, and comes
back."""

import os
import signal
import struct
import subprocess
import tempfile
import unittest
from pathlib import Path

import common
from harness import vmtest


def frames(path):
    """Those of a capture file."""
    data, at = path.read_bytes(), 24
    assert data[:4] == struct.pack("<I", 0xa1b23c4d), data[:4]
    while at < len(data):
        kept = struct.unpack_from("<I", data, at + 8)[0]
        yield data[at + 16:at + 16 + kept]
        at += 16 + kept


class Net(unittest.TestCase):
    def setUp(self):
        run = tempfile.TemporaryDirectory()
        self.addCleanup(run.cleanup)
        self.run_dir = Path(run.name)
        self.store = vmtest.Store()
        self.addCleanup(self.store.close)
        self.store.env["XDG_RUNTIME_DIR"] = run.name
        self.store.run("net", "create", "lab")

    def create(self, name, address, *words):
        guest = common.tiny()
        line = f'{guest.append} quiet vmtest.cmd="ip addr add {address}/24 dev eth0; ip link set eth0 up; echo up; exec sh"'
        self.store.run("create", "--kernel", guest.kernel, "--initrd", guest.initrd, "--append", line, "--mem", "96M",
                       "--net", "private:lab", *words, name)

    def console(self, name):
        console = self.store.popen("console", name, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for close in (console.wait, console.kill, console.stdin.close, console.stdout.close):
            self.addCleanup(close)
        return console

    def wait(self, name, line):
        self.store.run("wait", "--serial", "--regex", "--text", f"^{line}$", "--timeout", "2m", name)

    def sh(self, console, command, want=b"0"):
        """What the command prints in the guest, line by line."""
        console.stdin.write(f"{command}; echo end''-$?\n".encode())
        console.stdin.flush()
        lines = []
        for line in console.stdout:
            if line.startswith(b"end-"):
                self.assertEqual(line.strip()[4:], want, lines)
                return lines
            lines.append(line.strip().decode(errors="replace"))
        raise AssertionError(f"the guest ended: {lines}")

    def ports(self):
        return len(list(self.run_dir.glob("vmtest/*/net-lab/*")))

    def test_two_machines(self):
        self.create("a", "10.9.0.1")
        self.create("b", "10.9.0.2")
        capture = self.run_dir / "a.pcap"
        self.store.run("start", "--no-wait", "--pcap", "a.pcap", "a", cwd=self.run_dir)
        self.store.run("start", "--no-wait", "b")
        for name in "ab":
            self.wait(name, "up")
        self.assertEqual(self.ports(), 2)
        a, b = self.console("a"), self.console("b")
        ping = "ping -c 3 -i 0.1 -W 2 10.9.0.2"
        self.assertIn("3 packets received", " ".join(self.sh(a, ping)))
        self.sh(a, "ping -c 1 -W 1 10.0.2.2", b"1")  # nobody else is there
        # some megabytes, and none of them wrong
        self.sh(b, "mkfifo /tmp/open; sleep 600 >/tmp/open & (nc -l -p 99 </tmp/open >/tmp/data; touch /tmp/done) & sleep 0.2")
        self.sh(a, "dd if=/dev/urandom of=/tmp/data bs=1M count=8 2>/dev/null; nc 10.9.0.2 99 </tmp/data")
        sums = [[word for line in self.sh(guest, command) for word in line.split() if len(word) == 32]
                for guest, command in ((a, "md5sum /tmp/data"), (b, "until [ -e /tmp/done ]; do sleep 0.1; done; md5sum /tmp/data"))]
        self.assertTrue(sums[0] and sums[0] == sums[1], sums)
        # a snapshot, and what comes of it
        self.store.run("snapshot", "b", "here")
        self.store.run("revert", "b", "here")
        self.assertIn("3 packets received", " ".join(self.sh(a, ping)))
        self.store.run("net", "rm", "lab", want=75)
        os.kill(self.store.json("info", "b")["monitor"]["pid"], signal.SIGKILL)
        b.stdout.read()
        self.sh(a, "ping -c 1 -W 1 10.9.0.2", b"1")
        self.assertEqual(self.ports(), 1)  # what it left behind is gone
        self.store.run("revert", "b", "here")  # in a new process
        self.assertIn("3 packets received", " ".join(self.sh(a, ping)))
        self.store.run("stop", "--force", "b")
        self.assertEqual(self.ports(), 1)
        self.store.run("stop", "--force", "a")
        self.assertEqual(self.ports(), 0)
        kinds = [frame[23] for frame in frames(capture) if frame[12:14] == b"\x08\x00"]
        self.assertGreaterEqual(kinds.count(1), 2 * 9)  # pings, there and back
        self.assertGreater(kinds.count(6), 1000)  # TCP
        for name in "ab":
            self.store.run("set", "--net", "nat", name)
        self.store.run("net", "rm", "lab")
        self.assertEqual(list(self.run_dir.glob("vmtest/*/net-lab")), [])


if __name__ == "__main__":
    unittest.main()
