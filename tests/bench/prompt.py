"""Boots of one guest's image to the root prompt on its serial line, vmtest and QEMU without KVM by turns: BIOS, boot
loader, kernel, user space. For the benches of one guest."""

import os
import select
import signal
import subprocess
import sys
import time

from bench.report import median
from harness import qemu, vmtest

KERNEL, PROMPT = b"Linux version", b"root@"


def boot(words, timeout):
    """Seconds from the program's start to {"kernel": the kernel's first line, "prompt": the prompt}."""
    begin, seen, text = time.monotonic(), {}, b""
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          start_new_session=True) as p:
        try:
            while "prompt" not in seen:
                left = begin + timeout - time.monotonic()
                if left <= 0 or not select.select([p.stdout], [], [], left)[0]:
                    sys.exit(f"{words[0]}: no prompt in {timeout} s; last was {text[-300:]!r}")
                if not (chunk := os.read(p.stdout.fileno(), 65536)):
                    sys.exit(f"{words[0]}: ended before its prompt; last was {text[-300:]!r}")
                text += chunk
                for name, mark in (("kernel", KERNEL), ("prompt", PROMPT)):
                    if name not in seen and mark in text:
                        seen[name] = time.monotonic() - begin
        finally:
            os.killpg(p.pid, signal.SIGKILL)
    return seen


def measure(boots, names, guest, timeout=300):
    """{name: [boot(), ...]}, by turns."""
    machine = qemu.Qemu(guest)
    words = {"vmtest": [vmtest.program(), "run", "--image", guest.image, "--mem", str(guest.memory), "--no-reboot"],
             "qemu": [w if not w.startswith("file:/") else "stdio" for w in machine.arguments()]}
    result = {name: [] for name in names if name in words}
    try:
        for _ in range(boots):
            for name, times in result.items():
                times.append(boot(words[name], timeout))
                print(f"{name}: prompt {times[-1]['prompt']:.2f} s", file=sys.stderr)
    finally:
        machine.stop()
    return result


def report(result):
    """The table's rows, and {ratio name: number}."""
    rows, ratios = [], {}
    for key, what, of in (("prompt", "boot to a root prompt, s", lambda t: t["prompt"]),
                          ("kernel", "of that from the kernel's start, s", lambda t: t["prompt"] - t["kernel"])):
        medians = {name: median([of(t) for t in times]) for name, times in result.items() if times}
        if len(medians) == 2:
            ratios[f"{key}_vs_qemu"] = medians["qemu"] / medians["vmtest"]
        if medians:
            rows.append([what, None, medians.get("vmtest"), medians.get("qemu"), None, ratios.get(f"{key}_vs_qemu")])
    return rows, ratios
