/* The block device of a disk's head. Keeps invariant 5: a flush returns when the log that has the writes, its name, and
 * the row that names it are durable. */
#include "snapshot/disk.h"

#include <string.h>
#include "snapshot/frames.h"
#include "snapshot/head.h"
#include "snapshot/map.h"
#include "snapshot/store.h"

#define PENDING_MAX 16 /* batches of up to 1 MiB that a failing host disk lets wait in memory */

static int out_of_memory(struct err *e)
{
    return err_set(e, VT_FAIL, "out of memory");
}

/* What the layers say of a page: *ret_batch is a reference, or NULL for zero. False: nothing. Under d->lock. */
static bool find_in_layers(struct disk *d, uint64_t page, struct batch **ret_batch, uint32_t *ret_slot)
{
    for (struct layer *l = d->top; l; l = l->older) {
        struct loc *x = pageidx_find(&l->idx, page);
        if (!x)
            continue;
        *ret_batch = x->batch ? batch_ref(x->batch) : NULL;
        *ret_slot = x->slot;
        return true;
    }
    return false;
}

int disk_read_page(struct disk *d, uint64_t page, void *dst, struct err *e)
{
    struct batch *b = NULL;
    uint32_t slot;
    uint64_t root;
    bool found;
    int r;

    pthread_mutex_lock(&d->lock);
    found = find_in_layers(d, page, &b, &slot);
    root = d->root;
    pthread_mutex_unlock(&d->lock);
    if (!found)
        return base_read_page(d->s, root, d->base, page, dst, e);
    if (!b) {
        memset(dst, 0, VT_PAGE_SIZE);
        return 0;
    }
    r = batch_page(b, slot, dst, e);
    batch_unref(b);
    return r;
}

int disk_known_zero(struct disk *d, uint64_t page, bool *ret, struct err *e)
{
    struct batch *b = NULL;
    uint64_t root, entry;
    uint32_t slot;
    bool found;
    int r;

    pthread_mutex_lock(&d->lock);
    found = find_in_layers(d, page, &b, &slot);
    root = d->root;
    pthread_mutex_unlock(&d->lock);
    *ret = found && !b;
    batch_unref(b);
    if (found)
        return 0;
    r = map_lookup(d->s, root, page, 1, &entry, e);
    if (!r)
        *ret = entry_kind(entry) == ENTRY_ZERO || (entry_kind(entry) == ENTRY_HOLE && !d->base);
    return r;
}

/* Writes the first pending batch; *ret_more: there may be others. */
static int write_one(struct disk *d, bool flush, bool *ret_more, struct err *e)
{
    struct batch *b;
    unsigned flags = d->restart ? BATCH_RESTART : 0;
    int r;

    pthread_mutex_lock(&d->lock);
    b = d->pending ? batch_ref(d->pending) : NULL;
    flags |= b && flush && !b->next ? BATCH_FLUSHED : 0;
    pthread_mutex_unlock(&d->lock);
    *ret_more = b;
    if (!b)
        return 0;
    r = batch_write(b, d->prev, d->synced, flags, e);
    if (!r) {
        d->prev = b->checksum;
        d->restart = false;
        pthread_mutex_lock(&d->lock);
        if (d->pending == b) { /* else a snapshot made it needless meanwhile */
            d->pending = b->next;
            if (!d->pending)
                d->pending_end = &d->pending;
            batch_unref(b);
        }
        pthread_mutex_unlock(&d->lock);
    }
    batch_unref(b);
    return r;
}

int disk_write_out(struct disk *d, bool flush, struct err *e)
{
    bool more = true;
    int r = 0;

    while (!r && more)
        r = write_one(d, flush, &more, e);
    return r;
}

/* After a failed sync: everything that it should have made durable goes to another log, read back and verified. Marks
 * wait for it: a head in this state has worse to wait for. */
