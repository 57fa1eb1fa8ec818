"""Manual pages are well-formed, and the pages that they refer to exist."""

import re
import subprocess
from common import TOP, files, finish, read

problems = []
pages = [f for f in files(under=("man",)) if re.fullmatch(r"\.\d", f.suffix)]
for page in pages:
    done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", str(page)], cwd=TOP, stdout=subprocess.PIPE,
                          text=True)
    problems += done.stdout.splitlines()
    for name, section in re.findall(r"^\.BR (vmtest\S*) \((\d)\)", read(page), re.M):
        if not (TOP / "man" / f"{name.replace(chr(92), '')}.{section}").exists():
            problems.append(f"{page}: refers to {name}({section}), which does not exist")
if len(pages) < 5:
    problems.append(f"only {len(pages)} pages were found")
finish("man", problems)
