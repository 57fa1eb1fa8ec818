"""Includes run one way: cli -> src -> {vmcore, snapshot} -> src/base. vmcore and snapshot never meet, and the command
never sees the machine."""

import re
from common import files, finish, read

ALLOWED = {
    "src/base": {"src/base"},
    "vmcore": {"vmcore", "src/base"},
    "snapshot": {"snapshot", "src/base"},
    "src": {"src", "vmcore", "snapshot", "src/base", "guest"},
    "guest": {"guest"},
    "cli": {"cli", "src", "snapshot", "src/base"},
}


def layer(path):
    path = str(path)
    return "src/base" if path.startswith("src/base/") else path.split("/")[0]


problems = []
seen = 0
for path in files(".c", ".h", ".S", under=("src", "vmcore", "snapshot", "cli", "guest")):
    for number, line in enumerate(read(path).splitlines(), 1):
        found = re.match(r'\s*#\s*include\s*"([^"]+)"', line)
        if not found:
            continue
        seen += 1
        target = found[1]
        # a name without a folder is generated, or lies beside the file
        to = layer(target) if "/" in target else layer(path)
        if to not in ALLOWED[layer(path)]:
            problems.append(f"{path}:{number}: {layer(path)} may not include {target}")
if seen < 50:
    problems.append(f"only {seen} includes were found: does the lint look in the right place?")
finish("includes", problems)
