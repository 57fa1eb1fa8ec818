"""What fixtures/guest.sh made: it is asked, never guessed."""

import os
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]


@dataclass
class Guest:
    name: str
    words: list  # the arguments for vmtest create
    kernel: str = ""
    initrd: str = ""
    append: str = ""
    image: str = ""
    memory: str = "512M"


def parse(name, line):
    words = shlex.split(line)
    guest = Guest(name, words)
    fields = {"--kernel": "kernel", "--initrd": "initrd", "--append": "append", "--image": "image", "--mem": "memory"}
    for flag, value in zip(words[::2], words[1::2]):
        setattr(guest, fields[flag], value)
    return guest


def make(name, kernel=None):
    """Makes the guest NAME, or finds it made."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vmtest" / "guests"
    words = ["sh", str(SOURCE / "fixtures" / "guest.sh")]
    if kernel:
        words += ["--kernel", kernel]
    out = subprocess.run(words + [name, str(cache / (f"{name}-{kernel}" if kernel else name))],
                         stdout=subprocess.PIPE, text=True, check=True)
    return parse(name, out.stdout.splitlines()[-1])
