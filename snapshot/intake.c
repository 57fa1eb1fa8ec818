#include "snapshot/intake.h"

#include <string.h>
#include "snapshot/dedup.h"
#include "snapshot/format.h"
#include "snapshot/frames.h"
#include "snapshot/lock.h"
#include "snapshot/map.h"
#include "snapshot/store.h"

static int out_of_memory(struct err *e)
{
    return err_set(e, VT_FAIL, "out of memory");
}

/* Where gc ran since, what is in memory speaks of frames that may be gone. */
static int forget_swept(struct store *s, struct err *e)
{
    struct db *db cleanup(cleanup_db) = NULL;
    struct rows rows cleanup(rows_done) = {0};
    bool old;
    int r = db_get(s, &db, e);

    if (!r)
        r = db_query(db, SQL_GC_SWEEPS, &rows, e, "");
    if (!r)
        r = rows_next(&rows, e);
    if (r < 0)
        return r;
    pthread_mutex_lock(&s->batches);
    old = s->sweeps != rows_int(&rows, 0);
    s->sweeps = rows_int(&rows, 0);
    pthread_mutex_unlock(&s->batches);
    if (old)
        dedup_clear(s->dedup);
    return 0;
}

int intake_init(struct intake *t, struct store *s, struct err *e)
{
    int r;

    *t = (struct intake){.s = s, .lock = -1, .mine = dedup_new()};
    r = t->mine ? packw_new(s, &t->pack, e) : out_of_memory(e);
    if (!r)
        r = lock_open(s, &t->lock, e);
    if (!r)
        r = lock_byte(t->lock, LOCK_WRITERS, LOCK_SHARED, true, e);
    if (!r)
        r = forget_swept(s, e);
    if (!r)
        r = dedup_refresh(s->dedup, s, e);
    if (r)
        intake_release(t, false);
    return r;
}

void intake_release(struct intake *t, bool keep)
{
    packw_free(t->pack, keep);
    dedup_free(t->mine);
    free(t->reused);
    if (t->lock >= 0)
        close(t->lock);
    *t = (struct intake){.lock = -1};
}

static int note_reused(struct intake *t, uint64_t num, struct err *e)
{
    if (t->n_reused && t->reused[t->n_reused - 1] == num)
        return 0;
    if (t->n_reused == t->cap_reused) {
        size_t cap = t->cap_reused ? 2 * t->cap_reused : 256;
        uint64_t *v = realloc(t->reused, cap * sizeof *v);
        if (!v)
            return out_of_memory(e);
        t->reused = v;
        t->cap_reused = cap;
    }
    t->reused[t->n_reused++] = num;
    return 0;
}

/* Does the page that entry names have these very bytes? One that cannot be read does not. */
static bool same_bytes(struct intake *t, uint64_t entry, const void *page)
{
    uint8_t other[VT_PAGE_SIZE];
    int r = entry_kind(entry) == ENTRY_NEW ? packw_read(t->pack, entry, other, NULL)
                                           : frames_page(t->s, entry, other, NULL);

    return !r && !memcmp(page, other, VT_PAGE_SIZE);
}

int intake_page(struct intake *t, const void *page, uint64_t *ret_entry, struct err *e)
{
    uint64_t hash, entry;
    int r;

    t->stats.pages++;
    if (page_is_zero(page)) {
        t->stats.zero_pages++;
        *ret_entry = ENTRY_ZERO_WORD;
        return 0;
    }
    hash = page_hash(page, VT_PAGE_SIZE);
    entry = dedup_find(t->mine, hash);
    if (!entry)
        entry = dedup_find(t->s->dedup, hash);
    if (entry && same_bytes(t, entry, page)) {
        t->stats.shared_pages++;
        *ret_entry = entry;
        return entry_kind(entry) == ENTRY_FRAME ? note_reused(t, entry_num(entry), e) : 0;
    }
    r = packw_page(t->pack, page, hash, &entry, e);
    if (r)
        return r;
    dedup_add(t->mine, hash, entry);
    t->stats.new_pages++;
    *ret_entry = entry;
    return 0;
}

int intake_finish(struct intake *t, struct err *e)
{
    return packw_finish(t->pack, e);
}

static int check_reused(struct intake *t, struct db *db, struct err *e)
{
    for (size_t i = 0; i < t->n_reused; i++) {
        struct rows rows cleanup(rows_done) = {0};
        int r = db_query(db, SQL_FRAME_GET, &rows, e, "i", (int64_t)t->reused[i]);
        if (!r)
            r = rows_next(&rows, e);
        if (r < 0)
            return r;
        if (!r)
            return err_set(e, VT_BUSY, "pages that the snapshot shares were swept away meanwhile; take it again");
    }
    return 0;
}

int intake_commit(struct intake *t, struct db *db, int64_t *ret_next_node, struct err *e)
{
    struct rows rows cleanup(rows_done) = {0};
    uint64_t n = packw_frames(t->pack);
    int r = check_reused(t, db, e);

    if (!r)
        r = db_query(db, SQL_COUNTERS, &rows, e, "");
    if (!r)
        r = rows_next(&rows, e);
    if (r < 0)
        return r;
    *ret_next_node = rows_int(&rows, 0);
    t->first_frame = (uint64_t)rows_int(&rows, 1);
    if (t->first_frame + n > ENTRY_NUM_MAX)
        return err_set(e, VT_FAIL, "the store has given out all frame numbers");
    if (!n)
        return 0;
    r = db_run(db, SQL_PACK_NEW, e, "iiii", packw_id(t->pack), (int64_t)packw_bytes(t->pack), (int64_t)t->first_frame,
               (int64_t)n);
    for (uint64_t i = 0; i < n && !r; i++) {
        const struct frame_ref *f = packw_frame(t->pack, i);
        r = db_run(db, SQL_FRAME_NEW, e, "iiiiii", (int64_t)(t->first_frame + i), f->pack, (int64_t)f->off,
                   (int64_t)f->len, (int64_t)f->pages, (int64_t)f->raw_len);
    }
    t->stats.new_bytes = packw_bytes(t->pack);
    return r;
}

int intake_done(struct intake *t, struct db *db, int64_t next_node, struct err *e)
{
    return db_run(db, SQL_COUNTERS_SET, e, "iii", next_node, (int64_t)(t->first_frame + packw_frames(t->pack)),
                  packw_id(t->pack) + 1);
}
