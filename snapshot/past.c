/* What a machine's disks were: heads that it was moved away from, and what its head was before each snapshot, kept for
 * undo.keep as abandoned rows that name their logs. A machine's past is the sequence of these rows: each speaks of the
 * times from its `since` to its `ended`; within it, the batches of its logs have times. Since rows and logs stay as
 * they were, a crash changes nothing of what can be gone back to. */
#include "snapshot/head.h"

#include <string.h>
#include "src/base/units.h"
#include "snapshot/undo.h"

void head_write_out(struct head *h)
{
    for (size_t i = 0; i < STORE_DISKS_MAX; i++) {
        struct disk *d = head_disk_at(h, i);
        int r;
        if (!d)
            continue;
        pthread_mutex_lock(&d->lock);
        r = disk_close_open(d, NULL);
        pthread_mutex_unlock(&d->lock);
        if (!r)
            disk_write_out(d, false, NULL);
    }
}

int head_keep_past(struct head *h, struct db *db, const struct head_pos *upto, int64_t *ret_since, struct err *e)
{
    char *logs cleanup(cleanup_free) = head_kept_json(h, upto->seq);
    int64_t now = clock_wall_ns(), keep = 0, past;
    int r = logs ? undo_keep(db, &keep, e) : err_set(e, VT_FAIL, "out of memory");

    *ret_since = 0;
    if (r || !head_written(h))
        return r;
    *ret_since = now;
    if (!keep)
        return 0;
    r = db_run(db, SQL_HEAD_PAST, e, "iii", now + keep, now, h->id);
    past = db_last_id(db);
    if (!r)
        r = db_run(db, SQL_HEAD_LOGS_SET, e, "ti", logs, past);
    return r ? r : db_run(db, SQL_IMAGE_PAST, e, "ii", past, h->id);
}

int head_abandon(struct head *h, struct db *db, int64_t next, enum abandon why, struct err *e)
{
    char *logs cleanup(cleanup_free) = head_kept_json(h, NULL);
    int64_t now = clock_wall_ns(), keep = 0;
    int r = logs ? undo_keep(db, &keep, e) : err_set(e, VT_FAIL, "out of memory");

    if (why == ABANDON_SAME)
        keep = 0;
    if (!r)
        r = db_run(db, SQL_HEAD_LOGS_SET, e, "ti", logs, h->id);
    if (!r && why == ABANDON_SAME)
        r = db_run(db, SQL_HEAD_SINCE, e, "ii", h->id, next);
    if (!r)
        r = db_run(db, SQL_HEAD_ABANDON, e, "iii", now + keep, now, h->id);
    if (!r && (why == ABANDON_REVERT || why == ABANDON_RAN) && keep)
        r = db_run(db, SQL_OPLOG_REVERT, e, "iiiii", now, h->machine, h->id, now + keep, (int64_t)(why == ABANDON_RAN));
    return r;
}

int past_find(struct db *db, int64_t machine, int64_t when, struct rows *ret, struct err *e)
{
    struct rows oldest cleanup(rows_done) = {0};
    char text[UNITS_MAX], least[UNITS_MAX];
    int r = db_query(db, SQL_HEAD_AT, ret, e, "ii", machine, when);

    if (!r)
        r = rows_next(ret, e);
    if (r > 0)
        return 0;
    if (!r)
        r = db_query(db, SQL_HEAD_OLDEST, &oldest, e, "i", machine);
    if (!r)
        r = rows_next(&oldest, e);
    if (r <= 0 || rows_null(&oldest, 0))
        return r < 0 ? r : err_set(e, VT_NOENT, "no such machine");
    return err_set(e, VT_NOENT, "what its disks held at %s is not kept (the oldest that is: %s)",
                   time_format(text, when), time_format(least, rows_int(&oldest, 0)));
}

/* ---- going back ---- */

