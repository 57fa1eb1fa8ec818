/* Taking a snapshot. Keeps invariants 2 and 4, by this order:
 *
 *    pages and the device state go into a pack      nothing refers to them yet
 *    the pack is synced, then its folder            1st and 2nd sync
 *    one transaction, synchronous=FULL              3rd: frames, nodes, images, the snapshot, the head's new place
 *    logs that the head no longer needs             are kept for a time (past.c), then swept (maintain.c)
 *
 * Until the commit returns there is no snapshot, and everything that the head needs is as it was. */
#include "snapshot/intake.h"

#include <stdio.h>
#include <string.h>
#include "src/base/units.h"
#include "snapshot/head.h"
#include "snapshot/map.h"
#include "snapshot/names.h"

/* An entry of a disk's map to come: which cannot be put before the transaction, since two roots are written there. */
struct change {
    uint64_t page, entry;
};
struct changes {
    struct change *v;
    size_t n;
};

struct snap_mem {
    char slot[8];
    uint64_t pages;
    struct mapw *map;
};

struct snap {
    struct head *h;
    struct intake in;
    struct head_pos quiesced, live;
    bool has_quiesced, has_state;
    bool fold; /* no snapshot: what the logs have becomes the head's own map */
    uint64_t state_index;
    struct snap_mem mem[MEM_SLOTS];
    size_t n_mem;
    const struct snap_mem *last; /* put into: pages of two images share no frame */
    struct changes to_quiesced[STORE_DISKS_MAX], to_live[STORE_DISKS_MAX];
};

static int out_of_memory(struct err *e)
{
    return err_set(e, VT_FAIL, "out of memory");
}

int snap_begin(struct head *h, const struct head_pos *quiesced, const struct head_pos *live, struct snap **ret,
               struct err *e)
{
    struct snap *p = calloc(1, sizeof *p);
    bool busy;
    int r;

    if (!p)
        return out_of_memory(e);
    p->h = h;
    p->live = *live;
    p->has_quiesced = quiesced;
    if (quiesced)
        p->quiesced = *quiesced;
    r = h->throwaway ? err_set(e, VT_USAGE, "a machine that is thrown away has no snapshots") : 0;
    if (!r)
        r = intake_init(&p->in, h->s, e);
    if (r) {
        free(p);
        return r;
    }
    pthread_mutex_lock(&h->row);
    busy = h->snap;
    if (!busy)
        h->snap = p;
    pthread_mutex_unlock(&h->row);
    if (busy) {
        intake_release(&p->in, false);
        free(p);
        return err_set(e, VT_BUSY, "another snapshot of the machine is being written");
    }
    *ret = p;
    return 0;
}

/* Frees all but the marks and the pack's file. */
static void snap_free(struct snap *p, bool keep)
{
    pthread_mutex_lock(&p->h->row);
    p->h->snap = NULL;
    pthread_mutex_unlock(&p->h->row);
    for (size_t i = 0; i < p->n_mem; i++)
        mapw_free(p->mem[i].map);
    for (size_t i = 0; i < STORE_DISKS_MAX; i++) {
        free(p->to_quiesced[i].v);
        free(p->to_live[i].v);
    }
    intake_release(&p->in, keep);
    free(p);
}

void snap_abort(struct snap *p)
{
    if (!p)
        return;
    if (p->has_quiesced)
        head_unmark(p->h, &p->quiesced);
    head_unmark(p->h, &p->live);
    /* A commit that failed may yet be found in SQLite's log after a crash: its pack stays, until a sweep, whose own
     * commit rules that out. */
    snap_free(p, p->in.in_doubt);
}

static struct snap_mem *find_mem(struct snap *p, const char *slot)
{
    for (size_t i = 0; i < p->n_mem; i++)
        if (!strcmp(p->mem[i].slot, slot))
            return &p->mem[i];
    return NULL;
}

