#!/usr/bin/env python3
"""The guest programs of fixtures/guests on vmtest: each check is one of the manual's rules."""

import unittest

import common  # noqa: F401
from harness import arch

# Programs of which every check passes.
PASS = ["avx", "debug", "exceptions", "features", "fpu", "gates", "highmem", "interrupts", "long", "mixed", "onepage",
        "paging", "paging64", "real", "segments", "smc", "tasks", "v86"]
# Programs that do not pass completely yet; what they say is printed.
NOT_YET = []
# Programs that end otherwise than by the debug-exit port, each with a test of its own.
OTHERWISE = ["nmi", "triple"]


class Arch(unittest.TestCase):
    def test_programs(self):
        for name in PASS:
            with self.subTest(program=name):
                output, status = arch.run_vmtest(name)
                wrong = [line for line in output.splitlines() if line.startswith("FAIL")]
                self.assertEqual(wrong, [])
                count, failed = arch.done(output)
                self.assertEqual((failed, status), (0, 1), output[-1500:])  # 2v+1 of the debug-exit port
                self.assertGreater(count, 0)
                print(f"{name}: {count} checks")

    def passes_as(self, model, name, unless=None):
        with self.subTest(program=name, model=model):
            output, status = arch.run_vmtest(name, "--cpu", model)
            self.assertEqual([line for line in output.splitlines() if line.startswith("FAIL")], [])
            self.assertEqual((arch.done(output)[1], status), (0, 1), output[-1500:])
            if unless:
                self.assertNotRegex(output, unless)

    def test_all_that_there_is(self):
        for name in ("exceptions", "features", "interrupts", "long", "paging", "paging64"):
            self.passes_as("host", name, unless=r"(?m)^none .*not offered")

    def test_what_a_model_does_not_have(self):
        for name in ("features", "interrupts", "paging64"):
            self.passes_as("x86-64", name)
        self.passes_as("x86-64-v2", "features")

    def test_old_models(self):
        """Programs that ask for no more than each model has."""
        common = ("gates", "mixed", "real", "smc", "tasks")
        for model, names in {"pentium3": ("exceptions", "features", "fpu", "paging"),
                             "pentium": ("debug", "exceptions", "interrupts", "onepage", "segments", "v86"),
                             "i486": ()}.items():
            for name in common + names:
                self.passes_as(model, name)

    def test_memory_above_4_gib(self):
        output, status = arch.run_vmtest("highmem", "--mem", "6G")
        self.assertEqual([line for line in output.splitlines() if line.startswith("FAIL")], [])
        self.assertEqual((arch.done(output)[1], status), (0, 1), output[-1500:])
        self.assertIn("ok the last word", output)

    def test_every_program_is_listed(self):
        built = {path.stem for path in arch.directory().glob("*.elf")}
        self.assertEqual(built, set(PASS) | set(NOT_YET) | set(OTHERWISE))
        self.assertEqual(set(PASS) & set(NOT_YET), set())

    def test_a_triple_fault_ends_the_machine(self):
        output, status = arch.run_vmtest("triple")
        self.assertIn("ok the end is near\n", output)
        self.assertNotIn("FAIL", output)
        self.assertEqual(status, 1, output)

    def test_what_does_not_pass_yet(self):
        for name in NOT_YET:
            output, status = arch.run_vmtest(name, limit=20)
            wrong = [line for line in output.splitlines() if line.startswith("FAIL")]
            count, failed = arch.done(output)
            print(f"not yet: {name}: status {status}, {count} checks, {failed} failed", *wrong, sep="\n  ")
            self.assertFalse(failed == 0 and status == 1, f"{name} passes now: move it to PASS")


if __name__ == "__main__":
    unittest.main()
