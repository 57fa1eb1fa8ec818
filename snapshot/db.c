#include "snapshot/db.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "src/base/buf.h"
#include "src/base/util.h"
#include "snapshot/format.h"
#include "snapshot/lock.h"
#include "snapshot/mark.h"
#include "snapshot/store.h"
#include "snapshot/vfs.h"

#include "schema.h" /* made from schema.sql: static const char schema[] */

static const char *const text[SQL_COUNT] = {
    [SQL_STORE_GET] = "SELECT uuid, sealed, tick >> 30 FROM store",
    [SQL_STORE_NEW] = "INSERT INTO store(uuid, format) VALUES(?, ?)",
    [SQL_TICK] = "UPDATE store SET tick = tick + 1",
    /* 30 random bits below the count: see db_commit. */
    [SQL_TICK_NEXT] = "UPDATE store SET tick = ((tick >> 30) + 1 << 30) | (random() & 0x3fffffff) RETURNING tick >> 30",
    [SQL_COUNTERS] = "SELECT next_node, next_frame, next_pack, next_log FROM store",
    [SQL_COUNTERS_SET] = "UPDATE store SET next_node = ?, next_frame = ?, next_pack = max(next_pack, ?)",
    [SQL_NEXT_PACK_SET] = "UPDATE store SET next_pack = max(next_pack, ?)",
    [SQL_NEXT_LOG_SET] = "UPDATE store SET next_log = max(next_log, ?)",
    [SQL_USE_GET] = "SELECT m.id FROM setting s JOIN machine m ON m.uuid = s.value "
                    "WHERE s.key = 'use' AND m.deleted_at IS NULL",
    [SQL_USE_SET] = "INSERT INTO setting(key, value) VALUES('use', (SELECT uuid FROM machine WHERE id = ?)) "
                    "ON CONFLICT(key) DO UPDATE SET value = excluded.value",
    [SQL_MACHINE_NEW] = "INSERT INTO machine(uuid, name, config, created_at) VALUES(?, ?, ?, ?)",
    [SQL_MACHINE_HEAD] = "UPDATE machine SET head = ? WHERE id = ?",
    [SQL_MACHINE_LIST] =
        "SELECT m.id, m.name, m.uuid, m.config, h.parent, p.name, m.created_at, "
        "(SELECT count(*) FROM snapshot WHERE machine = m.id AND deleted_at IS NULL), "
        "(SELECT coalesce(sum(own_bytes), 0) FROM snapshot WHERE machine = m.id AND deleted_at IS NULL) "
        "FROM machine m JOIN head h ON h.id = m.head LEFT JOIN snapshot p ON p.id = h.parent "
        "WHERE m.deleted_at IS NULL AND (?1 IS NULL OR m.id = ?1) ORDER BY m.name",
    [SQL_MACHINE_NAMES] = "SELECT id, name FROM machine WHERE deleted_at IS NULL ORDER BY name",
    [SQL_MACHINE_CONFIG] = "UPDATE machine SET config = ? WHERE id = ? AND deleted_at IS NULL",
    [SQL_MACHINE_NAME] = "UPDATE machine SET name = ? WHERE id = ? AND deleted_at IS NULL",
    [SQL_MACHINE_RM] = "UPDATE machine SET deleted_at = ? WHERE id = ? AND deleted_at IS NULL",
    [SQL_SNAP_LIST] =
        "SELECT s.id, s.name, s.note, s.parent, p.name, s.taken_at, s.vclock, s.power, h.parent IS s.id, s.own_bytes, "
        "(SELECT bytes FROM image WHERE snapshot = s.id AND slot = 'ram'), s.hardware, s.cpu_features, "
        "(SELECT raw_len FROM frame WHERE id = s.state_frame), s.machine "
        "FROM snapshot s JOIN machine m ON m.id = s.machine LEFT JOIN head h ON h.id = m.head "
        "LEFT JOIN snapshot p ON p.id = s.parent "
        "WHERE s.deleted_at IS NULL AND (?1 IS NULL OR s.machine = ?1) AND (?2 IS NULL OR s.id = ?2) ORDER BY s.id",
    [SQL_SNAP_NAMES] = "SELECT id, name, parent FROM snapshot WHERE machine = ? AND deleted_at IS NULL ORDER BY name",
    [SQL_SNAP_NEW] = "INSERT INTO snapshot(uuid, machine, name, parent, note, taken_at, vclock, power, hardware, "
                     "cpu_features, state_frame, own_bytes) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    [SQL_SNAP_NAME] = "UPDATE snapshot SET name = ? WHERE id = ? AND deleted_at IS NULL",
    [SQL_SNAP_NOTE] = "UPDATE snapshot SET note = ? WHERE id = ? AND deleted_at IS NULL",
    [SQL_SNAP_HANG] = "UPDATE snapshot SET parent = (SELECT parent FROM snapshot WHERE id = ?1) "
                      "WHERE parent = ?1 AND deleted_at IS NULL",
    [SQL_SNAP_DELETE] = "UPDATE snapshot SET deleted_at = ? WHERE id = ? AND deleted_at IS NULL",
    [SQL_SNAP_DELETE_ALL] = "UPDATE snapshot SET deleted_at = ? WHERE machine = ? AND deleted_at IS NULL",
    [SQL_SNAP_MACHINE] = "SELECT machine, state_frame FROM snapshot WHERE id = ?",
    [SQL_SNAP_OWN] = "UPDATE snapshot SET own_bytes = ? WHERE id = ?",
    [SQL_HEAD_GET] = "SELECT h.id, h.parent, h.logs FROM machine m JOIN head h ON h.id = m.head "
                     "WHERE m.id = ? AND m.deleted_at IS NULL",
    [SQL_HEAD_NEW] = "INSERT INTO head(machine, parent, logs, state, since) VALUES(?, ?, ?, 'live', ?)",
    [SQL_HEAD_LOGS_SET] = "UPDATE head SET logs = ? WHERE id = ?",
    [SQL_HEAD_SET] = "UPDATE head SET parent = ?, logs = ?, since = coalesce(?, since) WHERE id = ? AND state = 'live'",
    [SQL_HEAD_HANG] = "UPDATE head SET parent = (SELECT parent FROM snapshot WHERE id = ?1) WHERE parent = ?1",
    [SQL_HEAD_FIRST] = "SELECT min(id) FROM head WHERE machine = ? HAVING min(id) IS NOT NULL",
    [SQL_HEAD_ABANDON] = "UPDATE head SET state = 'abandoned', until = ?, ended = ? WHERE id = ?",
    [SQL_HEAD_ABANDON_ALL] = "UPDATE head SET state = 'abandoned', until = ?, ended = coalesce(ended, ?) "
                             "WHERE machine = ? AND until IS NULL",
    [SQL_HEAD_PAST] = "INSERT INTO head(machine, parent, logs, state, until, since, ended) "
                      "SELECT machine, parent, logs, 'abandoned', ?, since, coalesce(ended, ?) FROM head WHERE id = ?",
    [SQL_HEAD_AT] = "SELECT id, logs FROM head WHERE machine = ?1 AND since <= ?2 AND (state = 'live' OR until IS NOT "
                    "NULL AND ended > ?2) "
                    "ORDER BY since DESC, id DESC LIMIT 1",
    [SQL_HEAD_OLDEST] = "SELECT min(since) FROM head WHERE machine = ? AND (state = 'live' OR until IS NOT NULL)",
    [SQL_HEAD_ROW] = "SELECT machine, parent, logs, state FROM head WHERE id = ?",
    [SQL_HEAD_LIVE] = "UPDATE head SET state = 'live', until = NULL, ended = NULL, since = ? WHERE id = ?",
    [SQL_HEAD_FIRST_AGAIN] = "UPDATE head SET until = NULL WHERE id = (SELECT min(id) FROM head WHERE machine = ?)",
    [SQL_HEAD_REHANG] = "UPDATE head SET parent = ?1 WHERE id = ?2 AND parent IS ?3",
    [SQL_HEAD_SINCE] = "UPDATE head SET since = (SELECT since FROM head WHERE id = ?1) WHERE id = ?2",
    [SQL_HEAD_EXPIRE] = "UPDATE head SET until = min(until, ?) WHERE id = ? AND state = 'abandoned'",
    [SQL_HEAD_KEPT] = "SELECT id, machine, ended, logs FROM head WHERE state = 'abandoned' AND until IS NOT NULL "
                      "ORDER BY ended DESC, id DESC",
    [SQL_HEAD_EXPIRED] = "SELECT id, logs FROM head WHERE state = 'abandoned' AND until <= ? "
                         "AND id NOT IN (SELECT head FROM machine WHERE head IS NOT NULL)",
    [SQL_HEAD_RM] = "DELETE FROM head WHERE id = ?",
    [SQL_HEAD_LOGS] = "SELECT id, logs, state FROM head",
    [SQL_IMAGE_NEW] = "INSERT INTO image(snapshot, head, slot, bytes, root, quiesced_root, base_file) "
                      "VALUES(?1, ?2, ?3, ?4, ?5, CASE WHEN ?6 THEN ?7 END, ?8)",
    [SQL_IMAGE_GET] = "SELECT bytes, root, coalesce(quiesced_root, root), base_file FROM image "
                      "WHERE snapshot IS ?1 AND head IS ?2 AND slot = ?3",
    [SQL_IMAGE_LIST] = "SELECT slot, bytes, root, coalesce(quiesced_root, root), base_file FROM image "
                       "WHERE snapshot IS ?1 AND head IS ?2 ORDER BY id",
    [SQL_IMAGE_PAST] = "INSERT INTO image(head, slot, bytes, root, base_file) "
                       "SELECT ?1, slot, bytes, root, base_file FROM image WHERE head = ?2 AND slot GLOB 'disk*'",
    [SQL_IMAGE_RM_HEAD] = "DELETE FROM image WHERE head = ?",
    [SQL_IMAGE_RM_MEM] = "DELETE FROM image WHERE head = ? AND slot NOT GLOB 'disk*'",
    [SQL_IMAGE_SET_HEAD] = "UPDATE image SET bytes = ?, root = ? WHERE slot = ? AND head = ?",
    [SQL_IMAGE_RM_SLOT] = "DELETE FROM image WHERE head = ? AND slot = ?",
    [SQL_NODE_NEW] = "INSERT INTO node(id, level, body, checksum) VALUES(?, ?, ?, ?)",
    [SQL_NODE_GET] = "SELECT level, body, checksum FROM node WHERE id = ?",
    [SQL_NODE_ALL] = "SELECT id FROM node",
    [SQL_PACK_NEW] = "INSERT INTO pack(id, state, bytes, first_frame, frames) VALUES(?, 'live', ?, ?, ?)",
    [SQL_PACK_HAS] = "SELECT bytes FROM pack WHERE id = ?",
    [SQL_PACK_LIST] = "SELECT id, bytes, first_frame, frames FROM pack WHERE state = 'live' ORDER BY id DESC",
    [SQL_FRAME_NEW] = "INSERT INTO frame(id, pack, off, len, pages, raw_len) VALUES(?, ?, ?, ?, ?, ?)",
    [SQL_FRAME_MOVE] = "UPDATE frame SET pack = ?, off = ? WHERE id = ?",
    [SQL_FRAME_GET] = "SELECT f.pack, f.off, f.len, f.pages, f.raw_len FROM frame f JOIN pack p ON p.id = f.pack "
                      "WHERE f.id = ? AND p.state = 'live'",
    [SQL_FRAME_ALL] = "SELECT id, pack, off, len, pages, raw_len FROM frame ORDER BY pack, off",
    [SQL_GC_COUNT] = "INSERT INTO setting(key, value) VALUES('sweeps', '1') "
                     "ON CONFLICT(key) DO UPDATE SET value = CAST(value + 1 AS TEXT)",
    [SQL_GC_SWEEPS] = "SELECT coalesce((SELECT CAST(value AS INTEGER) FROM setting WHERE key = 'sweeps'), 0)",
    [SQL_GC_SNAPSHOTS] = "SELECT s.id, s.machine, s.own_bytes FROM snapshot s WHERE s.deleted_at IS NOT NULL "
                         "AND NOT EXISTS (SELECT 1 FROM oplog o WHERE o.machine = s.machine AND o.until > ?1 "
                         "AND (o.verb = 'delete' AND o.undo ->> '$.snapshot' = s.id "
                         "OR o.verb = 'rm' AND o.at = s.deleted_at))",
    [SQL_GC_UNHANG] = "UPDATE snapshot SET parent = (SELECT parent FROM snapshot WHERE id = ?1) WHERE parent = ?1",
    [SQL_GC_IMAGES] = "DELETE FROM image WHERE snapshot = ?",
    [SQL_GC_SNAPSHOT] = "DELETE FROM snapshot WHERE id = ?",
    [SQL_GC_ORIGIN_IMAGES] = "DELETE FROM image WHERE head IN (SELECT h.id FROM head h JOIN machine m "
                             "ON m.id = h.machine WHERE m.deleted_at IS NOT NULL AND h.until IS NULL)",
    [SQL_GC_ORIGINS] = "DELETE FROM head WHERE until IS NULL AND state = 'abandoned' "
                       "AND machine IN (SELECT id FROM machine WHERE deleted_at IS NOT NULL)",
    [SQL_GC_OPLOG] = "DELETE FROM oplog WHERE until <= ?",
    [SQL_GC_MACHINES] = "DELETE FROM machine WHERE deleted_at IS NOT NULL AND id NOT IN (SELECT machine FROM snapshot) "
                        "AND id NOT IN (SELECT machine FROM head) AND id NOT IN (SELECT machine FROM oplog)",
    [SQL_GC_ROOTS] =
        "SELECT root, 0, snapshot, head FROM image "
        "UNION ALL SELECT quiesced_root, 0, snapshot, head FROM image WHERE quiesced_root IS NOT NULL "
        "UNION ALL SELECT state_frame, 1, id, NULL FROM snapshot WHERE state_frame IS NOT NULL ORDER BY 3, 4",
    [SQL_COST_ROOTS] =
        "SELECT i.root, 0, s.id FROM image i JOIN snapshot s ON s.id = i.snapshot WHERE s.deleted_at IS NULL "
        "UNION ALL SELECT i.quiesced_root, 0, s.id FROM image i JOIN snapshot s ON s.id = i.snapshot "
        "WHERE s.deleted_at IS NULL AND i.quiesced_root IS NOT NULL "
        "UNION ALL SELECT i.root, 0, h.parent FROM image i JOIN head h ON h.id = i.head "
        "WHERE h.state = 'live' OR h.until IS NULL "
        "UNION ALL SELECT state_frame, 1, id FROM snapshot WHERE deleted_at IS NULL AND state_frame IS NOT NULL",
    [SQL_NODE_SIZES] = "SELECT id, length(body) FROM node",
    [SQL_GC_NODE] = "DELETE FROM node WHERE id = ?",
    [SQL_GC_FRAMES] = "DELETE FROM frame WHERE pack = ?",
    [SQL_GC_PACK] = "DELETE FROM pack WHERE id = ?",
    [SQL_OPLOG_NEW] = "INSERT INTO oplog(at, verb, machine, undo, until) VALUES(?, ?, ?, ?, ?)",
    [SQL_SEAL] = "UPDATE store SET sealed = 1",
    [SQL_BASE_GET] = "SELECT uuid, path FROM base WHERE num = ?",
    [SQL_BASE_FIND] = "SELECT num, path FROM base WHERE uuid = ?1 UNION ALL "
                      "SELECT coalesce(max(num), 0) + 1, NULL FROM base",
    [SQL_BASE_SET] = "INSERT INTO base(num, uuid, path) VALUES(?1, ?2, ?3) "
                     "ON CONFLICT(num) DO UPDATE SET path = excluded.path",
    [SQL_MOVE_MACHINE] = "SELECT m.uuid, m.name, m.config, m.created_at, h.id, h.parent FROM machine m "
                         "JOIN head h ON h.id = m.head WHERE m.id = ? AND m.deleted_at IS NULL",
    [SQL_MOVE_SNAPS] = "SELECT id, uuid, name, parent, note, taken_at, vclock, power, hardware, cpu_features, "
                       "state_frame FROM snapshot WHERE machine = ? AND deleted_at IS NULL ORDER BY id",
    [SQL_MOVE_IMAGES] = "SELECT slot, bytes, quiesced_root FROM image WHERE snapshot IS ?1 AND head IS ?2 "
                        "ORDER BY slot",
    [SQL_MOVE_TAKEN] = "SELECT 1 FROM machine WHERE uuid = ?1 UNION SELECT 1 FROM snapshot WHERE uuid = ?1",
    [SQL_OPLOG_REVERT] = "INSERT INTO oplog(at, verb, machine, undo, until) SELECT ?1, 'revert', id, "
                         "json_object('head', ?3, 'config', config, 'ran', ?5), ?4 FROM machine WHERE id = ?2",
    [SQL_OPLOG_DELETE] = "INSERT INTO oplog(at, verb, machine, undo, until) SELECT ?1, 'delete', ?2, "
                         "json_object('snapshot', ?3, "
                         "'children', (SELECT json_group_array(id) FROM snapshot WHERE parent = ?3 AND deleted_at IS "
                         "NULL), 'heads', (SELECT json_group_array(id) FROM head WHERE parent = ?3)), ?4",
    [SQL_OPLOG_LIST] = "SELECT o.id, o.at, o.verb, o.machine, m.name, o.until, o.undo ->> '$.snapshot', "
                       "o.undo ->> '$.head', o.undo ->> '$.config', s.name, p.name, o.undo ->> '$.ran' "
                       "FROM oplog o JOIN machine m ON m.id = o.machine "
                       "LEFT JOIN snapshot s ON s.id = o.undo ->> '$.snapshot' "
                       "LEFT JOIN head h ON h.id = o.undo ->> '$.head' LEFT JOIN snapshot p ON p.id = h.parent "
                       "WHERE (?1 IS NULL OR o.machine = ?1) AND (?2 IS NULL OR o.id = ?2) AND o.until > ?3 "
                       "AND (o.verb <> 'revert' OR h.id IS NOT NULL) AND (o.verb <> 'delete' OR s.id IS NOT NULL) "
                       "ORDER BY o.id DESC",
    [SQL_OPLOG_IDS] = "SELECT 0, j.value FROM oplog o, json_each(o.undo, '$.children') j WHERE o.id = ?1 "
                      "UNION ALL SELECT 1, j.value FROM oplog o, json_each(o.undo, '$.heads') j WHERE o.id = ?1",
    [SQL_OPLOG_RM] = "DELETE FROM oplog WHERE id = ?",
    [SQL_OPLOG_EXPIRE] = "UPDATE oplog SET until = min(until, ?) WHERE id = ?",
    [SQL_OPLOG_EXPIRE_ALL] = "UPDATE oplog SET until = min(until, ?1) WHERE ?2 IS NULL OR machine = ?2",
    [SQL_HEAD_EXPIRE_ALL] = "UPDATE head SET until = min(until, ?1) WHERE state = 'abandoned' AND until IS NOT NULL "
                            "AND (?2 IS NULL OR machine = ?2)",
    [SQL_OPLOG_STALE] = "DELETE FROM oplog WHERE verb = 'revert' AND undo ->> '$.head' NOT IN (SELECT id FROM head)",
    [SQL_OPLOG_BYTES] = "SELECT o.id, o.at, coalesce((SELECT sum(s.own_bytes) FROM snapshot s WHERE s.machine = "
                        "o.machine AND (o.verb = 'delete' AND s.id = o.undo ->> '$.snapshot' "
                        "OR o.verb = 'rm' AND s.deleted_at = o.at)), 0) FROM oplog o "
                        "WHERE o.verb <> 'revert' AND o.until > ? ORDER BY o.at DESC, o.id DESC",
    [SQL_KEEP_GET] = "SELECT CAST(value AS INTEGER) FROM setting WHERE key = 'undo.keep'",
    [SQL_KEEP_SET] = "INSERT INTO setting(key, value) VALUES('undo.keep', CAST(? AS TEXT)) "
                     "ON CONFLICT(key) DO UPDATE SET value = excluded.value",
    [SQL_SNAP_RAISE] = "UPDATE snapshot SET deleted_at = NULL, parent = ? WHERE id = ?",
    [SQL_SNAP_RAISE_ALL] = "UPDATE snapshot SET deleted_at = NULL WHERE deleted_at = ? AND machine = ?",
    [SQL_SNAP_PLACE] = "SELECT machine, parent, name, deleted_at FROM snapshot WHERE id = ?",
    [SQL_SNAP_REHANG] = "UPDATE snapshot SET parent = ?1 WHERE id = ?2 AND parent IS ?3 AND deleted_at IS NULL",
    [SQL_MACHINE_RAISE] = "UPDATE machine SET deleted_at = NULL WHERE id = ?",
    [SQL_MACHINE_REMOVED] = "SELECT m.id FROM machine m JOIN oplog o ON o.machine = m.id AND o.verb = 'rm' "
                            "WHERE m.name = ? AND m.deleted_at IS NOT NULL AND o.until > ? ORDER BY o.id DESC LIMIT 1",
    [SQL_ROOTS] =
        "SELECT CASE WHEN s.id IS NULL THEN hm.name || ' (head)' ELSE sm.name || '@' || s.name END, i.slot, i.root, "
        "coalesce(i.quiesced_root, i.root), s.state_frame, i.bytes FROM image i "
        "LEFT JOIN snapshot s ON s.id = i.snapshot LEFT JOIN machine sm ON sm.id = s.machine "
        "LEFT JOIN head h ON h.id = i.head LEFT JOIN machine hm ON hm.id = h.machine",
    [SQL_PARENTS_CHECK] =
        "SELECT 'machine ' || name || ': its head is missing or not its own' FROM machine m WHERE deleted_at IS NULL "
        "AND NOT EXISTS (SELECT 1 FROM head WHERE id = m.head AND machine = m.id AND state = 'live') "
        "UNION ALL SELECT 'snapshot ' || s.name || ': its parent was deleted or is of another machine' FROM snapshot s "
        "JOIN snapshot p ON p.id = s.parent WHERE s.deleted_at IS NULL AND (p.deleted_at IS NOT NULL OR "
        "p.machine <> s.machine OR p.id >= s.id) "
        "UNION ALL SELECT 'head ' || h.id || ': its snapshot was deleted or is of another machine' FROM head h "
        "JOIN snapshot p ON p.id = h.parent WHERE h.state = 'live' AND (p.deleted_at IS NOT NULL OR "
        "p.machine <> h.machine) "
        "UNION ALL SELECT 'frame ' || f.id || ': its pack is missing or dead' FROM frame f LEFT JOIN pack p "
        "ON p.id = f.pack WHERE p.state IS NOT 'live' "
        "UNION ALL SELECT 'store: the next number of nodes, frames or packs is in use' FROM store "
        "WHERE next_node <= (SELECT coalesce(max(id), 0) FROM node) "
        "OR next_frame <= (SELECT coalesce(max(id), 0) FROM frame) "
        "OR next_pack <= (SELECT coalesce(max(id), 0) FROM pack) "
        "UNION ALL SELECT 'row ' || rowid || ' of ' || \"table\" || ' refers to a missing ' || parent "
        "FROM pragma_foreign_key_check",
    [SQL_INTEGRITY] = "PRAGMA integrity_check(20)",
    [SQL_REINDEX] = "REINDEX",
    [SQL_MEND_PARENTS] =
        "UPDATE snapshot SET parent = (SELECT CASE WHEN p.machine = snapshot.machine AND p.parent < p.id THEN p.parent "
        "END FROM snapshot p WHERE p.id = snapshot.parent) WHERE deleted_at IS NULL AND parent IS NOT NULL "
        "AND NOT EXISTS (SELECT 1 FROM snapshot p WHERE p.id = snapshot.parent AND p.deleted_at IS NULL "
        "AND p.machine = snapshot.machine AND p.id < snapshot.id)",
    [SQL_MEND_HEADS] =
        "UPDATE head SET parent = (SELECT CASE WHEN p.machine = head.machine AND p.parent < p.id THEN p.parent END "
        "FROM snapshot p WHERE p.id = head.parent) WHERE state = 'live' AND parent IS NOT NULL "
        "AND NOT EXISTS (SELECT 1 FROM snapshot p WHERE p.id = head.parent AND p.deleted_at IS NULL "
        "AND p.machine = head.machine)",
    [SQL_MEND_COUNTERS] = "UPDATE store SET next_node = max(next_node, (SELECT coalesce(max(id), 0) + 1 FROM node)), "
                          "next_frame = max(next_frame, (SELECT coalesce(max(id), 0) + 1 FROM frame)), "
                          "next_pack = max(next_pack, (SELECT coalesce(max(id), 0) + 1 FROM pack)) "
                          "WHERE next_node <= (SELECT coalesce(max(id), 0) FROM node) "
                          "OR next_frame <= (SELECT coalesce(max(id), 0) FROM frame) "
                          "OR next_pack <= (SELECT coalesce(max(id), 0) FROM pack)",
};

