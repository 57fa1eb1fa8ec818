#!/usr/bin/env python3
"""`vmtest run --kernel` with kernels that are not Linux: Multiboot 1 (in ELF, in 64-bit ELF, by addresses) and PVH."""

import struct
import tempfile
import unittest
from pathlib import Path

import common  # noqa: F401
from harness import kernels

MULTIBOOT = ("multiboot", "video", "addresses", "flat", "elf64", "both")
MEM = 16 << 20
# RAM below the extended BIOS data area, that area, the ACPI tables, RAM from 1 MiB on: start, size, type.
RANGES = [f"0 {0x9fc00:x} 1", "9fc00 400 2", "e0000 20000 2", f"100000 {MEM - 0x100000:x} 1"]


def checksum(data):
    total = 0
    for byte in data:
        total = (total * 31 + byte) & 0xffffffff
    return total


class Kernels(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory(prefix="vmtest-kernels-")
        self.addCleanup(holder.cleanup)
        self.tmp = Path(holder.name)

    def boot(self, form, *options, want, append="exit=3", **kwargs):
        done = kernels.run(form, "--append", append, *options, **kwargs)
        self.assertEqual(done.returncode, want, done.stdout[-1500:] + done.stderr)
        return done

    def said(self, form, *options, **kwargs):
        return kernels.facts(self.boot(form, *options, want=7, **kwargs).stdout)

    def test_the_state_at_the_entry(self):
        for form in (*MULTIBOOT, "pvh"):
            with self.subTest(form=form):
                said = self.said(form)
                self.assertEqual(said["magic"], ["336ec578" if form == "pvh" else "2badb002"])
                self.assertEqual(said["cr0"], ["1"])  # protected mode, no paging
                self.assertEqual(said["eflags"], ["0"])  # neither IF nor VM
                self.assertEqual(said["a20"], ["1"])
                self.assertEqual(said["bss"], ["0"])
                # the BIOS data area, as far as kernels look at it
                self.assertEqual(said["ebda"] + said["base"], ["9fc0", f"{639:x}"])
                self.assertEqual(said["com1"] + said["crtc"], ["3f8", "3d4"])
                for seg in ("cs", "ds", "ss"):
                    self.assertEqual(said[f"{seg}-limit"], ["ffffffff"])
                self.assertEqual(said["range"], RANGES)
                self.assertEqual(said["cmdline"], ["exit=3"])

    def test_multiboot_information(self):
        said = self.said("multiboot", append="one two exit=3")
        # memory, command line, modules, memory map, the loader's name
        self.assertEqual(said["flags"], [f"{1 | 4 | 8 | 64 | 512:x}"])
        self.assertEqual(said["lower"], [f"{0x9fc00 >> 10:x}"])
        self.assertEqual(said["upper"], [f"{(MEM >> 10) - 1024:x}"])
        self.assertEqual(said["loader"], ["vmtest"])
        self.assertEqual(said["cmdline"], ["one two exit=3"])

    def test_pvh_information(self):
        said = self.said("pvh", append="one two exit=3")
        self.assertEqual(said["version"], ["1"])
        self.assertEqual(said["rsdp"], ["RSD PTR "])
        self.assertEqual(said["cmdline"], ["one two exit=3"])

    def test_modules(self):
        first, second = self.tmp / "first", self.tmp / "second"
        first.write_bytes(b"hello")
        second.write_bytes(bytes(range(256)) * 20)
        want = [f"0 {f.stat().st_size:x} {checksum(f.read_bytes()):x} {f}{args}"
                for f, args in ((first, " with its words"), (second, ""))]
        for form in (*MULTIBOOT, "pvh"):
            with self.subTest(form=form):
                said = self.said(form, "--initrd", f"{first} with its words,{second}")
                self.assertEqual(said["module"], want)

    def test_a_video_mode_is_not_given_and_that_is_logged(self):
        done = self.boot("video", "--log", want=7)
        self.assertIn(b"video mode", done.stderr)

    def test_the_debug_ports(self):
        for form in ("multiboot", "pvh"):
            for value in (0, 20, 127):
                for port in ("exit", "exit501"):
                    with self.subTest(form=form, port=port, value=value):
                        self.boot(form, append=f"{port}={value}", want=2 * value + 1)
        done = self.boot("both", "--log", want=7)
        self.assertIn(b"on the debug port", done.stderr)

    def test_the_exit_port_in_all_widths(self):
        """As QEMU's: of 2v + 1 the lowest byte is the exit status."""
        for port, value in (("exit16", 20), ("exit32", 20), ("exit", 200), ("exit16", 0x1234), ("exit32", 0x12345678)):
            with self.subTest(port=port, value=value):
                self.boot("both", append=f"{port}={value}", want=2 * value + 1 & 0xff)

    def test_a_power_off_and_a_time_out(self):
        for form in ("multiboot", "pvh", "elf64"):
            with self.subTest(form=form):
                self.boot(form, append="poweroff", want=0)
                self.boot(form, "--no-reboot", append="poweroff", want=0)
        done = self.boot("pvh", "--timeout", "2s", append="spin", want=124)
        self.assertNotIn(b"halted", done.stderr)
        done = self.boot("pvh", "--timeout", "2s", append="stop", want=124)
        self.assertRegex(done.stderr, rb"; the guest has halted with interrupts off, at [0-9a-f]{4}:[0-9a-f]{8}\n")

    def test_a_triple_fault_and_a_reset(self):
        done = self.boot("multiboot", append="triple", want=1)
        self.assertIn(b"triple fault", done.stderr)
        self.boot("multiboot", "--no-reboot", append="triple", want=1)
        self.boot("pvh", "--no-reboot", append="reset", want=0)

    def test_a_reset_boots_the_kernel_again(self):
        done = kernels.run("both", "--append", "reset", "--timeout", "2s")
        self.assertEqual(done.returncode, 124, done.stderr)
        said = kernels.facts(done.stdout)
        self.assertGreater(len(said["magic"]), 1)
        self.assertEqual(set(said["bss"]), {"0"})  # it was dirtied before each reset

    # ---- what is not to be booted

    def refused(self, kernel, *options, say, status=125, **kwargs):
        done = kernels.run(kernel, *options, **kwargs)
        lines = done.stderr.decode().splitlines()
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertEqual(done.stdout, b"")
        self.assertEqual(len(lines), 1, lines)
        self.assertIn(say, lines[0])

    def changed(self, form, change):
        data = bytearray(kernels.path(form).read_bytes())
        file = self.tmp / "changed.elf"
        file.write_bytes(change(data) or data)
        return file

    def test_an_elf_file_that_is_no_kernel(self):
        self.refused("neither", say="without a Multiboot header and without a PVH note")

    def test_a_kernel_cut_short(self):
        whole = kernels.path("pvh").stat().st_size
        for length in (20, 60, whole // 4):
            with self.subTest(length=length):
                self.refused(self.changed("pvh", lambda data, n=length: data[:n]), say="cut short")

    def test_a_kernel_for_another_processor(self):
        def other(data):
            struct.pack_into("<H", data, 18, 0x28)  # e_machine: ARM
        self.refused(self.changed("multiboot", other), say="another processor")

    def test_a_segment_where_no_ram_is(self):
        for address, say in ((0xa0000, "no free RAM"), (64 << 20, "16 MiB of RAM")):
            def move(data, to=address):
                phoff = struct.unpack_from("<I", data, 28)[0]
                struct.pack_into("<I", data, phoff + 12, to)  # the first segment's p_paddr
            with self.subTest(address=address):
                self.refused(self.changed("both", move), say=say)

    def test_an_unknown_multiboot_feature(self):
        def ask(data):
            at = data.index(struct.pack("<I", 0x1badb002))
            struct.pack_into("<II", data, at + 4, 0x10, -(0x1badb002 + 0x10) & 0xffffffff)
        self.refused(self.changed("multiboot", ask), say="Multiboot header asks")

    def test_a_module_that_is_not_there(self):
        self.refused("multiboot", "--initrd", f"{self.tmp}/none words", say=f"{self.tmp}/none")


if __name__ == "__main__":
    unittest.main()