static int move_unsynced(struct disk *d, struct err *e)
{
    struct batch **v cleanup(cleanup_free) = NULL, **end;
    struct hlog *to;
    size_t n = 0;
    int r = head_replace_log(d->h, d, e);

    if (r)
        return r;
    pthread_mutex_lock(&d->lock);
    r = disk_close_open(d, e);
    to = d->logs[d->current];
    for (struct layer *l = d->top; l; l = l->older)
        n += l->n_batches;
    v = calloc(n ? n : 1, sizeof(struct batch *));
    if (!v && !r)
        r = out_of_memory(e);
    n = 0;
    for (struct layer *l = d->top; l && !r; l = l->older) /* newest first */
        for (size_t i = l->n_batches; i-- > 0;)
            if (l->batches[i]->seq >= d->synced)
                v[n++] = l->batches[i];
    for (size_t i = n; i-- > 0 && !r;)
        r = batch_move(v[i], to, e);
    if (!r) {
        while (d->pending) {
            struct batch *b = d->pending;
            d->pending = b->next;
            b->next = NULL;
            batch_unref(b);
        }
        end = &d->pending;
        for (size_t i = n; i-- > 0; end = &v[i]->next)
            *end = batch_ref(v[i]);
        *end = NULL;
        d->pending_end = end;
        d->prev = d->synced_prev;
        d->restart = true;
    }
    pthread_mutex_unlock(&d->lock);
    return r;
}

/* Syncs all logs that were written to. One that fails is condemned. */
static int sync_logs(struct disk *d, struct err *e)
{
    struct hlog **v cleanup(cleanup_free) = NULL;
    size_t n;
    int r = 0;

    pthread_mutex_lock(&d->lock);
    n = d->n_logs;
    v = calloc(n ? n : 1, sizeof(struct hlog *));
    for (size_t i = 0; i < n && v; i++)
        v[i] = hlog_ref(d->logs[i]);
    pthread_mutex_unlock(&d->lock);
    if (!v)
        return out_of_memory(e);
    for (size_t i = 0; i < n; i++) {
        if (!r && v[i]->dirty && !v[i]->condemned) {
            r = hlog_sync(v[i], e);
            v[i]->dirty = r;
        }
        hlog_unref(v[i]);
    }
    return r;
}

/* Is something that is not known to be durable in a log that cannot be trusted? */
static bool any_condemned(struct disk *d)
{
    bool any = false;

    pthread_mutex_lock(&d->lock);
    for (size_t i = 0; i < d->n_logs; i++)
        any |= d->logs[i]->condemned;
    if (any) {
        any = false;
        for (struct layer *l = d->top; l; l = l->older)
            for (size_t i = 0; i < l->n_batches; i++)
                any |= l->batches[i]->seq >= d->synced && l->batches[i]->log && l->batches[i]->log->condemned;
    }
    pthread_mutex_unlock(&d->lock);
    return any;
}

int disk_flush(struct disk *d, struct err *e)
{
    uint64_t upto;
    int r;

    if (d->h->throwaway)
        return 0;
    pthread_mutex_lock(&d->lock);
    r = disk_close_open(d, e);
    upto = d->next_seq;
    pthread_mutex_unlock(&d->lock);
    if (!r && any_condemned(d)) /* an earlier flush failed here, and could not go elsewhere */
        r = move_unsynced(d, e);
    if (!r)
        r = disk_write_out(d, true, e);
    if (r || (d->h->flags & HEAD_UNSAFE))
        return r;
    if (sync_logs(d, NULL)) {
        r = move_unsynced(d, e);
        if (!r)
            r = disk_write_out(d, true, e);
        if (!r)
            r = sync_logs(d, e);
    }
    if (!r)
        r = head_solidify(d->h, e);
    if (!r) {
        d->synced = MAX(d->synced, upto);
        d->synced_prev = d->prev;
    }
    return r;
}

/* Writes out once memory holds a full batch. Where that fails, some more may wait. */
static int make_room(struct disk *d, struct err *e)
{
    struct err mine = {0};
    size_t n = 0;
    int r;

    pthread_mutex_lock(&d->lock);
    for (struct batch *b = d->pending; b; b = b->next)
        n++;
    pthread_mutex_unlock(&d->lock);
    r = n ? disk_write_out(d, false, &mine) : 0;
    return r && n >= PENDING_MAX ? err_set(e, r, "%s", mine.msg) : 0;
}

