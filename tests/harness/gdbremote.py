"""gdb's remote protocol from the debugger's side, bare: for what gdb itself does not do, or hides."""

import os
import socket
import subprocess

EIP, EFLAGS, ESP = 8, 9, 4  # numbers in i386's description
RBP, RSP, R8, R9, R10, RIP = 6, 7, 8, 9, 10, 16  # and in x86-64's


class Remote:
    def __init__(self, path, limit=60):
        where = str(path)
        self.sock = socket.socket(socket.AF_INET if where.startswith("tcp::") else socket.AF_UNIX)
        self.sock.settimeout(limit)
        self.sock.connect(("127.0.0.1", int(where[5:])) if where.startswith("tcp::") else where)
        self.data = b""

    def close(self):
        self.sock.close()

    def raw(self, data):
        self.sock.sendall(data)

    def send(self, packet):
        packet = packet.encode() if isinstance(packet, str) else packet
        self.raw(b"$" + packet + b"#%02x" % (sum(packet) & 255))

    def byte(self):
        while not self.data:
            self.data = self.sock.recv(65536)
            if not self.data:
                raise EOFError("the stub has closed the connection")
        first, self.data = self.data[:1], self.data[1:]
        return first

    def receive(self):
        while self.byte() != b"$":
            pass
        packet = b""
        while (c := self.byte()) != b"#":
            packet += c
        check = int(self.byte() + self.byte(), 16)
        assert sum(packet) & 255 == check, packet
        try:
            self.raw(b"+")
        except BrokenPipeError:  # those were its last words
            pass
        return packet.decode()

    def ask(self, packet):
        self.send(packet)
        return self.receive()

    def register(self, n):
        return int.from_bytes(bytes.fromhex(self.ask(f"p{n:x}")), "little")

    def set_register(self, n, value, size=4):
        assert self.ask(f"P{n:x}={value.to_bytes(size, 'little').hex()}") == "OK"

    def read(self, address, size):
        return bytes.fromhex(self.ask(f"m{address:x},{size:x}"))

    def write(self, address, data):
        assert self.ask(f"M{address:x},{len(data):x}:{data.hex()}") == "OK"

    def monitor(self, line):
        """(text, last reply) of a monitor command."""
        self.send("qRcmd," + line.encode().hex())
        text = ""
        while (got := self.receive()).startswith("O") and got != "OK":
            text += bytes.fromhex(got[1:]).decode()
        return text, got


class Debuggee:
    """`vmtest run --gdb` on a socket of its own."""

    def __init__(self, words, directory, where=None):
        self.socket = where or os.path.join(directory, "gdb")
        self.out = open(os.path.join(directory, "out"), "w+b")
        self.process = subprocess.Popen([*words, "--gdb", self.socket], stdin=subprocess.DEVNULL, stdout=self.out,
                                        stderr=subprocess.PIPE)
        said = self.process.stderr.readline()  # when it listens
        if b"waits for a debugger" not in said:
            raise AssertionError(said + self.process.stderr.read())

    def connect(self):
        return Remote(self.socket)

    def end(self, limit=60):
        """(status, output) when the guest has ended."""
        _, self.err = self.process.communicate(timeout=limit)
        self.out.seek(0)
        return self.process.returncode, self.out.read()

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stderr.close()
        self.out.close()