int snap_image(struct snap *p, const char *slot, uint64_t pages, bool from_parent, struct err *e)
{
    uint64_t root = ENTRY_ZERO_WORD;
    struct snap_mem *m;
    bool found = false;
    int r;

    if (!slot_known(slot) || disk_index(slot) >= 0 || find_mem(p, slot) || p->n_mem == MEM_SLOTS || !pages)
        return err_set(e, VT_USAGE, "\"%s\" (%llu pages) cannot be added to a snapshot", slot,
                       (unsigned long long)pages);
    for (size_t i = 0; i < p->h->n_mem && from_parent; i++) {
        const struct mem_slot *was = &p->h->mem[i];
        if (strcmp(was->slot, slot) || !was->whole || was->bytes != pages * VT_PAGE_SIZE)
            continue;
        found = true;
        root = was->root;
    }
    if (from_parent && !found)
        return err_set(e, VT_USAGE, "the snapshot before has no %s of %llu pages to start from", slot,
                       (unsigned long long)pages);
    m = &p->mem[p->n_mem];
    *m = (struct snap_mem){.pages = pages};
    snprintf(m->slot, sizeof m->slot, "%s", slot);
    r = mapw_new(p->h->s, root, pages, &m->map, e);
    p->n_mem += !r;
    return r;
}

int snap_put_pages(struct snap *p, const char *slot, uint64_t page, uint32_t n, const void *data, struct err *e)
{
    struct snap_mem *m = find_mem(p, slot);
    uint64_t aligned[VT_PAGE_SIZE / 8];
    int r = 0;

    if (!m || page > m->pages || n > m->pages - page)
        return err_set(e, VT_USAGE, "%s: page %llu is not in it", slot, (unsigned long long)page);
    if (p->last && p->last != m)
        r = packw_break(p->in.pack, e);
    p->last = m;
    for (uint32_t i = 0; i < n && !r; i++) {
        const uint8_t *src = (const uint8_t *)data + (size_t)i * VT_PAGE_SIZE;
        uint64_t entry = 0;
        if ((uintptr_t)src % 8)
            src = memcpy(aligned, src, sizeof aligned);
        r = intake_page(&p->in, src, &entry, e);
        if (!r)
            r = mapw_put(m->map, page + i, entry, e);
    }
    return r;
}

int snap_put_state(struct snap *p, const void *data, size_t len, struct err *e)
{
    int r;

    if (p->has_state || len > STORE_STATE_MAX)
        return err_set(e, VT_USAGE, "device state of %zu bytes cannot be added to the snapshot", len);
    r = packw_blob(p->in.pack, data, (uint32_t)len, &p->state_index, e);
    p->has_state = !r;
    return r;
}

/* Packs what a disk has within [from, to). */
static int take_disk(struct snap *p, struct disk *d, uint64_t from, uint64_t to, struct changes *ret, struct err *e)
{
    struct pagelist list cleanup(pagelist_release) = {0};
    uint64_t page[VT_PAGE_SIZE / 8];
    int r = disk_collect(d, from, to, &list, e);

    if (!r)
        r = packw_break(p->in.pack, e);
    if (r)
        return r;
    ret->v = calloc(list.n ? list.n : 1, sizeof *ret->v);
    if (!ret->v)
        return out_of_memory(e);
    for (size_t i = 0; i < list.n && !r; i++) {
        uint64_t entry = ENTRY_ZERO_WORD;
        if (list.v[i].batch) {
            r = batch_page(list.v[i].batch, list.v[i].slot, page, e);
            if (!r)
                r = intake_page(&p->in, page, &entry, e);
        }
        ret->v[ret->n++] = (struct change){list.v[i].page, entry};
    }
    return r;
}

static int take_disks(struct snap *p, struct err *e)
{
    int r = 0;

    for (size_t i = 0; i < STORE_DISKS_MAX && !r; i++) {
        struct disk *d = head_disk_at(p->h, i);
        if (!d)
            continue;
        if (p->has_quiesced)
            r = take_disk(p, d, 0, p->quiesced.seq[i], &p->to_quiesced[i], e);
        if (!r)
            r = take_disk(p, d, p->has_quiesced ? p->quiesced.seq[i] : 0, p->live.seq[i], &p->to_live[i], e);
    }
    return r;
}

/* What the transaction gave numbers to. */
struct written {
    int64_t id, next_node;
    uint64_t own, live[STORE_DISKS_MAX], mem[MEM_SLOTS];
};

static int put_changes(struct mapw *m, const struct changes *c, struct err *e)
{
    int r = 0;

    for (size_t i = 0; i < c->n && !r; i++)
        r = mapw_put(m, c->v[i].page, c->v[i].entry, e);
    return r;
}

