/* The order of things in memory: layers hold what was written since `from`, one for each stretch between two marks, the
 * newest on top; a page is what the first layer that has it says, else what the map under them says. Below a mark
 * nothing changes any more, so what a snapshot reads needs no copy. */
#include "snapshot/disk.h"

#include <string.h>
#include "snapshot/frames.h"
#include "snapshot/head.h"
#include "snapshot/map.h"
#include "snapshot/replay.h"
#include "snapshot/store.h"

static int out_of_memory(struct err *e)
{
    return err_set(e, VT_FAIL, "out of memory");
}

static struct layer *layer_new(uint64_t start, struct layer *older)
{
    struct layer *l = calloc(1, sizeof *l);

    if (l) {
        l->start = start;
        l->older = older;
    }
    return l;
}

static void layer_free(struct layer *l)
{
    for (size_t i = 0; i < l->n_batches; i++)
        batch_unref(l->batches[i]);
    free(l->batches);
    pageidx_release(&l->idx);
    free(l);
}

bool disk_layer_add(struct layer *l, struct batch *b)
{
    struct batch **v = l->batches;

    if (!(l->n_batches & (l->n_batches - 1))) { /* grows at powers of two */
        v = realloc(v, (l->n_batches ? 2 * l->n_batches : 1) * sizeof(struct batch *));
        if (!v)
            return false;
        l->batches = v;
    }
    v[l->n_batches++] = b;
    return true;
}

static void drop_layers(struct disk *d)
{
    while (d->top) {
        struct layer *l = d->top;
        d->top = l->older;
        layer_free(l);
    }
}

static void drop_all(struct disk *d)
{
    drop_layers(d);
    while (d->pending) {
        struct batch *b = d->pending;
        d->pending = b->next;
        batch_unref(b);
    }
    d->pending_end = &d->pending;
    batch_unref(d->open);
    d->open = NULL;
    for (size_t i = 0; i < d->n_logs; i++)
        hlog_unref(d->logs[i]);
    free(d->logs);
    d->logs = NULL;
    d->n_logs = d->current = 0;
}

int disk_new(struct head *h, const char *slot, uint64_t bytes, uint64_t root, const char *base_json, struct disk **ret,
             struct err *e)
{
    struct disk *d = calloc(1, sizeof *d);
    int r = 0;

    if (!d)
        return out_of_memory(e);
    *d = (struct disk){
        .dev = {.ops = &disk_ops, .size = bytes},
        .h = h,
        .s = h->s,
        .pages = (bytes + VT_PAGE_SIZE - 1) / VT_PAGE_SIZE,
        .root = root,
        .top = layer_new(0, NULL),
    };
    d->pending_end = &d->pending;
    memcpy(d->slot, slot, MIN(strlen(slot), sizeof d->slot - 1));
    pthread_mutex_init(&d->lock, NULL);
    d->base_json = base_json ? strdup(base_json) : NULL;
    if (!d->top || (base_json && !d->base_json))
        r = out_of_memory(e);
    if (!r && base_json)
        r = basefile_open(&h->s->files, base_json, &d->base, e);
    if (r) {
        disk_free(d);
        return r;
    }
    *ret = d;
    return 0;
}

static void fix_pending(struct disk *d)
{
    if (!d->pending)
        d->pending_end = &d->pending;
}

void disk_swap(struct disk *d, struct disk *fresh)
{
    enum { FROM = offsetof(struct disk, pages), SIZE = sizeof *d - FROM };
    uint8_t was[SIZE];
    uint64_t size;

    pthread_mutex_lock(&d->lock);
    memcpy(was, (uint8_t *)d + FROM, SIZE);
    memcpy((uint8_t *)d + FROM, (uint8_t *)fresh + FROM, SIZE);
    memcpy((uint8_t *)fresh + FROM, was, SIZE);
    size = d->dev.size;
    d->dev.size = fresh->dev.size;
    fresh->dev.size = size;
    fix_pending(d);
    fix_pending(fresh);
    pthread_mutex_unlock(&d->lock);
}

void disk_free(struct disk *d)
{
    if (!d)
        return;
    drop_all(d);
    basefile_close(d->base);
    free(d->base_json);
    pthread_mutex_destroy(&d->lock);
    free(d);
}

int disk_add_log(struct disk *d, struct hlog *l, struct err *e)
{
    struct hlog **v;

    pthread_mutex_lock(&d->lock);
    v = realloc(d->logs, (d->n_logs + 1) * sizeof(struct hlog *));
    if (v) {
        d->logs = v;
        v[d->n_logs++] = l;
    }
    pthread_mutex_unlock(&d->lock);
    return v ? 0 : out_of_memory(e);
}

static bool index_entry(struct layer *l, struct batch *b, const struct batch_entry *x, uint32_t *slot, uint64_t pages)
{
    for (uint64_t p = x->page; p < x->page + x->count && p < pages; p++)
        if (!pageidx_set(&l->idx, p, x->kind == BATCH_DATA ? b : NULL, *slot))
            return false;
    *slot += x->kind == BATCH_DATA;
    return true;
}

