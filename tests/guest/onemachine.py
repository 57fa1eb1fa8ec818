"""Tests of boot media: each has one machine, m, that is waited for by what it shows."""

import unittest

import common  # noqa: F401
from harness import vmtest


class OneMachine(unittest.TestCase):
    LIMIT = "60s"

    def setUp(self):
        self.store = vmtest.Store()
        self.addCleanup(self.store.close)

    def boot(self, *words, memory="64M"):
        self.store.run("create", *words, "--mem", memory, "m")
        self.store.run("start", "--no-wait", "m")

    def wait(self, *words, timeout=None):
        self.store.run("wait", *words, "--timeout", timeout or self.LIMIT, "m")

    def screen(self):
        return self.store.run("screen", "m").text
