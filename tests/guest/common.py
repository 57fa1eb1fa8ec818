"""What the guest tests share."""

import os
import subprocess
import sys
import unittest
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(SOURCE / "tests"))

from harness import guest, qemu, vmtest  # noqa: E402


def debian():
    return guest.make("debian-i386", os.environ.get("VMTEST_GUEST_KERNEL"))


def tiny():
    return guest.make("tiny", os.environ.get("VMTEST_GUEST_KERNEL"))


def demo_package(directory):
    """The path of our own .deb, built in directory."""
    out = subprocess.run(["sh", str(SOURCE / "fixtures" / "demo-deb.sh"), str(directory)], stdout=subprocess.PIPE,
                         text=True, check=True).stdout
    return out.splitlines()[-1]


def machine(image, store):
    """A machine to run programs in. VMTEST_TEST_MACHINE=qemu runs a test on QEMU: for checking the test itself."""
    if os.environ.get("VMTEST_TEST_MACHINE") == "qemu":
        return qemu.Qemu(image)
    return vmtest.Vmtest(image, store, "web")


def needs_avx2():
    """For machines with --cpu x86-64-v3: a host without AVX2 is a reason to skip."""
    if " avx2 " not in Path("/proc/cpuinfo").read_text():
        raise unittest.SkipTest("this host has no AVX2")
