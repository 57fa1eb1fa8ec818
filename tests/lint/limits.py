"""Each number in vmtest-limits(7) names a test or bench that is there, by its file and a name in it; the test is one that
meson runs."""

import re
from common import TOP, finish, read

PAGE = "man/vmtest-limits.7"

problems = []
named = re.findall(r"^\.Pa (\S+)(?: : Li (\w+))?", read(PAGE), re.M)
for path, name in named:
    file = TOP / path
    if not file.is_file():
        problems.append(f"{PAGE}: {path} does not exist")
        continue
    if name and not re.search(rf"\b{name}\b", file.read_text()):
        problems.append(f"{PAGE}: {path} has no {name}")
    if "/bench/" not in path:
        stem = file.stem.removeprefix("test_")
        if not re.search(rf"['_]{stem}(\.py)?'", read(file.parent.relative_to(TOP) / "meson.build")):
            problems.append(f"{PAGE}: {path} is no test of meson's")
        if not name:
            problems.append(f"{PAGE}: {path} without a name in it")
items = read(PAGE).split("\n.It ")[1:]
problems += [f"{PAGE}: \"{i.splitlines()[0]}\" names no test" for i in items if not re.search(r"^\.Pa tests/", i, re.M)]
if len(items) < 20:
    problems.append(f"{PAGE}: only {len(items)} numbers were found")
finish("limits", problems)