/* data NULL: count pages of zeros. */
static int put(struct disk *d, uint64_t page, uint32_t count, enum batch_kind kind, const void *data, struct err *e)
{
    struct loc *x;
    uint32_t slot = 0;
    bool good = true;
    int r = make_room(d, e);

    if (r)
        return r;
    pthread_mutex_lock(&d->lock);
    x = data ? pageidx_find(&d->top->idx, page) : NULL;
    if (x && d->open && x->batch == d->open) {
        memcpy(d->open->data + (size_t)x->slot * VT_PAGE_SIZE, data, VT_PAGE_SIZE);
        pthread_mutex_unlock(&d->lock);
        return 0;
    }
    if (!d->open) {
        struct batch *b = batch_new(d->s, d->next_seq);
        good = b && disk_layer_add(d->top, b);
        if (good) {
            b->refs = 2; /* the layer's, and that of being open and pending */
            d->open = b;
        } else {
            batch_unref(b);
        }
    }
    good = good && pageidx_reserve(&d->top->idx, count) && batch_add(d->open, page, count, kind, data, &slot);
    for (uint32_t i = 0; i < count && good; i++)
        pageidx_set(&d->top->idx, page + i, data ? d->open : NULL, slot);
    r = good ? 0 : out_of_memory(e);
    if (!r && batch_full(d->open))
        r = disk_close_open(d, e);
    pthread_mutex_unlock(&d->lock);
    return r;
}

static struct disk *of(struct blockdev *b)
{
    return (struct disk *)b;
}

static int check_range(struct disk *d, uint64_t len, uint64_t off, struct err *e)
{
    if (d->gone)
        return err_set(e, VT_NOENT, "%s: this disk is gone since the machine was reverted", d->slot);
    if (off > d->dev.size || len > d->dev.size - off)
        return err_set(e, VT_USAGE, "%s: offset %llu is past the disk's end", d->slot, (unsigned long long)off);
    return 0;
}

static int dev_pread(struct blockdev *b, void *dst, size_t len, uint64_t off, struct err *e)
{
    struct disk *d = of(b);
    uint8_t page[VT_PAGE_SIZE];
    int r = check_range(d, len, off, e);

    while (!r && len) {
        size_t in = off % VT_PAGE_SIZE, n = MIN(len, VT_PAGE_SIZE - in);
        if (n == VT_PAGE_SIZE) {
            r = disk_read_page(d, off / VT_PAGE_SIZE, dst, e);
        } else {
            r = disk_read_page(d, off / VT_PAGE_SIZE, page, e);
            memcpy(dst, page + in, n);
        }
        dst = (uint8_t *)dst + n;
        off += n;
        len -= n;
    }
    return r;
}

static int write_page(struct disk *d, uint64_t page, const void *data, struct err *e)
{
    uint64_t aligned[VT_PAGE_SIZE / 8];
    bool zero;
    int r;

    memcpy(aligned, data, sizeof aligned);
    if (!page_is_zero(aligned))
        return put(d, page, 1, BATCH_DATA, aligned, e);
    r = disk_known_zero(d, page, &zero, e);
    return r || zero ? r : put(d, page, 1, BATCH_ZERO, NULL, e);
}

static int dev_pwrite(struct blockdev *b, const void *src, size_t len, uint64_t off, struct err *e)
{
    struct disk *d = of(b);
    uint8_t page[VT_PAGE_SIZE];
    int r = check_range(d, len, off, e);

    while (!r && len) {
        size_t in = off % VT_PAGE_SIZE, n = MIN(len, VT_PAGE_SIZE - in);
        if (n == VT_PAGE_SIZE) {
            r = write_page(d, off / VT_PAGE_SIZE, src, e);
        } else {
            r = disk_read_page(d, off / VT_PAGE_SIZE, page, e);
            memcpy(page + in, src, n);
            if (!r)
                r = write_page(d, off / VT_PAGE_SIZE, page, e);
        }
        src = (const uint8_t *)src + n;
        off += n;
        len -= n;
    }
    return r;
}

