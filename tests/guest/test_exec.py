#!/usr/bin/env python3
"""Commands in a real guest: their streams, terminal, signals and end, what survives what, and who a fork is."""

import fcntl
import hashlib
import os
import pty
import select
import signal
import struct
import subprocess
import tempfile
import termios
import threading
import time
import unittest
from pathlib import Path

import common
from harness import vmtest

MIB = 1 << 20


# In place of a DHCP client: says each time that it is started for which hardware address that is.
CLIENT = """#!/bin/sh
echo $$ >/run/dhclient.pid
cat /sys/class/net/$2/address >>/run/dhclient.log
while :; do sleep 1000; done
"""

# Says its hardware address on the private network, and the one of who answers there; then its link-local address there,
# once it is no more tentative, and for which address the DHCP client was last started.
PEER = """
import os, pathlib, socket, subprocess, sys, time
job = int(os.environ["VMTEST_JOB"])
card = sorted(p.name for p in pathlib.Path("/sys/class/net").glob("e*"))[1]
subprocess.run(["ip", "addr", "add", f"10.9.0.{job}/24", "dev", card], check=True)
subprocess.run(["ip", "link", "set", card, "up"], check=True)
own = pathlib.Path(f"/sys/class/net/{card}/address").read_text().strip()
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("0.0.0.0", 9))
s.settimeout(0.1)
other, heard, end = (f"10.9.0.{3 - job}", 9), None, time.monotonic() + 60
while time.monotonic() < end:
    try:
        s.sendto(own.encode() + (b"+" if heard else b"-"), other)
        data, who = s.recvfrom(100)
    except OSError:
        continue
    heard = data[:-1].decode()
    if data.endswith(b"+"):  # it has heard us, too
        for _ in range(5):
            s.sendto(own.encode() + b"+", other)
            time.sleep(0.05)
        break
else:
    sys.exit(1)
show = ["ip", "-6", "-o", "addr", "show", "dev", card, "scope", "link", "-tentative"]
while not (local := subprocess.run(show, stdout=subprocess.PIPE, text=True).stdout) and time.monotonic() < end:
    time.sleep(0.05)
print(own, heard, *(word.split("/")[0] for word in local.split() if "/" in word),
      *pathlib.Path("/run/dhclient.log").read_text().split())
"""


def until(fd, text, seconds=30):
    """Reads from fd until text is there; all that came."""
    got, end = b"", time.monotonic() + seconds
    while text not in got:
        ready, _, _ = select.select([fd], [], [], max(0, end - time.monotonic()))
        part = os.read(fd, 65536) if ready else b""
        if not part:
            raise AssertionError(f"{text!r} did not come; only {got[-500:]!r} did")
        got += part
    return got


def has_terminals():
    try:
        for fd in pty.openpty():
            os.close(fd)
    except OSError:
        return False
    return True


