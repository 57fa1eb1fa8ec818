#!/usr/bin/env python3
"""Runs in the guest: keeps state that is in no file, so that a test can see whether memory was put back.

    keeper.py serve &        16 MiB of memory, and a counter that grows by itself
    keeper.py mix SEED       changes the memory
    keeper.py show           one JSON object: the memory's checksum, the counter, and what else a revert must bring back
    keeper.py spawn NAME     a process of this name until it is killed
    keeper.py reap NAME
"""

import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time

SOCKET = "/run/keeper.sock"
FILES = "/root/kept"


def serve():
    if os.fork():
        return
    os.setsid()
    null = os.open("/dev/null", os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    memory = bytearray(16 << 20)
    ticks = [0]

    def tick():
        while True:
            time.sleep(0.1)
            ticks[0] += 1

    threading.Thread(target=tick, daemon=True).start()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(SOCKET + ".new")
    listener.listen()
    os.rename(SOCKET + ".new", SOCKET)
    while True:
        connection, _ = listener.accept()
        with connection, connection.makefile("rw") as stream:
            words = stream.readline().split()
            if words[0] == "mix":
                source = random.Random(words[1])
                for _ in range(2000):
                    at = source.randrange(len(memory) - 8)
                    memory[at:at + 8] = source.randbytes(8)
            stream.write(json.dumps({"memory": hashlib.sha256(memory).hexdigest(), "ticks": ticks[0],
                                     "pid": os.getpid()}) + "\n")


def ask(*words):
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(SOCKET)
    with connection, connection.makefile("rw") as stream:
        stream.write(" ".join(words) + "\n")
        stream.flush()
        return json.loads(stream.readline())


def processes():
    """{name: pid} of what `spawn` started."""
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


def show():
    state = ask("show")
    state["files"] = files()
    state["processes"] = processes()
    state["package"] = subprocess.run(["dpkg-query", "-W", "-f", "${Status} ${Version}", "vmtest-demo"],
                                      stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    with open("/proc/sys/kernel/random/boot_id") as f:
        state["boot"] = f.read().strip()
    with open("/proc/uptime") as f:
        state["uptime"] = float(f.read().split()[0])
    return state


def spawn(name):
    pid = os.fork()
    if pid == 0:
        os.setsid()
        null = os.open("/dev/null", os.O_RDWR)
        for fd in range(3):
            os.dup2(null, fd)
        os.execv("/bin/sleep", ["kept-" + name, "infinity"])


def main():
    verb, *words = sys.argv[1:]
    if verb == "serve":
        serve()
    elif verb == "mix":
        ask("mix", *words)
    elif verb == "spawn":
        spawn(*words)
    elif verb == "reap":
        os.kill(processes()[words[0]], signal.SIGKILL)
    elif verb == "show":
        print(json.dumps(show()))
    else:
        sys.exit(f"keeper.py: {verb}: no such verb")


if __name__ == "__main__":
    main()
