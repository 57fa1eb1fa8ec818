#!/usr/bin/env python3
"""Snapshots of a running machine: taken, gone back to and started from, beside QEMU's savevm and loadvm without KVM.

    tests/bench/snapshots.py [--guest tiny|tiny-amd64] [--mem SIZE] [--only vmtest|qemu] [--runs N] [--quick]
                             [--sync-delay MS] [--sizes MIB,...] [--memories SIZE,...] [--depths N,...] [--list N]
                             [--dir DIR] [--json FILE]

Both have the same guest, disk and memory in the same run, take turns, and stand while the other has its turn; medians
are printed, in milliseconds. What changes between two states is random bytes in the guest's /dev/shm. `done` is the
monitor's answer; `output` the guest's next line on its serial port, whose number says what the guest goes on from (it
prints one every few milliseconds, which a row tells); `silent` the longest time without such a line. QEMU's savevm
leaves the guest stopped for all of its time. Syncs are counted, and slowed for the rows that say so, in all processes
of both; `syncs after` are those of the store's upkeep, which begins with the answer and may get ahead of the counting:
nobody waits for it. After the first snapshot upon a revert it makes the new head durable. Curves are of the same guest:
over dirty memory, with memory for twice the largest of --sizes; over --memories, a boot each; over the depth of a chain
of snapshots. Growth is of all of the store's files, and beside it is what zstd makes of the pages that changed, as the
store itself holds them.

The last table holds what vmtest-limits(7) says, with the section, against what was measured. These figures say little
where the host had other work: its load is printed. --quick is for whether it all works.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench import growth, running  # noqa: E402
from bench.report import median, table  # noqa: E402
from harness import guest  # noqa: E402

CHANGED = [4, 64]  # MiB
# {figure: (what it is, at most, the section of vmtest-limits(7) that says so)}; milliseconds, syncs, or a ratio.
AIMS = {
    "snapshot_stopped": ("snapshot, 64 MiB changed: guest stopped", 20, "What is measured"),
    "snapshot_durable": ("snapshot, 64 MiB changed: durable", 500, "What is measured"),
    "snapshot_syncs": ("syncs of a snapshot upon another", 3, "Syncs"),
    "revert_output": ("revert, 4 MiB changed: to the next output", 5, "What is measured"),
    "revert_large_output": ("revert, 64 MiB changed: to the next output", 30, "What is measured"),
    "revert_command": ("revert, 4 MiB changed: whole command", 15, "What is measured"),
    "snapshot_again_syncs": ("syncs of the first snapshot after a revert", 3, "Syncs"),
    "revert_syncs": ("syncs of a revert", 0, "Syncs"),
    "slow_snapshot": ("snapshot, 4 MiB changed, syncs 10 ms slower: durable", 50, "Syncs"),
    "slow_revert": ("revert, 4 MiB changed, syncs 10 ms slower: done", 10, "Syncs"),
    "restart_output": ("start --from: to the first output", 150, "What is measured"),
    "listing": ("listing of 1,000 snapshots: whole command", 50, "Size of a tree"),
    "growth": ("growth of the store, of zstd of what changed", 1.2, "What is measured"),
}
QUICK = {"runs": 1, "sizes": [8], "memories": ["128M"], "depths": [1, 8], "list": 30}
FULL = {"runs": 5, "sizes": [1, 4, 16, 64, 256, 1024], "memories": ["128M", "512M", "1G", "2G", "4G"],
        "depths": [1, 10, 50, 100, 250, 500], "list": 1000}


def mebibytes(size):
    return int(size[:-1]) * {"M": 1, "G": 1024}[size[-1].upper()]


def middle(rows):
    """The median of each key of dicts that are alike."""
    return {key: None if rows[0][key] is None else median([row[key] for row in rows]) for key in rows[0]}


def by_turns(machines, runs, job):
    """{name: [what job(machine, run) gives]}"""
    found = {m.name: [] for m in machines}
    for run in range(runs):
        for m in machines:
            with m.alone():
                found[m.name].append(job(m, run))
            print(f"{m.name}: {job.__name__.replace('_', ' ')}, {run + 1} of {runs}", file=sys.stderr)
    return found


def first_snapshot(m, _):
    return m.snapshot("base")


def changes(amount):
    """A job: with so many MiB changed, a revert, and a snapshot that is deleted again."""
    def changed(m, run):
        m.dirty(amount)
        found = {"revert": m.revert("base")}
        if m.name == "vmtest":
            m.dirty(amount)
            found["command"] = m.revert("base", m.go_back_by_command)
        m.dirty(amount)
        found["snapshot after a revert"] = m.snapshot("under")
        m.dirty(amount)
        found["snapshot"] = m.snapshot("upon")
        m.revert("base")
        m.delete("upon")
        m.delete("under")
        return found
    return changed


def restart(m, _):
    return {"output": m.restart("base")}


def ticks(m, _):
    """How near `output` can be: the guest's lines are that far apart."""
    return {"time": m.console.period()}


