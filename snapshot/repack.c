/* Sparse packs: a pack is never changed, so what is alive in one that is mostly dead is copied, byte for byte, into a
 * new one, and the rows of its frames point there from one transaction on. Numbers of frames stay, so no map changes;
 * who reads meanwhile has the old file open, or looks again. A pack in which anything alive does not verify is left
 * alone: copying must not give damage a new place. */
#include "snapshot/gc.h"

#include <inttypes.h>
#include <stdio.h>
#include "src/base/util.h"
#include "snapshot/format.h"
#include "snapshot/frames.h"
#include "snapshot/pack.h"

struct moving {
    uint64_t num;
    struct frame_ref ref;
};

struct repack {
    struct store *s;
    struct db *db;
    const struct pageidx *live;
    struct moving *v; /* live frames of sparse packs */
    size_t n, cap;
    int64_t *packs; /* those packs */
    size_t n_packs;
    uint64_t gain;
};

static int out_of_memory(struct err *e)
{
    return err_set(e, VT_FAIL, "out of memory");
}

static bool add_frame(struct repack *p, uint64_t num, const struct frame_ref *ref)
{
    if (p->n == p->cap) {
        size_t cap = p->cap ? 2 * p->cap : 64;
        struct moving *v = realloc(p->v, cap * sizeof *v);
        if (!v)
            return false;
        p->v = v;
        p->cap = cap;
    }
    p->v[p->n++] = (struct moving){num, *ref};
    return true;
}

static int pack_bytes(struct repack *p, int64_t pack, uint64_t *ret, struct err *e)
{
    struct rows rows cleanup(rows_done) = {0};
    int r = db_query(p->db, SQL_PACK_HAS, &rows, e, "i", pack);

    if (!r)
        r = rows_next(&rows, e);
    *ret = r > 0 ? (uint64_t)rows_int(&rows, 0) : 0;
    return r < 0 ? r : 0;
}

/* All live frames from p->v[first] on are of this pack: does it pay to move them? Else they are taken out again. */
static int judge(struct repack *p, int64_t pack, size_t first, struct err *e)
{
    uint64_t bytes = 0, alive = PACK_HEADER + PACK_FOOTER;
    bool whole = true;
    int64_t *more;
    int r = p->n > first ? pack_bytes(p, pack, &bytes, e) : 0;

    for (size_t i = first; i < p->n; i++)
        alive += ALIGN_UP((uint64_t)p->v[i].ref.len, (uint64_t)FRAME_ALIGN) + PACK_TRAILER_REC +
                 8 * (uint64_t)p->v[i].ref.pages;
    for (size_t i = first; i < p->n && !r && 2 * alive < bytes && whole; i++) {
        void *raw cleanup(cleanup_free) = NULL;
        whole = !frames_load(p->s, &p->v[i].ref, &raw, NULL);
    }
    if (r || !whole || 2 * alive >= bytes) {
        p->n = first;
        return r;
    }
    more = realloc(p->packs, (p->n_packs + 1) * sizeof *more);
    if (!more)
        return out_of_memory(e);
    p->packs = more;
    p->packs[p->n_packs++] = pack;
    p->gain += bytes - alive;
    return 0;
}

/* Rows come pack by pack. */
static int choose(struct repack *p, struct err *e)
{
    struct rows rows cleanup(rows_done) = {0};
    int64_t pack = 0;
    size_t first = 0;
    int r = db_query(p->db, SQL_FRAME_ALL, &rows, e, "");

    while (!r) {
        struct frame_ref ref;
        r = rows_next(&rows, e);
        if (r < 0)
            return r;
        if (!r || rows_int(&rows, 1) != pack) {
            int judged = judge(p, pack, first, e);
            if (judged || !r)
                return judged;
            pack = rows_int(&rows, 1);
            first = p->n;
        }
        ref = (struct frame_ref){pack, (uint64_t)rows_int(&rows, 2), (uint32_t)rows_int(&rows, 3),
                                 (uint32_t)rows_int(&rows, 4), (uint32_t)rows_int(&rows, 5)};
        r = !pageidx_find(p->live, (uint64_t)rows_int(&rows, 0)) || add_frame(p, (uint64_t)rows_int(&rows, 0), &ref)
                ? 0
                : out_of_memory(e);
    }
    return r;
}

static int copy_frame(struct repack *p, struct packw *w, const struct moving *m, struct err *e)
{
    uint8_t *stored cleanup(cleanup_free) = malloc(m->ref.len);
    struct pack_file *f;
    int r = stored ? pack_open(p->s, m->ref.pack, &f, e) : out_of_memory(e);

    if (r)
        return r;
    r = sio_pread(pack_sfile(f), stored, m->ref.len, m->ref.off, e);
    pack_close(p->s, f);
    return r ? r : packw_stored(w, stored, &m->ref, m->num, e);
}

static int write_rows(struct repack *p, struct packw *w, struct err *e)
{
    int r = db_begin(p->db, DB_FULL, e);

    if (!r)
        r = db_run(p->db, SQL_PACK_NEW, e, "iiii", packw_id(w), (int64_t)packw_bytes(w), (int64_t)0, (int64_t)p->n);
    for (size_t i = 0; i < p->n && !r; i++) {
        const struct frame_ref *to = packw_frame(w, i);
        r = db_run(p->db, SQL_FRAME_MOVE, e, "iii", to->pack, (int64_t)to->off, (int64_t)p->v[i].num);
    }
    for (size_t i = 0; i < p->n_packs && !r; i++) {
        r = db_run(p->db, SQL_GC_FRAMES, e, "i", p->packs[i]);
        if (!r)
            r = db_run(p->db, SQL_GC_PACK, e, "i", p->packs[i]);
    }
    return r ? r : db_run(p->db, SQL_NEXT_PACK_SET, e, "i", packw_id(w) + 1);
}

static int move(struct repack *p, struct gc_stats *stats, struct err *e)
{
    struct packw *w = NULL;
    bool in_doubt = false;
    int r = packw_new(p->s, &w, e);

    for (size_t i = 0; i < p->n && !r; i++)
        r = copy_frame(p, w, &p->v[i], e);
    if (!r)
        r = packw_finish(w, e);
    if (!r)
        r = write_rows(p, w, e);
    if (!r) {
        in_doubt =
            true; /* a commit that fails may yet be found after a crash: the new pack stays, at worst an orphan */
        r = db_commit(p->db, e);
    }
    packw_free(w, in_doubt);
    if (r)
        return r;
    stats->repacked += p->n_packs;
    stats->bytes += p->gain;
    for (size_t i = 0; i < p->n_packs && !r; i++)
        r = unlink_pack(p->s, p->packs[i], e);
    return r;
}

int repack(struct store *s, struct db *db, const struct pageidx *live, bool plan, struct gc_stats *stats, struct err *e)
{
    struct repack p = {.s = s, .db = db, .live = live};
    int r = choose(&p, e);

    if (!r && plan) {
        stats->repacked += p.n_packs;
        stats->bytes += p.gain;
    } else if (!r && p.n_packs) {
        r = move(&p, stats, e);
    }
    free(p.v);
    free(p.packs);
    return r;
}