static int write_disk(struct snap *p, struct db *db, size_t i, struct written *w, struct err *e)
{
    struct disk *d = p->h->disks[i];
    uint64_t quiesced = 0;
    struct mapw *m;
    int r = mapw_new(p->h->s, d->root, d->pages, &m, e);

    if (r)
        return r;
    if (p->has_quiesced) {
        r = put_changes(m, &p->to_quiesced[i], e);
        if (!r)
            r = mapw_write(m, db, p->in.first_frame, &w->next_node, &w->own, &quiesced, e);
    }
    if (!r)
        r = put_changes(m, &p->to_live[i], e);
    if (!r)
        r = mapw_write(m, db, p->in.first_frame, &w->next_node, &w->own, &w->live[i], e);
    mapw_free(m);
    if (!r && !p->fold)
        r = db_run(db, SQL_IMAGE_NEW, e, "zztiiiit", w->id, (int64_t)0, d->slot, (int64_t)d->dev.size,
                   (int64_t)w->live[i], (int64_t)p->has_quiesced, (int64_t)quiesced, d->base_json);
    if (!r)
        r = db_run(db, SQL_IMAGE_SET_HEAD, e, "iiti", (int64_t)d->dev.size, (int64_t)w->live[i], d->slot, p->h->id);
    return r;
}

static int write_memory(struct snap *p, struct db *db, struct written *w, struct err *e)
{
    int r = db_run(db, SQL_IMAGE_RM_MEM, e, "i", p->h->id);

    for (size_t i = 0; i < p->n_mem && !r; i++) {
        struct snap_mem *m = &p->mem[i];
        int64_t bytes = (int64_t)(m->pages * VT_PAGE_SIZE);
        r = mapw_write(m->map, db, p->in.first_frame, &w->next_node, &w->own, &w->mem[i], e);
        if (!r)
            r = db_run(db, SQL_IMAGE_NEW, e, "zztiiiit", w->id, (int64_t)0, m->slot, bytes, (int64_t)w->mem[i],
                       (int64_t)0, (int64_t)0, (char *)NULL);
        if (!r)
            r = db_run(db, SQL_IMAGE_NEW, e, "zztiiiit", (int64_t)0, p->h->id, m->slot, bytes, (int64_t)w->mem[i],
                       (int64_t)0, (int64_t)0, (char *)NULL);
    }
    return r;
}

/* The parent as the row has it: another may have deleted the one that was. */
static int read_parent(struct snap *p, struct db *db, int64_t *ret, struct err *e)
{
    struct rows rows cleanup(rows_done) = {0};
    int r = db_query(db, SQL_HEAD_GET, &rows, e, "i", p->h->machine);

    if (!r)
        r = rows_next(&rows, e);
    if (r < 0)
        return r;
    if (!r || rows_int(&rows, 0) != p->h->id)
        return err_set(e, VT_BUSY, "the machine was removed or reverted by another process");
    *ret = rows_int(&rows, 1);
    return 0;
}

static int insert_snapshot(struct snap *p, struct db *db, const struct snap_meta *meta, int64_t parent, int64_t *ret,
                           struct err *e)
{
    int64_t state = p->has_state ? (int64_t)(p->in.first_frame + p->state_index) : 0;
    struct err mine = {0};
    char uuid[37];
    int r = uuid_make(uuid, e);

    if (r)
        return r;
    r = db_run(db, SQL_SNAP_NEW, &mine, "titztiiittzi", uuid, p->h->machine, meta->name, parent, meta->note,
               clock_wall_ns(), meta->vclock, (int64_t)meta->power, meta->hardware ? meta->hardware : "{}",
               meta->cpu_features ? meta->cpu_features : "", state, (int64_t)0);
    if (r == VT_EXISTS)
        return err_set(e, r, "%s: there is a snapshot of this name already", meta->name);
    if (r)
        return err_set(e, r, "%s", mine.msg);
    *ret = db_last_id(db);
    return 0;
}

static int write_rows(struct snap *p, struct db *db, const struct snap_meta *meta, struct written *w, struct err *e)
{
    char *logs cleanup(cleanup_free) = head_logs_json(p->h, p->live.seq, NULL);
    int64_t parent = 0, since = 0;
    int r = logs ? 0 : out_of_memory(e);

    if (!r)
        r = read_parent(p, db, &parent, e);
    if (!r)
        r = intake_commit(&p->in, db, &w->next_node, e);
    if (!r)
        r = head_keep_past(p->h, db, &p->live, &since, e);
    if (!r && !p->fold)
        r = insert_snapshot(p, db, meta, parent, &w->id, e);
    for (size_t i = 0; i < STORE_DISKS_MAX && !r; i++)
        if (head_disk_at(p->h, i))
            r = write_disk(p, db, i, w, e);
    if (!r && !p->fold)
        r = write_memory(p, db, w, e);
    w->own += packw_bytes(p->in.pack);
    if (!r && !p->fold)
        r = db_run(db, SQL_SNAP_OWN, e, "ii", (int64_t)w->own, w->id);
    if (!r)
        r = db_run(db, SQL_HEAD_SET, e, "ztzi", p->fold ? parent : w->id, logs, since, p->h->id);
    return r ? r : intake_done(&p->in, db, w->next_node, e);
}

