#!/usr/bin/env python3
"""`vmtest run --gdb` and `start --gdb`: gdb itself in batch mode, and the bare protocol for the processor's corners."""

import os
import re
import socket
import subprocess
import tempfile
import unittest

import common
from harness import gdbremote, kernels, vmtest
from harness.gdbremote import EFLAGS, EIP, ESP, R8, R9, R10, RBP, RIP, RSP

CODE, DATA = 0x300000, 0x380000  # free memory, where tests put code of their own
CF, ZF, IF = 1, 0x40, 0x200


class Base(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory(prefix="vmtest-gdb-")
        self.addCleanup(holder.cleanup)
        self.tmp = holder.name

    def debug(self, *options, form="both", append="exit=3"):
        guest = gdbremote.Debuggee(kernels.words(kernels.path(form), "--append", append, *options), self.tmp)
        self.addCleanup(guest.close)
        return guest

    def attach(self, guest):
        remote = guest.connect()
        self.addCleanup(remote.close)
        self.assertEqual(remote.ask("?"), "T05thread:1;")
        return remote

    def gdb(self, guest, *commands, file=None):
        words = ["gdb", "-nx", "-batch", "-ex", "set pagination off", "-ex", f"target remote {guest.socket}"]
        for command in commands:
            words += ["-ex", command]
        done = subprocess.run([*words, *([str(file)] if file else [])], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=90)
        return done.stdout.decode(errors="replace")


class Gdb(Base):
    """gdb in batch mode."""

    def test_a_multiboot_kernel(self):
        guest = self.debug()
        out = self.gdb(guest, "p/x $eip == &start", "p/x $ebx != 0", "x/i $pc", "break work", "continue", "p n",
                       "stepi", "p/x $pc - (long)work", "finish", "watch watched", "delete 1", "continue",
                       "p/x watched", "info registers eflags", "hbreak end", "continue", "x/s s", "delete",
                       "monitor info registers", "info threads", "p $st0", "p $xmm0.uint128", "continue",
                       file=kernels.path("both"))
        self.assertRegex(out, r"\$1 = 0x1\n")
        self.assertRegex(out, r"\$2 = 0x1\n")
        self.assertRegex(out, r"=> 0x2\w+ <start>:\s+mov")
        self.assertRegex(out, r"Breakpoint 1, (0x\w+ in )?work \(n=0\)")
        self.assertRegex(out, r"\$3 = 0\n")
        self.assertRegex(out, r"\$4 = 0x[1-9a-f]\n")  # behind its first instruction
        self.assertIn("Value returned is $5 = 0", out)
        self.assertRegex(out, r"Hardware watchpoint 2: watched\s+Old value = 0\s+New value = 4660\n")
        self.assertRegex(out, r"\$6 = 0x1234\n")
        self.assertRegex(out, r'"exit=3"')
        self.assertRegex(out, r"rip 0000000000\w{6}  rflags \w+  cpl 0  32-bit code")
        self.assertIn("CPU 0", out)
        self.assertIn("exited with code 07", out)
        status, said = guest.end()
        self.assertEqual(status, 7)
        self.assertEqual(kernels.facts(said)["work"], ["38"])

    def test_source_steps_and_changes(self):
        guest = self.debug()
        out = self.gdb(guest, "break work if n == 5", "continue", "p rounds", "set var rounds = 100", "next", "next",
                       "p rounds", "set var $eax = 0x1234", "p/x $eax", "delete", "continue",
                       file=kernels.path("both"))
        self.assertIn("work (n=5)", out)
        self.assertRegex(out, r"\$1 = 5\n")
        self.assertRegex(out, r"\$2 = 101\n")
        self.assertRegex(out, r"\$3 = 0x1234\n")
        self.assertEqual(guest.end()[0], 7)

    def test_a_64_bit_kernel_is_described_so_from_its_32_bit_start(self):
        guest = self.debug(form="elf64")
        out = self.gdb(guest, "p/x $rip == &start", "break work", "continue", "p rounds", "p/x $rsp", "p $r15",
                       "watch watched", "delete 1", "continue", "info registers rip", "delete", "continue",
                       file=kernels.path("elf64"))
        self.assertNotRegex(out, r"(?i)error|not compatible|truncated|too long")
        self.assertRegex(out, r"\$1 = 0x1\n")
        self.assertRegex(out, r"\$2 = 0\n\$3 = 0x2\w{5}\n\$4 = 0\n")
        self.assertRegex(out, r"Old value = 0\s+New value = 4660\n")
        self.assertRegex(out, r"rip +0x2\w{5} ")
        self.assertIn("exited with code 07", out)
        self.assertEqual(guest.end()[0], 7)

    def test_architectures(self):
        guest = self.debug()
        out = self.gdb(guest, "show architecture", "set architecture i8086", "x/i 0x300000", "p/x $eip",
                       "set architecture i386", "kill")
        self.assertRegex(out, r'"?i386"?\)?')
        self.assertNotRegex(out, r"(?i)error|not compatible|truncated")
        self.assertEqual(guest.end()[0], 137)


class Linux(Base):
    """Debian's kernel with the tiny initrd, without symbols: their addresses come from a boot before."""

    def words(self, command):
        tiny = common.tiny()
        return [vmtest.program(), "run", "--kernel", str(tiny.kernel), "--initrd", str(tiny.initrd), "--mem", "128M",
                "--append", f'{tiny.append} nokaslr vmtest.cmd="{command}"', "--timeout", "120s"]

    def symbols(self, *names):
        wanted = " ".join(f"-e ' {name}$'" for name in names)
        out = subprocess.run(self.words(f"grep {wanted} /proc/kallsyms"), stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, timeout=150).stdout.decode(errors="replace")
        return {name: int(re.search(rf"^(\w+) \w {name}\r?$", out, re.M)[1], 16) for name in names}

    def test_the_tiny_guest(self):
        at = self.symbols("start_kernel", "do_timer")
        guest = gdbremote.Debuggee(self.words("echo answer=$((6*7))"), self.tmp)
        self.addCleanup(guest.close)
        out = self.gdb(guest, "p/x $pc", "stepi 1000", "p/x $cr0 & 0x80000001", "p/x $cs",  # the decompressor
                       f"break *{at['start_kernel']}", "continue", "p/x $pc", "p/x $cr0 & 0x80000001", "stepi 10",
                       f"tbreak *{at['do_timer']}", "continue", "p/x $pc", "p $eflags & 0x200", "p $eax",
                       "set $return = *(unsigned *)$esp", "rwatch -l *(unsigned *)$esp", "continue",
                       "p $pc == $return", "detach")
        self.assertRegex(out, r"\$1 = 0x100000\n")
        self.assertRegex(out, r"\$2 = 0x1\n\$3 = 0x10\n")
        self.assertRegex(out, rf"\$4 = {at['start_kernel']:#x}\n\$5 = 0x80000001\n")  # paging is on
        # the first tick, in the timer's interrupt; then the instruction that reads its return address
        self.assertRegex(out, rf"\$6 = {at['do_timer']:#x}\n\$7 = 0\n\$8 = 1\n")
        self.assertRegex(out, r"Hardware read watchpoint")
        self.assertRegex(out, r"\$9 = 1\n")
        status, said = guest.end(150)
        self.assertEqual(status, 0, said[-1000:])
        self.assertIn(b"answer=42", said)


class Processor(Base):
    """Code of a few bytes, run under the bare protocol."""

    def code(self, hexadecimal, **registers):
        """A guest that stands at these instructions."""
        self.guest = self.debug()
        remote = self.attach(self.guest)
        remote.write(CODE, bytes.fromhex(hexadecimal))
        remote.set_register(EIP, CODE)
        remote.set_register(ESP, DATA + 0x8000)
        for name, value in registers.items():
            remote.set_register(["eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"].index(name), value)
        return remote

    def at(self, remote, offset):
        self.assertEqual(f"{remote.register(EIP):x}", f"{CODE + offset:x}")

    def test_a_step_is_one_instruction(self):
        remote = self.code("40 43 01d8 eb 00 f4 90", eax=1, ebx=2)  # inc, inc, add, jmp, hlt, nop
        for offset in (1, 2, 4, 6, 7, 8):
            if offset == 8:
                break  # it is halted: a step would wait for an interrupt
            self.assertEqual(remote.ask("s"), "T05thread:1;")
            self.at(remote, offset)
        self.assertEqual(remote.register(0), 5)
        self.assertIn("halted", remote.monitor("info registers")[0])

    def test_a_breakpoint_in_a_loop_that_runs_already(self):
        remote = self.code("40 43 eb fc", eax=0, ebx=0)  # 1: inc eax; inc ebx; jmp 1b
        remote.send("c")
        remote.raw(b"\x03")
        self.assertEqual(remote.receive(), "T02thread:1;")
        self.assertEqual(remote.ask(f"Z0,{CODE + 1:x},1"), "OK")
        for _ in range(5):
            self.assertEqual(remote.ask("c"), "T05thread:1;swbreak:;")
            self.at(remote, 1)
            self.assertEqual(remote.register(0), remote.register(3) + 1 & 0xffffffff)
        self.assertEqual(remote.ask(f"z0,{CODE + 1:x},1"), "OK")
        self.assertEqual(remote.ask(f"Z1,{CODE + 2:x},1"), "OK")
        self.assertEqual(remote.ask("c"), "T05thread:1;hwbreak:;")
        self.at(remote, 2)
        self.assertEqual(remote.register(0), remote.register(3))

    def test_flags_at_a_breakpoint_are_exact(self):
        # 1: stc; 2: xor eax, eax; or eax, 1; jmp 1b: nobody reads what is set, and a debugger sees it. It starts at 2,
        # so that what comes after the breakpoint is translated before what comes in front of it.
        remote = self.code("f9 31c0 83c801 eb f8", eax=5)
        remote.set_register(EIP, CODE + 1)
        remote.set_register(EFLAGS, CF | 2)
        for offset in (1, 3, 6):
            self.assertEqual(remote.ask(f"Z1,{CODE + offset:x},1"), "OK")
        for offset, carry, zero in 5 * ((1, CF, 0), (3, 0, ZF), (6, 0, 0)):
            self.assertEqual(remote.ask("c"), "T05thread:1;hwbreak:;")
            self.at(remote, offset)
            flags = remote.register(EFLAGS)
            self.assertEqual((flags & CF, flags & ZF), (carry, zero))

    def test_a_watchpoint_stops_right_behind_the_store(self):
        # mov [DATA], eax; inc eax; mov [DATA+4], eax; inc eax; jmp .
        remote = self.code("a3 00003800 40 a3 04003800 40 eb fe", eax=7)
        self.assertEqual(remote.ask(f"Z2,{DATA + 4:x},4"), "OK")
        self.assertEqual(remote.ask("c"), f"T05thread:1;watch:{DATA + 4:x};")
        self.at(remote, 11)
        self.assertEqual(remote.register(0), 8)
        self.assertEqual(remote.read(DATA, 8), bytes([7, 0, 0, 0, 8, 0, 0, 0]))

    def test_reads_and_accesses(self):
        # mov eax, [DATA]; mov [DATA], eax; mov eax, [DATA+2]; jmp .
        remote = self.code("a1 00003800 a3 00003800 66 a1 02003800 eb fe")
        self.assertEqual(remote.ask(f"Z3,{DATA + 2:x},2"), "OK")
        for offset in (5, 16):
            self.assertEqual(remote.ask("c"), f"T05thread:1;rwatch:{DATA + 2:x};")
            self.at(remote, offset)
        self.assertEqual(remote.ask(f"z3,{DATA + 2:x},2"), "OK")
        remote.set_register(EIP, CODE)
        self.assertEqual(remote.ask(f"Z4,{DATA + 1:x},1"), "OK")
        for offset in (5, 10):
            self.assertEqual(remote.ask("c"), f"T05thread:1;awatch:{DATA + 1:x};")
            self.at(remote, offset)

    def test_a_watched_page_works_as_before(self):
        # rep movsb over the page's end, into it; push and pop in it; then the store that is watched
        remote = self.code("f3a4 6a 55 58 c605 00013800 77 eb fe", esi=CODE, edi=DATA + 0x8000 - 16, ecx=32,
                           esp=DATA + 0x200)
        self.assertEqual(remote.ask(f"Z2,{DATA + 0x100:x},1"), "OK")
        self.assertEqual(remote.ask(f"Z2,{DATA + 0x7000:x},1"), "OK")  # the page of the copy's first half
        self.assertEqual(remote.ask("c"), f"T05thread:1;watch:{DATA + 0x100:x};")
        self.at(remote, 12)
        self.assertEqual(remote.register(0), 0x55)
        self.assertEqual(remote.read(DATA + 0x8000 - 16, 32), remote.read(CODE, 32))
        self.assertEqual(remote.read(DATA + 0x100, 1), b"\x77")

    def test_a_watchpoint_under_a_string(self):
        remote = self.code("f3a4 90 eb fe", esi=CODE, edi=DATA, ecx=64)
        self.assertEqual(remote.ask(f"Z2,{DATA + 32:x},4"), "OK")
        self.assertEqual(remote.ask("c"), f"T05thread:1;watch:{DATA + 32:x};")
        self.assertEqual(remote.read(DATA, 33), remote.read(CODE, 33))
        for _ in range(3):  # the other bytes of the watched word, then no more
            self.assertEqual(remote.ask("c"), f"T05thread:1;watch:{DATA + 32:x};")
        self.assertEqual(remote.ask(f"Z0,{CODE + 2:x},1"), "OK")
        self.assertEqual(remote.ask("c"), "T05thread:1;swbreak:;")
        self.assertEqual(remote.register(1), 0)
        self.assertEqual(remote.read(DATA, 64), remote.read(CODE, 64))

    def test_steps_do_not_go_into_interrupts(self):
        # The kernel's IDT is empty: an interrupt that is taken is a triple fault. The timer ticks every 13 us.
        # 8254: channel 0, mode 2, count 10h; 8259: IRQ 0 let in; STI; 1: inc eax; jmp 1b
        remote = self.code("b034 e643 b010 e640 b000 e640 b0fe e621 fb 40 eb fd")
        for _ in range(2000):
            self.assertEqual(remote.ask("s"), "T05thread:1;")
        self.assertEqual(remote.register(EFLAGS) & IF, IF)
        self.assertIn(remote.register(EIP) - CODE, (17, 18))
        self.assertGreater(remote.register(0) & 0xffffff, 900)
        self.assertEqual(remote.ask("c"), "T0bthread:1;")  # there it comes

    ENTERED = CODE + 0x37  # where long() puts its code

    def long(self, hexadecimal):
        """A guest that stands at these instructions in 64-bit mode; 16 MiB of memory are mapped as they are."""
        tables, gdt = DATA + 0x11000, DATA + 0x10000
        u32 = lambda v: v.to_bytes(4, "little").hex()
        remote = self.code(f"b820000000 0f22e0 b8{u32(tables)} 0f22d8"  # CR4.PAE, CR3
                           "b9800000c0 0f32 0d00010000 0f30 0f20c0 0d01000080 0f22c0"  # EFER.LME, CR0.PG
                           f"0f0115{u32(gdt)} ea{u32(self.ENTERED)}0800 {hexadecimal}")  # lgdt; jmp 8:ENTERED
        remote.write(gdt, (23).to_bytes(2, "little") + (gdt + 16).to_bytes(4, "little"))
        remote.write(gdt + 24, (0x00af9a000000ffff).to_bytes(8, "little"))
        remote.write(tables, (tables + 0x1003).to_bytes(8, "little"))
        remote.write(tables + 0x1000, (tables + 0x2003).to_bytes(8, "little"))
        remote.write(tables + 0x2000, b"".join((i << 21 | 0x83).to_bytes(8, "little") for i in range(8)))
        self.assertEqual(remote.ask(f"Z0,{self.ENTERED:x},1"), "OK")
        self.assertEqual(remote.ask("c"), "T05thread:1;swbreak:;")
        self.assertEqual(remote.ask(f"z0,{self.ENTERED:x},1"), "OK")
        self.assertIn("i386:x86-64", remote.ask("qXfer:features:read:target.xml:0,200"))
        return remote

    def at64(self, remote, offset):
        self.assertEqual(f"{remote.register(RIP):x}", f"{self.ENTERED + offset:x}")

    def test_long_mode(self):
        remote = self.long("49b88877665544332211 49ffc0 4c89042500003800 49ffc0 ebfe")
        # mov r8, imm; inc r8; mov [DATA], r8; inc r8; jmp .
        self.at64(remote, 0)
        for offset, value in ((10, 0x1122334455667788), (13, 0x1122334455667789)):
            self.assertEqual(remote.ask("s"), "T05thread:1;")
            self.at64(remote, offset)
            self.assertEqual(remote.register(R8), value)
        self.assertEqual(remote.ask(f"Z2,{DATA + 4:x},1"), "OK")
        remote.set_register(R8, 0x8877665544332210, 8)
        self.assertEqual(remote.ask("c"), f"T05thread:1;watch:{DATA + 4:x};")
        self.at64(remote, 21)
        self.assertEqual(remote.read(DATA, 8), (0x8877665544332210).to_bytes(8, "little"))
        self.assertEqual(remote.ask(f"z2,{DATA + 4:x},1"), "OK")
        self.assertIn("64-bit code", remote.monitor("info registers")[0])
        self.assertEqual(remote.ask("m8000000000000000,8"), "E01")  # not canonical
        self.assertEqual(remote.ask("mffff800000000000,8"), "E01")  # not mapped
        self.assertEqual(remote.ask("s"), "T05thread:1;")
        self.at64(remote, 24)
        self.assertEqual(remote.register(R8), 0x8877665544332211)

    def test_a_watched_page_in_long_mode(self):
        # push rbp; pop r9; call +0; pop r10; mov edi, DATA; mov ecx, 16; rep stosq; mov rax, [rdi]
        # lock inc qword [DATA+200h]; xchg [rsp-8], r9; jmp .
        remote = self.long("55 4159 e800000000 415a bf00003800 b910000000 f348ab 488b07"
                           "f048ff042500023800 4c874c24f8 ebfe")
        rsp = DATA + 0x1000
        remote.set_register(RSP, rsp, 8)
        remote.set_register(RBP, 0x1234567890, 8)
        remote.set_register(0, 0x1122334455667788, 8)
        self.assertEqual(remote.ask(f"Z2,{DATA + 0x204:x},4"), "OK")
        self.assertEqual(remote.ask("c"), f"T05thread:1;watch:{DATA + 0x204:x};")
        self.at64(remote, 35)
        self.assertEqual(remote.read(DATA, 136), 16 * (0x1122334455667788).to_bytes(8, "little") + bytes(8))
        self.assertEqual(remote.read(DATA + 0x200, 8), (1).to_bytes(8, "little"))
        self.assertEqual(remote.register(R9), 0x1234567890)
        self.assertEqual(remote.register(R10), self.ENTERED + 8)
        self.assertEqual(remote.ask(f"Z3,{rsp - 8:x},8"), "OK")
        self.assertEqual(remote.ask("c"), f"T05thread:1;rwatch:{rsp - 8:x};")
        self.at64(remote, 40)
        self.assertEqual(remote.read(rsp - 8, 8), (0x1234567890).to_bytes(8, "little"))
        self.assertEqual(remote.register(R9), self.ENTERED + 8)

    def test_a_triple_fault_can_be_looked_at(self):
        remote = self.code("40 0f0b", eax=41)  # inc eax; ud2, with no IDT
        self.assertEqual(remote.ask("c"), "T0bthread:1;")
        self.assertEqual(remote.register(0), 42)
        self.at(remote, 1)
        self.assertEqual(remote.ask("c"), "W01")
        self.assertEqual(self.guest.end()[0], 1)
        self.assertIn(b"triple fault", self.guest.err)


class RealMode(Base):
    """A boot sector, by the BIOS."""

    # xor ax, ax; mov ds, ax; mov word [7e00], 1234h; cli; lgdt [7c40]; mov eax, cr0; inc ax; mov cr0, eax
    # jmp dword 8:7c1f; mov al, 3; out f4h, al
    SECTOR = ("31c0 8ed8 c706007e3412 fa 0f0116407c 0f20c0 40 0f22c0 66ea1f7c00000800 b003 e6f4 ebfe" +
              "00" * (0x40 - 0x25) + "1700 487c0000 0000" + "00" * 8 + "ffff0000009acf00")

    def test_from_the_reset_to_protected_mode(self):
        disk = os.path.join(self.tmp, "disk")
        sector = bytes.fromhex(self.SECTOR)
        with open(disk, "wb") as file:
            file.write((sector.ljust(510, b"\0") + b"\x55\xaa").ljust(1 << 20, b"\0"))
        guest = gdbremote.Debuggee([vmtest.program(), "run", "--disk", disk, "--mem", "16M", "--timeout", "60s"],
                                   self.tmp)
        self.addCleanup(guest.close)
        out = self.gdb(guest, "p/x $pc", "x/i $pc", "stepi", "p/x $pc", "p/x $cs_base", "break *0x7c00", "continue",
                      "x/2i $pc", "watch *(short *)0x7e00", "continue", "p/x $pc", "stepi", "x/i $pc", "delete",
                      "break *0x7c1f", "continue", "unset tdesc filename", "x/2i $pc", "p $cr0 & 1", "p/x $cs", "continue")
        self.assertRegex(out, r"\$1 = 0xfffffff0\n=> 0xfffffff0:\s+ljmp\s+\$0xf000,")
        self.assertRegex(out, r"\$2 = 0xf\w{4}\n\$3 = 0xf0000\n")
        self.assertRegex(out, r"=> 0x7c00:\s+xor\s+%ax,%ax\n\s+0x7c02:\s+mov\s+%ax,%ds")
        self.assertRegex(out, r"New value = 4660\n")
        self.assertRegex(out, r"\$4 = 0x7c0a\n")
        self.assertRegex(out, r"=> 0x7c0b:\s+lgdt")
        self.assertRegex(out, r"=> 0x7c1f:\s+mov\s+\$0x3,%al\n.*out\s+%al,\$0xf4")
        self.assertRegex(out, r"\$5 = 1\n\$6 = 0x8\n")
        self.assertEqual(guest.end()[0], 7)


class Protocol(Base):
    def test_packets_that_are_damaged_or_unknown(self):
        remote = self.attach(self.debug())
        remote.raw(b"$g#00")
        self.assertEqual(remote.byte(), b"-")
        self.assertEqual(remote.ask("vMustReplyEmpty"), "")
        self.assertEqual(remote.ask("!"), "")
        for bad in ("mzz,4", "m0", "p", "pffff", "M0,4:00", "Z0,1", "Z2,0,ffffffffffff", "P8=", "Hg7", "m100000000,4"):
            self.assertEqual(remote.ask(bad), "E01", bad)
        self.assertEqual(remote.ask("P0a=00000000"), "E01")  # CS cannot be set
        self.assertEqual(remote.ask("m0,8"), remote.ask("m0,8"))

    def test_all_registers_and_back(self):
        remote = self.attach(self.debug())
        packet = remote.ask("g")
        self.assertEqual(remote.ask("G" + packet), "OK")
        self.assertEqual(remote.ask("g"), packet)
        names = re.findall(r'<reg name="(\w+)" bitsize="(\d+)"', self.description(remote))
        self.assertEqual(len(packet), sum(int(bits) for _, bits in names) // 4)
        self.assertEqual([name for name, _ in names[:10]],
                         ["eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi", "eip", "eflags"])

    def description(self, remote):
        text = ""
        while True:
            got = remote.ask(f"qXfer:features:read:target.xml:{len(text):x},200")
            text += got[1:]
            if got[0] == "l":
                return text

    def test_no_acknowledgements(self):
        remote = self.attach(self.debug())
        self.assertEqual(remote.ask("QStartNoAckMode"), "OK")
        remote.send("qC")
        self.assertEqual(remote.byte(), b"$")
        remote.data = b"$" + remote.data
        self.assertEqual(remote.receive(), "QC1")

    def test_binary_writes(self):
        remote = self.attach(self.debug())
        data = bytes(range(256))
        escaped = b"".join(b"}" + bytes([b ^ 0x20]) if b in b"#$}*" else bytes([b]) for b in data)
        remote.send(f"X{DATA:x},{len(data):x}:".encode() + escaped)
        self.assertEqual(remote.receive(), "OK")
        self.assertEqual(remote.read(DATA, 256), data)

    def test_monitor_reset(self):
        guest = self.debug()
        remote = self.attach(guest)
        entry = remote.register(EIP)
        remote.ask("s")
        self.assertNotEqual(remote.register(EIP), entry)
        self.assertEqual(remote.monitor("reset")[1], "OK")
        self.assertEqual(remote.register(EIP), entry)
        self.assertIn("no such command", remote.monitor("dance")[0])
        self.assertEqual(remote.ask("c"), "W07")
        self.assertEqual(guest.end()[0], 7)

    def test_breakpoints_outlast_a_reset(self):
        remote = self.attach(self.debug(append="reset"))
        entry = remote.register(EIP)
        self.assertEqual(remote.ask(f"Z1,{entry:x},1"), "OK")
        for _ in range(3):  # it stands there now: the first stop is of the next boot
            self.assertEqual(remote.ask("s"), "T05thread:1;")
            self.assertEqual(remote.ask("c"), "T05thread:1;hwbreak:;")
            self.assertEqual(remote.register(EIP), entry)
        # a step over the instruction that resets: OUT to the keyboard controller
        remote.write(CODE, bytes.fromhex("b0fe e664 ebfe"))
        remote.set_register(EIP, CODE)
        self.assertEqual([remote.ask("s") for _ in range(2)], 2 * ["T05thread:1;"])
        self.assertEqual(remote.register(EIP), entry)

    def test_who_detaches_or_leaves_lets_the_guest_go(self):
        for leave in (lambda remote: self.assertEqual(remote.ask("D"), "OK"), lambda remote: remote.close()):
            guest = self.debug()
            remote = self.attach(guest)
            self.assertEqual(remote.ask(f"Z0,{remote.register(EIP):x},1"), "OK")
            leave(remote)
            self.assertEqual(guest.end()[0], 7)
            self.assertFalse(os.path.exists(guest.socket))

    def test_one_debugger_at_a_time(self):
        guest = self.debug(append="spin")
        first = self.attach(guest)
        second = guest.connect()
        self.addCleanup(second.close)
        second.send("?")
        self.assertEqual(first.ask("D"), "OK")
        first.close()
        self.assertEqual(second.receive(), "T05thread:1;")
        second.send("k")
        self.assertEqual(guest.end()[0], 137)

    def test_tcp(self):
        with socket.socket() as free:  # a port that nobody has
            free.bind(("127.0.0.1", 0))
            where = f"tcp::{free.getsockname()[1]}"
        guest = gdbremote.Debuggee(kernels.words(kernels.path("both"), "--append", "exit=3"), self.tmp, where)
        self.addCleanup(guest.close)
        done = kernels.run("both", "--gdb", where)
        self.assertEqual(done.returncode, 125)
        self.assertIn(b"in use", done.stderr)
        self.assertEqual(self.attach(guest).ask("c"), "W07")
        self.assertEqual(guest.end()[0], 7)

    def test_a_socket_that_was_left_behind(self):
        where = os.path.join(self.tmp, "gdb")
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(where)
        self.assertEqual(self.attach(self.debug()).ask("c"), "W07")
        with open(where, "w", encoding="ascii"):  # a file is not taken away
            done = kernels.run("both", "--gdb", where)
            self.assertEqual(done.returncode, 125)
            self.assertTrue(os.path.exists(where))

    def test_where_it_may_listen(self):
        for where, status in (("tcp:192.0.2.1:1234", 125), ("tcp::0", 125), ("tcp::x", 125), ("/" + 120 * "x", 125)):
            done = kernels.run("both", "--gdb", where)
            self.assertEqual(done.returncode, status, done.stderr)
            self.assertIn(b"--gdb", done.stderr)
            self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)

    def test_a_machine_of_a_store(self):
        with vmtest.Store() as store:
            store.run("create", "dbg", "--kernel", kernels.path("both"), "--append", "spin", "--mem", "16M")
            where = os.path.join(self.tmp, "gdb")
            store.run("start", "--paused", "--gdb", where, "dbg")
            remote = gdbremote.Remote(where)
            self.assertEqual(remote.ask("?"), "T05thread:1;")
            self.assertEqual(remote.ask("s"), "T05thread:1;")  # from the kernel's entry
            self.assertEqual(remote.register(ESP) & 0xfff00000, 0x200000)
            entry = remote.register(EIP)
            store.run("snapshot", "dbg", "stopped")
            self.assertEqual(remote.ask("s"), "T05thread:1;")
            self.assertNotEqual(remote.register(EIP), entry)
            store.run("revert", "dbg", "stopped")
            self.assertEqual(remote.register(EIP), entry)
            remote.send("c")
            remote.raw(b"\x03")
            self.assertEqual(remote.receive(), "T02thread:1;")
            self.assertEqual(store.run("start", "--gdb", where, "dbg", want=75).status, 75)
            self.assertEqual(remote.ask("k"), "W00")
            remote.close()


if __name__ == "__main__":
    unittest.main()
