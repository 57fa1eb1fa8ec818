"""Making file-system images without mounting, and running vmtest-fs on them."""

import json
import os
import shutil
import subprocess
import tempfile
import unittest

os.environ["PATH"] += ":/usr/sbin:/sbin"

import walk  # noqa: E402 (debugfs is in /sbin)

PROGRAM = os.path.abspath(os.environ.get("VMTEST_FS", "vmtest-fs"))


def run(*args, **kw):
    return subprocess.run(args, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **kw).stdout


class Images(unittest.TestCase):
    """A scratch folder for each test."""

    maxDiff = None

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="vmtest-diff-")
        self.addCleanup(shutil.rmtree, self.folder)

    def path(self, name):
        return f"{self.folder}/{name}"

    def write(self, name, data):
        """A host file below the folder; returns its path."""
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(data if isinstance(data, bytes) else data.encode())
        return path

    def make(self, name, kib=8192, options=("-t", "ext4"), tree=None):
        image, root = self.path(name), self.path(name + ".root")
        os.makedirs(root)
        for path, data in (tree or {}).items():
            self.write(f"{name}.root/{path}", data)
        run("mke2fs", "-q", "-F", *options, "-d", root, image, str(kib))
        return image

    def copy(self, image, name):
        run("cp", "--sparse=always", image, self.path(name))
        return self.path(name)

    def change(self, image, *commands):
        return walk.debugfs(image, commands, write=True)

    def fs(self, *args, want=0):
        """Runs vmtest-fs; returns stdout. want: the exit status that must come."""
        p = subprocess.run([PROGRAM, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.stderr = p.stderr.decode("utf-8", "replace")
        self.assertEqual(p.returncode, want, f"{args}: {self.stderr}{p.stdout.decode('utf-8', 'replace')}")
        return p.stdout.decode("utf-8", "surrogateescape")

    def diff(self, a, b, *options, want=1):
        return self.fs("diff", "--a", f"file:{a}", "--b", f"file:{b}", *options, want=want)

    def json(self, a, b, *options, want=1):
        return json.loads(self.diff(a, b, "--json", *options, want=want))


def blocks_of(image, path):
    """The numbers of a file's blocks."""
    out = walk.debugfs(image, [f"blocks {path}"])
    return [int(w) for line in out.splitlines() if line.replace(" ", "").isdigit() for w in line.split()]
