#!/usr/bin/env python3
"""Boot media that are not ours: GRUB's rescue image from floppy, CD and disk, up to its shell's answer, and memtest86+."""

import unittest
from pathlib import Path

import common  # noqa: F401
from harness import guest
from onemachine import OneMachine


class Media(OneMachine):
    LIMIT = "2m"

    @classmethod
    def setUpClass(cls):
        cls.media = Path(guest.make("media").image).parent

    def grub_answers(self, *words):
        self.boot(*words)
        self.wait("--text", "GNU GRUB")
        self.store.run("-m", "m", "type", "c")
        self.wait("--text", "grub>")
        self.store.run("-m", "m", "type", "set x=answer; echo ${x}-on-$grub_platform\n")
        self.wait("--text", "answer-on-pc")

    def test_grub_from_a_floppy(self):
        self.grub_answers("--floppy", self.media / "grub.floppy")

    def test_grub_from_a_cd(self):
        self.grub_answers("--cdrom", self.media / "grub.iso")

    def test_grub_from_a_virtio_disk(self):
        self.grub_answers("--disk", self.media / "grub.iso")

    def test_grub_from_an_ide_disk(self):
        self.grub_answers("--disk", self.media / "grub.iso", "--disk-bus", "ide")

    def test_memtest(self):
        """Its first three tests, without an error."""
        self.boot("--cdrom", self.media / "memtest.iso", memory="32M")
        self.wait("--text", "Memtest86+ v")
        self.wait("--regex", "--text", "Test #([4-9]|10) ")
        self.assertIn("Errors: 0", self.screen())


if __name__ == "__main__":
    unittest.main()
