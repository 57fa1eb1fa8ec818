#!/usr/bin/env python3
"""Makes the corpus of tests/fuzz/fuzz_extfs.c: small disks of several kinds, some with a dirty journal, some damaged.
Every run gives other times and UUIDs, so the files that are kept were made once.

usage: corpus.py FOLDER"""

import os
import random
import sys
import tempfile

import images
import walk
from images import run

SMALL = ["-N", "24"]


def tree(root):
    os.makedirs(f"{root}/dir/deep")
    with open(f"{root}/dir/deep/file", "wb") as f:
        f.write(b"text\n" * 30)
        f.seek(40000)
        f.write(b"end")
    os.symlink("dir", f"{root}/link")
    os.symlink("x" * 100, f"{root}/slow")
    os.link(f"{root}/dir/deep/file", f"{root}/hard")


def sparse(image):
    with open(image, "rb") as f:
        data = f.read()
    out = (len(data) // 1024).to_bytes(2, "little")
    for i in range(0, len(data), 1024):
        if any(data[i:i + 1024]):
            out += (i // 1024).to_bytes(2, "little") + data[i:i + 1024]
    return out


def main():
    out = sys.argv[1]
    os.makedirs(out, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        root, made = f"{folder}/root", {}
        tree(root)
        for name, kib, options in (("ext2", 256, ["-t", "ext2", "-b", "1024"]),
                                   ("ext4", 256, ["-t", "ext4", "-b", "1024", "-O", "^has_journal,^resize_inode"]),
                                   ("inline", 256, ["-t", "ext4", "-b", "1024", "-O", "^has_journal,inline_data,^resize_inode"]),
                                   ("plain", 256, ["-t", "ext4", "-b", "1024", "-O",
                                                   "^has_journal,^metadata_csum,^64bit,^resize_inode"]),
                                   ("journal", 4096, ["-t", "ext4", "-b", "1024", "-O", "^resize_inode", "-J", "size=1"]),
                                   ("ext3", 4096, ["-t", "ext3", "-b", "1024", "-O", "^resize_inode", "-J", "size=1"])):
            image = f"{folder}/{name}"
            run("mke2fs", "-q", "-F", *SMALL, *options, "-d", root, image, str(kib))
            walk.debugfs(image, ["ea_set /hard user.name value", f"ea_set /dir user.long {'v' * 300}"], write=True)
            if name in ("journal", "ext3"):
                block = images.blocks_of(image, "/hard")[0]
                data = f"{folder}/data"
                with open(data, "wb") as f:
                    f.write(b"\xc0\x3b\x39\x98" + b"J" * 1020)
                walk.debugfs(image, ["jo -c" if name == "journal" else "jo", f"jw -b {block} {data}", "jw -r 700",
                                     f"jw -b {block} {data}", "jc"], write=True)
            made[name] = image
        disk = f"{folder}/mbr"
        with open(disk, "wb") as f:
            f.truncate(600 * 1024)
        run("sfdisk", "-q", disk, input=b"label: dos\n100 900 E\n200 512 L\n")
        with open(disk, "r+b") as f, open(made["ext2"], "rb") as i:
            f.seek(200 * 512)
            f.write(i.read())
        made["mbr"] = disk
        disk = f"{folder}/gpt"
        with open(disk, "wb") as f:
            f.truncate(600 * 1024)
        run("sfdisk", "-q", disk, input=b"label: gpt\nfirst-lba: 34\nstart=64, size=512\n")
        with open(disk, "r+b") as f, open(made["plain"], "rb") as i:
            f.seek(64 * 512)
            f.write(i.read())
        made["gpt"] = disk
        rng = random.Random(1)
        for name, image in made.items():
            data = sparse(image)
            with open(f"{out}/{name}", "wb") as f:
                f.write(data)
            bad = bytearray(data)
            for _ in range(4):
                bad[rng.randrange(2, len(bad))] = rng.randrange(256)
            with open(f"{out}/{name}-damaged", "wb") as f:
                f.write(bad)


if __name__ == "__main__":
    main()
