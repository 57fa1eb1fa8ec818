"""Every verb of the table has its file, page and tests, and all four agree on its usage and options.
Usage: verbs.py VMTEST"""

import re
import sys
from common import TOP, finish, output, read

vmtest = sys.argv[1]


def rendered(page, section):
    """The text of one section of a page, as one line."""
    text = output("mandoc", "-T", "ascii", "-O", "width=200", TOP / "man" / page)
    text = re.sub(r".\x08", "", text)
    found = re.search(rf"^{section}\n(.*?)(?=^\S)", text, re.S | re.M)
    return " ".join(found[1].split()) if found else ""


rows = [line.split("\t") for line in output(vmtest, "--verbs").splitlines()]
problems = []
for name, usage, summary in rows:
    synopsis = f"vmtest {name} {usage}".rstrip()
    page = f"vmtest-{name}.1"
    helped = output(vmtest, name, "--help")
    if not (TOP / "cli" / f"cmd_{name}.c").exists():
        problems.append(f"{name}: no cli/cmd_{name}.c")
    if not list((TOP / "tests" / "cli" / name).glob("*.sh")):
        problems.append(f"{name}: no tests/cli/{name}/*.sh")
    if helped.splitlines()[0] != f"usage: {synopsis}":
        problems.append(f"{name}: --help says \"{helped.splitlines()[0]}\"")
    if not (TOP / "man" / page).exists():
        problems.append(f"{name}: no man/{page}")
        continue
    if rendered(page, "SYNOPSIS") != " ".join(synopsis.split()):
        problems.append(f"{page}: SYNOPSIS is \"{rendered(page, 'SYNOPSIS')}\", the table has \"{synopsis}\"")
    if rendered(page, "NAME") != f"vmtest-{name} - {summary}":
        problems.append(f"{page}: NAME is \"{rendered(page, 'NAME')}\"")
    for section in ("DESCRIPTION", "EXAMPLES", "EXIT STATUS"):
        if not rendered(page, section):
            problems.append(f"{page}: no {section}")
    own = helped.split("\noptions of every verb:")[0]
    options = re.findall(r"^ +(?:-\w, +)?(--[a-z-]+)", own, re.M)
    in_usage = set(re.findall(r"(?<!\S)[\[{]*(--[a-z-]+)", usage))
    for option in options:
        if option not in in_usage:
            problems.append(f"{name}: the usage lacks {option}")
        if option not in rendered(page, "OPTIONS"):
            problems.append(f"{page}: OPTIONS lacks {option}")
    for option in in_usage - set(options):
        problems.append(f"{name}: the usage has {option}, which is no option")
for path in sorted((TOP / "cli").glob("cmd_*.c")):
    if path.stem[4:] not in [r[0] for r in rows]:
        problems.append(f"{path.name}: no row in the table")
if [r[0] for r in rows] != sorted(r[0] for r in rows):
    problems.append("the table is not in alphabetical order")
main = read("man/vmtest.1")
for name, _, summary in rows:
    if f".BR vmtest\\-{name} (1)\n{summary}\n" not in main.replace("\\-", "-").replace("vmtest-", "vmtest\\-"):
        problems.append(f"vmtest.1: {name} is not listed with its summary")
if len(rows) < 2:
    problems.append("the table was not understood")
finish("verbs", problems)
