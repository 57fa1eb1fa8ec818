/* Keeps invariant 3 for heads: a page is checked against the sum in its batch's header whenever it is read. */
#include "snapshot/hlog.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <xxhash.h>
#include "src/base/units.h"
#include "snapshot/frame.h"
#include "snapshot/store.h"

enum { /* offsets in a batch's header */
       B_MAGIC = 0,
       B_ENTRIES = 4,
       B_SEQ = 8,
       B_NONCE = 16,
       B_PREV = 24,
       B_SYNCED = 32,
       B_PAGES = 40,
       B_FLAGS = 44,
       B_CHECKSUM = 48,
       B_TIME = 56,
};

static int out_of_memory(struct err *e)
{
    return err_set(e, VT_FAIL, "out of memory");
}

void hlog_path(int64_t id, char ret[40])
{
    snprintf(ret, 40, "heads/%lld.log", (long long)id);
}

static struct hlog *hlog_new(struct store *s)
{
    struct hlog *l = calloc(1, sizeof *l);

    if (!l)
        return NULL;
    l->s = s;
    l->refs = 1;
    l->f.fd = -1;
    l->end = LOG_HEADER;
    return l;
}

struct hlog *hlog_ref(struct hlog *l)
{
    pthread_mutex_lock(&l->s->batches);
    l->refs++;
    pthread_mutex_unlock(&l->s->batches);
    return l;
}

void hlog_unref(struct hlog *l)
{
    unsigned left;

    if (!l)
        return;
    pthread_mutex_lock(&l->s->batches);
    left = --l->refs;
    pthread_mutex_unlock(&l->s->batches);
    if (left)
        return;
    sio_close(&l->f);
    free(l);
}

static int write_header(struct hlog *l, struct err *e)
{
    uint8_t h[LOG_HEADER] = {0};

    if (getrandom(&l->nonce, sizeof l->nonce, 0) != sizeof l->nonce)
        return err_set(e, VT_FAIL, "no random numbers: %m");
    put64(h, LOG_MAGIC);
    put32(h + 8, LOG_FORMAT);
    memcpy(h + 16, l->s->uuid_bytes, 16);
    put64(h + 32, (uint64_t)l->id);
    put64(h + 40, l->nonce);
    put64(h + 56, XXH3_64bits(h, 56));
    return sio_pwrite(&l->f, h, sizeof h, 0, e);
}

int hlog_create(struct store *s, int64_t id, struct hlog **ret, struct err *e)
{
    struct hlog *l = hlog_new(s);
    char path[40];
    int r;

    if (!l)
        return out_of_memory(e);
    l->id = id;
    hlog_path(id, path);
    r = sio_create(&s->io, path, &l->f, e);
    if (!r) {
        r = write_header(l, e);
        if (r)
            sio_unlink(&s->io, path, NULL);
    }
    if (r) {
        hlog_unref(l);
        return r;
    }
    *ret = l;
    return 0;
}

int hlog_create_unnamed(struct store *s, struct hlog **ret, struct err *e)
{
    struct hlog *l = hlog_new(s);
    int r;

    if (!l)
        return out_of_memory(e);
    r = sio_create_unnamed(&s->io, "heads", &l->f, e);
    if (!r)
        r = write_header(l, e);
    if (r) {
        hlog_unref(l);
        return r;
    }
    *ret = l;
    return 0;
}

int hlog_open(struct store *s, int64_t id, bool write, struct hlog **ret, struct err *e)
{
    struct hlog *l = hlog_new(s);
    uint8_t h[LOG_HEADER];
    char path[40];
    int r;

    if (!l)
        return out_of_memory(e);
    l->id = id;
    hlog_path(id, path);
    r = sio_open(&s->io, path, write, &l->f, e);
    if (!r)
        r = sio_pread(&l->f, h, sizeof h, 0, e);
    if (!r && (get64(h) != LOG_MAGIC || get32(h + 8) != LOG_FORMAT || memcmp(h + 16, s->uuid_bytes, 16) ||
               get64(h + 32) != (uint64_t)id || get64(h + 56) != XXH3_64bits(h, 56)))
        r = err_set(e, VT_CORRUPT, "%s: offset 0: not the header of this store's log %lld", path, (long long)id);
    if (r) {
        hlog_unref(l);
        return r;
    }
    l->nonce = get64(h + 40);
    *ret = l;
    return 0;
}

int hlog_sync(struct hlog *l, struct err *e)
{
    int r = sio_sync(&l->f, e);

    if (r)
        l->condemned = true;
    else
        l->synced = true;
    return r;
}

struct batch *batch_new(struct store *s, uint64_t seq)
{
    struct batch *b = calloc(1, sizeof *b);

    if (!b)
        return NULL;
    b->s = s;
    b->refs = 1;
    b->seq = seq;
    return b;
}

struct batch *batch_ref(struct batch *b)
{
    pthread_mutex_lock(&b->s->batches);
    b->refs++;
    pthread_mutex_unlock(&b->s->batches);
    return b;
}

