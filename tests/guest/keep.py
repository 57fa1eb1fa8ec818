"""A guest with a keeper in it, and random changes to all that a snapshot holds."""

import json

import common
from harness import vmtest

KEEPER = common.SOURCE / "tests" / "guest" / "keeper.py"

# What must be the same after a revert; ticks and uptime go on from their value.
SAME = ("memory", "pid", "files", "processes", "package", "boot")


class Kept:
    """The machine `name`, started, with a running keeper; guest is common.debian() unless given."""

    def __init__(self, store, name, package, guest=None):
        self.store, self.name = store, name
        self.machine = vmtest.Vmtest(guest or common.debian(), store, name)
        self.machine.create()
        self.machine.start()
        self.machine.copy_in(KEEPER, "/root/keeper.py")
        self.machine.copy_in(package, "/root/demo.deb", 0o644)
        self.do("mkdir -p /root/kept && python3 /root/keeper.py serve && until [ -S /run/keeper.sock ]; do sleep 0.05; done")

    def do(self, command):
        status, out, err = self.machine.execute(command)
        if status:
            raise AssertionError(f"in the guest: {command}: status {status}: {err.decode(errors='replace')}")
        return out

    def show(self):
        return json.loads(self.do("python3 /root/keeper.py show"))

    def change(self, random, state):
        """Changes some of everything; state is what show() said last."""
        lines = [f"python3 /root/keeper.py mix {random.getrandbits(32)}"]
        for _ in range(random.randrange(1, 6)):
            path = f"/root/kept/{random.randrange(10)}/{random.randrange(20)}"
            if path in state["files"] and random.random() < 0.4:
                lines.append(f"rm -f {path}")
            else:
                lines.append(f"mkdir -p {path.rsplit('/', 1)[0]} && "
                             f"head -c {random.choice([0, 10, 5000, 700000])} /dev/urandom >{path}")
        lines.append(f"python3 /root/keeper.py spawn p{random.getrandbits(32)}")
        if state["processes"] and random.random() < 0.5:
            lines.append(f"python3 /root/keeper.py reap {random.choice(sorted(state['processes']))}")
        if random.random() < 0.3:
            lines.append("dpkg -P vmtest-demo" if "installed" in state["package"] else "dpkg -i /root/demo.deb")
        if random.random() < 0.3:
            lines.append("sync")
        self.do("exec >/dev/null; set -e; " + "; ".join(lines))


def unlike(got, want):
    """What of got is not as a machine that was put back to want must be; "" when nothing."""
    wrong = [f"{key}: {got[key]!r}, not {want[key]!r}" for key in SAME if got[key] != want[key]]
    for key in ("ticks", "uptime"):
        if got[key] < want[key]:
            wrong.append(f"{key} went back: {got[key]} after {want[key]}")
    return "\n".join(wrong)
