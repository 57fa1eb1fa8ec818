#!/usr/bin/env python3
"""Linux's own tests of the processor (tools/testing/selftests, from Debian's kernel source): segments, returns from
signals, single steps and breakpoints, virtual-8086 mode, I/O rights, the vDSO. Each passes, and no kernel warns of it.

    test_selftests.py [Amd64|Amd64V3|I386]..."""

import re
import subprocess
import tempfile
import unittest
from pathlib import Path

import common
from harness import guest, vmtest

FOLDERS = ("breakpoints", "ptrace", "sigaltstack", "syscall_user_dispatch", "vDSO", "x86")
# What is no test of the processor's, or wants one that no guest of ours has.
LEFT_OUT = {
    "amx_64": "there is no AMX",
    "step_after_suspend_test": "there is no suspending",
    "sud_benchmark": "measures",
    "vmaccess": "fails on Debian 12's kernel wherever it runs: it waits for a later one",
}
# Of a 32-bit program for a 64-bit kernel.
LIBRARIES = ("ld-linux.so.2", "libc.so.6", "libm.so.6", "libgcc_s.so.1")
RUN = """cd /root/selftests/%s && LD_LIBRARY_PATH=/root/selftests/lib timeout -s KILL 120 ./%s </dev/null 2>&1"""
# But for what it says of any program that tries these.
WARNINGS = "dmesg --level=emerg,alert,crit,err,warn | grep -v 'attempts to use CLI/STI, pretending'; true"
FAILED = re.compile(r"^(\[FAIL\].*|\tFAIL.*|not ok .*)$", re.M)


def unpack(directory):
    """The tests' source under directory; what Debian does not let us have is a reason to skip."""
    found = subprocess.run(["sh", str(common.SOURCE / "fixtures" / "source.sh"), "linux"], stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, text=True)
    if found.returncode:
        raise unittest.SkipTest(f"no source of Linux: {found.stderr.strip()}")
    wanted = [f"*/{path}" for path in ("Makefile", "scripts", "include", "arch/x86/include", "tools/include",
                                       "tools/arch/x86", "tools/testing/selftests")]
    subprocess.run(["tar", "-xf", found.stdout.strip(), "-C", directory, "--strip-components=1", "--no-wildcards-match-slash",
                    "--wildcards", *wanted], check=True)
    return Path(directory) / "tools" / "testing" / "selftests"


def build(source, out, compiler):
    """{folder: names} of the programs made in out; a program that does not build is not there."""
    made = {}
    for folder in FOLDERS:
        target = Path(out) / folder
        target.mkdir(parents=True)
        subprocess.run(["make", "-k", "-s", "-C", str(source / folder), "ARCH=x86", f"CC={compiler}", f"OUTPUT={target}"],
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        made[folder] = sorted(path.name for path in target.iterdir() if path.read_bytes()[:4] == b"\x7fELF")
    return made


class Selftests:
    name = flavour = compiler = ""
    model = ()

    @classmethod
    def setUpClass(cls):
        scratch = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        (scratch / "linux").mkdir()
        out = scratch / "selftests"
        made = build(unpack(scratch / "linux"), out, cls.compiler)
        cls.programs = [(folder, name) for folder, names in made.items() for name in names if name not in LEFT_OUT]
        cls.libraries(out / "lib")
        subprocess.run(["tar", "-czf", scratch / "selftests.tar.gz", "-C", scratch, "selftests"], check=True)
        image = guest.make(cls.name, cls.flavour)
        image.words = [*image.words, *cls.model]
        cls.machine = cls.enterClassContext(vmtest.Vmtest(image, cls.enterClassContext(vmtest.Store()), "m"))
        cls.machine.copy_in(scratch / "selftests.tar.gz", "/root/selftests.tar.gz", 0o644)
        status, _, err = cls.machine.execute("cd /root && tar -xzf selftests.tar.gz && "
                                             "{ [ -e /lib/ld-linux.so.2 ] || cp selftests/lib/ld-linux.so.2 /lib; }")
        if status:
            raise AssertionError(err.decode(errors="replace"))

    @classmethod
    def libraries(cls, directory):
        directory.mkdir()

    def test_each_passes_and_the_kernel_warns_of_none(self):
        folders = {folder for folder, _ in self.programs}
        self.assertEqual(folders, set(FOLDERS), "what was built")
        self.assertGreater(len(self.programs), 30)
        known = self.machine.execute(WARNINGS)[1]
        for folder, name in self.programs:
            with self.subTest(f"{folder}/{name}"):
                status, out, _ = self.machine.execute(RUN % (folder, name), 300)
                text = out.decode(errors="replace")
                self.assertIn(status, (0, 4), text[-3000:])  # 4: nothing to test here, as it says itself
                self.assertEqual(FAILED.findall(text), [])
                warned = self.machine.execute(WARNINGS)[1]
                before, known = known, warned
                self.assertEqual(warned[len(before):].decode(errors="replace"), "", "the kernel's warnings")


class Amd64(Selftests, unittest.TestCase):
    name, flavour, compiler = "debian-amd64", "amd64", "gcc"

    @classmethod
    def libraries(cls, directory):
        """The host's, for the 32-bit programs: the guest has none."""
        directory.mkdir()
        for library in LIBRARIES:
            found = subprocess.run(["gcc", "-m32", f"-print-file-name={library}"], stdout=subprocess.PIPE, text=True,
                                   check=True).stdout.strip()
            path = Path(found) if "/" in found else Path("/lib") / library
            (directory / library).write_bytes(path.read_bytes())
            (directory / library).chmod(0o755)


class Amd64V3(Amd64):
    """With XSAVE in the kernel, whose state areas the tests spoil."""

    model = ("--cpu", "x86-64-v3")

    @classmethod
    def setUpClass(cls):
        common.needs_avx2()
        super().setUpClass()


class I386(Selftests, unittest.TestCase):
    name, flavour, compiler = "debian-i386-bios", "686", "gcc -m32"


if __name__ == "__main__":
    unittest.main()
