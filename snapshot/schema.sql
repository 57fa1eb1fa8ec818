-- The store's database. user_version is the schema's number; any change here is a new one, with an upgrade step, a kept
-- database of the version before, a new vmtest-store(5), and a look at check.c.
-- Numbers of nodes, frames, packs and logs come from the counters in `store` and are never used twice.

CREATE TABLE store(
  uuid TEXT NOT NULL,
  format INTEGER NOT NULL,              -- of packs and logs
  sealed INTEGER NOT NULL DEFAULT 0,    -- 1: written by export, never changed again
  next_node INTEGER NOT NULL DEFAULT 1,
  next_frame INTEGER NOT NULL DEFAULT 1,
  next_pack INTEGER NOT NULL DEFAULT 1,
  next_log INTEGER NOT NULL DEFAULT 1,
  tick INTEGER NOT NULL DEFAULT 0       -- see mark.h and db_commit: commits << 30, and random bits
) STRICT;

CREATE TABLE setting(key TEXT PRIMARY KEY, value TEXT) STRICT, WITHOUT ROWID;

-- Sealed stores under this one. References into them have the number in their entries.
CREATE TABLE base(
  num INTEGER PRIMARY KEY CHECK (num BETWEEN 1 AND 255),
  uuid TEXT NOT NULL UNIQUE,
  path TEXT NOT NULL
) STRICT;

CREATE TABLE machine(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  uuid TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL,
  config TEXT NOT NULL,
  head INTEGER REFERENCES head(id) DEFERRABLE INITIALLY DEFERRED,
  created_at INTEGER NOT NULL,          -- all times: ns since 1970
  deleted_at INTEGER
) STRICT;
CREATE UNIQUE INDEX machine_name ON machine(name) WHERE deleted_at IS NULL;

CREATE TABLE snapshot(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  uuid TEXT NOT NULL UNIQUE,
  machine INTEGER NOT NULL REFERENCES machine(id),
  name TEXT NOT NULL,
  parent INTEGER REFERENCES snapshot(id),
  note TEXT,
  taken_at INTEGER NOT NULL,
  vclock INTEGER NOT NULL,              -- the guest's virtual clock, ns
  power INTEGER NOT NULL,               -- 0 off, 1 running, 2 paused
  hardware TEXT NOT NULL,               -- JSON
  cpu_features TEXT NOT NULL,
  state_frame INTEGER REFERENCES frame(id),
  own_bytes INTEGER NOT NULL,           -- fixed at commit
  deleted_at INTEGER
) STRICT;
CREATE UNIQUE INDEX snapshot_name ON snapshot(machine, name) WHERE deleted_at IS NULL;
CREATE INDEX snapshot_parent ON snapshot(parent);

-- The state of a machine that is being written: on which snapshot it stands, and its logs. One that is abandoned was
-- reverted away from, or is what the live one was before a snapshot; a machine's times from `since` to `ended` are its.
-- {"disk0": {"from": SEQUENCE, "logs": [ID, …], "new": [ID, …]}, …}
CREATE TABLE head(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  machine INTEGER NOT NULL REFERENCES machine(id),
  parent INTEGER REFERENCES snapshot(id),
  logs TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('live', 'abandoned')),
  until INTEGER,                        -- an abandoned one is kept so long; NULL: the machine as it was made
  since INTEGER NOT NULL DEFAULT 0,     -- from then on it was what the machine stood on
  ended INTEGER                         -- until then
) STRICT;
CREATE INDEX head_machine ON head(machine);
CREATE INDEX head_parent ON head(parent);

-- RAM, video RAM and disks of a snapshot or of a head. A root is a map entry.
CREATE TABLE image(
  id INTEGER PRIMARY KEY,
  snapshot INTEGER REFERENCES snapshot(id),
  head INTEGER REFERENCES head(id),
  slot TEXT NOT NULL,
  bytes INTEGER NOT NULL,
  root INTEGER NOT NULL,
  quiesced_root INTEGER,                -- NULL: as root
  base_file TEXT,                       -- JSON: the raw file under the holes
  CHECK ((snapshot IS NULL) <> (head IS NULL))
) STRICT;
CREATE UNIQUE INDEX image_snapshot ON image(snapshot, slot) WHERE snapshot IS NOT NULL;
CREATE UNIQUE INDEX image_head ON image(head, slot) WHERE head IS NOT NULL;

CREATE TABLE node(id INTEGER PRIMARY KEY, level INTEGER NOT NULL, body BLOB NOT NULL, checksum INTEGER NOT NULL) STRICT;

CREATE TABLE pack(
  id INTEGER PRIMARY KEY,
  state TEXT NOT NULL CHECK (state IN ('live', 'dead')),
  bytes INTEGER NOT NULL,
  first_frame INTEGER NOT NULL,         -- numbers frames of its trailer that name none themselves
  frames INTEGER NOT NULL
) STRICT;

CREATE TABLE frame(
  id INTEGER PRIMARY KEY,
  pack INTEGER NOT NULL REFERENCES pack(id),
  off INTEGER NOT NULL,
  len INTEGER NOT NULL,
  pages INTEGER NOT NULL,
  raw_len INTEGER NOT NULL
) STRICT;
CREATE INDEX frame_pack ON frame(pack);

CREATE TABLE oplog(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  at INTEGER NOT NULL,
  verb TEXT NOT NULL,
  machine INTEGER NOT NULL REFERENCES machine(id),
  undo TEXT NOT NULL,                   -- JSON: what the verb replaced
  until INTEGER NOT NULL
) STRICT;
