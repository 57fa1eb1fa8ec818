"""What a guest's Linux kernel says of the machine that it runs on."""

import re
import time

from harness import qemu, vmtest

WARNINGS = "dmesg --level=emerg,alert,crit,err,warn"
# The agent answers before the last drivers are loaded; these come with the units and with the network card.
BOOTED = ("systemctl is-system-running --wait; /lib/systemd/systemd-networkd-wait-online --timeout=120; udevadm settle; "
          "true")
VULNERABILITIES = "grep . /sys/devices/system/cpu/vulnerabilities/*"
# Page-table isolation, retpolines, VERW, return thunks: what each entry to the kernel or each indirect jump pays for.
COSTLY = r"PTI|etpoline|[Cc]lear CPU buffers|return thunk|VERW"


def shape(line):
    """A kernel message without its time, and with all numbers alike."""
    line = re.sub(r"^\[[^]]*\] *", "", line)
    return re.sub(r"0x[0-9a-f]+|\b[0-9a-f]{8,16}\b|\d+", "N", line)


def warnings(machine):
    """The lines that the kernel warns in until the system is up completely."""
    machine.execute(BOOTED)
    return machine.execute(WARNINGS)[1].decode().splitlines()


def warnings_of_our_own(machine, guest):
    """The kernel's warnings in a running machine of this guest that a boot of it under QEMU lacks."""
    with qemu.Qemu(guest) as other:
        other.wait_agent(900)
        known = {shape(line) for line in warnings(other)}
    ours = warnings(machine)
    return [line for line in ours if shape(line) not in known]


def costly_mitigations(machine):
    """The lines of the vulnerabilities files by which the kernel works around what this processor does not have."""
    text = machine.execute(VULNERABILITIES)[1].decode()
    if "/meltdown:" not in text:
        raise AssertionError(f"the kernel says nothing of its processor's vulnerabilities: {text!r}")
    return [line for line in text.splitlines() if re.search(COSTLY, line)]


def boot_id(machine):
    return machine.execute("cat /proc/sys/kernel/random/boot_id")[1]


def wait_for_another_boot(machine, before, timeout=600):
    """The boot's id once it is not before. While the guest restarts, a command may fail: that is not the end."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        try:
            status, now, _ = machine.execute("cat /proc/sys/kernel/random/boot_id")
        except vmtest.CommandFailed:
            continue
        if status == 0 and now != before:
            return now
    raise AssertionError(f"no other boot within {timeout} s")
