/* What is done where nobody waits: abandoned heads go, files that nothing names go, the write-ahead log is folded in.
 */
#include "snapshot/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "src/base/units.h"
#include "src/base/util.h"
#include "snapshot/ballast.h"
#include "snapshot/gc.h"
#include "snapshot/head.h"
#include "snapshot/lock.h"
#include "snapshot/undo.h"

#define WAL_MAX (4u << 20)

struct ids {
    int64_t *v;
    size_t n;
};

static void ids_release(struct ids *l)
{
    free(l->v);
}

static int ids_add(struct ids *l, int64_t id, struct err *e)
{
    int64_t *v = realloc(l->v, (l->n + 1) * sizeof *v);

    if (!v)
        return err_set(e, VT_FAIL, "out of memory");
    l->v = v;
    l->v[l->n++] = id;
    return 0;
}

static bool ids_has(const struct ids *l, int64_t id)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->v[i] == id)
            return true;
    return false;
}

/* The numbers of the files "NUMBER.suffix" in a folder of the store. */
static int list_files(struct store *s, const char *folder, const char *suffix, struct ids *ret, struct err *e)
{
    int fd = openat(s->io.dirfd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *f;

    if (!d) {
        if (fd >= 0)
            close(fd);
        return err_set(e, err_from_errno(errno), "%s/%s: %m", s->dir, folder);
    }
    while (!r && (f = readdir(d))) {
        int64_t id;
        int end = 0;
        if (sscanf(f->d_name, "%" SCNd64 "%n", &id, &end) == 1 && id > 0 && !strcmp(f->d_name + end, suffix))
            r = ids_add(ret, id, e);
    }
    closedir(d);
    return r;
}

struct add_to {
    struct ids *ids;
    struct err *e;
};

static int add_log(void *opaque, int64_t id, bool solid)
{
    struct add_to *a = opaque;
    return ids_add(a->ids, id, a->e);
}

static int drop_expired(struct db *db, struct err *e)
{
    struct rows rows cleanup(rows_done) = {0};
    struct ids old cleanup(ids_release) = {0};
    int r = db_query(db, SQL_HEAD_EXPIRED, &rows, e, "i", clock_wall_ns());

    while (!r && (r = rows_next(&rows, e)) > 0)
        r = ids_add(&old, rows_int(&rows, 0), e);
    rows_done(&rows);
    for (size_t i = 0; i < old.n && !r; i++) {
        r = db_run(db, SQL_IMAGE_RM_HEAD, e, "i", old.v[i]);
        if (!r)
            r = db_run(db, SQL_HEAD_RM, e, "i", old.v[i]);
    }
    return r ? r : db_run(db, SQL_OPLOG_STALE, e, "");
}

static int named_logs(struct db *db, struct ids *ret, struct err *e)
{
    struct rows rows cleanup(rows_done) = {0};
    struct add_to a = {ret, e};
    int r = db_query(db, SQL_HEAD_LOGS, &rows, e, "");

    while (!r && (r = rows_next(&rows, e)) > 0)
        r = logs_each(rows_text(&rows, 1), add_log, &a, e);
    return r;
}

static bool any_but(const struct ids *of, const struct ids *these)
{
    for (size_t i = 0; i < of->n; i++)
        if (!ids_has(these, of->v[i]))
            return true;
    return false;
}

/* The files are listed inside the transaction: a log is made inside the one that names it. They are removed after its
 * commit, which is a durable one: no earlier state of the rows, which might name them, can come back. Where there is
 * nothing to remove, nothing is committed, and nothing synced. */
int sweep_logs(struct store *s, struct db *db, struct gc_stats *stats, struct err *e)
{
    struct ids files cleanup(ids_release) = {0}, named cleanup(ids_release) = {0};
    int changes = db_all_changes(db);
    struct stat st;
    char path[40];
    int r = db_begin(db, DB_FULL, e);

    if (!r)
        r = undo_bound(s, db, e);
    if (!r)
        r = drop_expired(db, e);
    if (!r)
        r = list_files(s, "heads", ".log", &files, e);
    if (!r)
        r = named_logs(db, &named, e);
    if (!r && db_all_changes(db) == changes && !any_but(&files, &named)) {
        db_rollback(db);
        return 0;
    }
    if (!r) /* a commit without a write would sync nothing */
        r = db_run(db, SQL_TICK, e, "");
    if (!r)
        r = db_commit(db, e);
    for (size_t i = 0; i < files.n && !r; i++) {
        if (ids_has(&named, files.v[i]))
            continue;
        hlog_path(files.v[i], path);
        if (stats && !fstatat(s->io.dirfd, path, &st, 0)) {
            stats->logs++;
            stats->bytes += (uint64_t)st.st_blocks * 512;
        }
        r = sio_unlink(&s->io, path, e);
    }
    return r;
}

static int pack_listed(struct db *db, int64_t id, bool *ret, struct err *e)
{
    struct rows rows cleanup(rows_done) = {0};
    int r = db_query(db, SQL_PACK_HAS, &rows, e, "i", id);

    if (!r)
        r = rows_next(&rows, e);
    *ret = r > 0;
    return r < 0 ? r : 0;
}

/* A pack that is neither listed nor locked by its writer was left by one that was killed, or whose commit failed.
 * Locked first, then asked about: a writer that has just committed lets go of the lock afterwards. A durable commit
 * comes before the first removal: past it, no commit that failed can be found after a crash. */
static int sweep_packs(struct store *s, struct db *db, struct err *e)
{
    struct ids files cleanup(ids_release) = {0};
    bool ruled_out = false;
    int r = list_files(s, "packs", ".pack", &files, e);

    for (size_t i = 0; i < files.n && !r; i++) {
        struct sfile f = SFILE_NONE;
        char path[40];
        bool listed = true;
        r = pack_listed(db, files.v[i], &listed, e);
        if (r || listed)
            continue;
        snprintf(path, sizeof path, "packs/%" PRId64 ".pack", files.v[i]);
        if (sio_open(&s->io, path, true, &f, NULL))
            continue; /* its writer gave it up */
        if (!lock_byte(f.fd, 0, LOCK_EXCLUSIVE, false, NULL)) {
            r = pack_listed(db, files.v[i], &listed, e);
            if (!r && !listed && !ruled_out)
                r = db_make_durable(db, e);
            ruled_out = ruled_out || (!r && !listed);
            if (!r && !listed)
                r = sio_unlink(&s->io, path, e);
        }
        sio_close(&f);
    }
    return r;
}

/* Where a snapshot is being written just now, the next time will do. */
static int collect(struct store *s, struct err *e)
{
    struct err mine = {0};
    bool useful = false;
    int r = gc_useful(s, &useful, e);

    if (r || !useful)
        return r;
    r = store_gc(s, NULL, &mine);
    return r && r != VT_BUSY ? err_set(e, r, "%s", mine.msg) : 0;
}

static int maintain_once(struct store *s, struct err *e)
{
    struct db *db cleanup(cleanup_db) = NULL;
    int r = db_get(s, &db, e);

    if (!r)
        r = sweep_logs(s, db, NULL, e);
    if (!r)
        r = collect(s, e);
    if (!r)
        r = sweep_packs(s, db, e);
    if (!r && db_wal_bytes(s) > WAL_MAX)
        r = db_checkpoint(db, e);
    return r;
}

int store_maintain(struct store *s, struct err *e)
{
    int r = maintain_once(s, e);

    if (ballast_spend(s, r, e))
        r = maintain_once(s, e);
    ballast_restore(s);
    return r;
}
