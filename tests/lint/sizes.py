"""No source file over 800 lines, no header over 400 and no file header comment over 25."""

import re
from common import files, finish, read

LIMIT = {".c": 800, ".h": 400, ".S": 800, ".py": 800, ".sh": 800}

problems = []
for path in files(*LIMIT):
    text = read(path)
    lines = text.count("\n")
    if lines > LIMIT[path.suffix]:
        problems.append(f"{path}: {lines} lines; split it (at most {LIMIT[path.suffix]})")
    head = re.match(r"/\*.*?\*/", text, re.S)
    if head and path.suffix == ".c" and head[0].count("\n") + 1 > 25:
        problems.append(f"{path}: a file header of {head[0].count(chr(10)) + 1} lines (at most 25)")
finish("sizes", problems)
