/* The database: a pool of connections, and every SQL statement of the store by name (db.c has their text; it is the
 * only file with SQL in it). */
#ifndef VT_SNAPSHOT_DB_H
#define VT_SNAPSHOT_DB_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "src/base/err.h"

struct store;
struct db;
struct sqlite3_stmt;

/* Comments give the parameters' types (i integer, z integer with 0 for NULL, t text or NULL, b blob) and the columns.
 */
enum sql {
    SQL_STORE_GET,        /* -> uuid, sealed, how many commits there were */
    SQL_STORE_NEW,        /* t uuid, i format */
    SQL_TICK,             /* so that there is something to commit */
    SQL_TICK_NEXT,        /* -> how many commits there were, with this one */
    SQL_COUNTERS,         /* -> next_node, next_frame, next_pack, next_log */
    SQL_COUNTERS_SET,     /* i next_node, i next_frame, i next_pack */
    SQL_NEXT_PACK_SET,    /* i */
    SQL_NEXT_LOG_SET,     /* i */
    SQL_USE_GET,          /* -> machine */
    SQL_USE_SET,          /* z machine */
    SQL_MACHINE_NEW,      /* t uuid, t name, t config, i created_at */
    SQL_MACHINE_HEAD,     /* i head, i machine */
    SQL_MACHINE_LIST,     /* z id (0: all) -> id, name, uuid, config, parent, parent_name, created_at, snapshots, own */
    SQL_MACHINE_NAMES,    /* -> id, name */
    SQL_MACHINE_CONFIG,   /* t config, i id */
    SQL_MACHINE_NAME,     /* t name, i id */
    SQL_MACHINE_RM,       /* i at, i id */
    SQL_SNAP_LIST,        /* i machine, z snapshot -> as snapshot.c reads them */
    SQL_SNAP_NAMES,       /* i machine -> id, name, parent */
    SQL_SNAP_NEW,         /* t uuid, i machine, t name, z parent, t note, i taken, i vclock, i power, t hw, t cpu, z
                             state_frame, i own */
    SQL_SNAP_NAME,        /* t name, i id */
    SQL_SNAP_NOTE,        /* t note, i id */
    SQL_SNAP_HANG,        /* i id: its children that are not deleted hang on its parent */
    SQL_SNAP_DELETE,      /* i at, i id */
    SQL_SNAP_DELETE_ALL,  /* i at, i machine */
    SQL_SNAP_MACHINE,     /* i id -> machine, state_frame: deleted ones too */
    SQL_SNAP_OWN,         /* i own, i id */
    SQL_HEAD_GET,         /* i machine -> id, parent, logs */
    SQL_HEAD_NEW,         /* i machine, z parent, t logs, i since */
    SQL_HEAD_LOGS_SET,    /* t logs, i id */
    SQL_HEAD_SET,         /* z parent, t logs, z since (NULL: as it was), i id */
    SQL_HEAD_HANG,        /* i id: heads that stand on it stand on its parent */
    SQL_HEAD_FIRST,       /* i machine -> id of the head that it was made with */
    SQL_HEAD_ABANDON,     /* z until, z now, i id */
    SQL_HEAD_ABANDON_ALL, /* i until, i now, i machine: the one that it was made with, too */
    SQL_HEAD_PAST,        /* i until, i now, i id: a copy of the row, abandoned */
    SQL_HEAD_AT,          /* i machine, i time -> id, logs: what it stood on then */
    SQL_HEAD_OLDEST,      /* i machine -> since */
    SQL_HEAD_ROW,         /* i id -> machine, parent, logs, state */
    SQL_HEAD_LIVE,        /* i since, i id: it is the machine's again */
    SQL_HEAD_FIRST_AGAIN, /* i machine: what it was made with is kept */
    SQL_HEAD_REHANG,      /* i snapshot, i head, z was: stands on that one if on `was` */
    SQL_HEAD_SINCE,       /* i of, i id: since when that one was in force */
    SQL_HEAD_EXPIRE,      /* i now, i id */
    SQL_HEAD_KEPT,        /* -> id, machine, ended, logs: abandoned ones that are kept for a time, newest first */
    SQL_HEAD_EXPIRED,     /* i now -> id, logs */
    SQL_HEAD_RM,          /* i id */
    SQL_HEAD_LOGS,        /* -> id, logs, state: all */
    SQL_IMAGE_NEW,        /* z snapshot, z head, t slot, i bytes, i root, i has_quiesced, i quiesced, t base */
    SQL_IMAGE_GET,        /* z snapshot, z head, t slot -> bytes, root, quiesced or root, base */
    SQL_IMAGE_LIST,       /* z snapshot, z head -> slot, bytes, root, quiesced or root, base */
    SQL_IMAGE_PAST,       /* i head, i of: copies of that head's disks */
    SQL_IMAGE_RM_HEAD,    /* i head */
    SQL_IMAGE_RM_MEM,     /* i head: all that are no disks */
    SQL_IMAGE_SET_HEAD,   /* i bytes, i root, t slot, i head */
    SQL_IMAGE_RM_SLOT,    /* i head, t slot */
    SQL_NODE_NEW,         /* i id, i level, b body, i checksum */
    SQL_NODE_GET,         /* i id -> level, body, checksum */
    SQL_NODE_ALL,         /* -> id */
    SQL_PACK_NEW,         /* i id, i bytes, i first_frame, i frames */
    SQL_PACK_HAS,         /* i id -> bytes */
    SQL_PACK_LIST,        /* -> id, bytes, first_frame, frames: live, newest first */
    SQL_FRAME_NEW,        /* i id, i pack, i off, i len, i pages, i raw_len */
    SQL_FRAME_MOVE,       /* i pack, i off, i id */
    SQL_FRAME_GET,        /* i id -> pack, off, len, pages, raw_len: live */
    SQL_FRAME_ALL,        /* -> id, pack, off, len, pages, raw_len */
    SQL_GC_COUNT,         /* */
    SQL_GC_SWEEPS,        /* -> how often gc ran */
    SQL_GC_SNAPSHOTS,     /* i now -> id, machine, own: deleted, and no longer kept for undo */
    SQL_GC_UNHANG,        /* i id: deleted children, too */
    SQL_GC_IMAGES,        /* i snapshot */
    SQL_GC_SNAPSHOT,      /* i id */
    SQL_GC_ORIGIN_IMAGES, /* */
    SQL_GC_ORIGINS,       /* of removed machines */
    SQL_GC_OPLOG,         /* i now */
    SQL_GC_MACHINES,      /* */
    SQL_GC_ROOTS,         /* -> value, 0 root or 1 frame, snapshot, head */
    SQL_COST_ROOTS,       /* -> value, 0 root or 1 frame, snapshot (0: of none) */
    SQL_NODE_SIZES,       /* -> id, bytes */
    SQL_GC_NODE,          /* i id */
    SQL_GC_FRAMES,        /* i pack */
    SQL_GC_PACK,          /* i id */
    SQL_OPLOG_NEW,        /* i at, t verb, i machine, t undo, i until */
    SQL_SEAL,             /* */
    SQL_BASE_GET,         /* i num -> uuid, path */
    SQL_BASE_FIND,        /* t uuid -> num, path; without one the next free number, NULL */
    SQL_BASE_SET,         /* i num, t uuid, t path */
    SQL_MOVE_MACHINE,     /* i id -> uuid, name, config, created_at, head, parent */
    SQL_MOVE_SNAPS,       /* i machine -> id, uuid, name, parent, note, taken_at, vclock, power, hw, cpu, state_frame */
    SQL_MOVE_IMAGES,      /* z snapshot, z head -> slot, bytes, quiesced_root; by slot */
    SQL_MOVE_TAKEN,       /* t uuid -> a row where a machine or snapshot has it */
    SQL_OPLOG_REVERT,     /* i at, i machine, i head, i until, i ran */
    SQL_OPLOG_DELETE,     /* i at, i machine, i snapshot, i until */
    SQL_OPLOG_LIST,       /* z machine, z id, i now -> as undo.c reads them, newest first */
    SQL_OPLOG_IDS,        /* i id -> kind (0 child, 1 head), id, as a delete noted them */
    SQL_OPLOG_RM,         /* i id */
    SQL_OPLOG_EXPIRE,     /* i now, i id */
    SQL_OPLOG_EXPIRE_ALL, /* i now, z machine (0: of all) */
    SQL_HEAD_EXPIRE_ALL,  /* i now, z machine (0: of all) */
    SQL_OPLOG_STALE,      /* reverts whose head is gone */
    SQL_OPLOG_BYTES,      /* i now -> id, at, bytes: what deletes and removals keep, newest first */
    SQL_KEEP_GET,         /* -> ns */
    SQL_KEEP_SET,         /* i ns */
    SQL_SNAP_RAISE,       /* z parent, i id: no longer deleted */
    SQL_SNAP_RAISE_ALL,   /* i deleted_at, i machine */
    SQL_SNAP_PLACE,       /* i id -> machine, parent, name, deleted_at: deleted ones, too */
    SQL_SNAP_REHANG,      /* i parent, i id, z was: hangs on that one if on `was` */
    SQL_MACHINE_RAISE,    /* i id */
    SQL_MACHINE_REMOVED,  /* t name, i now -> id */
    SQL_ROOTS,         /* -> owner, slot, root, quiesced, state_frame, bytes: of all that is not deleted or abandoned */
    SQL_PARENTS_CHECK, /* -> a line for each row that refers to what is not there */
    SQL_INTEGRITY,     /* -> lines of SQLite's own check */
    SQL_REINDEX,       /* */
    SQL_MEND_PARENTS,  /* snapshots on deleted or foreign ones: up by one; as long as it changes rows */
    SQL_MEND_HEADS,    /* live heads, the same */
    SQL_MEND_COUNTERS, /* */
    SQL_COUNT,
};

