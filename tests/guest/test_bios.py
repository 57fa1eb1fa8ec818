#!/usr/bin/env python3
"""Machines that their BIOS boots: SeaBIOS finds the devices, reads the boot sector, and keys that are typed from the host
reach a real-mode program through INT 16h."""

import os
import random
import struct
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

import common  # noqa: F401
from harness import vmtest

SECTOR, EDID = Path(os.environ["VMTEST_SECTOR"]), Path(os.environ["VMTEST_EDID"])
LIMIT = 60
SEABIOS = [Path(p, "bios-256k.bin") for p in ("/usr/share/seabios", "/usr/share/qemu")]  # as src/machine.c looks for it


class Bios(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.scratch = Path(scratch.name)

    def image(self, name, size):
        path = self.scratch / name
        path.write_bytes(SECTOR.read_bytes().ljust(size, b"\0"))
        return path



class Devices(Bios):
    def assertBoots(self, drive, *words):
        """What the BIOS said on its way. The byte on the serial line ends the program."""
        done = subprocess.run([vmtest.program(), "run", *map(str, words), "--mem", "16M", "--timeout", f"{LIMIT}s", "--log"],
                              input=b"q", capture_output=True, timeout=LIMIT + 30)
        err = done.stderr.decode()
        self.assertEqual(done.stdout.decode(), f"booted from {drive}:\r\nsecond sector\r\nready\r\n", err)
        self.assertEqual(done.returncode, 43)
        self.assertIn("bios: SeaBIOS (version", err)
        return err

    def test_a_virtio_disk(self):
        self.assertBoots("C", "--disk", self.image("disk", 1 << 20))

    def test_an_ide_disk(self):
        self.assertBoots("C", "--disk", self.image("disk", 1 << 20), "--disk-bus", "ide")

    def test_a_floppy(self):
        self.assertBoots("A", "--floppy", self.image("floppy", 1440 << 10))

    def test_the_boot_order(self):
        both = ("--disk", self.image("disk", 1 << 20), "--floppy", self.image("floppy", 1440 << 10))
        self.assertBoots("C", *both)
        self.assertBoots("A", *both, "--boot", "floppy,disk")
        empty = self.scratch / "empty"
        empty.write_bytes(bytes(1 << 20))
        self.assertBoots("A", "--disk", empty, "--floppy", both[3])  # what does not boot is passed over
        err = self.assertBoots("C", "--disk", both[1], "--disk", empty, "--disk", empty)
        order = [line.split()[-1] for line in err.splitlines() if "/pci@i0cf8/scsi@" in line]
        self.assertEqual(order, sorted(order))

    def test_the_vga_bios_has_the_monitors_edid(self):
        """By VBE/DDC: 1024x768 at 60 Hz is what it prefers."""
        disk = self.scratch / "disk"
        disk.write_bytes(EDID.read_bytes().ljust(1 << 20, b"\0"))
        done = subprocess.run([vmtest.program(), "run", "--disk", str(disk), "--mem", "16M", "--timeout", f"{LIMIT}s"],
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT + 30)
        self.assertEqual(done.returncode, 43, done.stderr)
        told = bytes.fromhex(done.stdout.decode())
        self.assertEqual(told[:6], bytes.fromhex("004f 0103 004f"))  # done; 128 bytes a second, DDC1 and DDC2; done
        block = told[6:]
        self.assertEqual((len(block), block[:8], sum(block) % 256), (128, b"\0" + b"\xff" * 6 + b"\0", 0))
        clock, first = struct.unpack_from("<HB", block, 54)
        across, down = first | (block[58] & 0xf0) << 4, block[59] | (block[61] & 0xf0) << 4
        self.assertEqual((clock, across, down), (6500, 1024, 768))
        self.assertIn(b"vmtest\n", block)

    def test_nothing_to_boot(self):
        empty = self.scratch / "empty"
        empty.write_bytes(bytes(1 << 20))
        with vmtest.Store() as store:
            store.run("create", "--image", empty, "--mem", "16M", "m")
            store.run("start", "--no-wait", "m")
            store.run("wait", "--text", "No bootable device.", "--timeout", f"{LIMIT}s", "m")


class Large(Bios):
    """A ROM image of more than 256 KiB ends below 4 GiB, its last 128 KiB below 1 MiB."""

    def setUp(self):
        super().setUp()
        self.rom = self.scratch / "rom"
        self.seabios = next(filter(Path.exists, SEABIOS)).read_bytes()

    def test_it_boots(self):
        disk = self.image("disk", 1 << 20)
        for size in (320 << 10, 16 << 20):
            with self.subTest(size=size):
                self.rom.write_bytes(self.seabios.rjust(size, b"\xff"))
                done = subprocess.run([vmtest.program(), "run", "--bios", self.rom, "--disk", disk, "--mem", "16M", "--timeout",
                                       f"{LIMIT}s"], input=b"q", capture_output=True, timeout=LIMIT + 30)
                self.assertEqual((done.returncode, done.stdout[:13]), (43, b"booted from C"), done.stderr)

    def test_it_is_part_of_a_snapshot(self):
        self.rom.write_bytes(self.seabios.rjust(1 << 20, b"\xff"))
        with vmtest.Store() as store:
            store.run("create", "--bios", self.rom, "--image", self.image("disk", 1 << 20), "--import", "--mem", "16M", "m")
            store.run("start", "--no-wait", "m")
            store.run("wait", "--text", "ready", "--timeout", f"{LIMIT}s", "m")
            store.run("snapshot", "m", "large")
            store.run("stop", "--force", "m")
            store.run("set", "--bios", "", "m")
            store.run("start", "--no-wait", "m")
            store.run("wait", "--text", "ready", "--timeout", f"{LIMIT}s", "m")
            store.run("stop", "--force", "m")
            self.rom.unlink()
            store.run("revert", "m", "large")
            store.run("-m", "m", "type", "x")
            store.run("wait", "--serial", "--text", "x", "--timeout", f"{LIMIT}s", "m")

    def test_a_file_that_has_grown_is_refused(self):
        self.rom.write_bytes(self.seabios)
        with vmtest.Store() as store:
            store.run("create", "--bios", self.rom, "--boot", "disk", "--mem", "16M", "m")
            self.rom.write_bytes(self.seabios.rjust(1 << 20, b"\xff"))
            self.assertIn("has grown", store.run("start", "--no-wait", "m", want=65).errors)
            store.run("set", "--bios", self.rom, "m")
            store.run("start", "--no-wait", "m")
            store.run("wait", "--text", "No bootable device.", "--timeout", f"{LIMIT}s", "m")


class Moments(Bios):
    def test_snapshots_on_the_way_through_the_bios(self):
        """Each restored in a new process, and the boot goes on to its end."""
        dice = random.Random(7)
        with vmtest.Store() as store:
            for bus in ("virtio", "ide"):
                store.run("create", "--image", self.image(bus, 1 << 20), "--import", "--disk-bus", bus, "--mem", "16M", bus)
                store.run("start", "--no-wait", "--paused", bus)
                for n in range(6):
                    store.run("resume", bus)
                    self.spin(dice.uniform(0, 0.012))
                    store.run("pause", bus)
                    store.run("snapshot", bus, f"s{n}")
                store.run("stop", "--force", bus)
                for n in range(6):
                    with self.subTest(bus=bus, snapshot=n):
                        store.run("revert", bus, f"s{n}")
                        store.run("resume", bus)
                        store.run("wait", "--text", "ready", "--timeout", f"{LIMIT}s", bus)
                        store.run("-m", bus, "type", "x")
                        store.run("wait", "--serial", "--text", "x", "--timeout", f"{LIMIT}s", bus)
                        store.run("stop", "--force", bus)

    @staticmethod
    def spin(seconds):
        """The guest runs for about so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pass


class Network(Bios):
    def test_ipxe_gets_an_address(self):
        with vmtest.Store() as store:
            for model in ("virtio", "ne2k_pci"):
                store.run("create", "--boot", "net", "--nic", model, "--mem", "64M", model)
                store.run("start", "--no-wait", model)
            for model in ("virtio", "ne2k_pci"):
                with self.subTest(model=model):
                    store.run("wait", "--text", "10.0.2.15/255.255.255.0 gw 10.0.2.2", "--timeout", f"{LIMIT}s", model)


class Keys(Bios):
    def setUp(self):
        super().setUp()
        self.store = vmtest.Store()
        self.addCleanup(self.store.close)
        self.store.run("create", "--image", self.image("disk", 1 << 20), "--import", "--mem", "16M", "m")
        self.store.run("start", "--no-wait", "m")
        self.wait("ready")
        self.out = self.scratch / "out"
        self.console = None

    def wait(self, text):
        self.store.run("wait", "--serial", "--text", text, "--timeout", f"{LIMIT}s", "m")

    def listen(self):
        with open(self.out, "wb") as f:
            self.console = self.store.popen("console", "m", stdin=subprocess.DEVNULL, stdout=f)

    def heard(self):
        """All that the guest has sent; the machine ends."""
        self.store.run("stop", "--force", "m")
        self.console.wait(timeout=LIMIT)
        return self.out.read_bytes().split(b"ready\r\n")[-1]

    def test_ten_thousand_characters_at_full_speed(self):
        dice = random.Random(5)
        text = "".join(dice.choice([chr(c) for c in range(32, 127)]) for _ in range(10000)) + "END"
        file = self.scratch / "text"
        file.write_text(text)
        self.listen()
        self.store.run("-m", "m", "type", "--file", file)
        self.wait(text[-20:])
        self.assertEqual(self.heard().decode(), text)

    def test_keys_over_a_revert(self):
        self.store.run("snapshot", "m", "here")
        for _ in range(2):
            self.store.run("-m", "m", "type", "some keys")
            self.wait("some keys")
            self.store.run("revert", "m", "here")
        self.store.run("-m", "m", "type", "and another")
        self.wait("and another")
        self.store.run("-m", "m", "type", "--key", "a")
        self.wait("and anothera")
        # The program's own end may come before the key's release was taken.
        self.store.run("-m", "m", "type", "--key", "esc", want=(0, 69))
        self.store.run("wait", "--text", "no such text", "--timeout", f"{LIMIT}s", "m", want=(1, 69, 75))

    def test_ctrl_alt_delete_is_a_reset(self):
        self.store.run("-m", "m", "type", "before")
        self.wait("before")
        self.listen()
        self.store.run("-m", "m", "type", "--key", "ctrl-alt-delete")
        self.store.run("-m", "m", "type", "after")  # waits for the BIOS and the program as any key does
        self.wait("after")
        self.assertTrue(self.heard().endswith(b"after"))

    def test_the_screen_is_the_bios_s(self):
        screen = self.store.run("screen", "m").text
        for line in ("SeaBIOS (version", "Booting from Hard Disk", "booted from C:", "second sector"):
            self.assertIn(line, screen)


if __name__ == "__main__":
    unittest.main()
