"""A QMP client, for our monitors and for QEMU alike."""

import json
import socket


class QmpError(Exception):
    pass


class Qmp:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self.answers = self.socket.makefile("rb")
        self.answers.readline()  # the greeting
        self.call("qmp_capabilities")

    def call(self, command, **arguments):
        """The answer; events before it are passed over."""
        self.socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
        while "return" not in (answer := json.loads(self.answers.readline())):
            if "error" in answer:
                raise QmpError(answer["error"]["desc"])
        return answer["return"]

    def close(self):
        self.answers.close()
        self.socket.close()
