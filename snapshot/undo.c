/* The oplog: what a revert, a delete and a removal replaced, and taking it back. An entry and the rows that it speaks
 * of are written by the transaction that it undoes, so there is never one without the other. Nothing is copied for it:
 * deleted rows and abandoned heads merely stay until the entry's time, and gc leaves what they reach. */
#include "snapshot/undo.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include "src/base/units.h"
#include "snapshot/ballast.h"
#include "snapshot/head.h"
#include "snapshot/store.h"

#define HEADS_KEPT 256 /* however small they are: each has rows, and perhaps a file */

static int out_of_memory(struct err *e)
{
    return err_set(e, VT_FAIL, "out of memory");
}

int undo_keep(struct db *db, int64_t *ret, struct err *e)
{
    struct rows rows cleanup(rows_done) = {0};
    int r = db_query(db, SQL_KEEP_GET, &rows, e, "");

    if (!r)
        r = rows_next(&rows, e);
    if (r < 0)
        return r;
    *ret = r ? rows_int(&rows, 0) : UNDO_KEEP_NS;
    return 0;
}

int undo_keep_get(struct store *s, int64_t *ret_ns, struct err *e)
{
    struct db *db cleanup(cleanup_db) = NULL;
    int r = db_get(s, &db, e);

    return r ? r : undo_keep(db, ret_ns, e);
}

int undo_keep_set(struct store *s, int64_t ns, struct err *e)
{
    struct db *db cleanup(cleanup_db) = NULL;
    int r = ns >= 0 ? db_get(s, &db, e) : err_set(e, VT_USAGE, "a time cannot be less than nothing");

    if (!r)
        r = db_begin(db, DB_NORMAL, e);
    if (!r)
        r = db_run(db, SQL_KEEP_SET, e, "i", ns);
    return r ? r : db_commit(db, e);
}

/* ---- what there is ---- */

void undo_list_free(struct undo_info *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(list[i].verb);
        free(list[i].machine_name);
        free(list[i].snapshot);
        free(list[i].config);
    }
    free(list);
}

int undo_list(struct store *s, int64_t machine, struct undo_info **ret, size_t *ret_n, struct err *e)
{
    struct db *db cleanup(cleanup_db) = NULL;
    struct rows rows cleanup(rows_done) = {0};
    struct undo_info *v = NULL, *more;
    bool oom = false;
    size_t n = 0;
    int r = db_get(s, &db, e);

    if (!r)
        r = db_query(db, SQL_OPLOG_LIST, &rows, e, "zzi", machine, (int64_t)0, clock_wall_ns());
    while (!r && (r = rows_next(&rows, e)) > 0) {
        more = realloc(v, (n + 1) * sizeof *v);
        v = more ? more : v;
        if (more)
            v[n++] = (struct undo_info){
                .id = rows_int(&rows, 0),
                .at = rows_int(&rows, 1),
                .verb = rows_dup(&rows, 2, &oom),
                .machine = rows_int(&rows, 3),
                .machine_name = rows_dup(&rows, 4, &oom),
                .until = rows_int(&rows, 5),
                .head = rows_int(&rows, 7),
                .ran = rows_int(&rows, 11),
                .config = rows_dup(&rows, 8, &oom),
                .snapshot = rows_dup(&rows, rows_null(&rows, 8) ? 9 : 10, &oom),
            };
        r = !more || oom ? out_of_memory(e) : 0;
    }
    if (r) {
        undo_list_free(v, n);
        return r;
    }
    *ret = v;
    *ret_n = n;
    return 0;
}

int undo_find_removed(struct store *s, const char *name, int64_t *ret_machine, struct err *e)
{
    struct db *db cleanup(cleanup_db) = NULL;
    struct rows rows cleanup(rows_done) = {0};
    int r = db_get(s, &db, e);

    if (!r)
        r = db_query(db, SQL_MACHINE_REMOVED, &rows, e, "ti", name, clock_wall_ns());
    if (!r)
        r = rows_next(&rows, e);
    if (!r)
        r = err_set(e, VT_NOENT, "%s: no machine of this name was removed, or it is kept no longer", name);
    if (r < 0)
        return r;
    *ret_machine = rows_int(&rows, 0);
    return 0;
}