/* The head stands on what was written. Cannot fail: logs that it needs no longer are swept later, once nothing that is
 * kept for undo names them. */
static void move_head(struct snap *p, const struct written *w)
{
    struct head *h = p->h;

    for (size_t i = 0; i < STORE_DISKS_MAX; i++) {
        struct hlog *old[REBASE_LOGS];
        struct disk *d = head_disk_at(h, i);
        size_t n;
        if (!d)
            continue;
        if (p->has_quiesced)
            disk_unmark(d, p->quiesced.seq[i]);
        disk_rebase(d, p->live.seq[i], w->live[i], old, &n);
        while (n)
            hlog_unref(old[--n]);
    }
    if (p->fold)
        return;
    h->parent = w->id;
    h->n_mem = p->n_mem;
    for (size_t i = 0; i < p->n_mem; i++) {
        h->mem[i] = (struct mem_slot){.bytes = p->mem[i].pages * VT_PAGE_SIZE, .root = w->mem[i], .whole = true};
        memcpy(h->mem[i].slot, p->mem[i].slot, sizeof h->mem[i].slot);
    }
}

static int commit(struct snap *p, const struct snap_meta *meta, struct written *w, struct err *e)
{
    struct db *db cleanup(cleanup_db) = NULL;
    int r = db_get(p->h->s, &db, e);

    if (!r)
        r = db_begin(db, DB_FULL, e);
    if (!r)
        r = write_rows(p, db, meta, w, e);
    if (r)
        return r;
    p->in.in_doubt = true;
    return db_commit(db, e);
}

static int check_meta(struct snap *p, const struct snap_meta *meta, struct err *e)
{
    struct db *db cleanup(cleanup_db) = NULL;
    struct rows rows cleanup(rows_done) = {0};
    int r = names_check("snapshot", meta->name, e);

    if (!r)
        r = db_get(p->h->s, &db, e);
    if (!r) /* asked again by the commit; here so that nothing is written in vain */
        r = db_query(db, SQL_SNAP_NAMES, &rows, e, "i", p->h->machine);
    while (!r && (r = rows_next(&rows, e)) > 0)
        r = strcmp(rows_text(&rows, 1), meta->name)
                ? 0
                : err_set(e, VT_EXISTS, "%s: there is a snapshot of this name already", meta->name);
    return r;
}

/* Writes what is left, and commits it. Does not free p. */
static int finish(struct snap *p, const struct snap_meta *meta, struct written *w, struct err *e)
{
    int r = take_disks(p, e);

    if (!r)
        r = intake_finish(&p->in, e);
    if (r)
        return r;
    pthread_mutex_lock(&p->h->row);
    r = commit(p, meta, w, e);
    if (!r)
        move_head(p, w);
    pthread_mutex_unlock(&p->h->row);
    return r;
}

int snap_commit(struct snap *p, const struct snap_meta *meta, int64_t *ret_id, struct snap_stats *ret_stats,
                struct err *e)
{
    struct written w = {0};
    int r = check_meta(p, meta, e);

    if (!r)
        r = finish(p, meta, &w, e);
    if (r) {
        snap_abort(p);
        return r;
    }
    *ret_id = w.id;
    if (ret_stats)
        *ret_stats = p->in.stats;
    snap_free(p, true);
    return 0;
}

int head_fold(struct head *h, uint64_t bytes, bool *ret_folded, struct err *e)
{
    struct written w = {0};
    struct head_pos live;
    struct snap *p;
    bool large = false;
    int r;

    *ret_folded = false;
    for (size_t i = 0; i < STORE_DISKS_MAX && !large && !h->throwaway; i++)
        large = head_disk_at(h, i) && disk_wants_fold(h->disks[i], bytes);
    if (!large)
        return 0;
    r = head_seal(h, &live, e);
    if (r)
        return r;
    r = snap_begin(h, NULL, &live, &p, e);
    if (r) {
        head_unmark(h, &live);
        return r;
    }
    p->fold = true;
    r = finish(p, NULL, &w, e);
    if (r) {
        snap_abort(p);
        return r;
    }
    snap_free(p, true);
    *ret_folded = true;
    return 0;
}
