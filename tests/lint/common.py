"""What the lints share: which files are ours, and how a lint ends."""

import os
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
FOLDERS = ("src", "vmcore", "snapshot", "cli", "guest", "tests", "fixtures", "man", ".ci")


def files(*suffixes, under=FOLDERS):
    """Our files with these suffixes (all without), as paths relative to the top, sorted."""
    found = []
    for folder in under:
        for path, dirs, names in os.walk(TOP / folder):
            dirs[:] = sorted(d for d in dirs if not d.startswith("__pycache__"))
            found += [Path(path, n).relative_to(TOP) for n in names if not suffixes or n.endswith(suffixes)]
    if "" in suffixes or not suffixes:
        found += [Path(n) for n in os.listdir(TOP) if (TOP / n).is_file() and n != ".git"]
    return sorted(found)


def read(path):
    return (TOP / path).read_text(errors="replace")


def output(*words, **kwargs):
    """A tool's standard output; a tool that fails fails the lint."""
    return subprocess.run([str(w) for w in words], check=True, stdout=subprocess.PIPE, text=True, **kwargs).stdout


def objects(build):
    """The build's objects of shipped code: (path, source's path relative to the top). Tests' own are left out."""
    for path in sorted(Path(build).rglob("*.o")):
        folder = path.parent.name.removesuffix(".p")
        relative = path.parent.parent.relative_to(build)
        if relative.parts and relative.parts[0] in ("src", "vmcore", "snapshot", "cli"):
            yield path, f"{relative}/{folder}:{path.name}"


def finish(name, problems):
    """Prints the problems, one a line, and ends with 1 where there are any."""
    for p in problems:
        print(p)
    print(f"{name}: {len(problems)} problem{'' if len(problems) == 1 else 's'}")
    sys.exit(1 if problems else 0)
