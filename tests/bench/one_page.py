#!/usr/bin/env python3
"""Code with its data and stack on its own page, written all the time, in parts of the speed of the same code with data
and stack elsewhere: fixtures/guests/onepage.c in each mode under vmtest and under QEMU without KVM. "page": data are at
another place of the page; "beside": within the 64 bytes that the code begins.

    tests/bench/one_page.py [--runs N] [--only vmtest|qemu] [--least RATIO] [--json]

Runs alternate, and the fastest of each counts. With --least, the status is 1 where vmtest has less. $VMTEST_GUESTS is
where the guest programs were built, unless that is build/fixtures/guests.
"""

import argparse
import json
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench.report import table  # noqa: E402
from harness import arch  # noqa: E402

PROGRAM = "onepage"
RUN = {"vmtest": arch.run_vmtest, "qemu": arch.run_qemu}


def cycles(output):
    """{mode: [cycles with data elsewhere, on the page, beside the code]}"""
    rows = re.findall(r"^cycles (.*): (\d+) elsewhere, (\d+) on one page, (\d+) beside$", output, re.M)
    if not rows or arch.done(output)[1] != 0:
        sys.exit(f"one_page: {PROGRAM} did not pass: {output[-1000:]}")
    return {mode: [int(n) for n in numbers] for mode, *numbers in rows}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", choices=list(RUN))
    parser.add_argument("--least", type=float)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()

    names = [args.only] if args.only else list(RUN)
    seen = {name: [] for name in names}
    for _ in range(args.runs):
        for name in names:
            seen[name].append(cycles(RUN[name](PROGRAM)[0]))
    best = {name: {mode: [min(column) for column in zip(*(run[mode] for run in runs))] for mode in runs[0]}
            for name, runs in seen.items()}
    ratios = {name: {mode: [clean / other for other in rest] for mode, (clean, *rest) in modes.items()}
              for name, modes in best.items()}
    if args.json:
        print(json.dumps({"cycles": best, "ratios": ratios}))
    else:
        rows = [[mode, *(v for name in names for v in (best[name][mode][0], *ratios[name][mode]))] for mode in best[names[0]]]
        print(table(["speed", *(f"{name}{what}" for name in names for what in (" cycles", " page", " beside"))], rows))
    if args.least and any(ratio < args.least for mode in ratios.get("vmtest", {}).values() for ratio in mode):
        sys.exit(1)


if __name__ == "__main__":
    main()