struct dbpool {
    pthread_mutex_t lock;
    struct db *idle;
};

/* Borrows a connection; one thread at a time uses it. Give it back with db_put, which rolls back what is not committed.
 */
int db_get(struct store *s, struct db **ret, struct err *e);
void db_put(struct db *db);
static inline void cleanup_db(struct db **db)
{
    db_put(*db);
}
void dbpool_init(struct dbpool *p);
void dbpool_release(struct dbpool *p);

/* Makes the tables in an empty database, with STORE_CREATE; refuses one that is newer, not ours, or, without
 * STORE_DAMAGED, has lost commits. */
int db_prepare(struct store *s, unsigned flags, struct err *e);

/* Marks the store as sealed, and has all of the database in its one file. No other connection may be open. */
int db_seal(struct db *db, struct err *e);

enum db_sync {
    DB_NORMAL, /* the commit survives a kill */
    DB_FULL,   /* and a power failure; makes durable what was committed before, too */
};
int db_begin(struct db *db, enum db_sync sync, struct err *e);
/* One state of all rows for the reads that follow; keeps nobody from writing. Ended by db_put. */
int db_begin_read(struct db *db, struct err *e);
int db_commit(struct db *db, struct err *e);
void db_rollback(struct db *db); /* nothing where no transaction is open */
int64_t db_last_id(struct db *db);
int db_changes(struct db *db);     /* rows that the last statement changed */
int db_all_changes(struct db *db); /* and all on this connection, ever: to compare with what it was */
/* Makes durable all that was committed before. */
int db_make_durable(struct db *db, struct err *e);
/* Moves the write-ahead log into the database and starts it anew. busy readers make it do less; that is fine. */
int db_checkpoint(struct db *db, struct err *e);
uint64_t db_wal_bytes(struct store *s);

/* Runs a statement that gives no rows. */
int db_run(struct db *db, enum sql q, struct err *e, const char *types, ...);

struct rows {
    struct db *db;
    struct sqlite3_stmt *st;
};
/* Binds; then rows_next: 1 a row, 0 none any more, or an error. One use of a statement at a time on a connection. */
int db_query(struct db *db, enum sql q, struct rows *ret, struct err *e, const char *types, ...);
int rows_next(struct rows *r, struct err *e);
void rows_done(struct rows *r);
int64_t rows_int(struct rows *r, int col);
bool rows_null(struct rows *r, int col);
const char *rows_text(struct rows *r, int col); /* NULL for NULL; until the next row */
const void *rows_blob(struct rows *r, int col, size_t *ret_len);
/* malloc'd copy; NULL for NULL. Sets *oom where there is no memory. */
char *rows_dup(struct rows *r, int col, bool *oom);

#endif
