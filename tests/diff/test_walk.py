#!/usr/bin/env python3
"""vmtest-fs diff against debugfs: images of many kinds, changed at random, must differ in exactly the paths that two
debugfs walks differ in, with the same types, modes, owners, sizes and contents. Each pair is compared twice: with the
pages that differ known, and as two partitions that do not line up, which takes a walk of both trees.

usage: test_walk.py VMTEST-FS [ROUNDS [SEED]]"""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile

import walk

KINDS = {  # name: mke2fs options, size in KiB
    "ext2 1k": (["-t", "ext2", "-b", "1024"], 8192),
    "ext2 4k, 128-byte inodes": (["-t", "ext2", "-b", "4096", "-I", "128"], 16384),
    "ext3 2k": (["-t", "ext3", "-b", "2048"], 16384),
    "ext4 4k": (["-t", "ext4", "-b", "4096"], 32768),
    "ext4 1k": (["-t", "ext4", "-b", "1024"], 24576),
    "ext4 inline data": (["-t", "ext4", "-b", "4096", "-O", "inline_data"], 16384),
    "ext4 plain": (["-t", "ext4", "-b", "4096", "-O", "^metadata_csum,^64bit,^flex_bg,^uninit_bg"], 16384),
    "ext4 uninit_bg": (["-t", "ext4", "-b", "1024", "-O", "^metadata_csum,uninit_bg,^has_journal", "-g", "2048"], 16384),
    "ext4 large inodes": (["-t", "ext4", "-b", "4096", "-I", "1024"], 16384),
}


def run(*args, **kw):
    return subprocess.run(args, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **kw)


def make_tree(root, rng):
    dirs = [""]
    for i in range(12):
        d = f"{rng.choice(dirs)}/dir{i}"
        os.mkdir(root + d)
        dirs.append(d)
    big = f"/big{rng.randrange(10)}"  # more names than one block holds, so that it gets an index
    os.mkdir(root + big)
    for i in range(400):
        with open(f"{root}{big}/a-rather-long-name-{i:05}", "w") as f:
            f.write("x" * (i % 3))
    for i in range(60):
        path = f"{root}{rng.choice(dirs)}/file{i}"
        with open(path, "wb") as f:
            kind = rng.randrange(4)
            if kind == 0:
                f.write(rng.randbytes(rng.randrange(0, 200)))
            elif kind == 1:
                f.write(rng.randbytes(rng.randrange(0, 60000)))
            elif kind == 2:  # holes
                for _ in range(rng.randrange(1, 6)):
                    f.seek(rng.randrange(0, 300000))
                    f.write(rng.randbytes(rng.randrange(1, 9000)))
            else:
                f.write(b"line\n" * rng.randrange(0, 2000))
        os.chmod(path, rng.choice([0o644, 0o600, 0o755, 0o4755]))
        if rng.random() < 0.1:
            os.link(path, f"{root}{rng.choice(dirs)}/hard{i}")
    for i in range(8):
        os.symlink("t" * rng.choice([3, 59, 60, 61, 200, 900]), f"{root}{rng.choice(dirs)}/link{i}")


class Changer:
    """Changes an image with debugfs, and by writing into its blocks."""

    def __init__(self, image, rng, folder):
        self.image, self.rng, self.folder, self.commands, self.n = image, rng, folder, [], 0
        self.refresh()

    def refresh(self):
        self.tree = walk.names(self.image)

    def pick(self, *kinds):
        have = sorted(p for p, n in self.tree.items() if walk.TYPES[n[1] >> 12] in kinds and p != "/lost+found")
        return self.rng.choice(have) if have else None

    def dir(self):
        return self.pick("dir") if self.rng.random() < 0.8 else ""

    def name(self):
        self.n += 1
        return f"{self.dir()}/new{self.n}"

    def step(self):
        rng, c = self.rng, self.commands
        what = rng.randrange(14)
        f, any_file = self.pick("file"), self.pick("file", "symlink", "fifo", "char")
        if what in (0, 1, 2):
            data = f"{self.folder}/data{self.n}"
            with open(data, "wb") as out:
                out.write(rng.randbytes(rng.choice([0, 10, 100, 5000, 70000])))
            if what == 2 and f:  # a new file under an old name
                c += [f"rm {f}", f"write {data} {f}"]
            else:
                c.append(f"write {data} {self.name()}")
            self.n += 1
        elif what == 3 and any_file:
            c.append(f"rm {any_file}")
        elif what == 4:
            c.append(f"mkdir {self.name()}")
        elif what == 5:
            c.append(f"symlink {self.name()} {'s' * rng.choice([5, 70, 300])}")
        elif what == 6:
            d, _, name = self.name().rpartition("/")  # mknod takes no path
            c += [f"cd {d or '/'}", f"mknod {name} " + rng.choice(["p", "c 4 70", "b 300 1000"]), "cd /"]
        elif what == 7 and f:  # the same inode under another name
            new = self.name()
            c += [f"ln {f} {new}", f"unlink {f}"]
        elif what == 8 and f:
            c += [f"ln {f} {self.name()}", f"sif {f} links_count 2"]
        elif what == 9 and any_file:
            c.append(f"sif {any_file} {rng.choice(['uid', 'gid'])} {rng.randrange(70000)}")
        elif what == 10 and f:
            c.append(f"sif {f} mode 0100{rng.choice(['600', '4711', '000'])}")
        elif what == 11 and f:
            c.append(f"sif {f} mtime 20{rng.randrange(10, 38)}0102030405")
        elif what == 12 and f:
            self.write_block(f)
        elif what == 13:
            self.move_dir()
        self.flush()

    def flush(self):
        if self.commands:
            walk.debugfs(self.image, self.commands, write=True)
            self.commands = []
            self.refresh()

    def write_block(self, path):
        """Changes bytes of a file behind its inode's back."""
        out = walk.debugfs(self.image, [f"blocks {path}", "stats -h"])
        blocks = [int(b) for line in out.splitlines() if re.fullmatch(r"[\d ]+", line) for b in line.split()]
        size = int(re.search(r"Block size:\s+(\d+)", out).group(1))
        if blocks:
            with open(self.image, "r+b") as f:
                f.seek(blocks[0] * size)
                f.write(self.rng.randbytes(1))

    def move_dir(self):
        """Renames a directory, '..' included."""
        d, to = self.pick("dir"), self.dir()
        if not d or to.startswith(d):
            return
        new = f"{to}/moved{self.n}"
        self.n += 1
        self.commands += [f"ln {d} {new}", f"unlink {d}", f"unlink {new}/..", f"ln {to or '/'} {new}/.."]


