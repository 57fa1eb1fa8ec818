"""The same small guest running under vmtest and under QEMU without KVM, each with snapshots: for the bench of those.

The guest has no agent: its shell is on the serial port, and beside it a ticker, which counts in the guest's memory and
prints the number every few milliseconds. What the guest goes on from is known by the ticker's number, so that neither a
reboot nor a guest that was left as it is can pass for a revert."""

import contextlib
import mmap
import os
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from bench.report import median
from harness import qemu, vmtest
from harness.qmp import Qmp

SHIM = Path(__file__).resolve().parent / "slowsync.c"
# Each number twice: a line that begins before a revert and ends after it is none.
TICKER = "(n=1000000; while :; do n=$((n+1)); echo t$n.$n; usleep 2000; done) &"
TICK = re.compile(rb"t(\d{7,})\.\1\r?\n")
PATIENCE = 900  # seconds, for a guest that fills a GiB under translation on a busy host
SETTLE = 5  # ticks


class Failed(Exception):
    pass


class Syncs:
    """Counts and slows the syncs of all programs that run with its environment."""

    def __init__(self, directory):
        library, self.path = directory / "libslowsync.so", directory / "syncs"
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", library, SHIM], check=True)
        self.path.write_bytes(bytes(16))
        with open(self.path, "r+b") as f:
            self.shared = mmap.mmap(f.fileno(), 16)
        self.env = {"LD_PRELOAD": str(library), "SLOWSYNC": str(self.path)}

    def count(self):
        return struct.unpack_from("=Q", self.shared)[0]

    @contextlib.contextmanager
    def slower(self, milliseconds):
        struct.pack_into("=Q", self.shared, 8, round(milliseconds * 1e6))
        try:
            yield
        finally:
            struct.pack_into("=Q", self.shared, 8, 0)


class Console:
    """The guest's serial port. A thread reads it, so that each tick has the time at which it came."""

    def __init__(self, read, write, of, close):
        self.read, self.write, self.of, self.closing = read, write, of, close
        self.news, self.text, self.ticks, self.ended, self.commands = threading.Condition(), b"", [], False, 0
        self.pending = b""
        self.thread = threading.Thread(target=self.follow, daemon=True)
        self.thread.start()

    def follow(self):
        while got := self.read():
            now = time.monotonic()
            with self.news:
                self.pending += got
                while match := TICK.search(self.pending):
                    self.ticks.append((now, int(match[1])))
                    self.keep(match.start())
                    self.pending = self.pending[match.end() - match.start():]
                self.keep(self.pending.rfind(b"\n") + 1)
                self.news.notify_all()
        with self.news:
            self.ended = True
            self.news.notify_all()

    def keep(self, length):
        """Of what is pending, so much is other text than ticks."""
        self.text = (self.text + self.pending[:length])[-4096:]
        self.pending = self.pending[length:]

    def wait(self, ready, what, timeout=PATIENCE):
        """What ready() gives, once that is something."""
        with self.news:
            self.news.wait_for(lambda: self.ended or ready() is not None, timeout)
            if (found := ready()) is not None:
                return found
            raise Failed(f"{what}: {'the console ended' if self.ended else f'not in {timeout} s'}; last was "
                         f"{self.text[-300:].decode(errors='replace')!r}")

    def shell(self, line):
        """Runs a line in the guest's shell, which must not fail."""
        self.commands += 1
        done = re.compile(rb"e(\d+)\.%d\.e" % self.commands)
        self.write(f"{line}; echo e$?.{self.commands}.e\n".encode())
        if status := int(self.wait(lambda: done.search(self.text), line)[1]):
            raise Failed(f"{line}: status {status}")

    def begin(self):
        self.wait(lambda: re.search(rb"vmtest-tiny: ready.*# ", self.text + self.pending, re.S), "the guest's prompt")
        self.shell("stty -echo; mount -t tmpfs -o size=95% dirty /dev/shm")
        self.write((TICKER + "\n").encode())
        self.tick()

    def tick(self, many=1):
        """The number of the next tick but many."""
        with self.news:
            have = len(self.ticks)
        return self.wait(lambda: self.ticks[have + many - 1][1] if len(self.ticks) >= have + many else None, "a tick")

    def since(self, begin):
        """The ticks from begin on, and the last one before."""
        first = len(self.ticks)
        while first > 0 and self.ticks[first - 1][0] >= begin:
            first -= 1
        return self.ticks[max(first - 1, 0):]

    def gone_on(self, begin, least, below):
        """Seconds from begin to the first tick after it of at least `least` and under `below`."""
        def found():
            return next((when for when, n in self.since(begin) if when >= begin and least <= n < below), None)
        return self.wait(found, "a tick of the snapshot's", 60) - begin

    def silence(self, begin, end):
        """The longest time without a tick, of those that have a part between begin and end."""
        self.tick()
        with self.news:
            times = [when for when, _ in self.since(begin)]
        return max(b - a for a, b in zip(times, times[1:]) if a <= end)

    def period(self, many=200):
        """The median time between two ticks."""
        self.tick(many)
        with self.news:
            times = [when for when, _ in self.ticks[-many:]]
        return median([b - a for a, b in zip(times, times[1:])])

    def close(self):
        self.closing()
        self.thread.join(60)