struct db {
    sqlite3 *h;
    struct store *s;
    struct db *next;
    enum db_sync sync;
    int changes; /* db_all_changes when the transaction began */
    sqlite3_stmt *st[SQL_COUNT];
};

static int db_error(struct db *db, struct err *e)
{
    int code = VT_FAIL;

    switch (sqlite3_errcode(db->h)) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return err_set(e, VT_BUSY, "%s: the store is busy: %s", db->s->dir, sqlite3_errmsg(db->h));
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        code = VT_CORRUPT;
        break;
    case SQLITE_FULL:
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
        code = VT_IO;
        break;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        code = VT_PERM;
        break;
    case SQLITE_CONSTRAINT:
        code = sqlite3_extended_errcode(db->h) == SQLITE_CONSTRAINT_UNIQUE ? VT_EXISTS : VT_CORRUPT;
        break;
    }
    return err_set(e, code, "%s/store.db: %s", db->s->dir, sqlite3_errmsg(db->h));
}

static int exec(struct db *db, const char *sql, struct err *e)
{
    return sqlite3_exec(db->h, sql, NULL, NULL, NULL) ? db_error(db, e) : 0;
}

static void db_free(struct db *db)
{
    if (!db)
        return;
    for (int i = 0; i < SQL_COUNT; i++)
        sqlite3_finalize(db->st[i]);
    sqlite3_close(db->h);
    free(db);
}

