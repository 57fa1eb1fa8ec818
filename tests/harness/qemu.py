"""QEMU without KVM, driven for comparison: the same kernel, initrd, command line and disk that vmtest gets, or the same
disk to boot by its BIOS from."""

import base64
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time

PROGRAM = "qemu-system-i386"
PROGRAM_64 = "qemu-system-x86_64"


class QemuError(Exception):
    pass


def available():
    return shutil.which(PROGRAM) is not None and shutil.which(PROGRAM_64) is not None


class Qemu:
    """One machine. guest is what guest.Guest describes; the disk is never written to."""

    def __init__(self, guest, append=None, memory=None):
        self.dir = tempfile.mkdtemp(prefix="vmtest-qemu-")
        self.agent_path = os.path.join(self.dir, "agent")
        self.serial_path = os.path.join(self.dir, "serial")
        self.guest = guest
        self.append = append or guest.append
        self.memory = memory or guest.memory
        self.process = None
        self.agent = None
        self.started = None

    def arguments(self):
        # "amd64" is in the name of each guest that has such a kernel.
        program = PROGRAM_64 if "amd64" in self.guest.name else PROGRAM
        words = [program, "-accel", "tcg", "-cpu", "max", "-m", str(self.memory), "-display", "none",
                 "-monitor", "none", "-nodefaults", "-no-reboot",
                 "-serial", "file:" + self.serial_path,
                 "-device", "virtio-rng-pci", "-device", "virtio-serial-pci",
                 "-chardev", f"socket,id=agent,path={self.agent_path},server=on,wait=off",
                 "-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0",
                 "-nic", "user,model=virtio-net-pci"]
        if self.guest.kernel:
            words += ["-kernel", self.guest.kernel, "-initrd", self.guest.initrd, "-append", self.append]
        if self.guest.image:
            words += ["-drive", f"file={self.guest.image},format=raw,if=virtio,snapshot=on"]
        return words

    def start(self):
        self.started = time.monotonic()
        self.process = subprocess.Popen(self.arguments(), stdin=subprocess.DEVNULL, cwd=self.dir)

    def connect(self, deadline):
        while self.agent is None:
            if self.process.poll() is not None:
                raise QemuError(f"qemu ended with {self.process.returncode}")
            if time.monotonic() > deadline:
                raise QemuError("qemu opened no agent socket")
            try:
                sock = socket.socket(socket.AF_UNIX)
                sock.connect(self.agent_path)
                self.agent = sock
            except (FileNotFoundError, ConnectionRefusedError):
                sock.close()
                time.sleep(0.005)

    def call(self, command, timeout=60, **arguments):
        """One agent command and its reply. QEMU keeps the request until the agent opens its port."""
        deadline = time.monotonic() + timeout
        self.connect(deadline)
        request = {"execute": command}
        if arguments:
            request["arguments"] = arguments
        self.agent.sendall(json.dumps(request).encode() + b"\n")
        reply = b""
        while not reply.endswith(b"\n"):
            self.agent.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                got = self.agent.recv(1 << 20)
            except socket.timeout:
                raise QemuError(f"{command}: no answer in {timeout} s") from None
            if not got:
                raise QemuError(f"{command}: qemu closed the agent's socket")
            reply += got
        answer = json.loads(reply)
        if "error" in answer:
            raise QemuError(f"{command}: {answer['error']['desc']}")
        return answer["return"]

    def wait_agent(self, timeout=600):
        """Seconds from the process's start to the first answer of the agent."""
        self.call("guest-ping", timeout)
        return time.monotonic() - self.started

    def execute(self, command, timeout=600):
        """Runs a line for sh in the guest; (status, stdout, stderr)."""
        pid = self.call("guest-exec", path="/bin/sh", arg=["-c", command],
                        **{"capture-output": True})["pid"]
        deadline = time.monotonic() + timeout
        while True:
            status = self.call("guest-exec-status", pid=pid)
            if status["exited"]:
                break
            if time.monotonic() > deadline:
                raise QemuError(f"{command}: not done in {timeout} s")
            time.sleep(0.05)
        for stream in ("out", "err"):
            if status.get(stream + "-truncated"):
                raise QemuError(f"{command}: more output than the agent carries")
        return (status.get("exitcode", 128 + status.get("signal", 0)),
                base64.b64decode(status.get("out-data", "")), base64.b64decode(status.get("err-data", "")))

    def copy_in(self, path, destination, mode=0o755):
        handle = self.call("guest-file-open", path=destination, mode="w")
        with open(path, "rb") as source:
            while chunk := source.read(1 << 20):
                self.call("guest-file-write", handle=handle, **{"buf-b64": base64.b64encode(chunk).decode()})
        self.call("guest-file-close", handle=handle)
        self.execute(f"chmod {mode:o} '{destination}'")

    def serial(self):
        with open(self.serial_path, "rb") as f:
            return f.read()

    def wait_end(self, timeout):
        return self.process.wait(timeout)

    def stop(self):
        if self.agent:
            self.agent.close()
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()
