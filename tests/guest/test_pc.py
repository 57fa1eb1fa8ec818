#!/usr/bin/env python3
"""Debian as people have it, on a partitioned disk that the BIOS boots through GRUB: amd64, its cloud kernel, i386 and its
PAE kernel. The programs in it give what the same files give natively, and snapshots bring back all of its memory.

    test_pc.py [Amd64|Amd64Thorough|Amd64V3|Amd64Cloud|I386|I386Pae]..."""

import os
import random
import subprocess
import tempfile
import unittest

import common
import keep
import kernel
from harness import guest, native, qemu, vmtest

PROGRAMS = common.SOURCE / "tests" / "guest" / "programs"


class Pc:
    """What each of the guests must show."""

    name = flavour = ""  # what fixtures/guest.sh calls the guest and its kernel
    bits = 0
    programs = ("gcc", "openssl", "python3")
    model = ()  # options for the CPU

    @classmethod
    def setUpClass(cls):
        cls.guest = guest.make(cls.name, cls.flavour)
        cls.guest.words = [*cls.guest.words, *cls.model]
        cls.scratch = cls.enterClassContext(tempfile.TemporaryDirectory())
        cls.store = cls.enterClassContext(vmtest.Store())
        cls.kept = keep.Kept(cls.store, "pc", common.demo_package(cls.scratch), cls.guest)
        cls.machine = cls.kept.machine

    def test_the_bios_started_grub_and_grub_this_kernel(self):
        version = self.kept.do("uname -r").decode().strip()
        self.assertRegex(version, rf"^[0-9.]+-\d+-{self.flavour}$")
        self.assertIn(f"BOOT_IMAGE=/boot/vmlinuz-{version} ", self.kept.do("cat /proc/cmdline").decode())
        self.assertEqual(self.kept.do("getconf LONG_BIT; ls -d /sys/firmware/efi 2>&1 | tail -c 26"),
                         f"{self.bits}\nNo such file or directory\n".encode())

    def test_no_mitigation_costs_time(self):
        self.assertEqual(kernel.costly_mitigations(self.machine), [])

    def test_systemd_has_no_failed_unit(self):
        self.machine.execute("systemctl is-system-running --wait")
        self.assertEqual(self.kept.do("systemctl --failed --plain --no-legend"), b"")

    def test_packages_are_as_they_were_packed(self):
        self.assertEqual(self.machine.execute("dpkg -V", 1200)[:2], (0, b""))

    def test_programs_give_what_they_give_natively(self):
        lua = subprocess.run(["sh", str(common.SOURCE / "fixtures" / "source.sh"), "lua5.4"], stdout=subprocess.PIPE,
                             text=True, check=True).stdout.strip()
        self.kept.do("mkdir -p /root/programs")
        with native.Native(self.guest.image) as host:
            self.assertTrue(host.runs(), f"this host runs no programs of {self.name}")
            for where in (self.machine, host):
                where.copy_in(lua, "/root/programs/lua.tar.gz", 0o644)
                for path in PROGRAMS.iterdir():
                    where.copy_in(path, f"/root/programs/{path.name}", 0o644)
            for program in self.programs:
                with self.subTest(program=program):
                    command = f"cd /root/programs && exec sh ./{program}.sh"
                    status, out, err = self.machine.execute(command, 1800)
                    self.assertEqual(status, 0, err.decode(errors="replace"))
                    self.assertEqual((status, out), host.execute(command)[:2])

    def test_snapshot_revert_and_restore_in_a_new_process(self):
        rnd = random.Random(int(os.environ.get("VMTEST_SEED", "0")) or None)
        want = self.kept.change(rnd, self.kept.show())
        self.store.run("snapshot", "pc", "here")
        self.assertNotEqual(keep.unlike(self.kept.change(rnd, want), want), "")
        self.store.run("revert", "pc", "here")
        self.assertEqual(keep.unlike(self.kept.show(), want), "")
        self.kept.change(rnd, want)
        self.store.run("stop", "--force", "pc")
        self.store.run("revert", "pc", "here")
        self.assertEqual(keep.unlike(self.kept.show(), want), "", "in a new process")


class Thorough(Pc):
    """What takes a second boot of the guest."""

    def test_the_kernel_warns_of_nothing_that_it_does_not_warn_of_in_qemu(self):
        self.assertTrue(qemu.available(), "no QEMU here to compare with")
        self.assertEqual(kernel.warnings_of_our_own(self.machine, self.guest), [])

    def test_reboot_goes_through_the_bios_again(self):
        # The other tests want the keeper, which does not outlive its boot.
        self.store.run("snapshot", "pc", "first-boot")
        self.addCleanup(self.store.run, "revert", "pc", "first-boot")
        before = kernel.boot_id(self.machine)
        self.machine.execute("systemctl reboot --no-block")
        after = kernel.wait_for_another_boot(self.machine, before)
        self.store.run("stop", "pc")
        self.assertFalse(self.store.json("info", "pc")["running"])
        self.store.run("start", "--timeout", "10m", "pc", timeout=700)
        self.assertNotIn(kernel.boot_id(self.machine), (before, after))


class Amd64(Pc, unittest.TestCase):
    """The one that each run boots; the compiler has its time in the others."""

    name, flavour, bits = "debian-amd64", "amd64", 64
    programs = ("openssl", "python3")


class Amd64Thorough(Thorough, unittest.TestCase):
    name, flavour, bits = "debian-amd64", "amd64", 64


class Amd64V3(Pc, unittest.TestCase):
    """AVX2 in the programs, XSAVE in the kernel."""

    name, flavour, bits = "debian-amd64", "amd64", 64
    model = ("--cpu", "x86-64-v3")

    @classmethod
    def setUpClass(cls):
        common.needs_avx2()
        super().setUpClass()

    def test_the_kernel_uses_xsave(self):
        flags = self.kept.do("grep -m1 ^flags /proc/cpuinfo").split()
        self.assertTrue({b"avx2", b"fma", b"bmi2", b"xsave"} <= set(flags))
        self.assertIn(b"Enabled xstate features 0x7", self.kept.do("dmesg"))

    def test_processes_keep_their_registers(self):
        """What uses AVX2 gives the same in six processes at once as alone, and as without it."""
        self.kept.do("head -c 16777216 /dev/urandom >/root/r")
        digest = "openssl dgst -sha512 /root/r; openssl dgst -blake2b512 /root/r; openssl enc -chacha20 " \
                 "-K 000102030405060708090a0b0c0d0e0f000102030405060708090a0b0c0d0e0f " \
                 "-iv 000102030405060708090a0b0c0d0e0f -in /root/r | md5sum"
        want = self.kept.do(f"export OPENSSL_ia32cap=0:0; {digest}")
        self.assertEqual(self.kept.do(digest), want)
        together = self.kept.do(f"for i in 1 2 3 4 5 6; do ({digest}) >/root/o$i & done; wait; cat /root/o?")
        self.assertEqual(together, want * 6)


class Amd64Cloud(Thorough, unittest.TestCase):
    name, flavour, bits = "debian-amd64", "cloud-amd64", 64


class I386(Thorough, unittest.TestCase):
    name, flavour, bits = "debian-i386-bios", "686", 32


class I386Pae(Thorough, unittest.TestCase):
    name, flavour, bits = "debian-i386-bios", "686-pae", 32


if __name__ == "__main__":
    unittest.main()
