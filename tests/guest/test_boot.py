#!/usr/bin/env python3
"""The Debian guest boots as it does under QEMU, knows its CPU to need no mitigations, and turns itself off and on."""

import re
import time
import unittest

import common
from harness import qemu, vmtest

WARNINGS = "dmesg --level=emerg,alert,crit,err,warn"


def shape(line):
    """A kernel message without its time, and with all numbers alike."""
    line = re.sub(r"^\[[^]]*\] *", "", line)
    return re.sub(r"0x[0-9a-f]+|\b[0-9a-f]{8,16}\b|\d+", "N", line)


class Boot(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.debian = common.debian()
        cls.store = cls.enterClassContext(vmtest.Store())
        cls.guest = cls.enterClassContext(vmtest.Vmtest(cls.debian, cls.store, "web"))

    def boot_id(self):
        return self.guest.execute("cat /proc/sys/kernel/random/boot_id")[1]

    def test_the_kernel_warns_of_nothing_that_it_does_not_warn_of_in_qemu(self):
        if not qemu.available():
            self.skipTest("no qemu-system-i386 here to compare with")
        with qemu.Qemu(self.debian) as other:
            other.wait_agent(600)
            known = {shape(line) for line in other.execute(WARNINGS)[1].decode().splitlines()}
        ours = self.guest.execute(WARNINGS)[1].decode().splitlines()
        self.assertEqual([line for line in ours if shape(line) not in known], [])

    def test_no_mitigation_costs_time(self):
        text = self.guest.execute("grep . /sys/devices/system/cpu/vulnerabilities/*")[1].decode()
        self.assertIn("/meltdown:", text)
        self.assertEqual([line for line in text.splitlines()
                          if re.search(r"PTI|etpoline|[Cc]lear CPU buffers|return thunk|VERW", line)], [])

    def test_systemd_has_no_failed_unit(self):
        self.guest.execute("systemctl is-system-running --wait")
        self.assertEqual(self.guest.execute("systemctl --failed --plain --no-legend")[1], b"")

    def test_the_network_is_up(self):
        status, out, _ = self.guest.execute("/lib/systemd/systemd-networkd-wait-online --timeout=60 && ip -4 -o addr")
        self.assertEqual(status, 0)
        self.assertRegex(out.decode(), r"inet 10\.0\.2\.\d+")

    def test_the_clock_is_the_hosts(self):
        self.assertAlmostEqual(float(self.guest.execute("date +%s")[1]), time.time(), delta=5)

    def wait_for_another_boot(self, before, timeout=600):
        """The boot's id once it is not before. While the guest restarts, a command may fail: that is not the end."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            try:
                status, now, _ = self.guest.execute("cat /proc/sys/kernel/random/boot_id")
            except vmtest.CommandFailed:
                continue
            if status == 0 and now != before:
                return now
        return self.fail(f"no other boot within {timeout} s")

    def test_reboot_boots_again_and_stop_ends_it(self):
        before = self.boot_id()
        self.guest.execute("systemctl reboot --no-block")
        after = self.wait_for_another_boot(before)
        self.store.run("stop", "web")
        self.assertFalse(self.store.json("info", "web")["running"])
        self.store.run("start", "--timeout", "10m", "web", timeout=700)
        self.assertNotIn(self.boot_id(), (before, after))


if __name__ == "__main__":
    unittest.main()
