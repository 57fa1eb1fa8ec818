#!/usr/bin/env python3
"""The debian-i386 guest under vmtest, under QEMU without KVM, and its programs on the bare host, in one run.

    tests/bench/debian.py [--only vmtest|qemu|host]... [--boots N] [--seconds S] [--kernel 686|686-pae] [--json FILE]

Boot is from the program's start to the agent's first answer, the median of alternating runs. Work is rounds a second of
the jobs in tests/bench/work, the same static i386 file everywhere; their checksums must agree. Ratios above 1 are vmtest
faster.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench.report import geometric_mean, median, table  # noqa: E402
from harness import guest as guests  # noqa: E402
from harness import qemu, vmtest  # noqa: E402

WORK = Path(__file__).resolve().parent / "work" / "build.sh"


def parse_work(text):
    """{job: (group, rounds a second, checksum)}"""
    rows = [line.split() for line in text.splitlines()]
    return {name: (group, float(rate), check) for name, group, rate, check in rows}


@contextlib.contextmanager
def machine(name, guest, store):
    if name == "qemu":
        with qemu.Qemu(guest) as m:
            yield m
    else:
        with vmtest.Vmtest(guest, store) as m:
            yield m


def measure(args, names, guest, store, program):
    """{name: {"boot": [seconds], "work": {job: row}}}"""
    result = {name: {"boot": []} for name in names}
    if "host" in names:
        out = subprocess.run([program, str(args.seconds)], stdout=subprocess.PIPE, text=True, check=True).stdout
        result["host"]["work"] = parse_work(out)
    for run in range(args.boots):
        for name in [n for n in names if n != "host"]:
            with machine(name, guest, store) as m:
                seconds = m.wait_agent(1200)
                print(f"{name}: boot {seconds:.2f} s", file=sys.stderr)
                result[name]["boot"].append(seconds)
                if run == 0 and args.seconds > 0:
                    m.copy_in(program, "/root/work")
                    status, out, err = m.execute(f"/root/work {args.seconds}", 1200)
                    if status:
                        sys.exit(f"debian.py: {name}: work ended with {status}: {err.decode(errors='replace')}")
                    result[name]["work"] = parse_work(out.decode())
    return result


def wrong_checksums(result):
    """Jobs whose results differ between machines."""
    works = [r["work"] for r in result.values() if "work" in r]
    return [job for job in works[0] if len({w[job][2] for w in works}) > 1] if works else []


def report(result):
    """The table's rows, and {ratio name: number}."""
    works = {name: r["work"] for name, r in result.items() if "work" in r}
    rates = {name: {job: row[1] for job, row in work.items()} for name, work in works.items()}
    groups = {job: row[0] for work in works.values() for job, row in work.items()}
    ratios = {}
    rows = []
    for job, group in groups.items():
        ours = rates.get("vmtest", {}).get(job)
        cells = [rates.get(name, {}).get(job) for name in ("host", "vmtest", "qemu")]
        vs = [ours / base if ours and base else None for base in (cells[0], cells[2])]
        rows.append([f"{job} ({group})", *[c and f"{c:,.0f}" for c in cells], *vs])
        for key, value in zip(("host", "qemu"), vs):
            if value:
                ratios.setdefault(f"{group}_vs_{key}", []).append(value)
    means = {key: geometric_mean(values) for key, values in ratios.items()}
    for group in ("user", "kernel"):
        if f"{group}_vs_host" in means or f"{group}_vs_qemu" in means:
            rows.append([f"geometric mean ({group})", "", "", "", means.get(f"{group}_vs_host"),
                         means.get(f"{group}_vs_qemu")])
    boots = {name: median(r["boot"]) for name, r in result.items() if r["boot"]}
    if len(boots) == 2:
        means["boot_vs_qemu"] = boots["qemu"] / boots["vmtest"]
    if boots:
        rows.append(["boot to the agent, s", None, boots.get("vmtest"), boots.get("qemu"), None, means.get("boot_vs_qemu")])
    return rows, means


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=["vmtest", "qemu", "host"])
    parser.add_argument("--boots", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="for each job; 0: boot only")
    parser.add_argument("--kernel", choices=["686", "686-pae"])
    parser.add_argument("--json", type=Path, help="write all numbers here")
    args = parser.parse_args()
    names = args.only or ["host", "vmtest", "qemu"]
    if args.seconds == 0:
        names = [n for n in names if n != "host"]

    guest = guests.make("debian-i386", args.kernel)
    with vmtest.Store() as store, tempfile.TemporaryDirectory() as scratch:
        program = scratch + "/work"
        subprocess.run(["sh", str(WORK), program], check=True)
        result = measure(args, names, guest, store, program)
    rows, means = report(result)
    print(table(["rounds a second", "host", "vmtest", "qemu", "of host", "x qemu"], rows))
    if args.json:
        args.json.write_text(json.dumps({"machines": result, "ratios": means}, indent=2) + "\n")
    if wrong := wrong_checksums(result):
        sys.exit(f"debian.py: results differ between machines: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
