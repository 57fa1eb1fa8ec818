/* The head of a machine. Its row names the logs of each disk in order; those that it calls "new", too, were made but
 * perhaps are not durable yet: after a power failure they may be missing, and then held nothing that was flushed. Keeps
 * invariant 4 for heads: a log is in the row before anything in it is acknowledged, and out of it, durably, before it
 * is removed. */
#include "snapshot/head.h"

#include <stdio.h>
#include <string.h>

static int out_of_memory(struct err *e)
{
    return err_set(e, VT_FAIL, "out of memory");
}

struct disk *head_find(struct head *h, const char *slot)
{
    int i = disk_index(slot);
    return i < 0 || !h->disks[i] || h->disks[i]->gone ? NULL : h->disks[i];
}

struct blockdev *head_disk(struct head *h, const char *slot)
{
    struct disk *d = head_find(h, slot);
    return d ? &d->dev : NULL;
}

int64_t head_row(const struct head *h)
{
    return h->id;
}

int64_t head_parent(struct head *h)
{
    struct db *db cleanup(cleanup_db) = NULL;
    struct rows rows cleanup(rows_done) = {0};

    if (h->throwaway || db_get(h->s, &db, NULL) || db_query(db, SQL_HEAD_GET, &rows, NULL, "i", h->machine) ||
        rows_next(&rows, NULL) <= 0)
        return h->parent;
    return rows_int(&rows, 1); /* it may have been deleted by another: then the head stands on that one's parent */
}

static int next_log_id(struct db *db, int64_t *ret, struct err *e)
{
    struct rows rows cleanup(rows_done) = {0};
    int r = db_query(db, SQL_COUNTERS, &rows, e, "");

    if (!r)
        r = rows_next(&rows, e);
    if (r > 0)
        *ret = rows_int(&rows, 3);
    return r < 0 ? r : 0;
}

int head_make_log(struct head *h, struct db *db, struct hlog **ret, struct err *e)
{
    int64_t id = 0;
    int r;

    if (h->throwaway)
        return hlog_create_unnamed(h->s, ret, e);
    r = next_log_id(db, &id, e);
    for (; !r; id++) {
        struct err mine = {0};
        r = hlog_create(h->s, id, ret, &mine);
        if (!r)
            break;
        r = r == VT_EXISTS ? 0 : err_set(e, r, "%s", mine.msg); /* left by one that was killed */
    }
    if (r)
        return r;
    r = db_run(db, SQL_NEXT_LOG_SET, e, "i", id + 1);
    if (r) {
        sio_unlink(&h->s->io, (*ret)->f.path, NULL);
        hlog_unref(*ret);
        *ret = NULL;
    }
    return r;
}

static int set_logs(struct head *h, struct db *db, const struct newlogs *add, struct err *e)
{
    char *json cleanup(cleanup_free) = head_logs_json(h, NULL, add);
    return json ? db_run(db, SQL_HEAD_LOGS_SET, e, "ti", json, h->id) : out_of_memory(e);
}

struct disk *head_disk_at(struct head *h, size_t i)
{
    struct disk *d = h->disks[i];
    return d && !d->gone ? d : NULL;
}

static void drop_new(struct head *h, struct newlogs *add)
{
    for (size_t i = 0; i < STORE_DISKS_MAX; i++)
        for (unsigned k = 0; k < add->n[i]; k++) {
            if (!h->throwaway)
                sio_unlink(&h->s->io, add->v[i][k]->f.path, NULL); /* else an orphan, which is swept */
            hlog_unref(add->v[i][k]);
        }
}

/* They belong to their disks only once the row has them: nothing may be written to a log that a sweep could take for an
 * orphan. */
static int add_logs(struct head *h, const unsigned want[STORE_DISKS_MAX], struct err *e)
{
    struct db *db cleanup(cleanup_db) = NULL;
    struct newlogs add = {0};
    int r = h->throwaway ? 0 : db_get(h->s, &db, e);

    h->durable = false;
    if (!r && db)
        r = db_begin(db, DB_NORMAL, e);
    for (size_t i = 0; i < STORE_DISKS_MAX && !r; i++)
        while (!r && add.n[i] < want[i]) {
            r = head_make_log(h, db, &add.v[i][add.n[i]], e);
            add.n[i] += !r;
        }
    if (!r && db)
        r = set_logs(h, db, &add, e);
    if (!r && db)
        r = db_commit(db, e);
    if (r) {
        drop_new(h, &add);
        return r;
    }
    for (size_t i = 0; i < STORE_DISKS_MAX; i++)
        for (unsigned k = 0; k < add.n[i]; k++) {
            int one = disk_add_log(h->disks[i], add.v[i][k], e);
            if (one)
                hlog_unref(add.v[i][k]);
            r = r ? r : one;
        }
    return r;
}

