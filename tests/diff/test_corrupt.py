#!/usr/bin/env python3
"""Damaged images: each ends with an answer or with one clear line, never with a crash, and soon.

usage: test_corrupt.py [ROUNDS [SEED]]"""

import os
import random
import resource
import subprocess
import sys
import tempfile

import images
import test_walk
from images import PROGRAM, run

ALLOWED = {0, 1, 65, 78}
SECONDS = 20


def damage(data, rng, hot):
    """Changes a few bytes, mostly where structures are."""
    for _ in range(rng.choice([1, 1, 3, 10, 100])):
        at = rng.choice(hot) + rng.randrange(1024) if rng.random() < 0.8 else rng.randrange(len(data))
        data[at] = rng.choice([0, 0xff, data[at] ^ 1 << rng.randrange(8), rng.randrange(256)])


def hot_spots(data, size=1024):
    """Blocks in which there is something but that are not file contents alone: the first quarter, where bitmaps and
    inode tables are, and directories (which hold '.' and '..')."""
    spots = [i for i in range(0, len(data) - size, size) if any(data[i:i + size])]
    tables = [i for i in spots if i < len(data) // 4]
    dirs = [i for i in spots if data[i + 8:i + 9] == b"." and data[i + 20:i + 22] == b".."]
    return tables + dirs * 4


def attempt(*args):
    p = subprocess.run([PROGRAM, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=SECONDS)
    error = p.stderr.decode("utf-8", "replace")
    assert p.returncode in ALLOWED | {66, 64}, f"exit {p.returncode}: {args}: {error}"
    if p.returncode > 1:
        assert error.startswith("vmtest-fs: ") and error.count("\n") == 1, f"not one clear line: {error!r}"
    return p.returncode


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    seen = {}
    kinds = dict(test_walk.KINDS)
    kinds["no checksums, inline"] = (["-t", "ext4", "-b", "1024", "-O", "^metadata_csum,inline_data"], 8192)
    for title, (options, _) in kinds.items():
        rng = random.Random(f"{seed} {title}")
        with tempfile.TemporaryDirectory(prefix="vmtest-diff-") as folder:
            a, b, root = f"{folder}/a.img", f"{folder}/b.img", f"{folder}/root"
            os.mkdir(root)
            test_walk.make_tree(root, rng)
            run("mke2fs", "-q", "-F", *options, "-d", root, a, "8192" if "4k" not in title else "16384")
            with open(a, "rb") as f:
                good = f.read()
            hot = hot_spots(good)
            for k in range(rounds):
                bad = bytearray(good)
                damage(bad, rng, hot)
                with open(b, "wb") as f:
                    f.write(bad)
                for args in (("diff", "--a", f"file:{a}", "--b", f"file:{b}", "--json"),
                             ("diff", "--a", f"file:{b}", "--b", f"file:{a}", "--all", "-p"),
                             ("ls", "--a", f"file:{b}", "/dir0"), ("cat", "--a", f"file:{b}", "/file1")):
                    try:
                        status = attempt(*args)
                    except (AssertionError, subprocess.TimeoutExpired):
                        print(f"{title}, seed {seed}, round {k}", file=sys.stderr)
                        if os.environ.get("KEEP"):
                            run("cp", a, b, os.environ["KEEP"])
                        raise
                    seen[status] = seen.get(status, 0) + 1
    print("exit status: times", dict(sorted(seen.items())))
    # The damage must be such that all kinds of answer came.
    assert {0, 1, 65} <= seen.keys(), seen


if __name__ == "__main__":
    main()
