"""cppcheck's warnings over the shipped sources. Usage: cppcheck.py BUILD"""

import subprocess
import sys
from common import TOP, finish

done = subprocess.run(
    ["cppcheck", "--quiet", "--enable=warning,portability", "--inline-suppr", "--std=c11", "--platform=unix64",
     f"--cppcheck-build-dir={sys.argv[1]}", f"--suppressions-list={TOP}/tests/lint/cppcheck.suppress",
     "--template={file}:{line}: {id}: {message}", "-D_GNU_SOURCE", "-D__x86_64__", f"-I{TOP}", "-j2",
     *(str(TOP / f) for f in ("src", "vmcore", "snapshot", "cli"))],
    stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
finish("cppcheck", [line for line in done.stderr.splitlines() if line.startswith(str(TOP))] or
       ([done.stderr] if done.returncode else []))