/* Writes what the logs of a row held at a time to the new disk, which stands on the same map. */
static int copy_logged(struct head *h, const char *logs, int64_t when, struct disk *to, struct err *e)
{
    struct logset set cleanup(logset_release) = {0};
    struct pagelist list cleanup(pagelist_release) = {0};
    struct head as = {.s = h->s};
    struct disk *d = NULL;
    uint8_t page[VT_PAGE_SIZE];
    int r = logset_open(h->s, logs, to->slot, false, &set, e);

    if (!r)
        r = disk_new(&as, to->slot, to->dev.size, to->root, NULL, &d, e);
    if (!r)
        r = disk_replay_past(d, set.v, set.n, set.from, when, e);
    if (!r)
        r = disk_collect(d, 0, UINT64_MAX, &list, e);
    for (size_t i = 0; i < list.n && !r; i++) {
        uint64_t off = list.v[i].page * VT_PAGE_SIZE;
        if (off >= to->dev.size)
            break;
        memset(page, 0, sizeof page);
        if (list.v[i].batch)
            r = batch_page(list.v[i].batch, list.v[i].slot, page, e);
        if (!r)
            r = to->dev.ops->pwrite(&to->dev, page, MIN(VT_PAGE_SIZE, to->dev.size - off), off, e);
    }
    disk_free(d);
    if (r)
        return r;
    pthread_mutex_lock(&to->lock);
    r = disk_close_open(to, e);
    pthread_mutex_unlock(&to->lock);
    if (!r)
        r = disk_write_out(to, true, e);
    return r ? r : hlog_sync(to->logs[to->current], e);
}

/* What the row held at a time, on new logs, all of it durable but for the rows. */
static int build(struct head *h, struct db *db, int64_t when, struct images *im, int64_t *ret_parent, struct err *e)
{
    struct rows row cleanup(rows_done) = {0}, at cleanup(rows_done) = {0};
    char *logs cleanup(cleanup_free) = NULL;
    bool oom = false;
    int64_t id;
    int r = past_find(db, h->machine, when, &at, e);

    if (r)
        return r;
    id = rows_int(&at, 0);
    logs = rows_dup(&at, 1, &oom);
    r = oom ? err_set(e, VT_FAIL, "out of memory") : db_query(db, SQL_HEAD_ROW, &row, e, "i", id);
    if (!r)
        r = rows_next(&row, e);
    if (r <= 0)
        return r < 0 ? r : err_set(e, VT_NOENT, "what its disks held then is kept no longer");
    *ret_parent = rows_int(&row, 1);
    r = images_load(h, db, 0, id, im, e);
    im->n_mem = 0; /* memory is not kept */
    if (!r)
        r = images_new_logs(h, db, im, e);
    for (size_t i = 0; i < STORE_DISKS_MAX && !r; i++)
        if (im->disks[i])
            r = copy_logged(h, logs, when, im->disks[i], e);
    return r ? r : sio_dirsync(&h->s->io, "heads", e);
}

static int reset_past(struct head *h, int64_t when, struct err *e)
{
    struct images im cleanup(images_release) = {0};
    struct db *db cleanup(cleanup_db) = NULL;
    int64_t parent = 0, id = 0;
    int r = db_get(h->s, &db, e);

    head_write_out(h);
    if (!r)
        r = db_begin(db, DB_FULL, e);
    if (!r)
        r = build(h, db, when, &im, &parent, e);
    if (!r)
        r = images_insert(h, db, parent, &im, &id, e);
    if (!r)
        r = head_abandon(h, db, id, ABANDON_REVERT, e);
    if (!r)
        r = db_commit(db, e);
    if (r) {
        images_unmake_logs(h, &im);
        return r;
    }
    h->durable = false; /* the row calls the logs new yet */
    h->id = id;
    h->parent = parent;
    images_install(h, &im);
    return 0;
}

int head_reset_past(struct head *h, int64_t when, struct err *e)
{
    int r;

    if (h->throwaway)
        return err_set(e, VT_USAGE, "a machine that is thrown away has no past");
    pthread_mutex_lock(&h->row);
    r = h->snap ? err_set(e, VT_BUSY, "a snapshot of the machine is being written") : reset_past(h, when, e);
    pthread_mutex_unlock(&h->row);
    return r;
}