int head_make_logs(struct head *h, size_t n, struct err *e)
{
    unsigned want[STORE_DISKS_MAX] = {0};

    for (size_t i = 0; i < STORE_DISKS_MAX; i++) {
        struct disk *d = head_disk_at(h, i);
        if (!d)
            continue;
        pthread_mutex_lock(&d->lock);
        want[i] = d->n_logs < d->current + n ? (unsigned)(d->current + n - d->n_logs) : 0;
        pthread_mutex_unlock(&d->lock);
    }
    return add_logs(h, want, e);
}

/* Says in the row that all logs are there for certain, and makes it so. Caller holds h->row. */
static int solidify(struct head *h, struct err *e)
{
    struct db *db cleanup(cleanup_db) = NULL;
    int r = sio_dirsync(&h->s->io, "heads", e);

    for (size_t i = 0; i < STORE_DISKS_MAX && !r; i++) {
        struct disk *d = head_disk_at(h, i);
        for (size_t k = 0; d && k < d->n_logs && !r; k++) {
            struct hlog *l = d->logs[k];
            if (!l->synced && !l->condemned)
                r = hlog_sync(l, e);
            l->solid = l->solid || (!r && !l->condemned);
        }
    }
    if (!r)
        r = db_get(h->s, &db, e);
    if (!r)
        r = db_begin(db, DB_FULL, e);
    if (!r)
        r = set_logs(h, db, NULL, e);
    if (!r) /* a row that is as it was is not written, and a commit without a write syncs nothing */
        r = db_run(db, SQL_TICK, e, "");
    if (!r)
        r = db_commit(db, e);
    h->durable = !r;
    return r;
}

int head_solidify(struct head *h, struct err *e)
{
    int r = 0;

    if (h->durable)
        return 0;
    pthread_mutex_lock(&h->row);
    if (!h->durable)
        r = solidify(h, e);
    pthread_mutex_unlock(&h->row);
    return r;
}

/* Caller holds h->row. */
static int make_spares(struct head *h, struct err *e)
{
    bool enough = true;

    for (size_t i = 0; i < STORE_DISKS_MAX; i++) {
        struct disk *d = head_disk_at(h, i);
        if (!d)
            continue;
        pthread_mutex_lock(&d->lock);
        enough = enough && d->n_logs >= d->current + 2;
        pthread_mutex_unlock(&d->lock);
    }
    return enough ? 0 : head_make_logs(h, 2, e);
}

int head_spare(struct head *h, struct err *e)
{
    int r;

    pthread_mutex_lock(&h->row);
    r = make_spares(h, e);
    pthread_mutex_unlock(&h->row);
    return r;
}

int head_prepare(struct head *h, struct err *e)
{
    int r;

    pthread_mutex_lock(&h->row);
    r = make_spares(h, e);
    if (!r && !h->throwaway && !h->durable)
        r = solidify(h, e);
    pthread_mutex_unlock(&h->row);
    return r;
}

int head_replace_log(struct head *h, struct disk *d, struct err *e)
{
    unsigned want[STORE_DISKS_MAX] = {0};
    int r;

    pthread_mutex_lock(&h->row);
    want[disk_index(d->slot)] = 1;
    r = add_logs(h, want, e);
    if (!r) {
        pthread_mutex_lock(&d->lock);
        d->current = d->n_logs - 1;
        pthread_mutex_unlock(&d->lock);
    }
    pthread_mutex_unlock(&h->row);
    return r;
}

static int mark(struct head *h, bool seal, struct head_pos *ret, struct err *e)
{
    struct head_pos pos = {0};
    int r = 0;

    for (size_t i = 0; i < STORE_DISKS_MAX && !r; i++) {
        if (!head_disk_at(h, i))
            continue;
        r = disk_mark(h->disks[i], seal, &pos.seq[i], e);
        if (r)
            while (i-- > 0)
                if (head_disk_at(h, i))
                    disk_unmark(h->disks[i], pos.seq[i]);
    }
    if (!r)
        *ret = pos;
    return r;
}

int head_mark(struct head *h, struct head_pos *ret, struct err *e)
{
    return mark(h, false, ret, e);
}

int head_seal(struct head *h, struct head_pos *ret, struct err *e)
{
    return mark(h, true, ret, e);
}

void head_unmark(struct head *h, const struct head_pos *pos)
{
    for (size_t i = 0; i < STORE_DISKS_MAX; i++)
        if (head_disk_at(h, i))
            disk_unmark(h->disks[i], pos->seq[i]);
}
