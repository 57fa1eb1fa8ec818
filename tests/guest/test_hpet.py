#!/usr/bin/env python3
"""A board with high precision event timers: Linux finds them, takes its first ticks from them, keeps the TSC as its clock,
and counts the same seconds by either."""

import subprocess
import unittest

import common
from harness import vmtest

CLOCKS = "/sys/devices/system/clocksource/clocksource0"
# Two seconds by the HPET, watched by the CMOS clock's seconds.
SCRIPT = (f"dmesg | grep 'hpet0:'; cat {CLOCKS}/current_clocksource; echo hpet >{CLOCKS}/current_clocksource; "
          f"cat {CLOCKS}/current_clocksource; grep timer /proc/interrupts; "
          "a=$(cut -d. -f1 /proc/uptime); b=$(cat /sys/class/rtc/rtc0/since_epoch); "
          "sleep 3; c=$(cut -d. -f1 /proc/uptime); d=$(cat /sys/class/rtc/rtc0/since_epoch); echo seconds $((c-a)) $((d-b))")


class Hpet(unittest.TestCase):
    def test_linux(self):
        guest = common.tiny()
        done = subprocess.run([vmtest.program(), "run", "--kernel", guest.kernel, "--initrd", guest.initrd, "--append",
                               f'{guest.append} vmtest.cmd="{SCRIPT}"', "--mem", guest.memory, "--hpet", "--timeout", "5m"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=330, check=True)
        shown = [line.strip() for line in done.stdout.decode(errors="replace").splitlines()]
        at = max(i for i, line in enumerate(shown) if line == "vmtest-tiny: ready")
        answer = shown[at + 1:]
        self.assertIn("hpet0: 3 comparators, 64-bit 100.000000 MHz counter", " ".join(answer))
        self.assertEqual([line for line in answer if line in ("tsc", "hpet")], ["tsc", "hpet"])
        ticks = next(line.split() for line in answer if line.endswith("timer"))
        self.assertGreater(int(ticks[1]), 0)
        by_hpet, by_rtc = (int(v) for v in next(line for line in answer if line.startswith("seconds")).split()[1:])
        self.assertTrue(3 <= by_hpet <= 60 and abs(by_hpet - by_rtc) <= 1, (by_hpet, by_rtc))


if __name__ == "__main__":
    unittest.main()