static void cleanup_db_free(struct db **db)
{
    db_free(*db);
}

/* The database of a sealed store, which SQLite then takes for a file that nobody can change: it locks nothing. */
static char *immutable_uri(const char *dir)
{
    struct buf b = {0};

    buf_str(&b, "file:");
    for (const char *p = dir; *p; p++)
        if (strchr("?#%", *p))
            buf_printf(&b, "%%%02X", (unsigned)*p);
        else
            buf_char(&b, *p);
    buf_str(&b, "/store.db?immutable=1");
    return buf_steal(&b);
}

static int db_open(struct store *s, struct db **ret, struct err *e)
{
    struct db *db cleanup(cleanup_db_free) = calloc(1, sizeof *db);
    char *path cleanup(cleanup_free) = s->sealed ? immutable_uri(s->dir) : str_printf("%s/store.db", s->dir);
    int flags = s->sealed ? SQLITE_OPEN_READONLY | SQLITE_OPEN_URI : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
    int r;

    if (!db || !path)
        return err_set(e, VT_FAIL, "out of memory");
    db->s = s;
    if (sqlite3_open_v2(path, &db->h, flags | SQLITE_OPEN_NOMUTEX, vfs_name(s->vfs)))
        return db->h ? db_error(db, e) : err_set(e, VT_FAIL, "out of memory");
    sqlite3_extended_result_codes(db->h, 0);
    sqlite3_busy_timeout(db->h, 5000);
    sqlite3_db_config(db->h, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(db->h, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL); /* closing must not cost syncs */
    /* Checkpoints sync: they are made where nobody waits (db_checkpoint), never inside a commit. */
    r = exec(db,
             "PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;"
             "PRAGMA wal_autocheckpoint = 0; PRAGMA synchronous = NORMAL; PRAGMA temp_store = MEMORY;",
             e);
    if (r)
        return r;
    *ret = steal(&db);
    return 0;
}

void dbpool_init(struct dbpool *p)
{
    p->idle = NULL;
    pthread_mutex_init(&p->lock, NULL);
}

void dbpool_release(struct dbpool *p)
{
    while (p->idle) {
        struct db *db = p->idle;
        p->idle = db->next;
        db_free(db);
    }
    pthread_mutex_destroy(&p->lock);
}

int db_get(struct store *s, struct db **ret, struct err *e)
{
    struct db *db;

    pthread_mutex_lock(&s->pool.lock);
    db = s->pool.idle;
    if (db)
        s->pool.idle = db->next;
    pthread_mutex_unlock(&s->pool.lock);
    if (!db)
        return db_open(s, ret, e);
    *ret = db;
    return 0;
}

void db_rollback(struct db *db)
{
    if (!sqlite3_get_autocommit(db->h))
        sqlite3_exec(db->h, "ROLLBACK", NULL, NULL, NULL);
}

void db_put(struct db *db)
{
    if (!db)
        return;
    db_rollback(db);
    pthread_mutex_lock(&db->s->pool.lock);
    db->next = db->s->pool.idle;
    db->s->pool.idle = db;
    pthread_mutex_unlock(&db->s->pool.lock);
}

static int pragma_int(struct db *db, const char *sql, int64_t *ret, struct err *e)
{
    sqlite3_stmt *st;
    int r = 0;

    if (sqlite3_prepare_v2(db->h, sql, -1, &st, NULL))
        return db_error(db, e);
    if (sqlite3_step(st) == SQLITE_ROW)
        *ret = sqlite3_column_int64(st, 0);
    else
        r = db_error(db, e);
    sqlite3_finalize(st);
    return r;
}

static int create_schema(struct db *db, struct err *e)
{
    char uuid[37], version[48];
    int r = uuid_make(uuid, e);

    if (!r)
        r = exec(db, "PRAGMA journal_mode = WAL", e);
    if (!r)
        r = db_begin(db, DB_FULL, e);
    if (!r)
        r = exec(db, schema, e);
    if (!r)
        r = db_run(db, SQL_STORE_NEW, e, "ti", uuid, (int64_t)STORE_FORMAT);
    snprintf(version, sizeof version, "PRAGMA user_version = %d", STORE_SCHEMA);
    if (!r)
        r = exec(db, version, e);
    return r ? r : db_commit(db, e);
}

/* What made each version from the one before. */
static const char *const upgrades[STORE_SCHEMA + 1] = {
    [2] = "ALTER TABLE head ADD COLUMN since INTEGER NOT NULL DEFAULT 0; ALTER TABLE head ADD COLUMN ended INTEGER;"
          "CREATE TABLE IF NOT EXISTS base(num INTEGER PRIMARY KEY CHECK (num BETWEEN 1 AND 255), "
          "uuid TEXT NOT NULL UNIQUE, path TEXT NOT NULL) STRICT",
};

/* Nobody else has the store open meanwhile; the database as it was stays beside it, as store.db.VERSION. */
static int upgrade(struct store *s, struct db *db, int64_t version, struct err *e)
{
    char sql[80];
    int r = 0;

    if (s->sealed)
        return err_set(e, VT_VERSION, "%s: is sealed, and of an older version; export it again with this one", s->dir);
    r = lock_byte(s->lock_fd, LOCK_STORE, LOCK_EXCLUSIVE, false, e);
    if (r)
        return err_prefix(e, r, "%s: is of an older version, and can be brought up to date only while nothing uses it",
                          s->dir);
    snprintf(sql, sizeof sql, "store.db.%lld", (long long)version);
    r = sio_unlink(&s->io, sql, e); /* of one that was killed before it was done */
    if (!r) {
        char *copy = sqlite3_mprintf("VACUUM INTO '%q/%s'", s->dir, sql);
        r = copy ? exec(db, copy, e) : err_set(e, VT_FAIL, "out of memory");
        sqlite3_free(copy);
    }
    if (!r)
        r = db_begin(db, DB_FULL, e);
    for (int64_t v = version + 1; v <= STORE_SCHEMA && !r; v++)
        r = exec(db, upgrades[v], e);
    snprintf(sql, sizeof sql, "PRAGMA user_version = %d", STORE_SCHEMA);
    if (!r)
        r = exec(db, sql, e);
    if (!r)
        r = db_commit(db, e);
    return r ? r : lock_byte(s->lock_fd, LOCK_STORE, LOCK_SHARED, true, e);
}

/* The mark was read before the database was: what is committed meanwhile does no harm. */
static int look_for_lost(struct store *s, const struct mark *m, uint64_t tick, unsigned flags, struct err *e)
{
    if (s->sealed || m->commit <= tick || strcmp(m->uuid, s->uuid) != 0)
        return 0;
    s->lost = m->commit - tick;
    if (flags & STORE_DAMAGED)
        return 0;
    return err_set(
        e, VT_CORRUPT,
        "%s/store.db: its last %llu commits are missing, which were durable: its log store.db-wal is damaged, "
        "or not of this time; vmtest check --repair goes on without them",
        s->dir, (unsigned long long)s->lost);
}

int db_prepare(struct store *s, unsigned flags, struct err *e)
{
    struct db *db cleanup(cleanup_db) = NULL;
    struct rows rows cleanup(rows_done) = {0};
    struct mark marked;
    int64_t version = 0, tables = 0;
    int r = db_get(s, &db, e);

    mark_read(s, &marked);
    if (!r)
        r = pragma_int(db, "PRAGMA user_version", &version, e);
    if (!r)
        r = pragma_int(db, "SELECT count(*) FROM sqlite_schema", &tables, e);
    if (r)
        return r;
    if (version > STORE_SCHEMA)
        return err_set(e, VT_VERSION, "%s: was made by a newer vmtest (schema %lld, this one knows %d)", s->dir,
                       (long long)version, STORE_SCHEMA);
    if (version < 1 && tables)
        return err_set(e, VT_CORRUPT, "%s/store.db: is a database, but not a store's", s->dir);
    if (version >= 1 && version < STORE_SCHEMA) {
        r = upgrade(s, db, version, e);
        if (r)
            return r;
    }
    if (version < 1) {
        if (!(flags & STORE_CREATE))
            return err_set(e, VT_NOENT, "%s: no store here (vmtest create makes one)", s->dir);
        r = create_schema(db, e);
        if (r)
            return r;
    }
    r = db_query(db, SQL_STORE_GET, &rows, e, "");
    if (!r)
        r = rows_next(&rows, e);
    if (r < 0)
        return r;
    if (!r || !rows_text(&rows, 0) || strlen(rows_text(&rows, 0)) != 36)
        return err_set(e, VT_CORRUPT, "%s/store.db: the store's own row is missing", s->dir);
    memcpy(s->uuid, rows_text(&rows, 0), 37);
    if (s->sealed && !rows_int(&rows, 1))
        return err_set(e, VT_CORRUPT, "%s: its file `lock` is missing, and it is not sealed", s->dir);
    if (!s->sealed && rows_int(&rows, 1))
        return err_set(e, VT_CORRUPT, "%s: is a sealed store, but has a file `lock`", s->dir);
    return look_for_lost(s, &marked, (uint64_t)rows_int(&rows, 2), flags, e);
}

int db_seal(struct db *db, struct err *e)
{
    int64_t busy = 0;
    int r = db_begin(db, DB_FULL, e);

    if (!r)
        r = db_run(db, SQL_SEAL, e, "");
    if (!r)
        r = db_commit(db, e);
    if (!r)
        r = pragma_int(db, "PRAGMA wal_checkpoint(TRUNCATE)", &busy, e);
    if (!r && busy)
        r = err_set(e, VT_BUSY, "%s: is in use", db->s->dir);
    if (!r)
        r = mark_remove(db->s, e);
    return r ? r : exec(db, "PRAGMA journal_mode = DELETE", e);
}

int db_begin(struct db *db, enum db_sync sync, struct err *e)
{
    int r = 0;

    if (sync == DB_FULL && db->s->io.wal_condemned) { /* never sync the same file again and believe it */
        r = db_checkpoint(db, e);
        if (r)
            return r;
        db->s->io.wal_condemned = false;
    }
    if (sync != db->sync)
        r = exec(db, sync == DB_FULL ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL", e);
    if (r)
        return r;
    db->sync = sync;
    db->changes = db_all_changes(db);
    return exec(db, "BEGIN IMMEDIATE", e);
}

int db_begin_read(struct db *db, struct err *e)
{
    return exec(db, "BEGIN", e);
}

static int count_commit(struct db *db, uint64_t *ret, struct err *e)
{
    struct rows rows cleanup(rows_done) = {0};
    int r = db_query(db, SQL_TICK_NEXT, &rows, e, "");

    if (!r)
        r = rows_next(&rows, e);
    if (r < 0)
        return r;
    *ret = r ? (uint64_t)rows_int(&rows, 0) : 0;
    return 0;
}

/* No two commits write the same bytes. A crash may cut the write-ahead log before a commit whose successors are on the
 * host's disk; was the next commit to write there what the lost one had, these would be part of the log again at the
 * next recovery, and with them the rows that nobody has had since. */
int db_commit(struct db *db, struct err *e)
{
    uint64_t n = 0;
    int r = 0;

    if (db_all_changes(db) != db->changes) /* one that changes nothing writes and syncs nothing */
        r = count_commit(db, &n, e);
    if (!r)
        r = exec(db, "COMMIT", e);
    if (!r && n && db->sync == DB_FULL)
        mark_put(db->s, n);
    return r;
}

int db_make_durable(struct db *db, struct err *e)
{
    int r = db_begin(db, DB_FULL, e);

    if (!r)
        r = db_run(db, SQL_TICK, e, "");
    return r ? r : db_commit(db, e);
}

int db_checkpoint(struct db *db, struct err *e)
{
    int frames, done;
    int r = sqlite3_wal_checkpoint_v2(db->h, NULL, SQLITE_CHECKPOINT_TRUNCATE, &frames, &done);

    if (r == SQLITE_BUSY && !db->s->io.wal_condemned)
        return 0;
    if (r)
        return db_error(db, e);
    /* The first write into a fresh log syncs its header; have that done now, so that no later commit pays for it. */
    r = db_begin(db, DB_NORMAL, e);
    if (!r)
        r = db_run(db, SQL_TICK, e, "");
    return r ? r : db_commit(db, e);
}

uint64_t db_wal_bytes(struct store *s)
{
    struct stat st;
    return fstatat(s->io.dirfd, "store.db-wal", &st, 0) ? 0 : (uint64_t)st.st_size;
}

int64_t db_last_id(struct db *db)
{
    return sqlite3_last_insert_rowid(db->h);
}

int db_changes(struct db *db)
{
    return sqlite3_changes(db->h);
}

int db_all_changes(struct db *db)
{
    return sqlite3_total_changes(db->h);
}

static int bind(struct db *db, sqlite3_stmt *st, const char *types, va_list ap)
{
    int r = 0;

    for (int i = 1; *types && !r; types++, i++) {
        switch (*types) {
        case 'i':
            r = sqlite3_bind_int64(st, i, va_arg(ap, int64_t));
            break;
        case 'z': {
            int64_t v = va_arg(ap, int64_t);
            r = v ? sqlite3_bind_int64(st, i, v) : sqlite3_bind_null(st, i);
            break;
        }
        case 't': /* the caller's text outlives the step: rows_done unbinds */
            r = sqlite3_bind_text(st, i, va_arg(ap, const char *), -1, SQLITE_STATIC);
            break;
        case 'b': {
            const void *p = va_arg(ap, const void *);
            r = sqlite3_bind_blob64(st, i, p, va_arg(ap, size_t), SQLITE_STATIC);
            break;
        }
        default:
            vt_assert(!"known type");
        }
    }
    return r;
}

static int start(struct db *db, enum sql q, struct err *e, const char *types, va_list ap)
{
    if (!db->st[q] && sqlite3_prepare_v3(db->h, text[q], -1, SQLITE_PREPARE_PERSISTENT, &db->st[q], NULL))
        return db_error(db, e);
    vt_assert(!sqlite3_stmt_busy(db->st[q]));
    vt_assert((int)strlen(types) == sqlite3_bind_parameter_count(db->st[q]));
    return bind(db, db->st[q], types, ap) ? db_error(db, e) : 0;
}

int db_run(struct db *db, enum sql q, struct err *e, const char *types, ...)
{
    struct rows rows cleanup(rows_done) = {0};
    va_list ap;
    int r;

    va_start(ap, types);
    r = start(db, q, e, types, ap);
    va_end(ap);
    if (r)
        return r;
    rows = (struct rows){db, db->st[q]};
    return rows_next(&rows, e);
}

int db_query(struct db *db, enum sql q, struct rows *ret, struct err *e, const char *types, ...)
{
    va_list ap;
    int r;

    va_start(ap, types);
    r = start(db, q, e, types, ap);
    va_end(ap);
    if (!r)
        *ret = (struct rows){db, db->st[q]};
    return r;
}

int rows_next(struct rows *r, struct err *e)
{
    int c = sqlite3_step(r->st);

    if (c == SQLITE_ROW)
        return 1;
    return c == SQLITE_DONE ? 0 : db_error(r->db, e);
}

void rows_done(struct rows *r)
{
    if (!r->st)
        return;
    sqlite3_reset(r->st);
    sqlite3_clear_bindings(r->st);
    r->st = NULL;
}

int64_t rows_int(struct rows *r, int col)
{
    return sqlite3_column_int64(r->st, col);
}

bool rows_null(struct rows *r, int col)
{
    return sqlite3_column_type(r->st, col) == SQLITE_NULL;
}

const char *rows_text(struct rows *r, int col)
{
    return (const char *)sqlite3_column_text(r->st, col);
}

const void *rows_blob(struct rows *r, int col, size_t *ret_len)
{
    const void *p = sqlite3_column_blob(r->st, col);
    *ret_len = (size_t)sqlite3_column_bytes(r->st, col);
    return p;
}

char *rows_dup(struct rows *r, int col, bool *oom)
{
    const char *t = rows_text(r, col);
    char *copy = t ? strdup(t) : NULL;

    if (t && !copy)
        *oom = true;
    return copy;
}
