#include "snapshot/frames.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>
#include "snapshot/base.h"
#include "snapshot/format.h"
#include "snapshot/store.h"

#define FRAMES_KEPT 128 /* of 64 KiB */
#define PACKS_KEPT  64

struct pack_file {
    struct lru_item lru;
    struct sfile f;
};

static void free_pack(struct lru_item *i)
{
    sio_close(&((struct pack_file *)i)->f);
    free(i);
}

static void free_frame(struct lru_item *i)
{
    free(i);
}

bool frames_cache_init(struct store *s)
{
    bool frames = lru_init(&s->frames, FRAMES_KEPT, free_frame);
    bool packs = lru_init(&s->packs, PACKS_KEPT, free_pack);

    return frames && packs; /* both are ready to be released, whichever failed */
}

const struct sfile *pack_sfile(const struct pack_file *p)
{
    return &p->f;
}

int pack_open(struct store *s, int64_t id, struct pack_file **ret, struct err *e)
{
    struct pack_file *p = (struct pack_file *)lru_get(&s->packs, (uint64_t)id);
    uint8_t head[PACK_HEADER];
    char path[sizeof p->f.path];
    int r;

    if (p) {
        *ret = p;
        return 0;
    }
    p = calloc(1, sizeof *p);
    if (!p)
        return err_set(e, VT_FAIL, "out of memory");
    p->lru.key = (uint64_t)id;
    p->f.fd = -1;
    snprintf(path, sizeof path, "packs/%lld.pack", (long long)id);
    r = sio_open(&s->io, path, false, &p->f, e);
    if (!r)
        r = sio_pread(&p->f, head, sizeof head, 0, e);
    if (!r && (get64(head) != PACK_MAGIC || get32(head + 8) != PACK_FORMAT || memcmp(head + 16, s->uuid_bytes, 16) ||
               get64(head + 32) != (uint64_t)id || get64(head + 56) != XXH3_64bits(head, 56)))
        r = err_set(e, VT_CORRUPT, "%s: offset 0: not the header of this store's pack %lld", path, (long long)id);
    if (r) {
        free_pack(&p->lru);
        return r;
    }
    *ret = (struct pack_file *)lru_add(&s->packs, &p->lru);
    return 0;
}

void pack_close(struct store *s, struct pack_file *p)
{
    lru_put(&s->packs, &p->lru);
}

static int read_frame(struct pack_file *p, const struct frame_ref *ref, void **ret, struct err *e)
{
    uint8_t *stored cleanup(cleanup_free) = malloc(ref->len);
    void *raw cleanup(cleanup_free) = malloc(ref->raw_len ? ref->raw_len : 1);
    int r;

    if (!stored || !raw)
        return err_set(e, VT_FAIL, "out of memory");
    r = sio_pread(&p->f, stored, ref->len, ref->off, e);
    if (!r)
        r = frame_decode(stored, ref, raw, p->f.path, e);
    if (!r)
        *ret = steal(&raw);
    return r;
}

int frames_load(struct store *s, const struct frame_ref *ref, void **ret, struct err *e)
{
    struct pack_file *p;
    struct err mine = {0};
    int r;

    if (ref->pages > FRAME_PAGES_MAX || ref->raw_len > FRAME_PAGES_MAX * VT_PAGE_SIZE ||
        ref->len > frame_bound(ref->raw_len) || ref->len < FRAME_HEADER + 8 * ref->pages)
        return err_set(e, VT_CORRUPT, "store.db: a frame at offset %llu of pack %lld has impossible sizes",
                       (unsigned long long)ref->off, (long long)ref->pack);
    r = pack_open(s, ref->pack, &p, &mine);
    if (r) /* a row names it: it must be there */
        return err_set(e, r == VT_NOENT ? VT_CORRUPT : r, "%s", mine.msg);
    r = read_frame(p, ref, ret, e);
    pack_close(s, p);
    return r;
}

static int find(struct store *s, uint64_t num, struct frame_ref *ret, struct err *e)
{
    struct db *db cleanup(cleanup_db) = NULL;
    struct rows rows cleanup(rows_done) = {0};
    int r = db_get(s, &db, e);

    if (!r)
        r = db_query(db, SQL_FRAME_GET, &rows, e, "i", (int64_t)num);
    if (!r)
        r = rows_next(&rows, e);
    if (r < 0)
        return r;
    if (!r)
        return err_set(e, VT_CORRUPT, "store.db: frame %llu is missing", (unsigned long long)num);
    *ret = (struct frame_ref){
        .pack = rows_int(&rows, 0),
        .off = (uint64_t)rows_int(&rows, 1),
        .len = (uint32_t)rows_int(&rows, 2),
        .pages = (uint32_t)rows_int(&rows, 3),
        .raw_len = (uint32_t)rows_int(&rows, 4),
    };
    return 0;
}

/* gc may move a frame to another pack while we look: on a missing pack the row is asked again, once. */
static int find_and_load(struct store *s, uint64_t num, struct frame_ref *ref, void **ret, struct err *e)
{
    struct frame_ref again;
    int r = find(s, num, ref, e);

    if (!r)
        r = frames_load(s, ref, ret, e);
    if (r != VT_CORRUPT || find(s, num, &again, NULL) || again.pack == ref->pack)
        return r;
    if (e)
        *e = (struct err){0};
    *ref = again;
    return frames_load(s, ref, ret, e);
}

