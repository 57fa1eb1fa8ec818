#!/usr/bin/env python3
"""Runs in the guest: keeps state that is in no file, so that a test can see whether memory was put back.

    keeper.py serve         16 MiB of memory, and a counter that grows by itself

It goes on in the background, and takes lines by a pipe, so that asking it starts no interpreter:

    echo mix 5 >/run/keeper.in; cat /run/keeper.out

    mix SEED                changes the memory
    spawn NAME              a process of this name until it is killed
    reap NAME               kills it

Lines that come together (or an empty one) get one answer, a JSON object: the memory's checksum, the counter, and what
else a revert must bring back; or "error"."""

import hashlib
import json
import os
import random
import subprocess
import sys
import threading
import time
import traceback

ASK, ANSWER = "/run/keeper.in", "/run/keeper.out"
FILES = "/root/kept"


class Keeper:
    def __init__(self):
        self.memory = bytearray(16 << 20)
        self.ticks = 0
        self.children = {}
        threading.Thread(target=self.tick, daemon=True).start()

    def tick(self):
        while True:
            time.sleep(0.1)
            self.ticks += 1

    def mix(self, seed):
        source = random.Random(seed)
        for _ in range(2000):
            at = source.randrange(len(self.memory) - 8)
            self.memory[at:at + 8] = source.randbytes(8)

    def spawn(self, name):
        self.children[name] = subprocess.Popen(["kept-" + name, "infinity"], executable="/bin/sleep", stdin=subprocess.DEVNULL,
                                               stdout=subprocess.DEVNULL, start_new_session=True)

    def reap(self, name):
        child = self.children.pop(name)
        child.kill()
        child.wait()

    def do(self, lines):
        verbs = {"mix": self.mix, "spawn": self.spawn, "reap": self.reap}
        for words in filter(None, map(str.split, lines)):
            verbs[words[0]](*words[1:])
        return {"memory": hashlib.sha256(self.memory).hexdigest(), "ticks": self.ticks, "pid": os.getpid(), **system()}


def processes():
    """{name: pid} of what `spawn` started, as the kernel lists them."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                words = f.read().split(b"\0")
        except OSError:
            continue
        if words[0].startswith(b"kept-"):
            found[words[0].decode()[5:]] = int(pid)
    return found


def files():
    found = {}
    for folder, _, names in os.walk(FILES):
        for name in names:
            path = os.path.join(folder, name)
            with open(path, "rb") as f:
                found[path] = hashlib.sha256(f.read()).hexdigest()
    return found


def system():
    with open("/proc/sys/kernel/random/boot_id") as f:
        boot = f.read().strip()
    with open("/proc/uptime") as f:
        uptime = float(f.read().split()[0])
    package = subprocess.run(["dpkg-query", "-W", "-f", "${Status} ${Version}", "vmtest-demo"], stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL, text=True).stdout
    return {"files": files(), "processes": processes(), "package": package, "boot": boot, "uptime": uptime}


def serve():
    for path in (ANSWER, ASK):
        os.mkfifo(path)
    if os.fork():
        return
    os.setsid()
    null = os.open("/dev/null", os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    keeper = Keeper()
    while True:
        with open(ASK) as f:
            lines = f.readlines()
        try:
            answer = keeper.do(lines)
        except Exception:  # whatever it is, the one who asked must hear of it
            answer = {"error": traceback.format_exc()}
        with open(ANSWER, "w") as f:
            f.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    if sys.argv[1:] != ["serve"]:
        sys.exit("usage: keeper.py serve")
    serve()
