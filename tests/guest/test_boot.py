#!/usr/bin/env python3
"""The Debian guest boots as it does under QEMU, knows its CPU to need no mitigations, and turns itself off and on."""

import time
import unittest

import common
import kernel
from harness import qemu, vmtest


class Boot(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.debian = common.debian()
        cls.store = cls.enterClassContext(vmtest.Store())
        cls.guest = cls.enterClassContext(vmtest.Vmtest(cls.debian, cls.store, "web"))

    def test_the_kernel_warns_of_nothing_that_it_does_not_warn_of_in_qemu(self):
        if not qemu.available():
            self.skipTest("no qemu-system-i386 here to compare with")
        self.assertEqual(kernel.warnings_of_our_own(self.guest, self.debian), [])

    def test_no_mitigation_costs_time(self):
        self.assertEqual(kernel.costly_mitigations(self.guest), [])

    def test_systemd_has_no_failed_unit(self):
        self.guest.execute("systemctl is-system-running --wait")
        self.assertEqual(self.guest.execute("systemctl --failed --plain --no-legend")[1], b"")

    def test_the_network_is_up(self):
        status, out, _ = self.guest.execute("/lib/systemd/systemd-networkd-wait-online --timeout=60 && ip -4 -o addr")
        self.assertEqual(status, 0)
        self.assertRegex(out.decode(), r"inet 10\.0\.2\.\d+")

    def test_the_clock_is_the_hosts(self):
        self.assertAlmostEqual(float(self.guest.execute("date +%s")[1]), time.time(), delta=5)

    def test_reboot_boots_again_and_stop_ends_it(self):
        before = kernel.boot_id(self.guest)
        self.guest.execute("systemctl reboot --no-block")
        after = kernel.wait_for_another_boot(self.guest, before)
        self.store.run("stop", "web")
        self.assertFalse(self.store.json("info", "web")["running"])
        self.store.run("start", "--timeout", "10m", "web", timeout=700)
        self.assertNotIn(kernel.boot_id(self.guest), (before, after))


if __name__ == "__main__":
    unittest.main()
