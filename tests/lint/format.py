"""C sources are as clang-format would write them."""

import subprocess
from common import TOP, files, finish

names = [str(f) for f in files(".c", ".h")]
problems = []
done = subprocess.run(["clang-format", "--dry-run", "-Werror", "--ferror-limit=1", *names], cwd=TOP,
                      stderr=subprocess.PIPE, text=True)
for line in done.stderr.splitlines():
    if "error:" in line:
        problems.append(line.split(":")[0] + ": is not formatted (clang-format -i)")
if done.returncode and not problems:
    problems.append(done.stderr)
finish("format", sorted(set(problems)))
