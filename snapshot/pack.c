/* Keeps invariant 1: a pack gets a number that no pack had before, is written once from front to back, and is never
 * opened for writing again. Until the database lists it, it is held locked: unlisted and unlocked it is an orphan. */
#include "snapshot/pack.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>
#include "snapshot/format.h"
#include "snapshot/lock.h"
#include "snapshot/store.h"

#define BUFFER (1u << 20)

struct packw {
    struct store *s;
    struct sfile f; /* fd -1 until something is put */
    int64_t id;
    ZSTD_CCtx *z;
    uint8_t *buf; /* bytes from `flushed` on */
    size_t buffered, buf_cap;
    uint64_t flushed;
    struct frame_ref *frames;
    uint64_t n_frames, cap_frames;
    uint64_t *nums; /* of frames that are stored elsewhere; NULL: the row's first_frame numbers them */
    uint64_t cap_nums;
    uint64_t *hashes; /* of all finished frames, in order */
    uint64_t n_hashes, cap_hashes;
    uint8_t *raw; /* the frame begun */
    uint32_t n_raw;
    uint64_t raw_hashes[FRAME_PAGES];
    uint64_t kept; /* packw_read's unpacked frame, index + 1 */
    void *kept_raw;
};

static int out_of_memory(struct err *e)
{
    return err_set(e, VT_FAIL, "out of memory");
}

int packw_new(struct store *s, struct packw **ret, struct err *e)
{
    struct packw *w = calloc(1, sizeof *w);

    if (!w)
        return out_of_memory(e);
    w->s = s;
    w->f.fd = -1;
    w->buf_cap = BUFFER;
    w->z = ZSTD_createCCtx();
    w->buf = malloc(w->buf_cap);
    w->raw = malloc(FRAME_PAGES * VT_PAGE_SIZE);
    if (!w->z || !w->buf || !w->raw) {
        packw_free(w, false);
        return out_of_memory(e);
    }
    *ret = w;
    return 0;
}

static int next_id(struct store *s, int64_t *ret, struct err *e)
{
    struct db *db cleanup(cleanup_db) = NULL;
    struct rows rows cleanup(rows_done) = {0};
    int r = db_get(s, &db, e);

    if (!r)
        r = db_query(db, SQL_COUNTERS, &rows, e, "");
    if (!r)
        r = rows_next(&rows, e);
    if (r > 0)
        *ret = rows_int(&rows, 2);
    return r < 0 ? r : 0;
}

static int create(struct packw *w, struct err *e)
{
    char path[sizeof w->f.path];
    uint8_t *h = w->buf;
    int64_t id = 0;
    int r = next_id(w->s, &id, e);

    if (r)
        return r;
    for (;; id++) { /* others that write now, and orphans, have names that the database does not know */
        struct err mine = {0};
        struct stat st;
        snprintf(path, sizeof path, "packs/%lld.pack", (long long)id);
        r = sio_create(&w->s->io, path, &w->f, &mine);
        if (!r && !lock_byte(w->f.fd, 0, LOCK_EXCLUSIVE, false, NULL) && !fstat(w->f.fd, &st) && st.st_nlink)
            break;
        sio_close(&w->f); /* made, but taken for an orphan before it was locked */
        if (r && r != VT_EXISTS)
            return err_set(e, r, "%s", mine.msg);
    }
    w->id = id;
    memset(h, 0, PACK_HEADER);
    put64(h, PACK_MAGIC);
    put32(h + 8, PACK_FORMAT);
    memcpy(h + 16, w->s->uuid_bytes, 16);
    put64(h + 32, (uint64_t)id);
    put64(h + 56, XXH3_64bits(h, 56));
    w->buffered = PACK_HEADER;
    return 0;
}

static int write_out(struct packw *w, struct err *e)
{
    int r = w->buffered ? sio_pwrite(&w->f, w->buf, w->buffered, w->flushed, e) : 0;

    if (!r) {
        w->flushed += w->buffered;
        w->buffered = 0;
    }
    return r;
}

static int reserve(struct packw *w, size_t n, struct err *e)
{
    uint8_t *buf;
    int r = 0;

    if (w->f.fd < 0)
        r = create(w, e);
    if (!r && w->buffered + n > w->buf_cap)
        r = write_out(w, e);
    if (r || n <= w->buf_cap)
        return r;
    buf = realloc(w->buf, n);
    if (!buf)
        return out_of_memory(e);
    w->buf = buf;
    w->buf_cap = n;
    return 0;
}