/* when: NULL for all that there is. */
static int replay(struct disk *d, struct hlog **logs, size_t n, uint64_t from, bool cut, const int64_t *when,
                  struct err *e)
{
    struct replay r;
    int rc = 0;

    for (size_t i = 0; i < n && !rc; i++) {
        rc = disk_add_log(d, hlog_ref(logs[i]), e);
        if (rc)
            hlog_unref(logs[i]);
    }
    if (!rc)
        rc = replay_logs(logs, n, from, &r, e);
    if (rc)
        return rc;
    if (when)
        rc = replay_until(&r, *when, e);
    d->from = d->top->start = from;
    for (size_t i = 0; i < r.n && !rc; i++) {
        struct batch *b = r.v[i];
        uint32_t slot = 0;
        bool good = disk_layer_add(d->top, b);
        if (good)
            batch_ref(b);
        for (uint32_t k = 0; k < b->n_entries && good; k++)
            good = index_entry(d->top, b, &b->entries[k], &slot, d->pages);
        rc = good ? 0 : out_of_memory(e);
        for (size_t k = 0; k < d->n_logs; k++)
            if (d->logs[k] == b->log)
                d->current = k;
    }
    for (size_t i = 0; i < n && !rc && cut; i++) {
        uint64_t size = 0;
        rc = sio_size(&logs[i]->f, &size, e);
        if (!rc && size > logs[i]->end)
            rc = sio_truncate(&logs[i]->f, logs[i]->end, e);
        logs[i]->dirty = true; /* a killed writer may have left what was never synced */
    }
    for (size_t i = 0; i < d->n_logs && r.spent && cut; i++)
        hlog_unref(d->logs[i]);
    if (r.spent && cut)
        d->n_logs = d->current = 0;
    d->next_seq = r.next_seq;
    d->clean_seq = r.next_seq;
    d->prev = r.prev;
    d->synced = MAX(r.synced, from);
    for (size_t i = 0; i < r.n; i++)
        if (r.v[i]->seq < d->synced)
            d->synced_prev = r.v[i]->checksum;
    replay_release(&r);
    return rc;
}

int disk_replay(struct disk *d, struct hlog **logs, size_t n, uint64_t from, bool cut, struct err *e)
{
    return replay(d, logs, n, from, cut, NULL, e);
}

int disk_replay_past(struct disk *d, struct hlog **logs, size_t n, uint64_t from, int64_t when, struct err *e)
{
    return replay(d, logs, n, from, false, &when, e);
}

int disk_close_open(struct disk *d, struct err *e)
{
    struct batch *b = d->open;

    if (!b)
        return 0;
    if (!batch_close(b, d->logs[d->current]))
        return out_of_memory(e);
    d->open = NULL;
    *d->pending_end = b;
    d->pending_end = &b->next;
    d->next_seq = b->seq + 1;
    return 0;
}

int disk_mark(struct disk *d, bool seal, uint64_t *ret_seq, struct err *e)
{
    struct layer *l;
    int r;

    pthread_mutex_lock(&d->lock);
    r = disk_close_open(d, e);
    if (!r && d->top->start != d->next_seq) {
        l = layer_new(d->next_seq, d->top);
        if (l)
            d->top = l;
        else
            r = out_of_memory(e);
    }
    if (!r) {
        d->top->marks++;
        *ret_seq = d->next_seq;
        if (seal && d->current + 1 < d->n_logs && d->logs[d->current]->end > LOG_HEADER)
            d->current++;
    }
    pthread_mutex_unlock(&d->lock);
    return r;
}

/* Puts what the upper layer has into the lower one; both are one stretch from then on. False: no memory, nothing done.
 */
static bool merge(struct layer *upper, struct layer *lower)
{
    size_t n = lower->n_batches + upper->n_batches, cap = 1;
    struct batch **v;

    while (cap < n)
        cap *= 2;
    if (!pageidx_reserve(&lower->idx, upper->idx.n))
        return false;
    v = realloc(lower->batches, cap * sizeof(struct batch *));
    if (!v)
        return false;
    lower->batches = v;
    for (size_t i = 0; i < upper->n_batches; i++)
        v[lower->n_batches++] = upper->batches[i];
    upper->n_batches = 0;
    for (size_t i = 0; i < upper->idx.cap; i++)
        if (upper->idx.v[i].used)
            pageidx_set(&lower->idx, upper->idx.v[i].page, upper->idx.v[i].batch, upper->idx.v[i].slot);
    return true;
}

/* Under d->lock. */
static void unmark(struct disk *d, uint64_t seq)
{
    struct layer *l = d->top, **above = &d->top;

    while (l && l->start != seq) {
        above = &l->older;
        l = l->older;
    }
    if (!l)
        return;
    vt_assert(l->marks);
    if (--l->marks || !l->older || !merge(l, l->older))
        return;
    *above = l->older;
    layer_free(l);
}