/* An entry that can still be taken back; VT_NOENT. */
static int get(struct db *db, int64_t entry, struct rows *ret, struct err *e)
{
    int r = db_query(db, SQL_OPLOG_LIST, ret, e, "zzi", (int64_t)0, entry, clock_wall_ns());

    if (!r)
        r = rows_next(ret, e);
    return r < 0 ? r : r ? 0 : err_set(e, VT_NOENT, "what was replaced is kept no longer");
}

int undo_head(struct db *db, int64_t entry, int64_t machine, int64_t *ret_head, struct err *e)
{
    struct rows rows cleanup(rows_done) = {0};
    int r = get(db, entry, &rows, e);

    if (r)
        return r;
    if (rows_int(&rows, 3) != machine || rows_null(&rows, 7))
        return err_set(e, VT_USAGE, "this is no revert of the machine");
    *ret_head = rows_int(&rows, 7);
    return 0;
}

/* ---- taking it back ---- */

/* The snapshot, or its nearest ancestor that is not deleted; 0: none. */
static int living(struct db *db, int64_t snapshot, int64_t *ret, struct err *e)
{
    int r = 1;

    while (snapshot && r > 0) {
        struct rows rows cleanup(rows_done) = {0};
        r = db_query(db, SQL_SNAP_PLACE, &rows, e, "i", snapshot);
        if (!r)
            r = rows_next(&rows, e);
        if (r <= 0)
            return r < 0 ? r : err_set(e, VT_CORRUPT, "store.db: a snapshot's parent is missing");
        if (rows_null(&rows, 3))
            break;
        snapshot = rows_int(&rows, 1);
    }
    *ret = snapshot;
    return 0;
}

struct noted {
    int64_t kind, id;
};

/* Those that hung on the snapshot hang on it again, where nothing has moved them since. */
static int rehang(struct db *db, int64_t entry, int64_t snapshot, int64_t parent, struct err *e)
{
    struct rows rows cleanup(rows_done) = {0};
    struct noted *v cleanup(cleanup_free) = NULL;
    size_t n = 0;
    int r = db_query(db, SQL_OPLOG_IDS, &rows, e, "i", entry);

    while (!r && (r = rows_next(&rows, e)) > 0) {
        struct noted *more = realloc(v, (n + 1) * sizeof *v);
        r = more ? 0 : out_of_memory(e);
        v = more ? more : v;
        if (more)
            v[n++] = (struct noted){rows_int(&rows, 0), rows_int(&rows, 1)};
    }
    for (size_t i = 0; i < n && !r; i++)
        r = db_run(db, v[i].kind ? SQL_HEAD_REHANG : SQL_SNAP_REHANG, e, "iiz", snapshot, v[i].id, parent);
    return r;
}

static int raise_snapshot(struct db *db, int64_t entry, int64_t snapshot, const char *name, struct err *e)
{
    struct err mine = {0};
    int64_t parent = 0;
    int r = living(db, snapshot, &parent, e);

    if (!r && parent == snapshot)
        r = err_set(e, VT_NOENT, "the snapshot is not deleted any more");
    if (r)
        return r;
    r = db_run(db, SQL_SNAP_RAISE, &mine, "zi", parent, snapshot);
    if (r == VT_EXISTS)
        return err_set(e, r, "%s: there is another snapshot of this name by now: rename it first", name);
    if (r)
        return err_set(e, r, "%s", mine.msg);
    return rehang(db, entry, snapshot, parent, e);
}

static int raise_machine(struct db *db, struct rows *entry, int64_t head, struct err *e)
{
    int64_t machine = rows_int(entry, 3), at = rows_int(entry, 1);
    struct err mine = {0};
    int r = db_run(db, SQL_MACHINE_RAISE, &mine, "i", machine);

    if (r == VT_EXISTS)
        return err_set(e, r, "%s: there is another machine of this name by now: rename it first (vmtest set --name)",
                       rows_text(entry, 4));
    if (r)
        return err_set(e, r, "%s", mine.msg);
    r = db_run(db, SQL_SNAP_RAISE_ALL, e, "ii", at, machine);
    if (!r)
        r = db_run(db, SQL_HEAD_LIVE, e, "ii", clock_wall_ns(), head);
    if (!r && !db_changes(db))
        return err_set(e, VT_NOENT, "%s: is kept no longer", rows_text(entry, 4));
    if (!r)
        r = db_run(db, SQL_MACHINE_HEAD, e, "ii", head, machine);
    return r ? r : db_run(db, SQL_HEAD_FIRST_AGAIN, e, "i", machine);
}

