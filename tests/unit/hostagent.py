"""A guest agent whose guest is this host: what the tests of guest commands and copies talk to, over standard input and
output. Knows the commands that the appliance uses, and answers as QEMU's guest agent does."""

import base64
import json
import os
import subprocess
import sys
import tempfile

LIMIT = 16 << 20
procs, files = {}, {}


class Fail(Exception):
    pass


def start(path, arg=(), **opts):
    out, err = tempfile.TemporaryFile(), tempfile.TemporaryFile()
    p = subprocess.Popen([path, *arg], stdin=subprocess.PIPE if "input-data" in opts else subprocess.DEVNULL,
                         stdout=out, stderr=err, cwd="/")
    if "input-data" in opts and os.fork() == 0:
        try:  # a process of its own feeds it: the agent must not wait
            p.stdin.write(base64.b64decode(opts["input-data"]))
            p.stdin.close()
        except BrokenPipeError:
            pass
        os._exit(0)
    if p.stdin:
        p.stdin.close()
    procs[p.pid] = p, out, err
    return {"pid": p.pid}


def status(pid):
    if pid not in procs:
        raise Fail("Invalid parameter 'pid'")
    p, out, err = procs[pid]
    if p.poll() is None:
        return {"exited": False}
    del procs[pid]
    answer = {"exited": True}
    answer.update({"signal": -p.returncode} if p.returncode < 0 else {"exitcode": p.returncode})
    for name, f in (("out", out), ("err", err)):
        f.seek(0)
        data = f.read(LIMIT + 1)
        if data:
            answer[name + "-data"] = base64.b64encode(data[:LIMIT]).decode()
        if len(data) > LIMIT:
            answer[name + "-truncated"] = True
    return answer


def file_open(path, mode="r"):
    try:
        f = open(path, mode + "b", buffering=0)
    except OSError as e:
        raise Fail(f"failed to open file '{path}' (mode: '{mode}'): {e.strerror}")
    files[f.fileno()] = f
    return f.fileno()


def file_read(handle, count=4096):
    data = files[handle].read(count)
    return {"count": len(data), "buf-b64": base64.b64encode(data).decode(), "eof": len(data) < count}


def file_write(handle, **opts):
    n = files[handle].write(base64.b64decode(opts["buf-b64"]))
    return {"count": n, "eof": False}


def file_close(handle):
    files.pop(handle).close()
    return {}


COMMANDS = {
    "guest-ping": lambda: {},
    "guest-exec": lambda **a: start(a.pop("path"), a.pop("arg", ()), **a),
    "guest-exec-status": status,
    "guest-file-open": file_open,
    "guest-file-read": file_read,
    "guest-file-write": file_write,
    "guest-file-close": file_close,
}


def answer(msg):
    args = msg.get("arguments", {})
    try:
        return {"return": COMMANDS[msg["execute"]](**args)}
    except (Fail, KeyError, OSError) as e:
        return {"error": {"class": "GenericError", "desc": str(e)}}


for line in sys.stdin.buffer:
    msg = json.loads(line.split(b"\xff")[-1])
    if msg["execute"] == "guest-sync-delimited":
        reply = b"\xff" + json.dumps({"return": msg["arguments"]["id"]}).encode()
    else:
        reply = json.dumps(answer(msg)).encode()
    sys.stdout.buffer.write(reply + b"\n")
    sys.stdout.buffer.flush()