class Exec(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.store = vmtest.Store()
        cls.addClassCleanup(cls.store.close)
        cls.store.run("net", "create", "lab")
        cls.store.run("create", "web", *common.debian().words, "--net", "nat", "--net", "private:lab")
        cls.store.run("start", "web", timeout=1500)

    def run_in(self, *words, want=0, **kwargs):
        return self.store.run("exec", *words, want=want, **kwargs)

    def sh(self, script, want=0, **kwargs):
        return self.run_in("--", "sh", "-c", script, want=want, **kwargs)

    def attached(self, *words, **kwargs):
        """A running `vmtest exec` with pipes; killed at the test's end, if it is there still."""
        p = self.store.popen("exec", *words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             **kwargs)
        self.addCleanup(self.end, p)
        return p

    @staticmethod
    def end(p):
        p.kill()
        p.wait()
        for stream in (p.stdin, p.stdout, p.stderr):
            try:
                stream.close()
            except BrokenPipeError:
                pass  # what was not written yet

    def test_long_output_comes_whole(self):
        got = self.sh("dd if=/dev/urandom of=/dev/shm/long bs=1M count=40 2>/dev/null; sha256sum </dev/shm/long >&2; "
                      "cat /dev/shm/long; rm /dev/shm/long")
        self.assertEqual(len(got.out), 40 * MIB)
        self.assertEqual(got.errors.split()[0], hashlib.sha256(got.out).hexdigest())

    def test_long_input_goes_whole(self):
        data = os.urandom(20 * MIB)
        self.assertEqual(self.run_in("--", "sha256sum", stdin=data).text.split()[0], hashlib.sha256(data).hexdigest())

    def test_input_and_output_stream(self):
        p = self.attached("--", "sh", "-c", "while read -r line; do echo \"<$line>\"; echo err >&2; done; echo end")
        for word in (b"one", b"two"):
            p.stdin.write(word + b"\n")
            p.stdin.flush()
            self.assertEqual(until(p.stdout.fileno(), b">\n"), b"<" + word + b">\n")
        p.stdin.close()
        self.assertEqual(until(p.stdout.fileno(), b"end\n"), b"end\n")
        self.assertEqual(p.stderr.read(), b"err\nerr\n")
        self.assertEqual(p.wait(30), 0)

    def test_streams_apart_and_status(self):
        got = self.sh("echo out; echo err >&2; exit 42", want=42)
        self.assertEqual((got.text, got.errors), ("out\n", "err\n"))
        self.sh("kill -SEGV $$", want=139)
        self.run_in("--", "/no/such/program", want=127)
        self.run_in("--", "/etc/passwd", want=126)
        got = self.store.json("exec", "--", "sh", "-c", "echo hi; exit 3", want=3)
        self.assertEqual((got["stdout"], got["guest_status"], got["error"]), ("hi\n", 3, None))

    def test_directory_user_environment(self):
        self.assertEqual(self.run_in("-w", "/usr/lib", "--", "pwd").text, "/usr/lib\n")
        self.assertEqual(self.sh("pwd; echo $HOME $USER $SHELL; umask").text, "/\n/root root /bin/bash\n0022\n")
        self.assertEqual(self.run_in("-u", "www-data", "--", "id").text,
                         "uid=33(www-data) gid=33(www-data) groups=33(www-data)\n")
        got = self.run_in("-e", "A=b c", "-e", "PATH=/bin", "--", "/bin/sh", "-c", "echo \"$A|$PATH|$HOME\"")
        self.assertEqual(got.text, "b c|/bin|/root\n")
        got = self.run_in("-w", "/no/such", "--", "true", want=125)
        self.assertIn("/no/such: No such file or directory", got.errors)
        self.assertIn("nobody-at-all: no such user", self.run_in("-u", "nobody-at-all", "--", "true", want=125).errors)

    @unittest.skipUnless(has_terminals(), "this host has no /dev/pts to take a terminal from")
    def test_terminal(self):
        pid, fd = pty.fork()
        if pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("4H", 37, 91, 0, 0))
            os.execve(vmtest.program(), ["vmtest", "exec", "-t", "--", "sh"], {**self.store.env, "TERM": "vt220"})
        self.addCleanup(os.close, fd)
        until(fd, b"# ")
        os.write(fd, b"tty; stty size; echo $TERM\r")
        self.assertRegex(until(fd, b"vt220\r\n").decode(), r"/dev/pts/\d+\r\n37 91\r\n")
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("4H", 50, 132, 0, 0))
        os.write(fd, b"sh -c 'while [ \"$(stty size)\" != \"50 132\" ]; do :; done; echo res''ized'\r")
        until(fd, b"resized\r\n")
        os.write(fd, b"sh -c 'echo be\"\"gun; exec sleep 1000'\r")  # in front, when it says so
        until(fd, b"begun\r\n")
        os.write(fd, b"\x03")  # interrupts the guest's sleep, and not vmtest
        until(fd, b"# ")
        os.write(fd, b"exit 5\r")
        with self.assertRaises(OSError):  # the terminal says so when vmtest is gone
            until(fd, b"no such text")
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 5)

    def test_a_login_shell_without_a_command(self):
        got = self.run_in("-u", "root", stdin=b"pwd; echo $0; shopt -q login_shell && echo login\nexit 4\n", want=4)
        self.assertEqual(got.text, "/root\n-bash\nlogin\n")

    def test_signals(self):
        for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            p = self.attached("--", "sh", "-c", "echo ready; sleep 1000")
            until(p.stdout.fileno(), b"ready\n")
            p.send_signal(number)
            self.assertEqual(p.wait(30), status)
        p = self.attached("--", "sh", "-c", "trap 'echo caught; exit 7' USR1; echo ready; while :; do sleep 0.01; done")
        until(p.stdout.fileno(), b"ready\n")
        p.send_signal(signal.SIGUSR1)
        until(p.stdout.fileno(), b"caught\n")
        self.assertEqual(p.wait(30), 7)

    def test_a_second_interrupt_ends_vmtest_itself(self):
        p = self.attached("--", "sh", "-c", "trap '' INT; echo ready; sleep 1000")
        until(p.stdout.fileno(), b"ready\n")
        while p.poll() is None:
            p.send_signal(signal.SIGINT)
            try:
                p.wait(0.1)
            except subprocess.TimeoutExpired:
                pass
        self.assertEqual(p.returncode, -signal.SIGINT)

    def test_a_guest_where_the_helper_does_not_answer(self):
        # Somebody else has its port: commands go by the agent, and what that cannot do is an error.
        squatter = ("until [ -e /run/go ]; do sleep 0.05; done; exec 3<>/dev/virtio-ports/org.vmtest.exec.0; "
                    "mv /run/go /run/gone; exec sleep 1001")
        self.run_in("--", "systemd-run", "--quiet", "sh", "-c", squatter)
        self.assertIn("has ended under the command", self.sh("kill -9 $PPID; exec cat", want=125).errors)
        with tempfile.NamedTemporaryFile() as empty:
            self.store.run("cp", empty.name, ":/run/go")  # by the agent
            while self.store.run("cp", ":/run/gone", empty.name, want=(0, 66)).status:
                pass
        got = self.sh("echo out; echo err >&2; exit 3", want=3)
        self.assertEqual((got.text, got.errors), ("out\n", "err\n"))
        self.assertIn("no terminals", self.run_in("-t", "--", "true", want=125).errors)
        self.assertIn("commands go by the guest agent alone", self.store.run("log", "web").text)
        self.sh("pkill -fx 'sleep 1001'")
        self.assertEqual(self.run_in("-t", "--", "sh", "-c", "tty >/dev/null && echo yes").text, "yes\r\n")

    def test_who_goes_away_ends_the_command(self):
        p = self.attached("--", "sh", "-c", "echo $$; trap '' HUP; sleep 1000")
        pid = until(p.stdout.fileno(), b"\n").decode().strip()
        p.kill()
        p.wait()
        self.sh(f"i=0; while [ -d /proc/{pid} ]; do i=$((i + 1)); [ $i -lt 3000 ] || exit 1; sleep 0.01; done")

    def test_two_at_once_and_a_time_out(self):
        one = self.attached("--", "sh", "-c", "read -r x; echo one $x")
        two = self.attached("--timeout", "1s", "--", "sh", "-c", "echo two; sleep 1000")
        until(two.stdout.fileno(), b"two\n")
        self.assertEqual(self.sh("echo three").text, "three\n")
        self.assertEqual(two.wait(30), 124)
        self.assertEqual(one.communicate(b"still\n", 30)[0], b"one still\n")

    def test_a_daemon_keeps_nobody_waiting(self):
        pid = self.sh("sleep 1000 & echo $!").text.strip()
        self.sh(f"kill {pid}")

    def test_the_agents_service_is_not_its_parent(self):
        p = self.attached("--", "sh", "-c", "echo ready; read -r x; echo done")
        until(p.stdout.fileno(), b"ready\n")
        self.sh("systemctl restart qemu-guest-agent; systemctl stop qemu-guest-agent")
        self.assertEqual(p.communicate(b"\n", 30)[0], b"done\n")
        self.assertEqual(self.sh("systemctl start qemu-guest-agent; echo up").text, "up\n")

    def test_revert_ends_it_and_forks_differ(self):
        self.store.run("snapshot", "clean")
        self.addCleanup(self.store.run, "delete", "clean", want=None)
        p = self.attached("--", "sh", "-c", "echo ready; sleep 1002")
        until(p.stdout.fileno(), b"ready\n")
        self.store.run("revert", "clean")
        _, errors = p.communicate(timeout=30)
        self.assertEqual(p.returncode, 125)
        self.assertIn(b"reverted", errors)
        self.assertEqual(self.sh("pgrep -fx 'sleep 1002' || echo none").text, "none\n")

        random = ("--", "python3", "-c", "import os, time; print(os.getrandom(16).hex(), time.time())")
        forks = [self.store.run("run", "--from", "clean", *options, *random).text.split()
                 for options in ((), (), ("--clock", "snapshot"), ("--frozen",))]
        # What a frozen fork has is its kernel's affair: the same numbers again, or not.
        numbers = [number for number, _ in forks[:3]] + [self.run_in(*random).text.split()[0]]
        self.assertEqual(len(set(numbers)), 4, numbers)
        self.assertNotIn("seed", self.store.run("log", "web").text)  # it says where it could not be done
        times = [float(seconds) for _, seconds in forks]
        self.assertLess(abs(times[1] - time.time()), 30)
        # A clock that goes on from the snapshot's is behind by all that was done since.
        self.assertLess(times[2], times[0])
        self.assertLess(times[3], times[0])

    def test_forks_meet_on_a_private_network(self):
        self.sh("cat >/run/dhclient; chmod +x /run/dhclient; "
                "/run/dhclient -v $(ls /sys/class/net | grep ^e | sed -n 2p) >/dev/null 2>&1 &", stdin=CLIENT.encode())
        self.addCleanup(self.sh, "kill $(cat /run/dhclient.pid); rm -f /run/dhclient*")
        self.sh("until [ -s /run/dhclient.log ]; do sleep 0.05; done")
        self.store.run("snapshot", "meet")
        self.addCleanup(self.store.run, "delete", "meet", want=None)
        with tempfile.TemporaryDirectory() as folder:
            peer = Path(folder) / "peer.py"
            peer.write_text(PEER)
            got = self.store.run("run", "--from", "meet", "-j", 2, "--copy-in", peer, "--", "python3", "peer.py")
        said = dict(line.split(": ", 1) for line in got.text.splitlines())
        ours = self.sh(r"cat /sys/class/net/e*/address").text.split()
        own, heard, local, _, started = zip(*(said[n].split() for n in "12"))
        self.assertEqual(started, own)  # the client was started again, for the new address
        self.assertEqual([address.split("::")[1].split(":")[-1] for address in local],
                         [(mac[12:14] + mac[15:]).lstrip("0") for mac in own])  # the last 16 bits are the card's
        self.assertEqual(heard, own[::-1])  # each has the other's hardware address
        self.assertEqual(len({*own, *ours}), 4)

    def parked(self):
        """Process ids of the store's forks that wait."""
        found = subprocess.run(["pgrep", "-f", f"vmtest-monitor --store {self.store.home.resolve()} .*--park"],
                               stdout=subprocess.PIPE, text=True).stdout
        return found.split()

    def until_parked(self, n):
        end = time.monotonic() + 30
        while len(self.parked()) != n:
            self.assertLess(time.monotonic(), end, self.parked())
            time.sleep(0.05)

    def warm(self, *command, idle="1m"):
        """Once more where another run's fork was not back yet, which makes one of its own."""
        return self.store.run("run", "--from", "warm", "--warm", "--", *command, env={"VMTEST_WARM_IDLE": idle})

    def test_warm(self):
        self.store.run("snapshot", "warm")
        self.addCleanup(self.store.run, "delete", "warm", want=None)
        script = "cat /root/mark /dev/shm/mark 2>&1; touch /root/mark; echo here >/dev/shm/mark; od -An -tx8 -N 16 /dev/urandom; " \
            "date +%s.%N; exec 2>&-; sleep 1000 >&- &"
        answers, processes = [], set()
        for _ in range(5):
            begin = time.time()
            *kept, random, date = self.warm("sh", "-c", script).text.splitlines()
            self.assertTrue(begin - 1 < float(date) < time.time() + 1)
            self.assertEqual([line.endswith("No such file or directory") for line in kept], [True, True], kept)
            answers.append(random)
            processes.update(self.parked())
        self.assertEqual(len(set(answers)), 5, answers)
        self.assertLess(len(processes), 5, "none was used twice")
        self.until_parked(1)
        self.store.run("delete", "warm")
        self.until_parked(0)
        # Nobody comes; and its store goes.
        self.store.run("snapshot", "warm")
        self.warm("true", idle="100ms")
        self.until_parked(0)

    def test_a_parked_fork_ends_with_its_store(self):
        with vmtest.Store() as store:
            store.run("create", "web", *common.tiny().words)
            store.run("start", "--no-wait", "web")
            store.run("snapshot", "warm", "--quiesce", "no")
            store.run("run", "--from", "warm", "--warm", "--", "true", want=125)  # there is no agent in it
            home = store.home.resolve()
            found = ["pgrep", "-f", f"vmtest-monitor --store {home} .*--park"]
            self.assertEqual(subprocess.run(found, stdout=subprocess.DEVNULL).returncode, 0)
            store.run("stop", "--force", "web")
            (home / "store.db").unlink()
            end = time.monotonic() + 30
            while subprocess.run(found, stdout=subprocess.DEVNULL).returncode == 0:
                self.assertLess(time.monotonic(), end)
                time.sleep(0.05)

    def test_jobs(self):
        self.store.run("snapshot", "parts")
        self.addCleanup(self.store.run, "delete", "parts", want=None)
        script = "echo {} $VMTEST_JOB/$VMTEST_JOBS; od -An -tx8 -N 8 /dev/urandom; echo bad >&2; echo {} >mine; exit {}"
        with tempfile.TemporaryDirectory() as out:
            got = self.store.run("run", "--from", "parts", "-j", 3, "--copy-out", f"mine:{out}/part-{{}}", "--", "sh",
                                 "-c", script, want=3)
            self.assertEqual([(Path(out) / f"part-{n}").read_text() for n in (1, 2, 3)], ["1\n", "2\n", "3\n"])
        lines = sorted(line.split(": ", 1) for line in got.text.splitlines())
        self.assertEqual([n for n, _ in lines], list("112233"))
        said = {text for _, text in lines}
        self.assertEqual(len(said), 6)  # the random numbers differ
        self.assertLess({"1 1/3", "2 2/3", "3 3/3"}, said)
        self.assertEqual(sorted(got.errors.splitlines()), ["1: bad", "2: bad", "3: bad"] + [
            f"vmtest: run: job {n} ended with status {n}" for n in (1, 2, 3)])
        begin = time.time()
        jobs = self.store.json("run", "--from", "parts", "-j", 2, "--", "date", "+%s.%N")["jobs"]
        end = time.time()
        for job in jobs:
            self.assertEqual((job["status"], job["error"]), (0, None))
            self.assertTrue(begin - 1 < float(job["stdout"]) < end + 1, (begin, job, end))

    def test_a_snapshot_amid_full_streams(self):
        # Each cut is at another place of the frames under way.
        busy = [self.attached("--", "sh", "-c", script) for script in
                ("echo; exec cat /dev/zero", "echo; exec cat >/dev/null", "while echo; do :; done")]
        for p in busy:
            until(p.stdout.fileno(), b"\n")
        threads = [threading.Thread(target=f) for f in (lambda: self.take(busy[0].stdout),
                                                        lambda: self.feed(busy[1].stdin),
                                                        lambda: self.take(busy[2].stdout))]
        for t in threads:
            t.start()
        for name in ("amid0", "amid1"):
            self.store.run("snapshot", name)
            self.addCleanup(self.store.run, "delete", name, want=None)
            got = self.store.run("run", "--from", name, "--", "sh", "-c", "pgrep -fx 'cat /dev/zero' | wc -l; "
                                 "head -c 1000000 /dev/zero")
            self.assertEqual((got.out[:2], len(got.out)), (b"1\n", 1000002))
        self.store.run("revert", "amid0")
        for p in busy:
            self.assertEqual(p.wait(30), 125)
        for t in threads:
            t.join()
        self.sh("pkill -x cat; pkill -fx 'sh -c while echo; do :; done'; exit 0")

    @staticmethod
    def take(stream):
        while stream.read(65536):
            pass

    @staticmethod
    def feed(stream):
        try:
            while True:
                stream.write(bytes(MIB))
        except BrokenPipeError:
            pass


if __name__ == "__main__":
    unittest.main()
