"""The vmtest command line, as a user has it: every action is a command, and every answer its output and status."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Result:
    words: list
    status: int
    out: bytes
    err: bytes
    seconds: float

    @property
    def text(self):
        return self.out.decode(errors="replace")

    @property
    def errors(self):
        return self.err.decode(errors="replace")


class CommandFailed(Exception):
    def __init__(self, result, want):
        super().__init__(f"`vmtest {' '.join(map(str, result.words))}` ended with {result.status}, not {want}\n"
                         f"stdout: {result.text[-2000:]}\nstderr: {result.errors[-2000:]}")
        self.result = result


def program():
    """$VMTEST, or the build directory's, or the installed one."""
    if found := os.environ.get("VMTEST"):
        return str(Path(found).resolve())
    built = Path(__file__).resolve().parents[2] / "build" / "cli" / "vmtest"
    return str(built) if built.exists() else shutil.which("vmtest") or "vmtest"


class Store:
    """A store of its own, gone at the end with all its machines."""

    def __init__(self, home=None):
        self.own = home is None
        self.home = Path(home or tempfile.mkdtemp(prefix="vmtest-store-"))
        none = str(self.home / "no-settings")  # whoever runs the tests may have some
        self.env = dict(os.environ, VMTEST_HOME=str(self.home), XDG_CONFIG_HOME=none, XDG_CONFIG_DIRS=none,
                        XDG_CACHE_HOME=str(self.home / "cache"))
        self.env.pop("VMTEST_MACHINE", None)

    def popen(self, *words, **kwargs):
        return subprocess.Popen([program(), *map(str, words)], env=self.env, **kwargs)

    def run(self, *words, want=0, stdin=None, timeout=600, cwd=None, env=None):
        """Runs `vmtest WORDS`; want is the status that it must end with (None: any, or a tuple of them)."""
        begin = time.monotonic()
        done = subprocess.run([program(), *map(str, words)], env={**self.env, **(env or {})}, input=stdin, cwd=cwd,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout,
                              **({} if stdin is not None else {"stdin": subprocess.DEVNULL}))
        result = Result(list(words), done.returncode, done.stdout, done.stderr, time.monotonic() - begin)
        wanted = want if isinstance(want, tuple) else (want,)
        if want is not None and result.status not in wanted:
            raise CommandFailed(result, want)
        return result

    def json(self, *words, want=0, **kwargs):
        return json.loads(self.run("--json", *words, want=want, **kwargs).out)

    def machines(self):
        return [m["machine"] for m in self.json("list")["machines"]]

    def close(self):
        if not self.own:
            return
        try:
            for name in self.machines():
                self.run("rm", "--force", name, want=None)
        except (CommandFailed, ValueError, KeyError, OSError):
            pass  # what a test broke on purpose need not list its machines
        shutil.rmtree(self.home, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind:
            self.tell()
        self.close()

    def tell(self):
        """What the monitors wrote, for whoever looks at a failure."""
        try:
            for name in self.machines():
                print(f"---- log of {name}", self.run("log", name, want=None).text[-4000:], sep="\n", file=sys.stderr)
        except (CommandFailed, ValueError, KeyError, OSError) as why:
            print(f"---- no logs: {why}", file=sys.stderr)


class Vmtest:
    """One machine in a store, with the same calls as qemu.Qemu has."""

    def __init__(self, guest, store, name="bench"):
        self.guest, self.store, self.name = guest, store, name
        self.booted = None

    def create(self):
        self.store.run("create", self.name, *self.guest.words)

    def start(self, timeout="20m"):
        """Starts it and waits for the agent's first answer."""
        self.booted = self.store.run("start", "--timeout", timeout, self.name, timeout=1500).seconds

    def wait_agent(self, timeout=600):
        return self.booted

    def execute(self, command, timeout=600):
        r = self.store.run("-m", self.name, "exec", "--", "/bin/sh", "-c", command, want=None, timeout=timeout)
        if r.status == 125:
            raise CommandFailed(r, "the guest command's")
        return r.status, r.out, r.err

    def copy_in(self, path, destination, mode=0o755):
        self.store.run("-m", self.name, "cp", path, f":{destination}")
        self.execute(f"chmod {mode:o} '{destination}'")

    def stop(self):
        self.store.run("stop", "--force", self.name, want=None)

    def remove(self):
        self.store.run("rm", "--force", self.name)

    def __enter__(self):
        self.create()
        self.start()
        return self

    def __exit__(self, *_):
        self.store.run("rm", "--force", self.name, want=None)
