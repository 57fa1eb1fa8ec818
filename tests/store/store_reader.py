"""A reader of stores that was written from vmtest-store(5) alone, with no look at the program's sources: what is not in
the page cannot be read here. Verifies every checksum on the way."""

import json
import sqlite3
import struct
import uuid
from pathlib import Path

import xxhash
import zstandard

PAGE = 4096
FANOUT = 512
ZERO_PAGE = bytes(PAGE)
HOLE, ZERO, FRAME, NODE = range(4)


class Damaged(Exception):
    pass


def need(good, what):
    if not good:
        raise Damaged(what)


def digest(data, seed=0):
    return xxhash.xxh3_64_intdigest(data, seed=seed)


def without(data, at):
    """data with the checksum of eight bytes at `at` as zero"""
    return data[:at] + bytes(8) + data[at + 8:]


def unpack_zstd(data, size):
    return zstandard.ZstdDecompressor().decompress(data, max_output_size=size)


class Entry:
    def __init__(self, value):
        value &= (1 << 64) - 1  # SQLite's integers have a sign
        self.kind, self.store = value >> 60, value >> 52 & 0xff
        self.number, self.page = value >> 12 & (1 << 40) - 1, value & 0xfff


class Store:
    def __init__(self, folder):
        self.folder = Path(folder)
        self.db = sqlite3.connect(self.folder / "store.db")
        self.db.row_factory = sqlite3.Row
        need(self.db.execute("PRAGMA user_version").fetchone()[0] in (1, 2), "another format")
        self.uuid = uuid.UUID(self.one("SELECT uuid FROM store")["uuid"]).bytes
        self.frames, self.nodes = {}, {}

    def close(self):
        self.db.close()

    def rows(self, sql, *values):
        return self.db.execute(sql, values).fetchall()

    def one(self, sql, *values):
        return self.db.execute(sql, values).fetchone()

    # ---- packs

    def pack(self, number):
        data = (self.folder / f"packs/{number}.pack").read_bytes()
        need(data[:8] == b"\0VTPACK1", f"pack {number}: magic")
        form, = struct.unpack_from("<I", data, 8)
        own, = struct.unpack_from("<Q", data, 32)
        need((form, data[16:32], own) == (1, self.uuid, number), f"pack {number}: header")
        need(struct.unpack_from("<Q", data, 56)[0] == digest(data[:56]), f"pack {number}: header's checksum")
        return data

    def trailer(self, number):
        """[(offset, number of the frame, length, page hashes)] as the pack itself says"""
        data = self.pack(number)
        foot = data[-56:]
        need(foot[:8] == b"\0VTPEND1", f"pack {number}: footer")
        at, length, frames, pages, check, own = struct.unpack("<6Q", foot[8:])
        need(own == digest(without(foot, 48)[:48]), f"pack {number}: footer's checksum")
        trailer = data[at:at + length]
        need(check == digest(trailer), f"pack {number}: trailer's checksum")
        first = self.one("SELECT first_frame FROM pack WHERE id = ?", number)["first_frame"]
        found, p = [], 0
        while p < length:
            off, num, size, n = struct.unpack_from("<QQIH", trailer, p)
            found.append((off, num or first + len(found), size, struct.unpack_from(f"<{n}Q", trailer, p + 24)))
            p += 24 + 8 * n
        need((len(found), sum(len(f[3]) for f in found)) == (frames, pages), f"pack {number}: trailer's counts")
        return found

    def frame(self, number):
        """(bytes, page hashes)"""
        if number not in self.frames:
            row = self.one("SELECT * FROM frame WHERE id = ?", number)
            data = self.pack(row["pack"])[row["off"]:row["off"] + row["len"]]
            codec, n, raw, stored = struct.unpack_from("<xxxxBxHII", data)
            need(data[:4] == b"VTF1" and row["off"] % 16 == 0, f"frame {number}: magic")
            need((n, raw) == (row["pages"], row["raw_len"]), f"frame {number}: row")
            need(struct.unpack_from("<Q", data, 16)[0] == digest(without(data, 16)), f"frame {number}: checksum")
            hashes = struct.unpack_from(f"<{n}Q", data, 24)
            payload = data[24 + 8 * n:]
            need(len(payload) == stored, f"frame {number}: length")
            body = unpack_zstd(payload, raw) if codec else payload
            need(len(body) == raw, f"frame {number}: length when unpacked")
            for i, want in enumerate(hashes):
                need(digest(body[i * PAGE:(i + 1) * PAGE]) == want, f"frame {number}: page {i}")
            self.frames[number] = body, hashes
        return self.frames[number]

    # ---- maps

    def node(self, number):
        """(level, entries)"""
        if number not in self.nodes:
            row = self.one("SELECT * FROM node WHERE id = ?", number)
            body = row["body"] if len(row["body"]) == PAGE else unpack_zstd(row["body"], PAGE)
            want = digest(body, seed=number * 256 + row["level"])
            need(row["checksum"] & (1 << 64) - 1 == want, f"node {number}: checksum")
            self.nodes[number] = row["level"], [Entry(v) for v in struct.unpack("<512Q", body)]
        return self.nodes[number]

    def entry(self, root, page):
        """The entry that says what the page is."""
        e = Entry(root)
        if e.kind == NODE:
            level, _ = self.node(e.number)
            if page >= FANOUT ** (level + 1):
                return Entry(ZERO << 60)
        while e.kind == NODE:
            level, entries = self.node(e.number)
            e = entries[page // FANOUT ** level % FANOUT]
        return e

    def image(self, row, column="root"):
        root = row["root"] if row[column] is None else row[column]
        return Image(self, row["bytes"], root, row["base_file"])

    def images(self, machine, snapshot):
        """{slot: row} of a snapshot by name"""
        found = self.one("SELECT s.id FROM snapshot s JOIN machine m ON m.id = s.machine WHERE m.name = ? AND s.name = ?"
                         " AND s.deleted_at IS NULL AND m.deleted_at IS NULL", machine, snapshot)
        return {r["slot"]: r for r in self.rows("SELECT * FROM image WHERE snapshot = ?", found["id"])}

    def state(self, machine, snapshot):
        """The device state, None where there is none."""
        row = self.one("SELECT s.state_frame FROM snapshot s JOIN machine m ON m.id = s.machine WHERE m.name = ? AND "
                       "s.name = ? AND s.deleted_at IS NULL", machine, snapshot)
        return None if row["state_frame"] is None else self.frame(row["state_frame"])[0]

    # ---- heads

    def head(self, machine):
        """{slot: image} of a machine's disks, as they were last flushed"""
        head = self.one("SELECT h.* FROM head h JOIN machine m ON m.head = h.id WHERE m.name = ?", machine)
        logs = json.loads(head["logs"])
        found = {}
        for row in self.rows("SELECT * FROM image WHERE head = ?", head["id"]):
            if row["slot"].startswith("disk"):
                image = found[row["slot"]] = self.image(row)
                if row["slot"] in logs:
                    image.over = self.replay(**logs[row["slot"]])
        return found

    def log(self, number, new):
        """The batches of a log, [(sequence, flags, durable before, previous checksum, checksum, entries)]; None: no
        log is there, which is fine for a new one."""
        path = self.folder / f"heads/{number}.log"
        data = path.read_bytes() if path.exists() else b""
        good = (len(data) >= 64 and data[:8] == b"\0VTHLOG1" and struct.unpack_from("<I", data, 8)[0] == 1
                and data[16:32] == self.uuid and struct.unpack_from("<Q", data, 32)[0] == number
                and struct.unpack_from("<Q", data, 56)[0] == digest(data[:56]))
        need(good or new, f"log {number}: header")
        if not good:
            return
        nonce, at = struct.unpack_from("<Q", data, 40)[0], 64
        while at + 64 <= len(data):
            n, sequence, own, before, durable, pages, flags, check = struct.unpack_from("<IQQQQIIQ", data, at + 4)
            end = at + 64 + 24 * n
            if data[at:at + 4] != b"VTB1" or own != nonce or end > len(data):
                return
            if digest(without(data[at:end], 48)) != check:
                return
            start = (end + 63) // 64 * 64
            entries, p = [], start
            for i in range(n):
                page, count, kind, want = struct.unpack_from("<QIIQ", data, at + 64 + 24 * i)
                entries.append((page, count, kind, want, data[p:p + PAGE] if kind == 0 else b""))
                p += PAGE if kind == 0 else 0
            need(p == start + pages * PAGE, f"log {number}: data pages at {at}")
            yield sequence, flags, durable, before, check, entries
            at = (p + 63) // 64 * 64

    def replay(self, logs, new=(), **rest):
        """{page: bytes or None for zero}"""
        begin = rest["from"]
        batches = []
        for number in logs:
            for i, batch in enumerate(self.log(number, number in new)):
                sequence, flags, before = batch[0], batch[1], batch[3]
                if i == 0 and flags & 2:
                    batches = [b for b in batches if b[0] < sequence]
                if batches and (sequence != batches[-1][0] + 1 or before != batches[-1][4]):
                    break
                if not batches and sequence > begin:
                    break
                batches.append(batch)
        durable = max((b[2] for b in batches), default=0)
        need(not batches or batches[-1][0] + 1 >= durable, "a log ends too early")
        over = {}
        for sequence, _, _, _, _, entries in batches:
            whole = all(kind or digest(data) == want for _, _, kind, want, data in entries)
            need(whole or sequence >= durable, f"batch {sequence}: pages")
            if not whole:
                break
            if sequence < begin:
                continue
            for page, count, kind, _, data in entries:
                for i in range(count):
                    over[page + i] = None if kind else data
        return over


class Image:
    def __init__(self, store, size, root, base):
        self.store, self.size, self.root, self.over = store, size, root, {}
        self.base = None
        if base:
            facts = json.loads(base)
            self.base = Path(facts["path"]).read_bytes()
            pages, seed = (len(self.base) + PAGE - 1) // PAGE, 0
            for i in range(64):
                seed = digest(self.base_page(pages * i // 64), seed)
            need(len(self.base) == facts["size"] and f"{seed:016x}" == facts["samples"], "the raw file is another")

    def base_page(self, page):
        return self.base[page * PAGE:(page + 1) * PAGE].ljust(PAGE, b"\0")

    def page(self, number):
        if number in self.over:
            return self.over[number] or ZERO_PAGE
        e = self.store.entry(self.root, number)
        if e.kind == FRAME:
            need(e.store == 0, "another store's frame")
            return self.store.frame(e.number)[0][e.page * PAGE:(e.page + 1) * PAGE]
        need(e.kind in (HOLE, ZERO), "kind of an entry")
        return self.base_page(number) if e.kind == HOLE and self.base else ZERO_PAGE

    def runs(self, root, first=0, level=None):
        """(first page, number of pages) of what may be other than zero, in the map alone"""
        e = Entry(root) if isinstance(root, int) else root
        pages = (self.size + PAGE - 1) // PAGE if level is None else FANOUT ** (level + 1)
        if e.kind == NODE:
            own, entries = self.store.node(e.number)
            need(level is None or own == level, f"node {e.number}: level")
            for i, below in enumerate(entries):
                yield from self.runs(below, first + i * FANOUT ** own, own - 1)
        elif e.kind == FRAME or (e.kind == HOLE and self.base and first * PAGE < len(self.base)):
            yield first, 1 if e.kind == FRAME else min(pages, len(self.base) // PAGE + 1 - first)

    def hash(self):
        """Of the pages that are not all zero, each with its number before it"""
        numbers = {n for first, count in self.runs(self.root) for n in range(first, first + count)} | self.over.keys()
        x = xxhash.xxh3_64()
        for number in sorted(n for n in numbers if n * PAGE < self.size):
            data = self.page(number)[:self.size - number * PAGE]
            if any(data):
                x.update(number.to_bytes(8, "little") + data)
        return x.intdigest()
