"""The guest's own files, run by the host's kernel: what the guest must compute, without any machine in between."""

import os
import shutil
import subprocess
import tempfile

PARTITION = 1048576  # where fixtures/lib/debian.sh puts the root file system

# In a mount namespace of its own, so that nothing stays behind and root is not needed.
RUN = """
set -e
for node in null zero urandom; do
    [ -c "$1/dev/$node" ] || { : >"$1/dev/$node" && mount --bind "/dev/$node" "$1/dev/$node"; }
done
exec chroot "$1" /bin/sh -c "$2"
"""


class Native:
    """A root directory with all of a disk image's files."""

    def __init__(self, image):
        self.image = image
        self.root = None

    def __enter__(self):
        self.root = tempfile.mkdtemp(prefix="vmtest-native-")
        path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
        subprocess.run(["debugfs", "-R", f"rdump / {self.root}", f"{self.image}?offset={PARTITION}"],
                       env={**os.environ, "PATH": path}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.root, ignore_errors=True)

    def execute(self, command, timeout=600):
        """(status, stdout, stderr) of a line for sh in the root directory."""
        user = [] if os.geteuid() == 0 else ["--map-root-user"]
        done = subprocess.run(["unshare", "--mount", *user, *self.propagation(user), "sh", "-c", RUN, "sh", self.root, command],
                              env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout)
        return done.returncode, done.stdout, done.stderr

    @staticmethod
    def propagation(user):
        """Below a chroot the root is no mount of its own, whose propagation could be changed."""
        tried = subprocess.run(["unshare", "--mount", *user, "true"], stderr=subprocess.DEVNULL)
        return ["--propagation", "unchanged"] if tried.returncode else []

    def copy_in(self, path, destination, mode=0o755):
        target = self.root + destination
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copyfile(path, target)
        os.chmod(target, mode)

    def runs(self):
        """Can this host run the guest's programs at all?"""
        return self.execute("true")[0] == 0
