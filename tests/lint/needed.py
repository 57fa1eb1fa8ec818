"""The command links only what starts fast. Usage: needed.py VMTEST"""

import re
import sys
from common import finish, output

ALLOWED = {"libc.so.6", "libsqlite3.so.0", "libzstd.so.1", "libxxhash.so.0", "libjansson.so.4", "ld-linux-x86-64.so.2"}
SANITIZERS = ("libasan", "libubsan", "libm.so")

dynamic = output("readelf", "-d", sys.argv[1])
needed = re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic)
problems = [f"{sys.argv[1]} needs {n}" for n in needed if n not in ALLOWED and not n.startswith(SANITIZERS)]
if "libc.so.6" not in needed:
    problems.append("the list of needed libraries was not understood")
if "BIND_NOW" in dynamic or re.search(r"FLAGS_1.*NOW", dynamic):
    problems.append(f"{sys.argv[1]} binds all symbols at start; it is to be linked with -z lazy")
finish("needed", problems)
