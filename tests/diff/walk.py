"""What an ext2/3/4 image holds, as debugfs tells it: an independent second opinion for vmtest-fs.

walk(image) gives {path: (type, mode, uid, gid, size, content)}; content is the sha256 of a regular file, the target of
a symbolic link, "major:minor" of a device, else "". Sizes of symbolic links are left out (the target says it)."""

import hashlib
import os
import re
import subprocess
import tempfile

TYPES = {0o10: "file", 0o04: "dir", 0o12: "symlink", 0o02: "char", 0o06: "block", 0o01: "fifo", 0o14: "socket"}


def debugfs(image, commands, write=False, offset=0):
    """Runs commands, one a line, in one debugfs; returns its output without the prompts."""
    with tempfile.NamedTemporaryFile("w", suffix=".cmd") as script:
        script.write("\n".join(commands) + "\n")
        script.flush()
        name = f"{image}?offset={offset}" if offset else image
        args = ["debugfs"] + (["-w"] if write else []) + ["-f", script.name, name]
        run = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True,
                             env=dict(os.environ, DEBUGFS_PAGER="__none__", LC_ALL="C"))
    return run.stdout.decode("utf-8", "surrogateescape")


def _batches(output):
    """Output of each command, cut at the echoed 'debugfs: command' lines."""
    parts = re.split(r"^debugfs: .*\n", output, flags=re.M)
    return parts[1:]


def _list_dirs(image, inodes):
    output = debugfs(image, [f"ls -p <{i}>" for i in inodes])
    for ino, part in zip(inodes, _batches(output)):
        entries = []
        for line in part.splitlines():
            if not line.startswith("/"):
                continue
            # "/ino/mode/uid/gid/name/size/": names have no '/'
            f = line.split("/")
            if f[5] in (".", "..") or f[1] == "0":
                continue
            entries.append((f[5], int(f[1]), int(f[2], 8), int(f[3]), int(f[4])))
        yield ino, entries


def _inode(image, inodes):
    """Size, link target and device of inodes, from stat."""
    result = {}
    for ino, part in zip(inodes, _batches(debugfs(image, [f"stat <{i}>" for i in inodes]))):
        size = int(re.search(r"Size: (\d+)", part).group(1)) if "Size:" in part else 0
        fast = re.search(r'^Fast link dest: "(.*)"$', part, flags=re.M)
        device = re.search(r"Device major/minor number: (\d+):(\d+)", part, flags=re.M)
        result[ino] = (size, fast.group(1) if fast else None,
                       f"{int(device.group(1))}:{int(device.group(2))}" if device else "")
    return result


def _contents(image, inodes, folder):
    debugfs(image, [f"dump <{i}> {folder}/{i}" for i in inodes])
    for i in inodes:
        path = f"{folder}/{i}"
        with open(path, "rb") as f:
            data = f.read()
        os.unlink(path)
        yield i, data


def names(image):
    """{path: [inode, mode, uid, gid]} of all there is below the root."""
    tree, level = {}, [(2, "")]
    while level:
        paths, below = dict(level), []
        for ino, entries in _list_dirs(image, [i for i, _ in level]):
            for name, child, mode, uid, gid in entries:
                path = f"{paths[ino]}/{name}"
                tree[path] = [child, mode, uid, gid]
                if mode >> 12 == 0o04:
                    below.append((child, path))
        level = below
    return tree


def walk(image):
    tree = names(image)
    root = debugfs(image, ["stat <2>"])
    owner = re.search(r"User:\s+(\d+)\s+Group:\s+(\d+)", root)
    tree["/"] = [2, 0o040000 | int(re.search(r"Mode:\s+(\d+)", root).group(1), 8), int(owner.group(1)),
                 int(owner.group(2))]
    stat = _inode(image, sorted({n[0] for n in tree.values()}))
    kinds = {n[0]: TYPES[n[1] >> 12] for n in tree.values()}
    wanted = sorted(i for i, k in kinds.items() if k == "file" or (k == "symlink" and stat[i][1] is None))
    with tempfile.TemporaryDirectory() as folder:
        data = dict(_contents(image, wanted, folder))
    result = {}
    for path, (ino, mode, uid, gid) in tree.items():
        kind, (size, fast, device) = kinds[ino], stat[ino]
        if kind == "file":
            content = hashlib.sha256(data[ino][:size]).hexdigest()  # dump pads inline data
        elif kind == "symlink":
            content = fast if fast is not None else data[ino].decode("utf-8", "surrogateescape")
        else:
            content = device
        if kind not in ("file", "dir"):
            size = 0
        result[path] = (kind, mode & 0o7777, uid, gid, size, content)
    return result


def differences(a, b):
    """{path: (before, after)} of two walks; None where it is absent."""
    return {p: (a.get(p), b.get(p)) for p in a.keys() | b.keys() if a.get(p) != b.get(p)}