void batch_unref(struct batch *b)
{
    unsigned left;

    if (!b)
        return;
    pthread_mutex_lock(&b->s->batches);
    left = --b->refs;
    pthread_mutex_unlock(&b->s->batches);
    if (left)
        return;
    hlog_unref(b->log);
    free(b->entries);
    free(b->sums);
    free(b->data);
    free(b);
}

static bool room(void **array, uint32_t n, uint32_t *cap, size_t size)
{
    uint32_t want = *cap ? *cap * 2 : 16;
    void *p;

    if (n < *cap)
        return true;
    p = realloc(*array, want * size);
    if (!p)
        return false;
    *array = p;
    *cap = want;
    return true;
}

bool batch_add(struct batch *b, uint64_t page, uint32_t count, enum batch_kind kind, const void *data,
               uint32_t *ret_slot)
{
    if (!room((void **)&b->entries, b->n_entries, &b->cap_entries, sizeof *b->entries) ||
        (data && !room((void **)&b->data, b->n_pages, &b->cap_pages, VT_PAGE_SIZE)))
        return false;
    b->entries[b->n_entries++] = (struct batch_entry){page, count, kind, 0};
    if (data) {
        memcpy(b->data + (size_t)b->n_pages * VT_PAGE_SIZE, data, VT_PAGE_SIZE);
        *ret_slot = b->n_pages++;
    }
    return true;
}

bool batch_full(const struct batch *b)
{
    return b->n_pages >= BATCH_PAGES_MAX || b->n_entries >= BATCH_ENTRIES_MAX;
}

static uint64_t head_size(uint32_t entries)
{
    return ALIGN_UP(BATCH_HEADER + (uint64_t)entries * BATCH_ENTRY, (uint64_t)BATCH_ALIGN);
}

uint64_t batch_size(const struct batch *b)
{
    return head_size(b->n_entries) + (uint64_t)b->n_pages * VT_PAGE_SIZE;
}

static void place(struct batch *b, struct hlog *l)
{
    hlog_ref(l);
    pthread_mutex_lock(&b->s->batches);
    b->log = l;
    b->off = l->end;
    b->data_off = b->off + head_size(b->n_entries);
    pthread_mutex_unlock(&b->s->batches);
    l->end += batch_size(b);
    l->next_seq = b->seq + 1;
}

bool batch_close(struct batch *b, struct hlog *l)
{
    uint32_t slot = 0;

    b->sums = malloc((b->n_pages ? b->n_pages : 1) * sizeof *b->sums);
    if (!b->sums)
        return false;
    for (uint32_t i = 0; i < b->n_entries; i++) {
        if (b->entries[i].kind != BATCH_DATA)
            continue;
        b->entries[i].sum = page_hash(b->data + (size_t)slot * VT_PAGE_SIZE, VT_PAGE_SIZE);
        b->sums[slot++] = b->entries[i].sum;
    }
    place(b, l);
    return true;
}

int batch_move(struct batch *b, struct hlog *to, struct err *e)
{
    size_t len = (size_t)b->n_pages * VT_PAGE_SIZE;
    uint8_t *data = malloc(len ? len : 1);
    struct hlog *from = b->log;
    int r = data ? 0 : out_of_memory(e);

    for (uint32_t i = 0; i < b->n_pages && !r; i++)
        r = batch_page(b, i, data + (size_t)i * VT_PAGE_SIZE, e);
    if (r) {
        free(data);
        return r;
    }
    pthread_mutex_lock(&b->s->batches);
    free(b->data);
    b->data = data;
    b->written = false;
    pthread_mutex_unlock(&b->s->batches);
    place(b, to);
    hlog_unref(from);
    return 0;
}

int batch_write(struct batch *b, uint64_t prev, uint64_t synced, unsigned flags, struct err *e)
{
    size_t len = head_size(b->n_entries);
    uint8_t *h cleanup(cleanup_free) = calloc(1, len), *p;
    struct iovec iov[2] = {{h, len}, {b->data, (size_t)b->n_pages * VT_PAGE_SIZE}};
    uint8_t *data;
    int r;

    if (!h)
        return out_of_memory(e);
    put32(h + B_MAGIC, BATCH_MAGIC);
    put32(h + B_ENTRIES, b->n_entries);
    put64(h + B_SEQ, b->seq);
    put64(h + B_NONCE, b->log->nonce);
    put64(h + B_PREV, prev);
    put64(h + B_SYNCED, synced);
    put32(h + B_PAGES, b->n_pages);
    put32(h + B_FLAGS, flags);
    put64(h + B_TIME, (uint64_t)clock_wall_ns());
    p = h + BATCH_HEADER;
    for (uint32_t i = 0; i < b->n_entries; i++, p += BATCH_ENTRY) {
        put64(p, b->entries[i].page);
        put32(p + 8, b->entries[i].count);
        put32(p + 12, b->entries[i].kind);
        put64(p + 16, b->entries[i].sum);
    }
    b->checksum = XXH3_64bits(h, BATCH_HEADER + (size_t)b->n_entries * BATCH_ENTRY);
    put64(h + B_CHECKSUM, b->checksum);
    r = sio_pwritev(&b->log->f, iov, b->n_pages ? 2 : 1, b->off, e);
    if (r)
        return r;
    b->written = true;
    b->log->dirty = true;
    pthread_mutex_lock(&b->s->batches);
    data = steal(&b->data);
    pthread_mutex_unlock(&b->s->batches);
    free(data);
    return 0;
}