/* The head's row becomes the machine's again, as long as it is still kept. */
static int adopt_row(struct head *h, struct db *db, int64_t entry, int64_t id, struct err *e)
{
    int64_t now = clock_wall_ns(), keep = 0, past;
    int r = undo_keep(db, &keep, e);

    if (!r) /* the time when it was in force before stays known */
        r = db_run(db, SQL_HEAD_PAST, e, "iii", now + keep, now, id);
    past = db_last_id(db);
    if (!r)
        r = db_run(db, SQL_IMAGE_PAST, e, "ii", past, id);
    if (!r)
        r = db_run(db, SQL_HEAD_LIVE, e, "ii", now, id);
    if (!r && !db_changes(db))
        return err_set(e, VT_NOENT, "what was reverted away from is kept no longer");
    if (!r)
        r = db_run(db, SQL_MACHINE_HEAD, e, "ii", id, h->machine);
    if (!r)
        r = head_abandon(h, db, id, ABANDON_UNDO, e);
    return r ? r : db_run(db, SQL_OPLOG_RM, e, "i", entry);
}

static int load_row(struct head *h, struct db *db, int64_t entry, int64_t *ret_id, int64_t *ret_parent,
                    struct images *im, struct err *e)
{
    struct rows row cleanup(rows_done) = {0};
    int r = undo_head(db, entry, h->machine, ret_id, e);

    if (!r)
        r = db_query(db, SQL_HEAD_ROW, &row, e, "i", *ret_id);
    if (!r)
        r = rows_next(&row, e);
    if (r <= 0)
        return r < 0 ? r : err_set(e, VT_NOENT, "what was reverted away from is kept no longer");
    *ret_parent = rows_int(&row, 1);
    r = images_load(h, db, 0, *ret_id, im, e);
    if (!r)
        r = images_find_wholes(db, *ret_parent, im, e);
    return r ? r : images_replay(h, rows_text(&row, 2), im, e);
}

/* A disk of which nothing is left that can be written to gets a log, in the transaction that makes it the machine's: an
 * undo that fails was not done. */
static int give_logs(struct head *h, struct db *db, int64_t id, struct images *im, struct err *e)
{
    struct head as = {.machine = h->machine};
    char *json cleanup(cleanup_free) = NULL;
    bool any = false;
    int r = 0;

    for (size_t i = 0; i < STORE_DISKS_MAX && !r; i++) {
        struct disk *d = im->disks[i];
        struct hlog *l;
        if (!d || d->current < d->n_logs)
            continue;
        any = true;
        r = head_make_log(h, db, &l, e);
        if (r)
            return r;
        r = disk_add_log(d, l, e);
        if (r)
            hlog_unref(l);
    }
    if (r || !any)
        return r;
    memcpy(as.disks, im->disks, sizeof as.disks);
    json = head_logs_json(&as, NULL, NULL);
    return json ? db_run(db, SQL_HEAD_LOGS_SET, e, "ti", json, id) : err_set(e, VT_FAIL, "out of memory");
}

static int adopt(struct head *h, int64_t entry, struct err *e)
{
    struct images im cleanup(images_release) = {0};
    struct db *db cleanup(cleanup_db) = NULL;
    int64_t id = 0, parent = 0;
    int r = db_get(h->s, &db, e);

    head_write_out(h);
    if (!r)
        r = db_begin(db, DB_NORMAL, e);
    if (!r)
        r = load_row(h, db, entry, &id, &parent, &im, e);
    if (!r)
        r = adopt_row(h, db, entry, id, e);
    if (!r)
        r = give_logs(h, db, id, &im, e);
    if (!r)
        r = db_commit(db, e);
    if (r)
        return r;
    h->durable = false;
    h->id = id;
    h->parent = parent;
    images_install(h, &im);
    return 0;
}

int head_undo(struct head *h, int64_t entry, struct err *e)
{
    int r;

    if (h->throwaway)
        return err_set(e, VT_USAGE, "a machine that is thrown away was never reverted");
    pthread_mutex_lock(&h->row);
    r = h->snap ? err_set(e, VT_BUSY, "a snapshot of the machine is being written") : adopt(h, entry, e);
    pthread_mutex_unlock(&h->row);
    return r;
}