static bool grow(void **array, uint64_t n, uint64_t *cap, size_t size)
{
    uint64_t want = *cap ? *cap : 64;
    void *p;

    while (want < n)
        want *= 2;
    if (want == *cap)
        return true;
    p = realloc(*array, want * size);
    if (!p)
        return false;
    *array = p;
    *cap = want;
    return true;
}

static int put_frame(struct packw *w, const void *raw, uint32_t raw_len, const uint64_t *hashes, struct err *e)
{
    uint32_t pages = (raw_len + VT_PAGE_SIZE - 1) / VT_PAGE_SIZE;
    size_t len, padded;
    int r = reserve(w, frame_bound(raw_len) + FRAME_ALIGN, e);

    if (r)
        return r;
    if (!grow((void **)&w->frames, w->n_frames + 1, &w->cap_frames, sizeof *w->frames) ||
        !grow((void **)&w->hashes, w->n_hashes + pages, &w->cap_hashes, sizeof *w->hashes))
        return out_of_memory(e);
    len = frame_encode(w->z, raw, raw_len, hashes, w->buf + w->buffered);
    padded = ALIGN_UP(len, (size_t)FRAME_ALIGN);
    memset(w->buf + w->buffered + len, 0, padded - len);
    w->frames[w->n_frames++] = (struct frame_ref){w->id, w->flushed + w->buffered, (uint32_t)len, pages, raw_len};
    memcpy(w->hashes + w->n_hashes, hashes, pages * sizeof *hashes);
    w->n_hashes += pages;
    w->buffered += padded;
    return 0;
}

int packw_break(struct packw *w, struct err *e)
{
    int r = w->n_raw ? put_frame(w, w->raw, w->n_raw * VT_PAGE_SIZE, w->raw_hashes, e) : 0;

    if (!r)
        w->n_raw = 0;
    return r;
}

int packw_page(struct packw *w, const void *page, uint64_t hash, uint64_t *ret_entry, struct err *e)
{
    int r = w->n_raw == FRAME_PAGES ? packw_break(w, e) : 0;

    if (r)
        return r;
    memcpy(w->raw + (size_t)w->n_raw * VT_PAGE_SIZE, page, VT_PAGE_SIZE);
    w->raw_hashes[w->n_raw] = hash;
    *ret_entry = entry_make(ENTRY_NEW, w->n_frames, w->n_raw++);
    return 0;
}

int packw_blob(struct packw *w, const void *data, uint32_t len, uint64_t *ret_index, struct err *e)
{
    uint32_t pages = (len + VT_PAGE_SIZE - 1) / VT_PAGE_SIZE;
    uint64_t *hashes cleanup(cleanup_free) = NULL;
    int r = packw_break(w, e);

    if (r)
        return r;
    vt_assert(pages <= FRAME_PAGES_MAX);
    hashes = calloc(pages ? pages : 1, sizeof *hashes);
    if (!hashes)
        return out_of_memory(e);
    for (uint32_t i = 0; i < pages; i++) {
        size_t at = (size_t)i * VT_PAGE_SIZE;
        hashes[i] = page_hash((const uint8_t *)data + at, MIN(VT_PAGE_SIZE, len - at));
    }
    r = put_frame(w, data, len, hashes, e);
    if (!r)
        *ret_index = w->n_frames - 1;
    return r;
}

int packw_stored(struct packw *w, const void *stored, const struct frame_ref *ref, uint64_t num, struct err *e)
{
    size_t padded = ALIGN_UP((size_t)ref->len, (size_t)FRAME_ALIGN);
    const uint8_t *hashes = (const uint8_t *)stored + FRAME_HEADER;
    int r = reserve(w, padded, e);

    vt_assert(!w->n_raw && (w->nums || !w->n_frames));
    if (r)
        return r;
    if (!grow((void **)&w->frames, w->n_frames + 1, &w->cap_frames, sizeof *w->frames) ||
        !grow((void **)&w->nums, w->n_frames + 1, &w->cap_nums, sizeof *w->nums) ||
        !grow((void **)&w->hashes, w->n_hashes + ref->pages, &w->cap_hashes, sizeof *w->hashes))
        return out_of_memory(e);
    memcpy(w->buf + w->buffered, stored, ref->len);
    memset(w->buf + w->buffered + ref->len, 0, padded - ref->len);
    for (uint32_t i = 0; i < ref->pages; i++)
        w->hashes[w->n_hashes++] = get64(hashes + 8 * (size_t)i);
    w->nums[w->n_frames] = num;
    w->frames[w->n_frames] = *ref;
    w->frames[w->n_frames].pack = w->id;
    w->frames[w->n_frames++].off = w->flushed + w->buffered;
    w->buffered += padded;
    return 0;
}

