#!/usr/bin/env python3
"""What vmtest-fs prints: list, stat, patch, JSON; packages, units, noise, renames, attributes; ls, cat, get."""

import hashlib
import json
import os
import unittest

import images

STATUS = """Package: {name}
Status: install ok installed
Architecture: i386
Version: {version}
Description: text
 more of it

"""


def status(**versions):
    return "".join(STATUS.format(name=n, version=v) for n, v in versions.items())


class Forms(images.Images):
    TREE = {"etc/conf": "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine\nten\n", "etc/bin": b"\0\1\2",
            "var/lib/dpkg/status": status(app="1.0", base="1:2.0~rc1-1", gone="3"), "var/cache/x": "x", "usr/same": "s",
            "etc/old-name": "content\n"}

    def pair(self, *commands, tree=None, **files):
        """Two images, the second changed; files are replaced under the paths that `replace` maps to."""
        a = self.make("a.img", tree=tree or self.TREE)
        b = self.copy(a, "b.img")
        self.change(b, *commands)
        return a, b

    def replace(self, path, data):
        host = self.write("host/" + hashlib.md5(path.encode()).hexdigest(), data)
        return [f"rm {path}", f"write {host} {path}"]

    def add(self, path, data):
        return self.replace(path, data)[1:]

    def test_nothing_changed(self):
        a, b = self.pair("stats -h")
        self.assertEqual(self.diff(a, b, want=0), "")
        doc = self.json(a, b, want=0)
        self.assertEqual((doc["same"], doc["complete"], doc["changes"], doc["packages"], doc["units"]),
                         (True, True, [], [], []))
        self.assertEqual(self.diff(a, b, "-p", want=0) + self.diff(a, b, "--stat", want=0), "")

    def test_list(self):
        a, b = self.pair(*self.replace("/etc/conf", "one\n"), "rm /etc/bin", "symlink /etc/bin conf", "mkdir /opt",
                         *self.add("/opt/new", "n"), "sif /usr/same mode 0104755", "sif /usr/same gid 42", "rm /var/cache/x")
        self.assertEqual(self.diff(a, b), "D\t/etc/bin\n".replace("D", "T")[:-1] + "\tfile -> symlink\n"
                         "M\t/etc/conf\tcontent\nA\t/opt\nA\t/opt/new\n"
                         "M\t/usr/same\tmode 0644 -> 4755, owner 0:0 -> 0:42\n")
        self.assertIn("1 changes that any running system makes are left out", self.stderr)
        self.assertIn("D\t/var/cache/x\n", self.diff(a, b, "--all"))
        self.assertIn("M\t/etc/conf\tcontent, size 49 -> 4\n", self.diff(a, b, "--all"))

    def test_times(self):
        a, b = self.pair("sif /usr/same mtime 20300101000000")
        self.assertEqual(self.diff(a, b, want=0), "")
        self.assertEqual(self.diff(a, b, "--all", want=0), "")
        self.assertEqual(self.diff(a, b, "--times"), "M\t/usr/same\ttimes\n")
        change = self.json(a, b, "--times")["changes"][0]
        self.assertEqual(change["new"]["mtime"], "2030-01-01T00:00:00Z")

    def test_renames(self):
        a, b = self.pair("ln /etc/old-name /etc/new-name", "unlink /etc/old-name")
        self.assertEqual(self.diff(a, b), "R\t/etc/old-name\t/etc/new-name\n")
        self.assertEqual(self.diff(a, b, "--all"), "A\t/etc/new-name\nD\t/etc/old-name\n")
        change = self.json(a, b)["changes"][0]
        self.assertEqual((change["status"], change["from"], change["path"]), ("renamed", "/etc/old-name", "/etc/new-name"))
        self.assertIn("rename from /etc/old-name\nrename to /etc/new-name\n", self.diff(a, b, "-p"))

    def test_patch(self):
        new = self.TREE["etc/conf"].replace("two\n", "2\n").replace("ten\n", "ten")
        a, b = self.pair(*self.replace("/etc/conf", new), *self.replace("/etc/bin", b"\0\1"), *self.add("/n", "a\nb\n"),
                         "rm /etc/old-name")
        patch = self.diff(a, b, "-p")
        self.assertIn("diff /etc/conf\n--- a/etc/conf\n+++ b/etc/conf\n@@ -1,5 +1,5 @@\n one\n-two\n+2\n three\n four\n five\n"
                      "@@ -7,4 +7,4 @@\n seven\n eight\n nine\n-ten\n+ten\n\\ No newline at end of file\n", patch)
        self.assertIn("Binary files differ (3 -> 2 bytes)\n", patch)
        self.assertIn("new file mode 100644\n--- /dev/null\n+++ b/n\n@@ -0,0 +1,2 @@\n+a\n+b\n", patch)
        self.assertIn("--- a/etc/old-name\n+++ /dev/null\n@@ -1 +0,0 @@\n-content\n", patch)
        # patch(1) agrees about what it says.
        host = self.write("conf", self.TREE["etc/conf"])
        hunk = "---" + patch.split("diff /etc/conf\n---")[1].split("\ndiff ")[0] + "\n"
        images.run("patch", "-s", host, input=hunk.encode())
        with open(host) as f:
            self.assertEqual(f.read(), new)

    def test_stat(self):
        a, b = self.pair(*self.replace("/etc/conf", "one\nTWO\n"), *self.replace("/etc/bin", b"\0"))
        self.assertEqual(self.diff(a, b, "--stat"), " M /etc/bin | 3 -> 1 bytes\n M /etc/conf | +1 -9\n"
                         " 2 changed, 1 lines added, 9 lines removed\n")

    def test_json(self):
        a, b = self.pair(*self.replace("/etc/conf", "one\n"), "mknod fifo p", "symlink /l etc/conf")
        changes = {c["path"]: c for c in self.json(a, b)["changes"]}
        self.assertEqual(changes["/etc/conf"]["what"], ["content", "size"])
        self.assertEqual(changes["/etc/conf"]["new"]["sha256"], hashlib.sha256(b"one\n").hexdigest())
        self.assertEqual(changes["/etc/conf"]["old"]["size"], 49)
        self.assertEqual(changes["/fifo"]["type"], "fifo")
        self.assertEqual(changes["/l"]["new"]["target"], "etc/conf")
        self.assertNotIn("old", changes["/l"])

    def test_packages(self):
        new = status(app="1.1", base="1:2.0-1", fresh="0.1")
        a, b = self.pair(*self.replace("/var/lib/dpkg/status", new))
        self.assertEqual(self.diff(a, b), "M\t/var/lib/dpkg/status\tcontent\nP\tapp\tupgraded 1.0 -> 1.1\n"
                         "P\tbase\tupgraded 1:2.0~rc1-1 -> 1:2.0-1\nP\tfresh\tadded 0.1\nP\tgone\tremoved 3\n")
        packages = self.json(b, a)["packages"]
        self.assertEqual([(p["name"], p["status"], p["old"], p["new"]) for p in packages],
                         [("app", "downgraded", "1.1", "1.0"), ("base", "downgraded", "1:2.0-1", "1:2.0~rc1-1"),
                          ("fresh", "removed", "0.1", None), ("gone", "added", None, "3")])

    def test_units(self):
        wants = "/etc/systemd/system/multi-user.target.wants"
        a, b = self.pair("mkdir /etc/systemd", "mkdir /etc/systemd/system", f"mkdir {wants}",
                         f"symlink {wants}/app.service /lib/systemd/system/app.service")
        self.assertIn("U\tapp.service\tenabled in multi-user.target\n".replace(".target", ".target"), self.diff(a, b))
        unit = self.json(b, a)["units"][0]
        self.assertEqual((unit["unit"], unit["target"], unit["status"], unit["path"]),
                         ("app.service", "multi-user.target", "disabled", f"{wants}/app.service"))

    def test_xattrs(self):
        big = self.write("big", b"v" * 900)
        a, b = self.pair("ea_set /usr/same user.small x", f"ea_set -f {big} /etc/conf user.big")
        self.assertEqual(self.diff(a, b), "M\t/etc/conf\txattr\nM\t/usr/same\txattr\n")
        c = self.copy(b, "c.img")
        self.write("big", b"v" * 899 + b"w")
        self.change(c, f"ea_set -f {big} /etc/conf user.big", "ea_rm /usr/same user.small")
        self.assertEqual(self.diff(b, c), "M\t/etc/conf\txattr\nM\t/usr/same\txattr\n")
        self.assertEqual(self.diff(a, c), "M\t/etc/conf\txattr\n")

    def test_names_that_need_quotes(self):
        strange = ["tab\there", "new\nline", 'quo"te', "back\\slash", b"latin-\xe9".decode("utf-8", "surrogateescape")]
        a = self.make("a.img", tree={"f": ""})
        b = self.make("b.img", tree={"f": "", **{s: "" for s in strange}})
        listed = self.diff(a, b)
        for line in ('A\t"/tab\\there"', 'A\t"/new\\nline"', 'A\t"/quo\\"te"', 'A\t"/back\\\\slash"', f"A\t/{strange[4]}"):
            self.assertIn(line + "\n", listed)
        self.assertIn("/latin-\ufffd", {c["path"] for c in self.json(a, b)["changes"]})

    def test_single_files(self):
        a, _ = self.pair("stats -h")
        at = ("--a", f"file:{a}")
        self.assertEqual(self.fs("cat", *at, "/etc/conf"), self.TREE["etc/conf"])
        self.assertEqual(self.fs("cat", *at, "etc/../etc/./conf"), self.TREE["etc/conf"])
        self.assertEqual([json.loads(line)["name"] for line in self.fs("ls", *at, "/etc", "--json").splitlines()],
                         ["bin", "conf", "old-name"])
        self.assertIn("file    0644     0:0             49", self.fs("ls", *at, "/etc/conf"))

    def test_get(self):
        a, b = self.pair("symlink /etc/up ../../../outside", "symlink /etc/loop loop", "mknod pipe p",
                         "sif /etc/conf mode 0104750", "sif /etc/conf mtime 20200102030405", "ln /pipe /etc/pipe")
        at = ("--a", f"file:{b}")
        self.fs("get", *at, "/etc/conf", "--to", self.path("one"))
        with open(self.path("one")) as f:
            self.assertEqual(f.read(), self.TREE["etc/conf"])
        self.assertEqual(os.stat(self.path("one")).st_mode & 0o7777, 0o750, "no set-id bits")
        self.assertEqual(os.stat(self.path("one")).st_mtime, 1577934245)
        os.mkdir(self.path("into"))
        self.fs("get", *at, "/etc", "--to", self.path("into"))
        self.assertIn("/etc/pipe: a fifo is not copied", self.stderr)
        self.assertEqual(os.readlink(self.path("into/etc/up")), "../../../outside")
        with open(self.path("into/etc/bin"), "rb") as f:
            self.assertEqual(f.read(), b"\0\1\2")
        self.fs("get", *at, "/etc/loop", "--to", self.path("x"), want=66)
        self.fs("get", *at, "/etc/conf", "--to", self.path("no/such/dir"), want=66)
        # A link on the host is not followed.
        os.symlink(self.path("victim"), self.path("into/conf"))
        self.fs("get", *at, "/etc/conf", "--to", self.path("into"), want=74)
        self.assertFalse(os.path.exists(self.path("victim")))

    def test_limits(self):
        a, b = self.pair(*self.replace("/etc/conf", "one\n"))
        big = self.write("sparse", "")
        os.truncate(big, 1 << 30)
        self.change(b, f"write {big} /sparse")
        if "asan" not in images.PROGRAM and not os.environ.get("VMTEST_SANITIZED"):
            self.diff(a, b, "--memory", "1M", want=2)
            self.assertIn("memory", self.stderr)
        self.diff(a, b, "--memory", "64M")
        self.assertEqual(self.fs("ls", "--a", f"file:{b}", "/sparse").split()[3], str(1 << 30))


if __name__ == "__main__":
    unittest.main()
