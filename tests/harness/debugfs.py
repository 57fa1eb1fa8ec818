"""All that an ext4 file system holds, read by e2fsprogs' debugfs: a second opinion on what vmtest reads."""

import hashlib
import os
import re
import subprocess
import tempfile
from dataclasses import dataclass

PARTITION = 1048576  # where fixtures/lib/debian.sh puts the root file system
ROOT = 2

TYPES = {0o10: "file", 0o04: "dir", 0o12: "symlink", 0o02: "char", 0o06: "block", 0o01: "fifo", 0o14: "socket"}


@dataclass(frozen=True)
class Node:
    type: str
    mode: str  # four octal digits
    uid: int
    gid: int
    size: int
    content: str  # sha256 of a file, target of a link, else ""


def _run(image, commands):
    """Runs debugfs commands; [(command, its output's lines)]"""
    env = {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"}
    done = subprocess.run(["debugfs", "-f", "-", f"{image}?offset={PARTITION}"], input="\n".join(commands) + "\n",
                          env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="surrogateescape")
    if done.returncode:
        raise RuntimeError(f"debugfs: {image}: {done.stderr}")
    answers = []
    for line in done.stdout.split("\n"):
        if line.startswith("debugfs: "):
            answers.append((line[len("debugfs: "):], []))
        elif answers:
            answers[-1][1].append(line)
    if len(answers) != len(commands):
        raise RuntimeError(f"debugfs: {image}: {len(answers)} answers to {len(commands)} commands")
    return answers


def _names(image):
    """{path: (inode, mode)} of all names, found a level of the tree at a time."""
    names = {"/": (ROOT, 0o040755)}
    level = [("", ROOT)]
    while level:
        answers = _run(image, [f"ls -p <{ino}>" for _, ino in level])
        below = []
        for (path, _), (_, lines) in zip(level, answers):
            for line in lines:
                fields = line.split("/")
                if len(fields) < 7 or not fields[1].isdigit() or fields[1] == "0" or fields[5] in (".", ".."):
                    continue
                child, ino, mode = f"{path}/{fields[5]}", int(fields[1]), int(fields[2], 8)
                names[child] = (ino, mode)
                if mode >> 12 == 0o04:
                    below.append((child, ino))
        level = below
    return names


def _stats(image, inodes):
    """{inode: (mode, uid, gid, size)}"""
    stats = {}
    for (_, lines), ino in zip(_run(image, [f"stat <{ino}>" for ino in inodes]), inodes):
        text = "\n".join(lines)
        mode = int(re.search(r"Mode: +([0-7]+)", text)[1], 8)
        user, group = re.search(r"User: +(\d+) +Group: +(\d+)", text).groups()
        size = re.search(r"Size: (\d+)", text)
        stats[ino] = (mode, int(user), int(group), int(size[1]) if size else 0)
    return stats


def walk(image):
    """{path: Node} of everything but lost+found."""
    names = _names(image)
    inodes = sorted({ino for ino, _ in names.values()})
    stats = _stats(image, inodes)
    nodes = {}
    with tempfile.TemporaryDirectory(prefix="vmtest-walk-") as files:
        _run(image, [f"rdump / {files}"])
        for path, (ino, full) in names.items():
            mode, uid, gid, size = stats[ino]
            kind = TYPES[full >> 12]
            content = ""
            if kind == "file":
                with open(files + path, "rb") as f:
                    content = hashlib.file_digest(f, "sha256").hexdigest()
            elif kind == "symlink":
                content = os.readlink(files + path)
            nodes[path] = Node(kind, f"{mode & 0o7777:04o}", uid, gid, size, content)
    return nodes


def compare(before, after):
    """{path: (Node or None, Node or None)} of all that differs."""
    return {path: (before.get(path), after.get(path)) for path in before.keys() | after.keys()
            if before.get(path) != after.get(path)}