int packw_read(struct packw *w, uint64_t entry, void *dst, struct err *e)
{
    uint64_t i = entry_num(entry);
    size_t at = (size_t)entry_page(entry) * VT_PAGE_SIZE;

    if (i == w->n_frames) { /* in the frame begun */
        memcpy(dst, w->raw + at, VT_PAGE_SIZE);
        return 0;
    }
    if (w->kept != i + 1) {
        const struct frame_ref *ref = &w->frames[i];
        uint8_t *stored cleanup(cleanup_free) = malloc(ref->len);
        int r = 0;
        free(w->kept_raw);
        w->kept = 0;
        w->kept_raw = malloc(ref->raw_len);
        if (!stored || !w->kept_raw)
            return out_of_memory(e);
        if (ref->off >= w->flushed)
            memcpy(stored, w->buf + (ref->off - w->flushed), ref->len);
        else
            r = sio_pread(&w->f, stored, ref->len, ref->off, e);
        if (!r)
            r = frame_decode(stored, ref, w->kept_raw, w->f.path, e);
        if (r)
            return r;
        w->kept = i + 1;
    }
    memcpy(dst, (uint8_t *)w->kept_raw + at, VT_PAGE_SIZE);
    return 0;
}

static int put_trailer(struct packw *w, struct err *e)
{
    uint64_t len = w->n_frames * PACK_TRAILER_REC + w->n_hashes * 8, at, n = 0;
    uint8_t *t, *foot;
    int r = reserve(w, len + PACK_FOOTER, e);

    if (r)
        return r;
    at = w->flushed + w->buffered;
    t = w->buf + w->buffered;
    foot = t + len;
    memset(t, 0, len + PACK_FOOTER);
    for (uint64_t i = 0; i < w->n_frames; i++) {
        const struct frame_ref *f = &w->frames[i];
        put64(t, f->off);
        put64(t + 8, w->nums ? w->nums[i] : 0);
        put32(t + 16, f->len);
        put16(t + 20, (uint16_t)f->pages);
        t += PACK_TRAILER_REC;
        for (uint32_t p = 0; p < f->pages; p++, t += 8)
            put64(t, w->hashes[n++]);
    }
    put64(foot, PACK_FOOT_MAGIC);
    put64(foot + 8, at);
    put64(foot + 16, len);
    put64(foot + 24, w->n_frames);
    put64(foot + 32, w->n_hashes);
    put64(foot + 40, XXH3_64bits(foot - len, len));
    put64(foot + 48, XXH3_64bits(foot, 48));
    w->buffered += len + PACK_FOOTER;
    return write_out(w, e);
}

int packw_finish(struct packw *w, struct err *e)
{
    int r = packw_break(w, e);

    if (r || w->f.fd < 0)
        return r;
    r = put_trailer(w, e);
    if (!r)
        r = sio_sync(&w->f, e);
    return r ? r : sio_dirsync(&w->s->io, "packs", e);
}

int64_t packw_id(const struct packw *w)
{
    return w->id;
}

uint64_t packw_bytes(const struct packw *w)
{
    return w->flushed + w->buffered;
}

uint64_t packw_frames(const struct packw *w)
{
    return w->n_frames;
}

const struct frame_ref *packw_frame(const struct packw *w, uint64_t index)
{
    return &w->frames[index];
}

void packw_free(struct packw *w, bool keep)
{
    if (!w)
        return;
    if (w->f.fd >= 0 && !keep)
        sio_unlink(&w->s->io, w->f.path, NULL); /* where that fails too, it is an orphan, which gc removes */
    sio_close(&w->f);
    ZSTD_freeCCtx(w->z);
    free(w->buf);
    free(w->frames);
    free(w->nums);
    free(w->hashes);
    free(w->raw);
    free(w->kept_raw);
    free(w);
}
