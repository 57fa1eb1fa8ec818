"""The small test kernel of tests/guest/kernels in its forms: where the build put them, and what one says."""

import os
import subprocess
from pathlib import Path

from . import vmtest

LIMIT = 60


def path(form):
    """$VMTEST_KERNELS, or the build directory's."""
    root = Path(__file__).resolve().parents[2]
    return Path(os.environ.get("VMTEST_KERNELS") or root / "build" / "tests" / "guest" / "kernels") / f"kernel-{form}.elf"


def words(kernel, *options, mem="16M"):
    return [vmtest.program(), "run", "--kernel", str(kernel), "--mem", mem, "--timeout", f"{LIMIT}s", *map(str, options)]


def run(kernel, *options, mem="16M"):
    """Runs a kernel (a path, or the name of a form)."""
    kernel = path(kernel) if isinstance(kernel, str) else kernel
    return subprocess.run(words(kernel, *options, mem=mem), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=LIMIT + 30)


def facts(output):
    """{name: [values]} of what the kernel said, a line each."""
    found = {}
    for line in output.decode(errors="replace").splitlines():
        name, _, value = line.partition(" ")
        found.setdefault(name, []).append(value)
    return found
