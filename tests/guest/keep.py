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
        self.do("mkdir -p /root/kept && python3 /root/keeper.py serve")

    def do(self, command):
        status, out, err = self.machine.execute(command)
        if status:
            raise AssertionError(f"in the guest: {command}: status {status}: {err.decode(errors='replace')}")
        return out

    def ask(self, *lines, before="true"):
        """What the guest is after these lines for the keeper, and after the command before them."""
        text = "".join(line + "\\n" for line in lines or [""])
        state = json.loads(self.do(f"{{ {before}; }} >/dev/null && printf '{text}' >/run/keeper.in && cat /run/keeper.out"))
        if "error" in state:
            raise AssertionError(f"the keeper: {state['error']}")
        return state

    def show(self):
        return self.ask()

    def change(self, random, state):
        """Changes some of everything, and gives what show() says from now on; state is what it said last."""
        commands = []
        for _ in range(random.randrange(1, 6)):
            path = f"/root/kept/{random.randrange(10)}/{random.randrange(20)}"
            if path in state["files"] and random.random() < 0.4:
                commands.append(f"rm -f {path}")
            else:
                commands.append(f"mkdir -p {path.rsplit('/', 1)[0]} && "
                                f"head -c {random.choice([0, 10, 5000, 700000])} /dev/urandom >{path}")
        if random.random() < 0.3:
            commands.append("dpkg -P vmtest-demo" if "installed" in state["package"] else "dpkg -i /root/demo.deb")
        if random.random() < 0.3:
            commands.append("sync")
        lines = [f"mix {random.getrandbits(32)}", f"spawn p{random.getrandbits(32)}"]
        if state["processes"] and random.random() < 0.5:
            lines.append(f"reap {random.choice(sorted(state['processes']))}")
        return self.ask(*lines, before=" && ".join(commands))


def unlike(got, want):
    """What of got is not as a machine that was put back to want must be; "" when nothing."""
    wrong = [f"{key}: {got[key]!r}, not {want[key]!r}" for key in SAME if got[key] != want[key]]
    for key in ("ticks", "uptime"):
        if got[key] < want[key]:
            wrong.append(f"{key} went back: {got[key]} after {want[key]}")
    return "\n".join(wrong)
