/* Opening a head, moving it to another snapshot, closing it. */
#include "snapshot/head.h"

#include <stdio.h>
#include <string.h>
#include "src/base/units.h"

static int out_of_memory(struct err *e)
{
    return err_set(e, VT_FAIL, "out of memory");
}

void images_release(struct images *im)
{
    for (size_t i = 0; i < STORE_DISKS_MAX; i++)
        disk_free(im->disks[i]);
}

int images_load(struct head *h, struct db *db, int64_t snapshot, int64_t head, struct images *im, struct err *e)
{
    struct rows rows cleanup(rows_done) = {0};
    int r = db_query(db, SQL_IMAGE_LIST, &rows, e, "zz", snapshot, head);

    while (!r && (r = rows_next(&rows, e)) > 0) {
        const char *slot = rows_text(&rows, 0);
        uint64_t bytes = (uint64_t)rows_int(&rows, 1), root = (uint64_t)rows_int(&rows, 2);
        int i = disk_index(slot);
        if (i >= 0 && !im->disks[i]) {
            r = disk_new(h, slot, bytes, root, rows_text(&rows, 4), &im->disks[i], e);
        } else if (i < 0 && slot_known(slot) && im->n_mem < MEM_SLOTS) {
            struct mem_slot *m = &im->mem[im->n_mem++];
            *m = (struct mem_slot){.bytes = bytes, .root = root, .whole = snapshot};
            snprintf(m->slot, sizeof m->slot, "%s", slot);
            r = 0;
        } else {
            r = err_set(e, VT_CORRUPT, "store.db: an image has no known slot (\"%s\")", slot);
        }
    }
    return r;
}

int images_find_wholes(struct db *db, int64_t snapshot, struct images *im, struct err *e)
{
    for (size_t i = 0; i < im->n_mem && snapshot; i++) {
        struct rows rows cleanup(rows_done) = {0};
        int r = db_query(db, SQL_IMAGE_GET, &rows, e, "zzt", snapshot, (int64_t)0, im->mem[i].slot);
        if (!r)
            r = rows_next(&rows, e);
        if (r < 0)
            return r;
        im->mem[i].whole =
            r && (uint64_t)rows_int(&rows, 0) == im->mem[i].bytes && (uint64_t)rows_int(&rows, 1) == im->mem[i].root;
    }
    return 0;
}

void images_install(struct head *h, struct images *im)
{
    memcpy(h->mem, im->mem, sizeof h->mem);
    h->n_mem = im->n_mem;
    for (size_t i = 0; i < STORE_DISKS_MAX; i++) {
        if (!h->disks[i]) {
            h->disks[i] = steal(&im->disks[i]);
        } else if (im->disks[i]) {
            disk_swap(h->disks[i], im->disks[i]);
        } else {
            pthread_mutex_lock(&h->disks[i]->lock);
            h->disks[i]->gone = true;
            pthread_mutex_unlock(&h->disks[i]->lock);
        }
    }
}

int images_replay(struct head *h, const char *logs, struct images *im, struct err *e)
{
    int r = 0;

    for (size_t i = 0; i < STORE_DISKS_MAX && !r; i++) {
        struct logset set cleanup(logset_release) = {0};
        if (!im->disks[i])
            continue;
        r = logset_open(h->s, logs, im->disks[i]->slot, true, &set, e);
        if (!r)
            r = disk_replay(im->disks[i], set.v, set.n, set.from, true, e);
    }
    return r;
}

static int open_row(struct head *h, struct err *e)
{
    struct db *db cleanup(cleanup_db) = NULL;
    struct rows rows cleanup(rows_done) = {0};
    struct images im cleanup(images_release) = {0};
    char *logs cleanup(cleanup_free) = NULL;
    bool oom = false;
    int r = db_get(h->s, &db, e);

    if (!r)
        r = db_query(db, SQL_HEAD_GET, &rows, e, "i", h->machine);
    if (!r)
        r = rows_next(&rows, e);
    if (r < 0)
        return r;
    if (!r)
        return err_set(e, VT_NOENT, "no such machine");
    h->id = rows_int(&rows, 0);
    h->parent = rows_int(&rows, 1);
    logs = rows_dup(&rows, 2, &oom);
    if (oom)
        return out_of_memory(e);
    r = images_load(h, db, 0, h->id, &im, e);
    if (!r)
        r = images_find_wholes(db, h->parent, &im, e);
    if (!r)
        r = images_replay(h, logs, &im, e);
    if (!r)
        images_install(h, &im);
    return r;
}

