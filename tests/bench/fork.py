#!/usr/bin/env python3
"""How soon a machine goes on from a snapshot of the debian-i386 guest, and what many of them hold together.

    tests/bench/fork.py [--runs N] [--machines N] [--json]

Times are of whole commands, in milliseconds, the median of N runs: `start --from` to the guest's next output on its
console; `run -- true` with the snapshot's template to be filled (what a machine does after the host's boot, but that
the packs are in the host's memory), with a template that is there, and in a fork that was parked by `run --warm`.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "guest"))
from bench.report import median, table  # noqa: E402
from harness import guest, vmtest  # noqa: E402
from test_forks import monitors, pss  # noqa: E402

TICKS = "setsid sh -c 'while :; do echo tick; sleep 0.01; done' >/dev/ttyS0 2>&1 </dev/null &"


def first_output(store):
    begin = time.monotonic()
    store.run("start", "--no-wait", "web", "--from", "clean")
    console = store.popen("console", "web", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    console.stdout.read(1)
    took = time.monotonic() - begin
    console.kill()
    console.communicate()
    store.run("stop", "--force", "web")
    return took


def run_true(store, *options):
    return store.run("run", "--from", "clean", *options, "--", "true").seconds


def unfilled(store):
    shutil.rmtree(store.home / "templates", ignore_errors=True)
    return run_true(store)


def parked(store):
    """The fork is back when its socket is; a run before that makes a new one."""
    took = run_true(store, "--warm")
    time.sleep(0.3)
    return took


def many(store, n):
    """(seconds to the last one's answer, bytes held together)"""
    begin = time.monotonic()
    run = store.popen("run", "--from", "clean", "-j", n, "--", "sh", "-c", "echo up; exec sleep 1000",
                      stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    for _ in range(n):
        run.stdout.readline()
    took = time.monotonic() - begin
    held = sum(pss(p) for p in monitors(store))
    run.terminate()
    run.communicate()
    return took, held


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--machines", type=int, default=8)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()

    # Where templates can be: not in memory.
    with vmtest.Store(tempfile.mkdtemp(prefix="vmtest-store-", dir="/var/tmp")) as store:
        store.own = True
        with vmtest.Vmtest(guest.make("debian-i386"), store, "web") as machine:
            machine.execute(TICKS)
            store.run("snapshot", "clean")
            store.run("stop", "--force", "web")
            jobs = {"start --from, to the first output": first_output, "run, template to be filled": unfilled,
                    "run": run_true, "run --warm": parked}
            times = {}
            for name, job in jobs.items():
                job(store)
                times[name] = 1000 * median([job(store) for _ in range(args.runs)])
            seconds, held = many(store, args.machines)
    if args.json:
        print(json.dumps({"milliseconds": times, "machines": args.machines, "seconds": seconds, "pss": held}))
    else:
        print(table(["", "ms"], [[name, ms] for name, ms in times.items()]))
        print(f"{args.machines} machines: all up after {seconds:.1f} s, {held / (1 << 20):.0f} MiB together")


if __name__ == "__main__":
    main()