int batch_page(struct batch *b, uint32_t slot, void *dst, struct err *e)
{
    struct hlog *l = NULL;
    uint64_t off;
    int r;

    vt_assert(slot < b->n_pages);
    pthread_mutex_lock(&b->s->batches);
    off = b->data_off + (uint64_t)slot * VT_PAGE_SIZE;
    if (b->data) {
        memcpy(dst, b->data + (size_t)slot * VT_PAGE_SIZE, VT_PAGE_SIZE);
    } else {
        l = b->log;
        l->refs++;
    }
    pthread_mutex_unlock(&b->s->batches);
    if (!l)
        return 0;
    r = sio_pread(&l->f, dst, VT_PAGE_SIZE, off, e);
    if (!r && page_hash(dst, VT_PAGE_SIZE) != b->sums[slot])
        r = err_set(e, VT_CORRUPT, "%s: offset %llu: page does not match its checksum", l->f.path,
                    (unsigned long long)off);
    hlog_unref(l);
    return r;
}

/* The entries of a batch whose header was verified. False: impossible ones. */
static bool parse_entries(struct batch *b, const uint8_t *p)
{
    uint32_t slot = 0;

    for (uint32_t i = 0; i < b->n_entries; i++, p += BATCH_ENTRY) {
        struct batch_entry *x = &b->entries[i];
        uint32_t kind = get32(p + 12);
        *x = (struct batch_entry){get64(p), get32(p + 8), (enum batch_kind)kind, get64(p + 16)};
        if (kind > BATCH_DISCARD || (kind == BATCH_DATA && (x->count != 1 || slot >= b->n_pages)))
            return false;
        if (kind == BATCH_DATA)
            b->sums[slot++] = x->sum;
    }
    return slot == b->n_pages;
}

int hlog_read_batch(struct hlog *l, uint64_t off, uint64_t size, struct batch **ret, struct batch_head *ret_head,
                    struct err *e)
{
    uint8_t head[BATCH_HEADER], *all cleanup(cleanup_free) = NULL;
    uint32_t entries, pages;
    struct batch *b;
    size_t len;
    uint64_t sum;
    int r;

    *ret = NULL;
    if (off > size || size - off < BATCH_HEADER)
        return 0;
    r = sio_pread(&l->f, head, sizeof head, off, e);
    if (r)
        return r;
    entries = get32(head + B_ENTRIES);
    pages = get32(head + B_PAGES);
    if (get32(head) != BATCH_MAGIC || get64(head + B_NONCE) != l->nonce || entries > BATCH_ENTRIES_MAX ||
        pages > BATCH_PAGES_MAX || head_size(entries) + (uint64_t)pages * VT_PAGE_SIZE > size - off)
        return 0;
    len = BATCH_HEADER + (size_t)entries * BATCH_ENTRY;
    all = malloc(len);
    if (!all)
        return out_of_memory(e);
    r = sio_pread(&l->f, all, len, off, e);
    if (r)
        return r;
    sum = get64(all + B_CHECKSUM);
    put64(all + B_CHECKSUM, 0);
    if (XXH3_64bits(all, len) != sum)
        return 0;
    b = batch_new(l->s, get64(all + B_SEQ));
    if (b) {
        b->n_entries = entries;
        b->n_pages = pages;
        b->entries = calloc(entries ? entries : 1, sizeof *b->entries);
        b->sums = calloc(pages ? pages : 1, sizeof *b->sums);
    }
    if (!b || !b->entries || !b->sums) {
        batch_unref(b);
        return out_of_memory(e);
    }
    if (!parse_entries(b, all + BATCH_HEADER)) {
        batch_unref(b);
        return err_set(e, VT_CORRUPT, "%s: offset %llu: batch with impossible entries", l->f.path,
                       (unsigned long long)off);
    }
    b->log = hlog_ref(l);
    b->off = off;
    b->data_off = off + head_size(entries);
    b->checksum = sum;
    b->time = (int64_t)get64(all + B_TIME);
    b->synced = get64(all + B_SYNCED);
    b->flags = get32(all + B_FLAGS);
    b->written = true;
    *ret_head = (struct batch_head){b->seq, get64(all + B_PREV), get64(all + B_SYNCED), get32(all + B_FLAGS)};
    *ret = b;
    return 0;
}