int undo_apply(struct store *s, int64_t entry, struct err *e)
{
    struct db *db cleanup(cleanup_db) = NULL;
    struct rows rows cleanup(rows_done) = {0};
    int r = db_get(s, &db, e);

    if (!r)
        r = db_begin(db, DB_FULL, e);
    if (!r)
        r = get(db, entry, &rows, e);
    if (r)
        return r;
    if (!rows_null(&rows, 6))
        r = raise_snapshot(db, entry, rows_int(&rows, 6), rows_text(&rows, 9), e);
    else if (!strcmp(rows_text(&rows, 2), "rm"))
        r = raise_machine(db, &rows, rows_int(&rows, 7), e);
    else
        r = err_set(e, VT_USAGE, "a revert is taken back with its machine's head at hand");
    rows_done(&rows);
    if (!r)
        r = db_run(db, SQL_OPLOG_RM, e, "i", entry);
    return r ? r : db_commit(db, e);
}

/* ---- letting go ---- */

/* machine 0: of all. */
static int expire_all(struct db *db, int64_t machine, struct err *e)
{
    int r = db_run(db, SQL_OPLOG_EXPIRE_ALL, e, "iz", clock_wall_ns(), machine);

    return r ? r : db_run(db, SQL_HEAD_EXPIRE_ALL, e, "iz", clock_wall_ns(), machine);
}

/* The newest entry of the machine, where it is not older; *ret_id 0: none. */
static int newest(struct db *db, int64_t machine, int64_t since, int64_t *ret_id, int64_t *ret_head, bool *ret_removed,
                  struct err *e)
{
    struct rows rows cleanup(rows_done) = {0};
    int r = db_query(db, SQL_OPLOG_LIST, &rows, e, "zzi", machine, (int64_t)0, clock_wall_ns());

    *ret_id = 0;
    if (!r)
        r = rows_next(&rows, e);
    if (r <= 0 || rows_int(&rows, 1) < since)
        return r < 0 ? r : 0;
    *ret_id = rows_int(&rows, 0);
    *ret_head = rows_int(&rows, 7);
    *ret_removed = !strcmp(rows_text(&rows, 2), "rm");
    return 0;
}

int undo_forget(struct store *s, int64_t machine, int64_t since, struct err *e)
{
    struct db *db cleanup(cleanup_db) = NULL;
    int64_t id = 0, head = 0;
    bool removed = false;
    int r = db_get(s, &db, e);

    if (!r)
        r = db_begin(db, DB_NORMAL, e);
    if (!r)
        r = newest(db, machine, since, &id, &head, &removed, e);
    while (!r && id) {
        if (removed) /* nothing of it could be reached any more */
            r = expire_all(db, machine, e);
        else
            r = db_run(db, SQL_OPLOG_EXPIRE, e, "ii", clock_wall_ns(), id);
        if (!r && !removed && head)
            r = db_run(db, SQL_HEAD_EXPIRE, e, "ii", clock_wall_ns(), head);
        if (!r)
            r = newest(db, machine, since, &id, &head, &removed, e);
    }
    return r ? r : db_commit(db, e);
}

static int forget_all_once(struct store *s, struct err *e)
{
    struct db *db cleanup(cleanup_db) = NULL;
    int r = db_get(s, &db, e);

    if (!r)
        r = db_begin(db, DB_FULL, e);
    if (!r)
        r = expire_all(db, 0, e);
    return r ? r : db_commit(db, e);
}

int undo_forget_all(struct store *s, struct err *e)
{
    int r = forget_all_once(s, e);

    return ballast_spend(s, r, e) ? forget_all_once(s, e) : r;
}

