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
        self.events = []  # that came and were not asked for yet
        self.call("qmp_capabilities")

    def call(self, command, **arguments):
        """The answer; events before it are kept."""
        self.socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
        while "return" not in (answer := json.loads(self.answers.readline())):
            if "error" in answer:
                raise QmpError(answer["error"]["desc"])
            self.events.append(answer)
        return answer["return"]

    def event(self, *names):
        """The next event of one of these names, those that were kept first; others are dropped."""
        while True:
            event = self.events.pop(0) if self.events else json.loads(self.answers.readline())
            if event.get("event") in names:
                return event["event"], event.get("data", {})

    def close(self):
        self.answers.close()
        self.socket.close()
