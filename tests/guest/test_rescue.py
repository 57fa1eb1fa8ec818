#!/usr/bin/env python3
"""What Debian's packages have for booting when nothing else does: memtest86+ as a kernel and started by GRUB, GRUB's
shell on the serial port, ISOLINUX, iPXE, and the network installers up to their first dialogue."""

import subprocess
import tempfile
import unittest
from pathlib import Path

import common  # noqa: F401
from harness import guest
from onemachine import OneMachine


class Rescue(OneMachine):
    @classmethod
    def setUpClass(cls):
        cls.files = Path(guest.make("rescue").image).parent

    def enter(self, line):
        self.store.run("-m", "m", "type", "--key", "ret", line)

    def assertAnswers(self, line, answer):
        """A shell on the serial port."""
        console = self.store.popen("console", "m", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        console.stdin.write(line.encode() + b"\r")
        console.stdin.flush()
        self.wait("--serial", "--regex", "--text", f"^{answer}")
        console.kill()
        console.communicate()

    def assertPicture(self, width, height):
        """The display can be had as PNG, of this size."""
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "png"
            self.store.run("screenshot", "m", path)
            data = path.read_bytes()
        self.assertEqual(data[:8], b"\x89PNG\r\n\x1a\n")
        self.assertEqual((int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")), (width, height))


class Memtest(Rescue):
    def assertTests(self, timeout=None):
        """The first three tests go by without an error: the fourth has begun, or one after it."""
        self.wait("--regex", "--text", "Test #([3-9]|10) ", timeout=timeout)
        self.assertNoErrors()

    def assertNoErrors(self):
        shown = self.screen()
        self.assertRegex(shown, r"(?m)Errors: 0\s*$")
        self.assertPicture(720, 400)

    def test_i386(self):
        self.boot("--kernel", self.files / "memtest-i386", "--append", "console=ttyS0,115200", memory="32M")
        self.assertTests()
        self.wait("--serial", "--text", "Memtest86+")

    def test_amd64(self):
        self.boot("--kernel", self.files / "memtest-amd64", memory="32M")
        self.assertTests()

    def test_from_a_floppy(self):
        self.boot("--floppy", self.files / "grub.floppy")
        self.wait("--serial", "--text", "grub>")
        self.enter("linux16 (memdisk)/memtest")
        self.enter("boot")
        self.assertTests()


class MemtestPass(Rescue):
    def test_a_whole_pass(self):
        """Within a quarter of an hour, both at once."""
        for arch in ("i386", "amd64"):
            self.store.run("create", "--kernel", self.files / f"memtest-{arch}", "--mem", "32M", arch)
            self.store.run("start", "--no-wait", arch)
        for arch in ("i386", "amd64"):
            self.store.run("wait", "--regex", "--text", "Pass: +[1-9]", "--timeout", "15m", arch, timeout=1000)
            self.assertRegex(self.store.run("screen", arch).text, r"(?m)Errors: 0\s*$")


class Grub(Rescue):
    def test_its_shell_on_both_consoles(self):
        self.boot("--floppy", self.files / "grub.floppy")
        self.wait("--serial", "--text", "grub>")
        self.enter("echo an${none}swer")
        self.wait("--regex", "--text", "^answer")
        self.assertAnswers("echo ser${none}ial", "serial")
        self.assertPicture(720, 400)


class Isolinux(Rescue):
    def test_a_shell(self):
        self.boot("--cdrom", self.files / "isolinux.iso", memory="128M")
        self.wait("--regex", "--text", "^ISOLINUX 6")
        self.wait("--text", "boot:")
        self.enter("tiny")
        self.wait("--serial", "--text", "# ")
        self.assertAnswers("echo shell-$((6 * 7))", "shell-42")
        self.assertIn("Loading /vmlinuz... ok", self.screen())


class Ipxe(Rescue):
    def test_an_address(self):
        cards = ("virtio", "ne2k_pci")
        for card in cards:
            self.store.run("create", "--cdrom", self.files / "isolinux.iso", "--nic", card, "--mem", "64M", card)
            self.store.run("start", "--no-wait", card)
            self.store.run("wait", "--text", "boot:", "--timeout", "60s", card)
            self.store.run("-m", card, "type", "--key", "ret", "ipxe")
        for card in cards:
            with self.subTest(card=card):
                self.store.run("wait", "--text", "10.0.2.15/255.255.255.0 gw 10.0.2.2", "--timeout", "60s", card)


class Installer(Rescue):
    def assertDialogue(self, arch, *words):
        self.boot("--kernel", self.files / f"installer-{arch}", "--initrd", self.files / f"installer-{arch}.initrd",
                  "--append", "console=ttyS0", *words, memory="1G")
        self.wait("--serial", "--regex", "--text", "Select a language|Choose language", timeout="3m")

    def test_i386(self):
        self.assertDialogue("i386")

    def test_amd64(self):
        self.assertDialogue("amd64")


if __name__ == "__main__":
    unittest.main()