int frames_get(struct store *s, uint64_t num, struct frame_data **ret, struct err *e)
{
    struct frame_data *f = (struct frame_data *)lru_get(&s->frames, num);
    void *raw cleanup(cleanup_free) = NULL;
    struct frame_ref ref;
    int r;

    if (f) {
        *ret = f;
        return 0;
    }
    r = find_and_load(s, num, &ref, &raw, e);
    if (r)
        return r;
    f = malloc(sizeof *f + ref.raw_len);
    if (!f)
        return err_set(e, VT_FAIL, "out of memory");
    f->lru.key = num;
    f->raw_len = ref.raw_len;
    memcpy(f->data, raw, ref.raw_len);
    *ret = (struct frame_data *)lru_add(&s->frames, &f->lru);
    return 0;
}

void frames_put(struct store *s, struct frame_data *f)
{
    lru_put(&s->frames, &f->lru);
}

int frames_page(struct store *s, uint64_t entry, void *dst, struct err *e)
{
    size_t at = (size_t)entry_page(entry) * VT_PAGE_SIZE;
    struct frame_data *f;
    int r = 0;

    if (entry_store(entry)) {
        struct store *base;
        r = store_base(s, entry_store(entry), &base, e);
        return r ? r : frames_page(base, entry & ~(UINT64_C(0xff) << 52), dst, e);
    }
    if (entry_kind(entry) != ENTRY_FRAME)
        return err_set(e, VT_CORRUPT, "store.db: a map entry (%016llx) names no frame", (unsigned long long)entry);
    r = frames_get(s, entry_num(entry), &f, e);
    if (r)
        return r;
    if (at + VT_PAGE_SIZE <= f->raw_len)
        memcpy(dst, f->data + at, VT_PAGE_SIZE);
    else
        r = err_set(e, VT_CORRUPT, "store.db: a map entry names page %u of frame %llu, which has %u bytes",
                    entry_page(entry), (unsigned long long)entry_num(entry), f->raw_len);
    frames_put(s, f);
    return r;
}

int frames_blob(struct store *s, uint64_t num, void **ret, size_t *ret_len, struct err *e)
{
    struct frame_ref ref;
    int r = find_and_load(s, num, &ref, ret, e);

    if (!r)
        *ret_len = ref.raw_len;
    return r;
}

static int bad_trailer(const struct pack_file *p, uint64_t off, struct err *e)
{
    return err_set(e, VT_CORRUPT, "%s: offset %llu: the pack's trailer is damaged", p->f.path, (unsigned long long)off);
}

static int walk_trailer(struct pack_file *p, int64_t id, const uint8_t *t, uint64_t len, uint64_t at, uint64_t frames,
                        int (*fn)(void *, uint64_t, const struct trailer_frame *), void *opaque, struct err *e)
{
    const uint8_t *q = t;

    for (uint64_t i = 0; i < frames; i++) {
        struct trailer_frame f = {.ref.pack = id};
        int r;
        if ((uint64_t)(t + len - q) < PACK_TRAILER_REC)
            return bad_trailer(p, at, e);
        f.ref.off = get64(q);
        f.num = get64(q + 8);
        f.ref.len = get32(q + 16);
        f.ref.pages = get16(q + 20);
        f.hashes = q + PACK_TRAILER_REC;
        if ((uint64_t)(t + len - f.hashes) < 8 * (uint64_t)f.ref.pages)
            return bad_trailer(p, at, e);
        q = f.hashes + 8 * (size_t)f.ref.pages;
        r = fn(opaque, i, &f);
        if (r)
            return r;
    }
    return 0;
}

int pack_trailer(struct store *s, int64_t id, int (*fn)(void *opaque, uint64_t index, const struct trailer_frame *f),
                 void *opaque, struct err *e)
{
    uint8_t *t cleanup(cleanup_free) = NULL, foot[PACK_FOOTER];
    uint64_t size = 0, at = 0, len = 0;
    struct pack_file *p;
    int r = pack_open(s, id, &p, e);

    if (r)
        return r;
    r = sio_size(&p->f, &size, e);
    if (!r && size < PACK_HEADER + PACK_FOOTER)
        r = bad_trailer(p, size, e);
    if (!r)
        r = sio_pread(&p->f, foot, sizeof foot, size - PACK_FOOTER, e);
    if (!r) {
        at = get64(foot + 8);
        len = get64(foot + 16);
        if (get64(foot) != PACK_FOOT_MAGIC || get64(foot + 48) != XXH3_64bits(foot, 48) || at > size ||
            len != size - PACK_FOOTER - at)
            r = bad_trailer(p, size - PACK_FOOTER, e);
    }
    if (!r && !(t = malloc(len ? len : 1)))
        r = err_set(e, VT_FAIL, "out of memory");
    if (!r)
        r = sio_pread(&p->f, t, len, at, e);
    if (!r && XXH3_64bits(t, len) != get64(foot + 40))
        r = bad_trailer(p, at, e);
    if (!r)
        r = walk_trailer(p, id, t, len, at, get64(foot + 24), fn, opaque, e);
    pack_close(s, p);
    return r;
}