static int dev_flush(struct blockdev *b, struct err *e)
{
    struct disk *d = of(b);
    int r = check_range(d, 0, 0, e);
    return r ? r : disk_flush(d, e);
}

/* Finds the next page in [*page, end) that is not known to be zero, in the layers and in the map. */
static int next_data(struct disk *d, uint64_t *page, uint64_t end, bool *ret_found, struct err *e)
{
    uint64_t in_map = *page, in_log = end, root;
    bool found, zero;
    int r;

    pthread_mutex_lock(&d->lock);
    root = d->root;
    for (struct layer *l = d->top; l; l = l->older) {
        if (end - *page < l->idx.cap) { /* a short range: asking page by page is less work */
            for (uint64_t p = *page; p < in_log; p++) {
                struct loc *x = pageidx_find(&l->idx, p);
                if (x && x->batch)
                    in_log = p;
            }
            continue;
        }
        for (size_t i = 0; i < l->idx.cap; i++)
            if (l->idx.v[i].used && l->idx.v[i].batch && l->idx.v[i].page >= *page && l->idx.v[i].page < in_log)
                in_log = l->idx.v[i].page;
    }
    pthread_mutex_unlock(&d->lock);
    for (;; in_map++) { /* what the map has may be zero by now */
        r = map_next(d->s, root, !d->base, &in_map, in_log, &found, e);
        if (r || !found)
            break;
        r = disk_known_zero(d, in_map, &zero, e);
        if (r)
            return r;
        if (!zero)
            break;
    }
    *page = found ? in_map : in_log;
    *ret_found = *page < end;
    return r;
}

static int zero_part(struct disk *d, uint64_t off, size_t len, struct err *e)
{
    uint8_t page[VT_PAGE_SIZE];
    int r = disk_read_page(d, off / VT_PAGE_SIZE, page, e);

    memset(page + off % VT_PAGE_SIZE, 0, len);
    return r ? r : write_page(d, off / VT_PAGE_SIZE, page, e);
}

static int dev_discard(struct blockdev *b, uint64_t len, uint64_t off, bool zero, struct err *e)
{
    struct disk *d = of(b);
    uint64_t page, end, last = off + len;
    bool found = true;
    int r = check_range(d, len, off, e);

    if (r || !len)
        return r;
    if (off % VT_PAGE_SIZE) {
        size_t n = MIN(len, VT_PAGE_SIZE - off % VT_PAGE_SIZE);
        r = zero_part(d, off, n, e);
        off += n;
    }
    if (!r && off < last && last % VT_PAGE_SIZE && last != d->dev.size) {
        r = zero_part(d, last - last % VT_PAGE_SIZE, last % VT_PAGE_SIZE, e);
        last -= last % VT_PAGE_SIZE;
    }
    page = off / VT_PAGE_SIZE;
    end = (last + VT_PAGE_SIZE - 1) / VT_PAGE_SIZE;
    while (!r && page < end) {
        uint32_t run = 0;
        bool is_zero = false;
        r = next_data(d, &page, end, &found, e);
        if (r || !found)
            break;
        while (!r && page + run < end && run < 512 && !is_zero) {
            r = disk_known_zero(d, page + run, &is_zero, e);
            run += !is_zero;
        }
        if (!r)
            r = put(d, page, run, zero ? BATCH_ZERO : BATCH_DISCARD, NULL, e);
        page += run;
    }
    return r;
}

static void dev_close(struct blockdev *b)
{
    /* the head owns it */
}

const struct blockdev_ops disk_ops = {
    .pread = dev_pread,
    .pwrite = dev_pwrite,
    .flush = dev_flush,
    .discard = dev_discard,
    .close = dev_close,
};
