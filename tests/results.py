"""What the test runner asks of meson.

    results.py --suites BUILD    the suites that the build knows, in the order in which they are to be run; "long" is last
    results.py FILE              sums up lines of meson's testlog.json: what took longest, failures by name, then
                                 "N passed, M failed"

A test that was skipped counts as failed: what is listed is run."""

import json
import subprocess
import sys

# The quick ones first, so that a mistake shows early.
ORDER = ["lint", "unit", "dev", "store", "fuzz", "cli", "insn", "guest"]
LONGEST = 12


def suites(build):
    tests = json.loads(subprocess.run(["meson", "introspect", "--tests", build], check=True,
                                      stdout=subprocess.PIPE).stdout)
    known = {s.split(":")[-1] for t in tests for s in t["suite"]}
    return [s for s in ORDER if s in known] + sorted(known - set(ORDER), key=lambda s: (s == "long", s))


def main():
    if sys.argv[1] == "--suites":
        print(*suites(sys.argv[2]))
        return
    passed, failed, took = 0, [], []
    with open(sys.argv[1]) as f:
        for line in f:
            test = json.loads(line)
            took.append((test["duration"], test["name"].split(" / ")[-1]))
            if test["result"] in ("OK", "EXPECTEDFAIL"):
                passed += 1
            else:
                failed.append(f"{test['result']}: {test['name']} ({test['duration']:.1f} s)")
    print("longest:", ", ".join(f"{name} {seconds:.0f} s" for seconds, name in sorted(took, reverse=True)[:LONGEST]))
    print(*failed, sep="\n", end="\n" if failed else "")
    print(f"{passed} passed, {len(failed)} failed")
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