def our_diff(program, spec_a, spec_b):
    p = subprocess.run([program, "diff", "--a", spec_a, "--b", spec_b, "--all", "--json"], stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE)
    assert p.returncode in (0, 1), f"exit {p.returncode}: {p.stderr.decode()}"
    doc = json.loads(p.stdout)
    assert doc["complete"] and doc["same"] == (p.returncode == 0), doc
    result, extra = {}, {}
    for c in doc["changes"]:
        sides = []
        for side in ("old", "new"):
            n = c.get(side)
            if n is None:
                sides.append(None)
                continue
            content = n.get("sha256") or n.get("target") or n.get("device") or ""
            size = n["size"] if n["type"] in ("file", "dir") else 0
            sides.append((n["type"], int(n["mode"], 8), n["uid"], n["gid"], size, content))
        if sides[0] == sides[1]:
            extra[c["path"]] = c["what"]
        else:
            result[c["path"]] = tuple(sides)
    return result, extra


def as_partition(image, disk, start):
    with open(disk, "wb") as f:
        f.truncate(start * 512 + os.path.getsize(image) + (1 << 20))
    run("sfdisk", "-q", disk, input=f"label: dos\nstart={start}, size={os.path.getsize(image) // 512}, type=83\n".encode())
    run("dd", f"if={image}", f"of={disk}", "bs=512", f"seek={start}", "conv=notrunc,sparse")


def check(program, a, b, folder, title):
    want = walk.differences(walk.walk(a), walk.walk(b))
    as_partition(a, f"{folder}/disk_a", 2048)
    as_partition(b, f"{folder}/disk_b", 63)  # no block of it lies on a page of its own
    for how, spec in (("pages", (f"file:{a}", f"file:{b}")), ("walk", (f"file:{folder}/disk_a", f"file:{folder}/disk_b"))):
        got, extra = our_diff(program, *spec)
        for path, what in extra.items():
            assert set(what) <= {"links", "xattr"}, f"{title}, {how}: {path} listed for {what}"
        for path in sorted(want.keys() | got.keys()):
            assert want.get(path) == got.get(path), \
                f"{title}, {how}: {path}\n  debugfs   {want.get(path)}\n  vmtest-fs {got.get(path)}"
    return len(want)


def main():
    program, rounds = os.path.abspath(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    total = 0
    for k in range(rounds):
        for title, (options, kib) in KINDS.items():
            rng = random.Random(f"{seed + k} {title}")
            with tempfile.TemporaryDirectory(prefix="vmtest-diff-") as folder:
                a, b, root = f"{folder}/a.img", f"{folder}/b.img", f"{folder}/root"
                os.mkdir(root)
                make_tree(root, rng)
                run("mke2fs", "-q", "-F", *options, "-d", root, a, str(kib))
                run("cp", "--sparse=always", a, b)
                assert check(program, a, b, folder, title) == 0, f"{title}: a copy differs"
                change = Changer(b, rng, folder)
                for _ in range(rng.choice([1, 3, 12, 25])):
                    change.step()
                if os.environ.get("KEEP"):
                    shutil.copy(a, os.environ["KEEP"] + "/a.img"), shutil.copy(b, os.environ["KEEP"] + "/b.img")
                total += check(program, a, b, folder, f"{title}, seed {seed + k}")
        print(f"seed {seed + k}: {len(KINDS)} kinds of image agree, {total} differences so far", flush=True)
    assert total > 0


if __name__ == "__main__":
    main()
