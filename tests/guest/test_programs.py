#!/usr/bin/env python3
"""Programs in the guest give what the same files give natively on the host, and the guest's packages are whole."""

import hashlib
import subprocess
import unittest

import common
from harness import native, vmtest

PROGRAMS = common.SOURCE / "tests" / "guest" / "programs"
NAMES = ["python3", "sqlite3", "openssl", "pack", "gcc", "sha256"]


class Programs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        guest = common.debian()
        lua = subprocess.run(["sh", str(common.SOURCE / "fixtures" / "source.sh"), "lua5.4"], stdout=subprocess.PIPE,
                             text=True, check=True).stdout.strip()
        cls.store = cls.enterClassContext(vmtest.Store())
        cls.native = cls.enterClassContext(native.Native(guest.image))
        cls.guest = cls.enterClassContext(common.machine(guest, cls.store))
        cls.guest.wait_agent(600)
        cls.guest.execute("mkdir -p /root/programs")
        for where in (cls.guest, cls.native):
            where.copy_in(lua, "/root/programs/lua.tar.gz", 0o644)
            for path in PROGRAMS.iterdir():
                where.copy_in(path, f"/root/programs/{path.name}", 0o644)

    def run_both(self, name):
        command = f"cd /root/programs && exec sh ./{name}.sh"
        status, out, err = self.guest.execute(command, 1800)
        self.assertEqual(status, 0, f"in the guest: {err.decode(errors='replace')}")
        if not self.native.runs():
            self.skipTest("this host runs no i386 programs: nothing to compare with")
        want_status, want, err = self.native.execute(command, 600)
        self.assertEqual(want_status, 0, f"natively: {err.decode(errors='replace')}")
        self.assertEqual(out.decode(), want.decode())
        return out.decode()

    def test_python3(self):
        self.run_both("python3")

    def test_sqlite3(self):
        self.assertIn("\nok\n", self.run_both("sqlite3"))

    def test_openssl(self):
        self.run_both("openssl")

    def test_gzip_and_xz(self):
        self.run_both("pack")

    def test_gcc_builds_a_program_of_ten_thousand_lines(self):
        out = self.run_both("gcc")
        self.assertGreaterEqual(int(out.splitlines()[0].split()[1]), 10000)

    def test_sha256_of_512_mib(self):
        first, second = self.run_both("sha256").splitlines()
        self.assertEqual(first.split()[0], second.split()[-1])

    def test_integers_where_the_host_runs_no_i386_programs(self):
        """Needs nothing of the host but Python."""
        status, out, _ = self.guest.execute("head -c 67108864 /dev/zero | sha256sum")
        self.assertEqual((status, out.split()[0].decode()), (0, hashlib.sha256(bytes(67108864)).hexdigest()))

    def test_packages_are_as_they_were_packed(self):
        self.assertEqual(self.guest.execute("dpkg -V", 1200)[:2], (0, b""))


if __name__ == "__main__":
    unittest.main()
