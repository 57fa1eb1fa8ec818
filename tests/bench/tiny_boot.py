#!/usr/bin/env python3
"""Time from the program's start to the tiny guest's marker, and to its power-off: vmtest against QEMU without KVM.

    tests/bench/tiny_boot.py [--vmtest FILE] [--runs N] [--guest tiny|tiny-amd64] [--kernel FLAVOUR]
                             [--only vmtest|qemu] [--json]

The marker is the last line before the root prompt. Runs alternate, and medians are printed. --log DIR keeps each run's serial output.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench.report import median, table  # noqa: E402
from harness import guest, qemu, vmtest  # noqa: E402

MARKER = b"vmtest-tiny: ready"
END = b"vmtest-tiny: status 0"


def run_to_marker(words, timeout):
    """Runs words with the serial port on stdout: (seconds to the marker or None, seconds to the end, status, output)."""
    start = time.monotonic()
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, bufsize=0)
    killer = threading.Timer(timeout, process.kill)
    killer.start()
    output, marker = b"", None
    while got := os.read(process.stdout.fileno(), 65536):
        output += got
        if marker is None and MARKER in output:
            marker = time.monotonic() - start
    status = process.wait()
    killer.cancel()
    return marker, time.monotonic() - start, status, output


def commands(args, tiny):
    append = tiny.append + " vmtest.cmd=true"
    boot = ["--kernel", tiny.kernel, "--initrd", tiny.initrd, "--append", append]
    both = {
        "vmtest": [args.vmtest, "run", *boot, "--mem", tiny.memory, "--timeout", str(args.timeout)],
        "qemu": [qemu.PROGRAM_64 if "amd64" in tiny.name else qemu.PROGRAM, "-accel", "tcg", "-cpu", "max", "-m", tiny.memory, "-nodefaults", "-display", "none",
                 "-no-reboot", "-serial", "stdio", *[w.replace("--", "-", 1) if w.startswith("--") else w for w in boot]],
    }
    return {name: both[name] for name in both if args.only in (None, name)}


def measure(args, tiny):
    """{name: {"marker": [seconds], "end": [seconds]}}: args.runs boots of each, by turns."""
    words = commands(args, tiny)
    times = {name: {"marker": [], "end": []} for name in words}
    for run in range(args.runs):
        for name, command in words.items():
            marker, end, status, output = run_to_marker(command, args.timeout)
            if args.log:
                args.log.mkdir(parents=True, exist_ok=True)
                (args.log / f"{name}-{run}.log").write_bytes(output)
            if marker is None or status != 0 or END not in output:
                sys.stderr.write(output.decode(errors="replace")[-2000:])
                sys.exit(f"tiny_boot: {name}: status {status}, marker {'not ' if marker is None else ''}seen")
            print(f"{name}: {tiny.name} {marker:.2f} s", file=sys.stderr)
            times[name]["marker"].append(marker)
            times[name]["end"].append(end)
    return times


def medians(times):
    """{name: {what: seconds}}, and with both machines {"speedup": {what: ratio}}."""
    result = {name: {what: median(values) for what, values in both.items()} for name, both in times.items()}
    if len(result) == 2:
        result["speedup"] = {w: result["qemu"][w] / result["vmtest"][w] for w in ("marker", "end")}
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vmtest", default=vmtest.program())
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--guest", choices=["tiny", "tiny-amd64"], default="tiny")
    parser.add_argument("--kernel", help="686 or 686-pae; amd64 or cloud-amd64 for tiny-amd64")
    parser.add_argument("--only", choices=["vmtest", "qemu"])
    parser.add_argument("--timeout", type=int, default=120)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()

    result = medians(measure(args, guest.make(args.guest, args.kernel)))
    if args.json:
        print(json.dumps(result))
    else:
        print(table([f"{args.guest} guest, s", "to the marker", "to power-off"],
                    [[name, both["marker"], both["end"]] for name, both in result.items()]))


if __name__ == "__main__":
    main()
