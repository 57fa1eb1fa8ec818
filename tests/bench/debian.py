#!/usr/bin/env python3
"""The debian-i386 guest under vmtest, under QEMU without KVM, and its programs on the bare host, in one run.

    tests/bench/debian.py [--only vmtest|qemu|host]... [--boots N] [--seconds S] [--kernel 686|686-pae] [--json FILE]

Boot is from the program's start to the agent's first answer, the median of alternating runs. Work is rounds a second of
the jobs in tests/bench/work, the same static i386 file everywhere; their checksums must agree. Ratios above 1 are vmtest
faster. amd64.py does the same with 64-bit guests.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench import versus  # noqa: E402
from bench.report import table  # noqa: E402
from harness import guest as guests  # noqa: E402
from harness import vmtest  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=versus.MACHINES)
    parser.add_argument("--boots", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="for each job; 0: boot only")
    parser.add_argument("--kernel", choices=["686", "686-pae"])
    parser.add_argument("--json", type=Path, help="write all numbers here")
    args = parser.parse_args()
    names = args.only or versus.MACHINES
    if args.seconds == 0:
        names = [n for n in names if n != "host"]

    guest = guests.make("debian-i386", args.kernel)
    with vmtest.Store() as store, tempfile.TemporaryDirectory() as scratch:
        result = versus.measure(args, names, guest, store, versus.build_work("i386", scratch))
    rows, means = versus.report(result)
    print(table(versus.HEAD, rows))
    if args.json:
        args.json.write_text(json.dumps({"machines": result, "ratios": means}, indent=2) + "\n")
    versus.check(result)


if __name__ == "__main__":
    main()