class Running:
    """What both have. snapshot() and revert() give dicts of seconds and counts."""

    def __init__(self, guest, memory, syncs, directory):
        self.guest, self.memory, self.syncs = guest, memory, syncs
        self.dir = Path(tempfile.mkdtemp(prefix=f"bench-{self.name}-", dir=directory))
        self.console = self.qmp = None
        self.at = {}  # {snapshot: the last tick before it}
        self.ids = {}  # {snapshot: its number in the store}

    def __enter__(self):
        try:
            self.prepare()
            self.start()
            self.console.begin()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    @contextlib.contextmanager
    def alone(self):
        """Runs while the others, which stand otherwise, do not take the processor from it."""
        self.qmp.call("cont")
        self.console.tick(SETTLE)
        try:
            yield self
        finally:
            if self.qmp:
                self.qmp.call("stop")

    def dirty(self, mebibytes):
        self.console.shell(f"dd if=/dev/urandom of=/dev/shm/dirty bs=1M count={mebibytes} 2>/dev/null")

    def snapshot(self, snap):
        self.at[snap] = self.console.tick(SETTLE)
        syncs, begin = self.syncs.count(), time.monotonic()
        answer = self.take(snap)
        end, answered = time.monotonic(), self.syncs.count()
        silent = self.console.silence(begin, end)
        self.console.tick(SETTLE)
        return {"durable": end - begin, "syncs": answered - syncs, "syncs after": self.syncs.count() - answered,
                "silent": silent, "stopped": answer.get("stopped_seconds", end - begin)}

    def revert(self, snap, go=None):
        """Reverts by go (the monitor, unless given). The guest must have made ticks since the snapshot."""
        before = self.console.tick(SETTLE)
        syncs, begin = self.syncs.count(), time.monotonic()
        answer = (go or self.go_back)(snap)
        done = time.monotonic() - begin
        return {"done": done, "output": self.console.gone_on(begin, self.at[snap], before),
                "syncs": self.syncs.count() - syncs, "pages": (answer or {}).get("pages")}

    def restart(self, snap):
        """Seconds from a new process's start to its first tick."""
        self.end()
        begin = time.monotonic()
        self.start(snap)
        return self.console.gone_on(begin, self.at[snap], self.at[snap] + 1000)

    def detach(self):
        for what in (self.qmp, self.console):
            if what:
                what.close()
        self.qmp = self.console = None


