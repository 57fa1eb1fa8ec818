"""What the compiled objects say: no function that src/base/banned.h bans is called by another road, and no mutable
static is kept. Usage: objects.py BUILD"""

import re
import sys
from common import finish, objects, output, read

# name: why it may be
STATICS_ALLOWED = {}
EXTRA_BANNED = {"setjmp", "_setjmp", "longjmp", "siglongjmp", "__sigsetjmp", "gets", "rand", "srand", "random"}

banned = set(re.findall(r"^#define (\w+)\([^)]*\) BANNED", read("src/base/banned.h"), re.M))
banned |= set(re.findall(r"^#define (\w+)\([^)]*\)\s+BANNED", read("src/base/banned.h"), re.M)) | EXTRA_BANNED
problems = []
seen = 0
for path, name in objects(sys.argv[1]):
    seen += 1
    for line in output("objdump", "-t", path).splitlines():
        # VALUE FLAGS SECTION<tab>SIZE NAME
        fields = line.split("\t")
        if len(fields) != 2 or len(fields[0].split()) < 2:
            continue
        section, symbol = fields[0].split()[-1], fields[1].split()[-1]
        base = symbol.split(".")[0].split("@")[0]
        if section == "*UND*" and base in banned:
            problems.append(f"{name}: calls {base}")
        # .data.rel.ro is constant once it is relocated
        mutable = section == "*COM*" or re.match(r"\.(bss|data(?!\.rel\.ro)|tbss|tdata)", section)
        if mutable and " O " in fields[0] and base not in STATICS_ALLOWED and not symbol.startswith("__odr_asan"):
            problems.append(f"{name}: {symbol} is mutable static state")
if seen < 20:
    problems.append(f"only {seen} objects were found in {sys.argv[1]}")
if "strcpy" not in banned or "system" not in banned:
    problems.append("the list of banned functions was not understood")
finish("objects", problems)