/* What is kept, the newest first: a head with its logs, or an entry with deleted snapshots. */
struct kept {
    int64_t entry, head, machine, at;
    uint64_t bytes;
};
struct bound {
    struct store *s;
    struct err *e;
    struct kept *v;
    size_t n;
    int64_t *logs; /* whose files are counted, or needed by a live head */
    size_t n_logs;
    uint64_t bytes; /* of the row being looked at */
};

static int count_log(void *opaque, int64_t id, bool solid)
{
    struct bound *b = opaque;
    int64_t *more;
    struct stat st;
    char path[40];

    for (size_t i = b->n_logs; i-- > 0;) /* rows that share logs are neighbours */
        if (b->logs[i] == id)
            return 0;
    more = realloc(b->logs, (b->n_logs + 1) * sizeof *more);
    if (!more)
        return out_of_memory(b->e);
    b->logs = more;
    b->logs[b->n_logs++] = id;
    hlog_path(id, path);
    b->bytes += fstatat(b->s->io.dirfd, path, &st, 0) ? 0 : (uint64_t)st.st_blocks * 512;
    return 0;
}

static int add_kept(struct bound *b, struct kept k)
{
    struct kept *more = realloc(b->v, (b->n + 1) * sizeof *more);

    if (!more)
        return out_of_memory(b->e);
    b->v = more;
    b->v[b->n++] = k;
    return 0;
}

static int gather(struct bound *b, struct db *db)
{
    struct rows live cleanup(rows_done) = {0}, heads cleanup(rows_done) = {0}, ops cleanup(rows_done) = {0};
    int r = db_query(db, SQL_HEAD_LOGS, &live, b->e, "");

    while (!r && (r = rows_next(&live, b->e)) > 0)
        r = strcmp(rows_text(&live, 2), "live") ? 0 : logs_each(rows_text(&live, 1), count_log, b, b->e);
    if (!r)
        r = db_query(db, SQL_HEAD_KEPT, &heads, b->e, "");
    while (!r && (r = rows_next(&heads, b->e)) > 0) {
        struct kept k = {.head = rows_int(&heads, 0), .machine = rows_int(&heads, 1), .at = rows_int(&heads, 2)};
        b->bytes = 0;
        r = logs_each(rows_text(&heads, 3), count_log, b, b->e);
        k.bytes = b->bytes;
        if (!r)
            r = add_kept(b, k);
    }
    if (!r)
        r = db_query(db, SQL_OPLOG_BYTES, &ops, b->e, "i", clock_wall_ns());
    while (!r && (r = rows_next(&ops, b->e)) > 0)
        r = add_kept(b, (struct kept){
                            .entry = rows_int(&ops, 0), .at = rows_int(&ops, 1), .bytes = (uint64_t)rows_int(&ops, 2)});
    return r;
}

static int newest_first(const void *x, const void *y)
{
    const struct kept *a = x, *b = y;
    return (a->at < b->at) - (a->at > b->at);
}

static uint64_t limit(struct store *s)
{
    struct statvfs st;

    if (s->undo_bytes)
        return s->undo_bytes;
    return fstatvfs(s->io.dirfd, &st) ? UINT64_MAX : (uint64_t)st.f_blocks * st.f_frsize / 10;
}

static unsigned heads_before(const struct bound *b, size_t i)
{
    unsigned n = 0;

    for (size_t k = 0; k < i; k++)
        n += b->v[k].head && b->v[k].machine == b->v[i].machine;
    return n;
}

int undo_bound(struct store *s, struct db *db, struct err *e)
{
    struct bound b = {.s = s, .e = e};
    uint64_t sum = 0, most = limit(s);
    int r = gather(&b, db);

    if (!r && b.n)
        qsort(b.v, b.n, sizeof *b.v, newest_first);
    for (size_t i = 0; i < b.n && !r; i++) {
        sum += b.v[i].bytes;
        if (sum > most || (b.v[i].head && heads_before(&b, i) >= HEADS_KEPT))
            r = b.v[i].entry ? db_run(db, SQL_OPLOG_EXPIRE, e, "ii", clock_wall_ns(), b.v[i].entry)
                             : db_run(db, SQL_HEAD_EXPIRE, e, "ii", clock_wall_ns(), b.v[i].head);
    }
    free(b.v);
    free(b.logs);
    return r;
}
