#!/usr/bin/env python3
"""Period devices with a real system's drivers: floppies (floppy) of every usual size, snapshots taken amid their
transfers, and an NE2000 on PCI (ne2k-pci) that gets its address from our NAT and moves files both ways."""

import functools
import hashlib
import http.server
import os
import random
import socketserver
import subprocess
import tempfile
import threading
import unittest
from pathlib import Path

import common
from harness import vmtest

LIMIT = 120

# Writes a part of the disk elsewhere on it, reads both again from the medium, and compares.
ROUND = """\
n=0
while [ $n -lt ROUNDS ]; do
    n=$((n + 1))
    dd if=/dev/fd0 of=/tmp/a bs=9k skip=$n count=6 2>/dev/null
    dd if=/tmp/a of=/dev/fd0 bs=9k seek=$((n + 60)) conv=fsync,notrunc 2>/dev/null
    echo 3 >/proc/sys/vm/drop_caches
    dd if=/dev/fd0 of=/tmp/b bs=9k skip=$((n + 60)) count=6 2>/dev/null
    cmp /tmp/a /tmp/b || exit 4
    echo "round $n is good"
done
"""

# What a DHCP client calls with its lease, then files to and fro.
NETWORK = """\
cat >/tmp/lease <<'END'
#!/bin/sh
[ "$1" != bound ] || { ifconfig $interface $ip netmask $subnet && route add default gw $router; }
END
chmod +x /tmp/lease
ifconfig eth0 up
udhcpc -i eth0 -n -q -s /tmp/lease || exit 3
ifconfig eth0
dmesg | grep RTL
wget -q -O /tmp/data http://10.0.2.2:HTTP/data.bin || exit 4
sha256sum </tmp/data
nc 10.0.2.2 TAKER </tmp/data || exit 5
ifconfig eth0 | grep 'errors:[^0]' && exit 6
exit 0
"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


class Taker(socketserver.BaseRequestHandler):
    """Takes all that comes, and remembers its hash."""

    def handle(self):
        taken = hashlib.sha256()
        while part := self.request.recv(65536):
            taken.update(part)
        self.server.taken.append(taken.hexdigest())


class Period(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.guest = common.guest.make("tiny-pc", os.environ.get("VMTEST_GUEST_KERNEL"))
        cls.temp = tempfile.TemporaryDirectory()
        cls.dir = Path(cls.temp.name)
        cls.random = random.Random(82077)

    @classmethod
    def tearDownClass(cls):
        cls.temp.cleanup()

    def image(self, kib):
        """A disk of random bytes: its path, and its hash."""
        path, data = self.dir / f"{kib}.img", self.random.randbytes(kib * 1024)
        path.write_bytes(data)
        return path, hashlib.sha256(data).hexdigest()

    def line(self, script):
        """The kernel's command line. The script goes in hexadecimal: it has no quotes within quotes."""
        return f'{self.guest.append} quiet vmtest.cmd="echo {script.encode().hex()} | xxd -r -p >/tmp/s; sh /tmp/s"'

    def run_guest(self, script, *options):
        words = [vmtest.program(), "run", "--kernel", self.guest.kernel, "--initrd", self.guest.initrd, "--append",
                 self.line(script), "--mem", "128M", "--timeout", f"{LIMIT}s", *options]
        done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=LIMIT + 30)
        text = done.stdout.decode(errors="replace").replace("\r", "")
        self.assertEqual(done.returncode, 0, text[-2000:] + done.stderr.decode())
        self.assertIn("vmtest-tiny: status 0", text, text[-2000:])
        return text

    def test_floppies_of_every_usual_size(self):
        """Two at a time; each is known for what it is, and read to its last byte."""
        for first, second in ((1440, 360), (1200, 720), (2880, 1440)):
            with self.subTest(first=first, second=second):
                (a, sum_a), (b, sum_b) = self.image(first), self.image(second)
                text = self.run_guest("cat /sys/block/fd0/size /sys/block/fd1/size; sha256sum </dev/fd0\n"
                                      "sha256sum </dev/fd1; cat /sys/block/fd0/size /sys/block/fd1/size\n"
                                      "dmesg | grep -E 'floppy.*error|I.O error|floppy.*reset' && exit 6\nexit 0",
                                      "--floppy", a, "--floppy", b)
                self.assertIn(sum_a, text)
                self.assertIn(sum_b, text)
                self.assertIn(f"\n{first * 2}\n{second * 2}\n", text)

    def test_a_floppy_is_written(self):
        path, before = self.image(1440)
        text = self.run_guest(ROUND.replace("ROUNDS", "12"), "--floppy", path)
        self.assertIn("round 12 is good", text)
        self.assertEqual(hashlib.sha256(path.read_bytes()).hexdigest(), before)  # the file is ours

    def test_snapshots_amid_transfers(self):
        """Each goes on to the same good end; the guest turns the power off after a good one only."""
        path, _ = self.image(1440)
        script = "(" + ROUND.replace("ROUNDS", "18") + ") || exec sleep 100000\n"
        with vmtest.Store() as store:
            store.run("create", "--kernel", self.guest.kernel, "--initrd", self.guest.initrd, "--mem", "128M",
                      "--append", self.line(script), "--floppy", path, "old")
            store.run("start", "--no-wait", "old")
            for n in range(1, 4):
                store.run("wait", "--serial", "--text", f"round {4 * n} is good", "--timeout", "60s", "old")
                store.run("snapshot", "old", f"s{n}")
            for n in (2, 3, 1):
                store.run("revert", "old", f"s{n}")
                store.run("wait", "--serial", "--text", "nothing says this", "--timeout", "60s", "old", want=1)

    def test_an_ne2000_on_the_network(self):
        data = self.random.randbytes(3_000_001)
        (self.dir / "data.bin").write_bytes(data)
        pages = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=self.dir))
        taker = socketserver.TCPServer(("127.0.0.1", 0), Taker)
        taker.taken = []
        with pages, taker:
            for server in (pages, taker):
                threading.Thread(target=server.serve_forever, daemon=True).start()
            text = self.run_guest(NETWORK.replace("HTTP", str(pages.server_port))
                                  .replace("TAKER", str(taker.server_address[1])), "--nic", "ne2k_pci")
            for server in (pages, taker):
                server.shutdown()
        self.assertIn("RealTek RTL-8029(AS) found", text)
        self.assertIn("inet addr:10.0.2.15", text)
        self.assertIn(hashlib.sha256(data).hexdigest(), text)
        self.assertEqual(taker.taken, [hashlib.sha256(data).hexdigest()])


if __name__ == "__main__":
    unittest.main()
