"""What a snapshot adds to a store's files, beside zstd of the pages that it changed."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

from bench.report import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "store"))
from store_reader import Store  # noqa: E402

PAGE = 4096
# What the guest does between two snapshots: bytes that do not compress, and text.
CHANGES = {
    "16 MiB of random bytes": "dd if=/dev/urandom of=/dev/shm/grow bs=1M count=16 2>/dev/null",
    "the kernel's symbols as text": "sort -r /proc/kallsyms >/dev/shm/grow",
}


def size(home):
    """What the store's own files take. The database's log is moved into it first, as the store does itself when that is
    large; templates and locks are not the store."""
    with sqlite3.connect(home / "store.db") as db:
        db.execute("PRAGMA wal_checkpoint(PASSIVE)")
    db.close()
    files = [home / "store.db", *(home / "packs").iterdir(), *(home / "heads").iterdir()]
    return sum(os.stat(f).st_blocks * 512 for f in files)


def changed_pages(store, machine, before, after):
    """The bytes of all pages of memory, in order, that differ between two snapshots."""
    (a, b), differ = [store.image(store.images(machine, name)["ram"]) for name in (before, after)], []
    for number in range(b.size // PAGE):
        x, y = store.entry(a.root, number), store.entry(b.root, number)
        if (x.kind, x.number, x.page) != (y.kind, y.number, y.page):
            page = b.page(number)
            if page != a.page(number):
                differ.append(page)
    return b"".join(differ)


def measure(m, runs):
    """{change: {"store", "zstd", "changed": bytes}}: medians of snapshots, each upon the one before."""
    found, last, count = {}, None, 0
    for what, line in {"nothing yet": "true", **CHANGES}.items():
        rows = []
        for _ in range(runs if last else 1):
            m.console.shell(line)
            before, count = size(m.store.home), count + 1
            m.snapshot(f"g{count}")
            grown = size(m.store.home) - before
            if last:
                reader = Store(m.store.home)
                changed = changed_pages(reader, "web", last, f"g{count}")
                reader.close()
                packed = subprocess.run(["zstd", "-3", "-c", "-q"], input=changed, stdout=subprocess.PIPE,
                                        check=True).stdout
                rows.append({"store": grown, "zstd": len(packed), "changed": len(changed)})
            last = f"g{count}"
        if rows:
            found[what] = {key: median([r[key] for r in rows]) for key in rows[0]}
    return found