def both_rows(machines, args):
    """{what: {machine: medians in seconds}} of one pair of machines."""
    found = {}
    first = by_turns(machines, 1, first_snapshot)
    found["first snapshot"] = {name: rows[0] for name, rows in first.items()}

    def keep(amount, suffix, runs):
        got = by_turns(machines, runs, changes(amount))
        for what in ("snapshot", "snapshot after a revert", "revert", "command"):
            found[f"{what}, {amount} MiB changed{suffix}"] = {
                name: middle([row[what] for row in rows]) for name, rows in got.items() if what in rows[0]}

    for amount in CHANGED:
        keep(amount, "", args.runs)
    if args.sync_delay:
        with machines[0].syncs.slower(args.sync_delay):
            keep(CHANGED[0], f", syncs {args.sync_delay:g} ms slower", 1 if args.quick else args.runs)
    # The first start from a snapshot makes its template.
    starts = by_turns(machines, args.runs + 1, restart)
    found["first start from a snapshot"] = {name: rows[0] for name, rows in starts.items()}
    found["start from a snapshot"] = {name: middle(rows[1:]) for name, rows in starts.items()}
    found["the guest's lines, one in"] = {name: rows[0] for name, rows in by_turns(machines, 1, ticks).items()}
    return found


def dirty_curve(machines, args):
    """{machine: {MiB: {"revert": medians, "snapshot": medians}}}"""
    if "base" not in machines[0].at:
        by_turns(machines, 1, first_snapshot)
    curve = {m.name: {} for m in machines}
    for size in args.sizes:
        for name, rows in by_turns(machines, max(1, args.runs // 2), changes(size)).items():
            curve[name][size] = {what: middle([r[what] for r in rows]) for what in ("revert", "snapshot")}
    return curve


def restore_curve(kinds, args, image, syncs, directory):
    """{machine: {memory: seconds to the first output}}"""
    curve = {kind.name: {} for kind in kinds}
    for memory in args.memories:
        for kind in kinds:
            with kind(image, memory, syncs, directory) as m:
                m.snapshot("base")
                curve[kind.name][memory] = median([m.restart("base") for _ in range(args.runs + 1)][1:])
            print(f"{kind.name}: start with {memory}", file=sys.stderr)
    return curve


def tree(m, args):
    """({depth: medians of a revert there}, seconds of a listing of args.list snapshots): a chain upon the first."""
    depths, depth = {}, 0
    for depth in range(1, max(args.depths + [args.list]) + 1):
        m.snapshot(f"s{depth}") if depth in args.depths else m.chain(f"s{depth}")
        if depth in args.depths:
            rows = []
            for _ in range(args.runs):
                m.dirty(CHANGED[0])
                rows.append(m.revert(f"s{depth}"))
            depths[depth] = middle(rows)
            print(f"{m.name}: depth {depth}", file=sys.stderr)
    times = []
    for _ in range(args.runs):
        begin = time.monotonic()
        listed = m.store.json("snapshots", "web")["snapshots"]
        times.append(time.monotonic() - begin)
    return depths, {"snapshots": len(listed), "seconds": median(times)}


def measure(args, image, directory):
    syncs = running.Syncs(Path(directory))
    kinds = [kind for name, kind in running.KINDS.items() if args.only in (None, name)]
    result = {"guest": image.name, "memory": args.mem, "load": [os.getloadavg()[0]]}

    def pair(memory, job):
        with running.together([kind(image, memory, syncs, directory) for kind in kinds]) as machines:
            return job(machines, args)

    largest = max(mebibytes(args.mem), 2 * max(args.sizes))
    if largest == mebibytes(args.mem):
        result["rows"], result["dirty"] = pair(args.mem, lambda *a: (both_rows(*a), dirty_curve(*a)))
    else:
        result["rows"], result["dirty"] = pair(args.mem, both_rows), pair(f"{largest}M", dirty_curve)
    result["restore"] = restore_curve(kinds[:1] if args.quick else kinds, args, image, syncs, directory)
    if args.only != "qemu":
        with running.Vmtest(image, args.mem, syncs, directory) as m:
            result["depth"], result["listing"] = tree(m, args)
            result["growth"] = growth.measure(m, args.runs)
    result["load"].append(os.getloadavg()[0])
    return result


def milliseconds(seconds):
    return None if seconds is None else 1000 * seconds


def main_rows(result):
    """Rows of the first table: each figure of each, and how many times QEMU's."""
    rows = []
    for what, of in result["rows"].items():
        ours, theirs = of.get("vmtest", {}), of.get("qemu", {})
        for key in ours or theirs:
            if key == "pages":
                continue
            a, b = ours.get(key), theirs.get(key)
            if not key.startswith("syncs"):
                a, b = milliseconds(a), milliseconds(b)
            rows.append([f"{what}: {key}", a, b, b / a if a and b else None])
    return rows


def curve_tables(result):
    names = list(result["dirty"])
    sizes = list(next(iter(result["dirty"].values())))
    keys = [("revert", "output"), ("snapshot", "stopped"), ("snapshot", "durable")]
    yield table(["dirty MiB, ms", *[f"{n}: {w} {k}" for w, k in keys for n in names]],
                [[str(s), *[milliseconds(result["dirty"][n][s][w][k]) for w, k in keys for n in names]] for s in sizes])
    yield table(["memory, ms", *[f"{n}: start to output" for n in names]],
                [[memory, *[milliseconds(result["restore"].get(n, {}).get(memory)) for n in names]]
                 for memory in result["restore"][names[0]]])
    if "depth" in result:
        yield table(["depth of the tree, ms", "revert done", "to output"],
                    [[str(d), milliseconds(r["done"]), milliseconds(r["output"])] for d, r in result["depth"].items()])
        yield table(["growth by a snapshot, KiB", "of the store", "zstd of what changed", "of it", "changed"],
                    [[what, g["store"] / 1024, g["zstd"] / 1024, g["store"] / g["zstd"], g["changed"] / 1024]
                     for what, g in result["growth"].items()])


def figures(result):
    """{name of an aim: the measured}"""
    rows, found = result["rows"], {}
    for name, what, key in (("snapshot_stopped", "snapshot, 64 MiB changed", "stopped"),
                            ("snapshot_durable", "snapshot, 64 MiB changed", "durable"),
                            ("snapshot_syncs", "snapshot, 4 MiB changed", "syncs"),
                            ("revert_output", "revert, 4 MiB changed", "output"),
                            ("revert_large_output", "revert, 64 MiB changed", "output"),
                            ("revert_command", "command, 4 MiB changed", "done"),
                            ("snapshot_again_syncs", "snapshot after a revert, 4 MiB changed", "syncs"),
                            ("revert_syncs", "revert, 4 MiB changed", "syncs"),
                            ("restart_output", "start from a snapshot", "output")):
        value = rows[what]["vmtest"][key]
        found[name] = value if key == "syncs" else 1000 * value
    for what, of in rows.items():
        if what.endswith(", syncs 10 ms slower") and what.startswith(("revert", "snapshot,")):
            name, key = ("slow_revert", "done") if what.startswith("revert") else ("slow_snapshot", "durable")
            found[name] = 1000 * of["vmtest"][key]
    if result["listing"]["snapshots"] >= 1000:
        found["listing"] = 1000 * result["listing"]["seconds"]
    found["growth"] = max(g["store"] / g["zstd"] for g in result["growth"].values())
    return found


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--guest", choices=["tiny", "tiny-amd64"], default="tiny")
    parser.add_argument("--mem", default="512M", metavar="SIZE", help="the machines' memory, such as 512M or 4G")
    parser.add_argument("--only", choices=list(running.KINDS))
    parser.add_argument("--runs", type=int, help="of each; medians are taken")
    parser.add_argument("--quick", action="store_true", help="small curves, one run of each")
    parser.add_argument("--sync-delay", type=float, default=0, metavar="MS",
                        help="also with so many milliseconds added to each sync")
    parser.add_argument("--sizes", type=lambda s: [int(v) for v in s.split(",")], help="dirty memory, MiB")
    parser.add_argument("--memories", type=lambda s: s.split(","), help="of machines that are started from a snapshot")
    parser.add_argument("--depths", type=lambda s: [int(v) for v in s.split(",")], help="of the tree of snapshots")
    parser.add_argument("--list", type=int, metavar="N", help="snapshots to list")
    parser.add_argument("--dir", default="/var/tmp", help="where stores and QEMU's disks are; not in memory")
    parser.add_argument("--json", type=Path, help="write all numbers here")
    args = parser.parse_args()
    for key, value in (QUICK if args.quick else FULL).items():
        if getattr(args, key) is None:
            setattr(args, key, value)
    if args.runs < 1:
        parser.error("--runs: at least 1")
    for size in [args.mem, *args.memories]:
        if not size[:-1].isdigit() or size[-1].upper() not in "MG":
            parser.error(f"{size}: a size is a number and M or G")
    return args


def main():
    args = options()
    image = guest.make(args.guest)
    with tempfile.TemporaryDirectory(prefix="bench-snapshots-", dir=args.dir) as directory:
        result = measure(args, image, directory)
    print(table([f"{image.name} guest, {args.mem}, ms", "vmtest", "qemu", "x qemu"], main_rows(result)))
    for text in curve_tables(result):
        print()
        print(text)
    if "listing" in result:
        print(f"\nlisting of {result['listing']['snapshots']} snapshots: {1000 * result['listing']['seconds']:.0f} ms")
        measured = figures(result)
        print()
        print(table(["aim", "at most", "measured", "vmtest-limits(7)"],
                    [[what, most, measured[key], where] for key, (what, most, where) in AIMS.items()
                     if key in measured]))
        result["figures"] = measured
    print(f"\nload of the host: {result['load'][0]:.1f} before, {result['load'][1]:.1f} after")
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