void disk_unmark(struct disk *d, uint64_t seq)
{
    pthread_mutex_lock(&d->lock);
    unmark(d, seq);
    pthread_mutex_unlock(&d->lock);
}

static int by_page(const void *a, const void *b)
{
    const struct loc *x = a, *y = b;
    return (x->page > y->page) - (x->page < y->page);
}

void pagelist_release(struct pagelist *l)
{
    for (size_t i = 0; i < l->n; i++)
        batch_unref(l->v[i].batch);
    free(l->v);
    *l = (struct pagelist){0};
}

/* Newest first, so that what is there already wins. */
static bool gather(struct pageidx *all, const struct layer *l)
{
    for (size_t i = 0; i < l->idx.cap; i++) {
        const struct loc *x = &l->idx.v[i];
        if (x->used && !pageidx_find(all, x->page) && !pageidx_set(all, x->page, x->batch, x->slot))
            return false;
    }
    return true;
}

int disk_collect(struct disk *d, uint64_t from, uint64_t to, struct pagelist *ret, struct err *e)
{
    struct pageidx all cleanup(pageidx_release) = {0};
    struct pagelist list = {0};
    bool good = true;

    pthread_mutex_lock(&d->lock);
    for (struct layer *l = d->top; l && good; l = l->older)
        if (l->start >= from && l->start < to)
            good = gather(&all, l);
    list.v = calloc(all.n ? all.n : 1, sizeof *list.v);
    good = good && list.v;
    for (size_t i = 0; i < all.cap && good; i++) {
        if (!all.v[i].used)
            continue;
        list.v[list.n] = all.v[i];
        if (list.v[list.n].batch)
            batch_ref(list.v[list.n].batch);
        list.n++;
    }
    pthread_mutex_unlock(&d->lock);
    if (!good) {
        pagelist_release(&list);
        return out_of_memory(e);
    }
    qsort(list.v, list.n, sizeof *list.v, by_page);
    *ret = list;
    return 0;
}

bool disk_needs_log(const struct disk *d, size_t i, uint64_t seq)
{
    return i >= d->current || d->logs[i]->next_seq > seq;
}

void disk_rebase(struct disk *d, uint64_t seq, uint64_t root, struct hlog **ret_logs, size_t *ret_n)
{
    struct layer *l, *old;
    struct batch **p;
    size_t kept = 0, current;

    *ret_n = 0;
    pthread_mutex_lock(&d->lock);
    current = d->current;
    for (l = d->top; l && l->start > seq;)
        l = l->older;
    vt_assert(l && l->start == seq && l->marks);
    l->marks--;
    for (old = l->older, l->older = NULL; old;) {
        struct layer *next = old->older;
        layer_free(old);
        old = next;
    }
    d->root = root;
    d->from = seq;
    for (size_t i = 0; i < d->n_logs; i++)
        if (!disk_needs_log(d, i, seq) && *ret_n < REBASE_LOGS)
            ret_logs[(*ret_n)++] = d->logs[i];
    /* What was never written to those need not be any more. */
    for (p = &d->pending; *p;) {
        struct batch *b = *p;
        bool needed = true;
        for (size_t i = 0; i < *ret_n; i++)
            needed = needed && b->log != ret_logs[i];
        if (needed) {
            p = &b->next;
        } else {
            *p = b->next;
            batch_unref(b);
        }
    }
    d->pending_end = p;
    for (size_t i = 0, dropped = 0; i < d->n_logs; i++) {
        if (dropped < *ret_n && d->logs[i] == ret_logs[dropped]) {
            dropped++;
            continue;
        }
        if (i == current)
            current = kept;
        d->logs[kept++] = d->logs[i];
    }
    d->n_logs = kept;
    d->current = current;
    pthread_mutex_unlock(&d->lock);
}

bool disk_wants_fold(struct disk *d, uint64_t bytes)
{
    uint64_t size = 0, live = 0;

    pthread_mutex_lock(&d->lock);
    for (size_t i = 0; i <= d->current && i < d->n_logs; i++)
        size += d->logs[i]->end - LOG_HEADER;
    for (struct layer *l = d->top; l; l = l->older)
        live += l->idx.n * VT_PAGE_SIZE;
    pthread_mutex_unlock(&d->lock);
    return size > bytes && size > 2 * live;
}

int base_read_page(struct store *s, uint64_t root, const struct basefile *base, uint64_t page, void *dst, struct err *e)
{
    uint64_t entry;
    int r = map_lookup(s, root, page, 1, &entry, e);

    if (r)
        return r;
    if (entry_kind(entry) == ENTRY_FRAME)
        return frames_page(s, entry, dst, e);
    if (entry_kind(entry) == ENTRY_HOLE && base)
        return basefile_page(base, page, dst, e);
    memset(dst, 0, VT_PAGE_SIZE);
    return 0;
}
