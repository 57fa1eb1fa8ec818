"""Runs the command-line tests: each SCRIPT.sh of a folder, with its own home, against what it is to print and end with.

    run.py --vmtest PROGRAM [--monitor PROGRAM] [--fs PROGRAM] [--archive PROGRAM] [--rewrite] [FOLDER | SCRIPT]...

Beside SCRIPT.sh lie SCRIPT.stdout, SCRIPT.stderr and SCRIPT.exit; one that is not there means: nothing, nothing, and 0.
--rewrite writes what was seen into them. What differs from run to run is replaced before it is compared: the test's
folder (TMP), durations (TIME), times of day (WHEN) and uuids (UUID). Scripts have $LIB to source, and no input."""

import argparse
import difflib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
RULES = [
    (r"\bin \d+(\.\d+)? (ns|us|ms|s)\b", "in TIME"),
    (r"\bstopped for \d+(\.\d+)? (ns|us|ms|s)\b", "stopped for TIME"),
    (r'"((?:stopped_)?seconds)":[-0-9.e]+', r'"\1":SECONDS'),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "WHEN"),
    (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID"),
    (r"52:54:00:[0-9a-f]{2}:[0-9a-f]{2}:[0-9a-f]{2}", "MAC"),
]


def normal(text, tmp):
    text = text.replace(str(tmp), "TMP")
    for pattern, replacement in RULES:
        text = re.sub(pattern, replacement, text)
    return text


def run(script, args):
    """What the script printed and ended with: {"stdout": …, "stderr": …, "exit": …}."""
    tmp = Path(tempfile.mkdtemp(prefix="vt-cli-"))
    env = {
        "PATH": f"{tmp}/bin:{os.environ['PATH']}", "HOME": str(tmp), "TMPDIR": str(tmp), "LC_ALL": "C.UTF-8",
        "VMTEST_HOME": f"{tmp}/store", "XDG_RUNTIME_DIR": f"{tmp}/run", "XDG_STATE_HOME": f"{tmp}/state",
        "XDG_CONFIG_DIRS": f"{tmp}/etc", "LIB": str(HERE / "lib.sh"),
    }
    env |= {k: v for k, v in os.environ.items() if k.startswith(("ASAN_", "UBSAN_", "LSAN_"))}
    env["VMTEST_LIBEXEC"] = f"{tmp}/libexec"
    try:
        for name in ("bin", "libexec", "run", "work"):
            (tmp / name).mkdir(mode=0o700)
        for name, program in (("bin/vmtest", args.vmtest), ("libexec/vmtest-monitor", args.monitor),
                              ("libexec/vmtest-fs", args.fs), ("libexec/vmtest-archive", args.archive)):
            if program:
                (tmp / name).symlink_to(Path(program).resolve())
        done = subprocess.run(["sh", str(script.resolve())], cwd=tmp / "work", env=env, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300)
        # machines that a test left running end with it
        subprocess.run(["sh", "-c", '. "$LIB"; end_all'], env=env, stdin=subprocess.DEVNULL, capture_output=True,
                       timeout=60)
    finally:
        shutil.rmtree(tmp, ignore_errors=True)
    return {"stdout": normal(done.stdout.decode(errors="replace"), tmp),
            "stderr": normal(done.stderr.decode(errors="replace"), tmp), "exit": f"{done.returncode}\n"}


def check(script, seen, rewrite):
    """The differences as text, "" where there are none."""
    problems = ""
    for part, quiet in (("stdout", ""), ("stderr", ""), ("exit", "0\n")):
        path = script.with_suffix("." + part)
        want = path.read_text() if path.exists() else quiet
        if seen[part] == want:
            continue
        if rewrite and seen[part] == quiet:
            path.unlink()
        elif rewrite:
            path.write_text(seen[part])
        else:
            problems += "".join(difflib.unified_diff(want.splitlines(True), seen[part].splitlines(True),
                                                     f"{part} wanted", f"{part} seen"))
    return problems


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--vmtest", required=True)
    parser.add_argument("--monitor")
    parser.add_argument("--fs")
    parser.add_argument("--archive")
    parser.add_argument("--rewrite", action="store_true")
    parser.add_argument("where", nargs="*", type=Path)
    args = parser.parse_args()
    scripts = []
    for where in args.where or [HERE]:
        where = HERE / where if (HERE / where).exists() else where
        scripts += sorted(where.rglob("*.sh")) if where.is_dir() else [where]
    scripts = [s for s in scripts if s.name != "lib.sh"]
    failed = 0
    for script in scripts:
        problems = check(script, run(script, args), args.rewrite)
        failed += bool(problems)
        print(f"{'FAILED' if problems else 'ok'}: {script.parent.name}/{script.stem}\n{problems}", end="")
    print(f"{len(scripts) - failed} of {len(scripts)} scripts passed")
    sys.exit(1 if failed or not scripts else 0)


if __name__ == "__main__":
    main()
