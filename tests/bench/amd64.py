#!/usr/bin/env python3
"""64-bit guests under vmtest, under QEMU without KVM (-cpu max), and their programs on the bare host, in one run.

    tests/bench/amd64.py [--only vmtest|qemu|host]... [--boots N] [--seconds S] [--kernel amd64|cloud-amd64] [--json FILE]

Boots alternate, and medians are taken: tiny-amd64 to the line before its root prompt, and debian-amd64 through the BIOS
and GRUB to its root prompt, and to the agent's first answer. Work is as in debian.py, from the same sources built
for amd64. Ratios above 1 are vmtest faster. The last lines hold what is wanted against what was measured.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench import prompt, tiny_boot, versus  # noqa: E402
from bench.report import table  # noqa: E402
from harness import guest as guests  # noqa: E402
from harness import vmtest  # noqa: E402

# {ratio: (what it is, at least)}
WANTED = {
    "tiny_boot_vs_qemu": ("tiny-amd64 to its root prompt", 3),
    "prompt_vs_qemu": ("debian-amd64 to its root prompt", 3),
    "kernel_vs_qemu": ("the same from the kernel's start", 3),
    "boot_vs_qemu": ("debian-amd64 to the agent", 3),
    "user_vs_qemu": ("user-mode programs, geometric mean", 5),
    "user_vs_qemu_least": ("user-mode programs, the slowest", 1),
}


def tiny_times(args, names):
    """The tiny guest's boots, as tiny_boot.py has them, and its table's row."""
    machines = [n for n in names if n != "host"]
    words = argparse.Namespace(vmtest=vmtest.program(), runs=args.boots, timeout=300, log=None,
                               only=machines[0] if len(machines) == 1 else None)
    tiny = tiny_boot.medians(tiny_boot.measure(words, guests.make("tiny-amd64", args.kernel)))
    ratio = tiny.get("speedup", {}).get("marker")
    row = ["tiny-amd64 to its prompt, s", None, *[tiny.get(n, {}).get("marker") for n in ("vmtest", "qemu")], None, ratio]
    return tiny, row, ratio


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=versus.MACHINES)
    parser.add_argument("--boots", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="for each job; 0: boot only")
    parser.add_argument("--kernel", choices=["amd64", "cloud-amd64"], default="amd64")
    parser.add_argument("--json", type=Path, help="write all numbers here")
    args = parser.parse_args()
    names = args.only or versus.MACHINES
    if args.seconds == 0:
        names = [n for n in names if n != "host"]

    tiny, row, ratio = tiny_times(args, names) if names != ["host"] else ({}, None, None)
    guest = guests.make("debian-amd64", args.kernel) if names != ["host"] else None
    with vmtest.Store() as store, tempfile.TemporaryDirectory() as scratch:
        result = versus.measure(args, names, guest, store, versus.build_work("amd64", scratch))
    prompts = prompt.measure(args.boots, names, guest) if guest else {}
    rows, ratios = versus.report(result)
    prompt_rows, prompt_ratios = prompt.report(prompts)
    rows += prompt_rows
    ratios.update(prompt_ratios)
    if ratio:
        ratios["tiny_boot_vs_qemu"] = ratio
    print(table(versus.HEAD, rows + ([row] if row else [])))
    if args.json:
        everything = {"machines": result, "tiny": tiny, "prompts": prompts, "ratios": ratios}
        args.json.write_text(json.dumps(everything, indent=2) + "\n")
    if wanted := [[what, least, ratios[key]] for key, (what, least) in WANTED.items() if key in ratios]:
        print()
        print(table(["x qemu", "wanted", "measured"], wanted))
    versus.check(result)


if __name__ == "__main__":
    main()