class Vmtest(Running):
    name = "vmtest"

    def prepare(self):
        self.run = Path(tempfile.mkdtemp())  # a socket's path must be short
        self.store = vmtest.Store(self.dir / "store")
        self.store.own = True
        self.store.env.update(self.syncs.env, XDG_RUNTIME_DIR=str(self.run))
        (self.dir / "disk.raw").write_bytes(bytes(64 << 20))
        g = self.guest
        self.store.run("create", "web", "--kernel", g.kernel, "--initrd", g.initrd, "--append", g.append, "--mem",
                       self.memory, "--disk", self.dir / "disk.raw")

    def start(self, snap=None):
        self.store.run("start", "--no-wait", *(["--from", snap] if snap else []), "web")
        end = self.store.popen("console", "web", stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL)

        def close():
            end.kill()
            end.wait()
        output, keys = end.stdout.fileno(), end.stdin.fileno()
        self.console = Console(lambda: os.read(output, 65536), lambda b: os.write(keys, b), end, close)
        self.qmp = Qmp(next(self.run.glob("vmtest/*/*.sock")))

    def take(self, snap):
        answer = self.qmp.call("vmtest-snapshot", name=snap, quiesce="no")
        self.ids[snap] = answer["id"]
        return answer

    def chain(self, snap):
        """A snapshot that is not measured."""
        self.take(snap)

    def go_back(self, snap):
        return self.qmp.call("vmtest-revert", id=self.ids[snap])

    def go_back_by_command(self, snap):
        return self.store.json("revert", "web", snap)

    def delete(self, snap):
        self.store.run("delete", "web", snap)

    def end(self):
        self.detach()
        self.store.run("stop", "--force", "web")

    def close(self):
        self.detach()
        if hasattr(self, "store"):
            self.store.close()
        if hasattr(self, "run"):
            shutil.rmtree(self.run, ignore_errors=True)
        shutil.rmtree(self.dir, ignore_errors=True)


class Qemu(Running):
    name = "qemu"

    def prepare(self):
        self.process = None
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", self.dir / "disk.qcow2", "64M"], check=True)

    def words(self, snap):
        g = self.guest
        words = [qemu.PROGRAM_64 if "amd64" in g.name else qemu.PROGRAM, "-accel", "tcg", "-cpu", "max",
                 "-m", self.memory, "-display", "none", "-nodefaults", "-no-reboot", "-kernel", g.kernel,
                 "-initrd", g.initrd, "-append", g.append, "-device", "virtio-rng-pci",
                 "-drive", f"file={self.dir}/disk.qcow2,format=qcow2,if=virtio",
                 "-serial", f"unix:{self.dir}/serial,server=on,wait=off",
                 "-qmp", f"unix:{self.dir}/qmp,server=on,wait=off"]
        return words + (["-loadvm", snap] if snap else [])

    def connect(self, name):
        while True:
            if self.process.poll() is not None:
                raise Failed(f"qemu ended with {self.process.returncode}")
            s = socket.socket(socket.AF_UNIX)
            try:
                s.connect(str(self.dir / name))
                return s
            except (FileNotFoundError, ConnectionRefusedError):
                s.close()
                time.sleep(0.001)

    def start(self, snap=None):
        for name in ("serial", "qmp"):
            (self.dir / name).unlink(missing_ok=True)
        self.process = subprocess.Popen(self.words(snap), stdin=subprocess.DEVNULL,
                                        env={**os.environ, **self.syncs.env})
        end = self.connect("serial")

        def close():
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

        def read():
            try:
                return end.recv(65536)
            except OSError:
                return b""
        self.console = Console(read, end.sendall, end, close)
        self.connect("qmp").close()
        self.qmp = Qmp(self.dir / "qmp")

    def hmp(self, line):
        if said := self.qmp.call("human-monitor-command", **{"command-line": line}).strip():
            raise Failed(f"qemu: {line}: {said}")
        return {}

    def take(self, snap):
        return self.hmp(f"savevm {snap}")

    def go_back(self, snap):
        return self.hmp(f"loadvm {snap}")

    def delete(self, snap):
        self.hmp(f"delvm {snap}")

    def end(self):
        self.detach()
        if self.process:
            self.process.kill()
            self.process.wait()

    def close(self):
        self.end()
        shutil.rmtree(self.dir, ignore_errors=True)


@contextlib.contextmanager
def together(machines):
    """All of them started, and standing but for the one that is alone()."""
    with contextlib.ExitStack() as stack:
        for m in machines:
            stack.enter_context(m)
            m.qmp.call("stop")
        yield machines


KINDS = {kind.name: kind for kind in (Vmtest, Qemu)}