static void head_free(struct head *h)
{
    for (size_t i = 0; i < STORE_DISKS_MAX; i++)
        disk_free(h->disks[i]);
    snapshot_release(h->hold);
    pthread_mutex_destroy(&h->row);
    free(h);
}

static struct head *head_new(struct store *s, int64_t machine, unsigned flags)
{
    struct head *h = calloc(1, sizeof *h);

    if (!h)
        return NULL;
    h->s = s;
    h->machine = machine;
    h->flags = flags;
    pthread_mutex_init(&h->row, NULL);
    return h;
}

int head_open(struct store *s, int64_t machine, unsigned flags, struct head **ret, struct err *e)
{
    struct head *h = head_new(s, machine, flags);
    bool locked = false;
    int r;

    if (!h)
        return out_of_memory(e);
    r = machine_locked(s, machine, &locked, e);
    if (!r && !locked)
        r = err_set(e, VT_USAGE, "the machine must be locked before its disks are opened");
    if (!r)
        r = open_row(h, e);
    if (!r) /* writes to the database in any case: the first write into a fresh log of SQLite's syncs, so not later */
        r = head_make_logs(h, 1, e);
    if (r) {
        head_free(h);
        return r;
    }
    *ret = h;
    return 0;
}

int images_new_logs(struct head *h, struct db *db, struct images *im, struct err *e)
{
    int r = 0;

    for (size_t i = 0; i < STORE_DISKS_MAX && !r; i++) {
        struct hlog *l;
        if (!im->disks[i])
            continue;
        r = head_make_log(h, db, &l, e);
        if (r)
            return r;
        r = disk_add_log(im->disks[i], l, e);
        if (r) {
            if (!h->throwaway)
                sio_unlink(&h->s->io, l->f.path, NULL);
            hlog_unref(l);
        }
    }
    return r;
}

/* What a head on this snapshot (0: the machine as it was made) is, with a log for each disk; rows come later. */
static int prepare(struct head *h, struct db *db, int64_t snapshot, struct images *im, struct err *e)
{
    struct rows rows cleanup(rows_done) = {0};
    int r;

    if (snapshot) {
        r = db_query(db, SQL_SNAP_LIST, &rows, e, "zz", (int64_t)0, snapshot);
        if (!r)
            r = rows_next(&rows, e);
        if (!r)
            r = err_set(e, VT_NOENT, "no such snapshot (it was deleted)");
        if (r > 0 && rows_int(&rows, 14) != h->machine)
            r = err_set(e, VT_USAGE, "the snapshot is another machine's");
        if (r < 0)
            return r;
        r = images_load(h, db, snapshot, 0, im, e);
    } else {
        r = db_query(db, SQL_HEAD_FIRST, &rows, e, "i", h->machine);
        if (!r)
            r = rows_next(&rows, e);
        if (r < 0)
            return r;
        if (!r)
            return err_set(e, VT_NOENT, "what the machine was made from is not kept any more");
        r = images_load(h, db, 0, rows_int(&rows, 0), im, e);
    }
    return r ? r : images_new_logs(h, db, im, e);
}

int images_insert(struct head *h, struct db *db, int64_t snapshot, struct images *im, int64_t *ret_id, struct err *e)
{
    struct head as = {.machine = h->machine};
    char *json cleanup(cleanup_free) = NULL;
    int r;

    memcpy(as.disks, im->disks, sizeof as.disks);
    json = head_logs_json(&as, NULL, NULL);
    r = json ? db_run(db, SQL_HEAD_NEW, e, "izti", h->machine, snapshot, json, clock_wall_ns()) : out_of_memory(e);
    if (r)
        return r;
    *ret_id = db_last_id(db);
    for (size_t i = 0; i < im->n_mem && !r; i++)
        r = db_run(db, SQL_IMAGE_NEW, e, "zztiiiit", (int64_t)0, *ret_id, im->mem[i].slot, (int64_t)im->mem[i].bytes,
                   (int64_t)im->mem[i].root, (int64_t)0, (int64_t)0, (char *)NULL);
    for (size_t i = 0; i < STORE_DISKS_MAX && !r; i++) {
        struct disk *d = im->disks[i];
        if (d)
            r = db_run(db, SQL_IMAGE_NEW, e, "zztiiiit", (int64_t)0, *ret_id, d->slot, (int64_t)d->dev.size,
                       (int64_t)d->root, (int64_t)0, (int64_t)0, d->base_json);
    }
    if (!r)
        r = db_run(db, SQL_MACHINE_HEAD, e, "ii", *ret_id, h->machine);
    return r;
}

