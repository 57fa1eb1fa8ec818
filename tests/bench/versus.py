"""A guest under vmtest and under QEMU without KVM, by turns, and its jobs on the bare host: for the benches of one guest.

Boot is from the program's start to the agent's first answer. Work is rounds a second of the jobs in tests/bench/work,
the same static file everywhere."""

import contextlib
import subprocess
import sys
from pathlib import Path

from bench.report import geometric_mean, median
from harness import qemu, vmtest

WORK = Path(__file__).resolve().parent / "work" / "build.sh"
MACHINES = ["host", "vmtest", "qemu"]
HEAD = ["rounds a second", "host", "vmtest", "qemu", "of host", "x qemu"]


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


def build_work(arch, directory):
    """The path of the jobs' program, built in directory."""
    program = f"{directory}/work-{arch}"
    subprocess.run(["sh", str(WORK), arch, program], check=True)
    return program


def measure(args, names, guest, store, program):
    """{name: {"boot": [seconds], "work": {job: row}}}: args.boots boots of each, by turns, and args.seconds a job."""
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
                        sys.exit(f"{name}: work ended with {status}: {err.decode(errors='replace')}")
                    result[name]["work"] = parse_work(out.decode())
    return result


def check(result):
    """Ends the program where a job's result is not the same everywhere."""
    if wrong := wrong_checksums(result):
        sys.exit(f"results differ between machines: {', '.join(wrong)}")


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
    least = {key: min(values) for key, values in ratios.items()}
    for group in ("user", "kernel"):
        if f"{group}_vs_host" in means or f"{group}_vs_qemu" in means:
            for what, by in (("geometric mean", means), ("least", least)):
                rows.append([f"{what} ({group})", "", "", "", by.get(f"{group}_vs_host"), by.get(f"{group}_vs_qemu")])
    means.update({f"{key}_least": value for key, value in least.items()})
    boots = {name: median(r["boot"]) for name, r in result.items() if r["boot"]}
    if len(boots) == 2:
        means["boot_vs_qemu"] = boots["qemu"] / boots["vmtest"]
    if boots:
        rows.append(["boot to the agent, s", None, boots.get("vmtest"), boots.get("qemu"), None, means.get("boot_vs_qemu")])
    return rows, means
