#!/usr/bin/env python3
"""Run by test_bad_input.py with a small file system of its own at the directory named: a snapshot that does not fit."""

import sys

import common
from harness import vmtest

FILL = 150 << 20


def count_lines(text):
    return len(text.strip().splitlines())


def main():
    store = vmtest.Store(sys.argv[1] + "/store")
    run = store.run
    try:
        with vmtest.Vmtest(common.debian(), store, "web") as guest:
            run("snapshot", "small")
            # Memory that does not compress, twice what there is room for.
            guest.execute(f"head -c {FILL} /dev/urandom >/dev/shm/fill")
            full = run("snapshot", "big", want=74)
            assert count_lines(full.errors) == 1, full.errors
            assert "space" in full.errors.lower(), full.errors
            names = [s["snapshot"] for s in store.json("snapshots", "web")["snapshots"]]
            assert names == ["small"], names
            # The guest went on; once there is less to write, it can be written.
            assert guest.execute("stat -c %s /dev/shm/fill")[1] == b"%d\n" % FILL
            guest.execute(f"dd if=/dev/zero of=/dev/shm/fill bs=1M count={FILL >> 20} conv=notrunc")
            run("snapshot", "next")
            run("revert", "small")
            assert guest.execute("[ -e /dev/shm/fill ]")[0] == 1
            run("check")
    except BaseException:
        run("rm", "--force", "web", want=None)
        raise


if __name__ == "__main__":
    main()
