"""The guest programs of fixtures/guests: how to run one on vmtest and on QEMU, and how to read what it prints."""

import os
import re
import subprocess
from pathlib import Path

from . import vmtest

SOURCE = Path(__file__).resolve().parents[2] / "fixtures" / "guests"
# A program takes a second or two; this is for one that hangs.
LIMIT = 60
# Programs that want another CPU model than the default one: what they check is offered by all that the host has.
MODEL = {"avx": "host", "features": "host", "fpu": "host"}


def directory():
    """Where the build put them: $VMTEST_GUESTS, or the build directory's."""
    return Path(os.environ.get("VMTEST_GUESTS") or SOURCE.parents[1] / "build" / "fixtures" / "guests")


def model(name):
    """The options that give a program its CPU model."""
    return ["--cpu", MODEL[name]] if name in MODEL else []


def run_vmtest(name, *options, limit=LIMIT):
    """(output, status) of a program on vmtest; what vmtest itself says comes last."""
    done = subprocess.run([vmtest.program(), "run", "--kernel", str(directory() / f"{name}.elf"), "--mem", "64M",
                           "--timeout", f"{limit}s", *model(name), *options], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=limit + 30)
    return (done.stdout + done.stderr).decode(errors="replace"), done.returncode


def run_qemu(name, *options, limit=LIMIT):
    """(output, status) of a program on QEMU's translator; a time-out is status 124."""
    words = ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-m", "64", "-nodefaults", "-no-reboot", "-display",
             "none", "-kernel", str(directory() / f"{name}.elf"), "-serial", "stdio", "-device",
             "isa-debug-exit,iobase=0xf4,iosize=4", *options]
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=limit)
    except subprocess.TimeoutExpired as e:
        return (e.stdout or b"").decode(errors="replace"), 124
    return done.stdout.decode(errors="replace"), done.returncode


def checks(output):
    """{check: line} of a program's output, in order. A "value" line is not checked by the program: all machines must
    print the same."""
    found = {}
    for line in output.splitlines():
        if match := re.match(r"ok (.*)|FAIL (.*): got |none (.*) \(|(value .*): ", line):
            found[next(filter(None, match.groups()))] = line
    return found


def done(output):
    """Whether the program came to its end, and how many checks it says failed."""
    match = re.search(r"^done: (\d+) checks, (\d+) failed$", output, re.M)
    return (int(match[1]), int(match[2])) if match else (0, None)


def differs(name):
    """{check: why} of the checks in which QEMU is known to differ from the manual, from the program's source."""
    text = (SOURCE / f"{name}.c").read_text()
    return dict(re.findall(r'QEMU differs: "([^"]*)": (.*?)(?: \*/)?$', text, re.M))