void images_unmake_logs(struct head *h, struct images *im)
{
    for (size_t i = 0; i < STORE_DISKS_MAX && !h->throwaway; i++)
        for (size_t k = 0; im->disks[i] && k < im->disks[i]->n_logs; k++)
            sio_unlink(&h->s->io, im->disks[i]->logs[k]->f.path, NULL);
}

static int reset(struct head *h, int64_t snapshot, bool ran, struct err *e)
{
    struct images im cleanup(images_release) = {0};
    struct db *db cleanup(cleanup_db) = NULL;
    enum abandon why = ran ? ABANDON_RAN : snapshot == h->parent && !head_written(h) ? ABANDON_SAME : ABANDON_REVERT;
    int64_t id = h->id;
    int r = db_get(h->s, &db, e);

    if (!h->throwaway)
        head_write_out(h);
    if (!r)
        r = db_begin(db, DB_NORMAL, e);
    if (!r)
        r = prepare(h, db, snapshot, &im, e);
    if (!r && !h->throwaway)
        r = images_insert(h, db, snapshot, &im, &id, e);
    if (!r && !h->throwaway)
        r = head_abandon(h, db, id, why, e);
    if (!r && !h->throwaway)
        r = db_commit(db, e);
    if (r) {
        images_unmake_logs(h, &im);
        return r;
    }
    h->durable = false;
    h->id = id;
    h->parent = snapshot;
    images_install(h, &im);
    return 0;
}

static int reset_head(struct head *h, int64_t snapshot, bool ran, struct err *e)
{
    struct snaplock *hold = NULL;
    int r = 0;

    if (h->throwaway)
        r = snapshot_hold(h->s, snapshot, &hold, e);
    if (r)
        return r;
    pthread_mutex_lock(&h->row);
    r = h->snap ? err_set(e, VT_BUSY, "a snapshot of the machine is being written") : reset(h, snapshot, ran, e);
    pthread_mutex_unlock(&h->row);
    if (h->throwaway && !r) {
        struct snaplock *old = h->hold;
        h->hold = hold;
        hold = old;
    }
    snapshot_release(hold);
    return r;
}

int head_reset(struct head *h, int64_t snapshot, struct err *e)
{
    return reset_head(h, snapshot, false, e);
}

int head_reset_ran(struct head *h, int64_t snapshot, struct err *e)
{
    return reset_head(h, snapshot, true, e);
}

int head_fork(struct store *s, int64_t snapshot, struct head **ret, struct err *e)
{
    struct snapshot_info info cleanup(snapshot_info_release) = {0};
    struct head *h;
    int r = snapshot_get(s, snapshot, &info, e);

    if (r)
        return r;
    h = head_new(s, info.machine, 0);
    if (!h)
        return out_of_memory(e);
    h->throwaway = true;
    r = head_reset(h, snapshot, e);
    if (r) {
        head_free(h);
        return r;
    }
    *ret = h;
    return 0;
}

/* A last, empty batch says that all before it was durable: damage to it is then never taken for a torn tail. */
static int close_cleanly(struct disk *d, struct err *e)
{
    struct batch *b cleanup(cleanup_batch) = NULL;
    int r = disk_flush(d, e);

    if (r || d->next_seq == d->clean_seq)
        return r;
    b = batch_new(d->s, d->next_seq);
    if (!b || !batch_close(b, d->logs[d->current]))
        return out_of_memory(e);
    return batch_write(b, d->prev, d->next_seq, BATCH_CLEAN, e);
}

int head_close(struct head *h, struct err *e)
{
    int r = 0;

    if (!h)
        return 0;
    vt_assert(!h->snap);
    for (size_t i = 0; i < STORE_DISKS_MAX && !h->throwaway; i++) {
        struct disk *d = head_disk_at(h, i);
        int one = !d ? 0 : h->flags & HEAD_UNSAFE ? disk_flush(d, e) : close_cleanly(d, e);
        r = r ? r : one;
    }
    head_free(h);
    return r;
}
