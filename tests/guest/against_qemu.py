#!/usr/bin/env python3
"""The guest programs of fixtures/guests on QEMU's translator: a second opinion on the checks themselves. A check that
QEMU fails must be explained in the program's source by a line `QEMU differs: "CHECK": WHY`, and an explained one must
fail. With --vmtest, each program runs on vmtest too, and the lines that differ are printed.

    against_qemu.py [--vmtest] [PROGRAM]..."""

import sys

import common  # noqa: F401
from harness import arch


def qemu(name):
    """Problems of a program on QEMU, and its checks."""
    output, status = arch.run_qemu(name)
    if name == "triple":  # it resets, which ends QEMU with 0
        return [] if status == 0 and output.strip() == "ok the end is near" else [f"status {status}: {output}"], {}
    count, failed = arch.done(output)
    if failed is None:
        return [f"did not come to its end (status {status}): {output[-600:]}"], {}
    checks, known = arch.checks(output), arch.differs(name)
    problems = [line for check, line in checks.items() if line.startswith("FAIL") and check not in known]
    problems += [f"no difference any more: {check}" for check in known if not checks.get(check, "").startswith("FAIL")]
    print(f"{name}: {count} checks, {failed} in which QEMU differs")
    return problems, checks


def compare(name, theirs):
    """Prints in what vmtest's lines are not QEMU's; those in which QEMU is known to be wrong left out."""
    output, status = arch.run_vmtest(name)
    ours, known = arch.checks(output), arch.differs(name)
    for check in [*theirs, *(c for c in ours if c not in theirs)]:
        if ours.get(check) != theirs.get(check) and check not in known:
            print(f"  vmtest: {ours.get(check)}\n    qemu: {theirs.get(check)}")
    if arch.done(output)[1] is None:
        print(f"  vmtest did not come to the end (status {status}): {output[-300:]}")


def main():
    words = [w for w in sys.argv[1:] if not w.startswith("-")]
    # "nmi" waits for somebody to inject one: test_nmi.py runs it on both.
    names = words or sorted(path.stem for path in arch.directory().glob("*.elf") if path.stem != "nmi")
    if not names:
        sys.exit(f"{arch.directory()}: no programs")
    bad = 0
    for name in names:
        problems, checks = qemu(name)
        for line in problems:
            print(f"  {line}")
        bad += len(problems)
        if "--vmtest" in sys.argv[1:] and checks:
            compare(name, checks)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
