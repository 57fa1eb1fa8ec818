/* Images to read: a map over a raw file, or over nothing; for a head with the pages of its log on top, as a sorted list
 * made when the image was opened. */
#include "snapshot/snapshot.h"

#include <string.h>
#include "src/base/util.h"
#include "snapshot/frames.h"
#include "snapshot/head.h"
#include "snapshot/map.h"
#include "snapshot/template.h"
#include "snapshot/touch.h"

struct image {
    struct store *s;
    uint64_t bytes, pages, root;
    struct basefile *base;
    struct pagelist log; /* of a head */
    struct pagesrc src;
    struct blockdev dev;
    struct template *template; /* NULL: none */
    struct touch *touch;       /* of a template that we made; NULL: none */
};

/* Where in the log's list the pages from `page` on begin. */
static size_t log_from(const struct image *i, uint64_t page)
{
    size_t lo = 0, hi = i->log.n;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (i->log.v[mid].page < page)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static const struct loc *in_log(const struct image *i, uint64_t page)
{
    size_t at = log_from(i, page);

    return at < i->log.n && i->log.v[at].page == page ? &i->log.v[at] : NULL;
}

static int read_one(struct image *i, uint64_t page, uint64_t entry, void *dst, struct err *e)
{
    const struct loc *x = i->log.n ? in_log(i, page) : NULL;

    if (x && x->batch)
        return batch_page(x->batch, x->slot, dst, e);
    if (!x && entry_kind(entry) == ENTRY_FRAME)
        return frames_page(i->s, entry, dst, e);
    if (!x && entry_kind(entry) == ENTRY_HOLE && i->base)
        return basefile_page(i->base, page, dst, e);
    memset(dst, 0, VT_PAGE_SIZE);
    return 0;
}

int image_read(struct image *i, uint64_t page, uint32_t n, void *dst, struct err *e)
{
    uint64_t entries[64];
    uint8_t *p = dst;

    while (n) {
        uint32_t run = MIN(n, (uint32_t)ARRAY_LEN(entries));
        int r = 0;
        if (page >= i->pages) {
            memset(p, 0, (size_t)n * VT_PAGE_SIZE);
            return 0;
        }
        run = (uint32_t)MIN(run, i->pages - page);
        r = map_lookup(i->s, i->root, page, run, entries, e);
        for (uint32_t k = 0; k < run && !r; k++, p += VT_PAGE_SIZE)
            r = read_one(i, page + k, entries[k], p, e);
        if (r)
            return r;
        page += run;
        n -= run;
    }
    return 0;
}

static int src_fill(struct pagesrc *src, uint64_t page, uint32_t n, void *dst, struct err *e)
{
    return image_read(container_of(src, struct image, src), page, n, dst, e);
}

static bool src_is_zero(struct pagesrc *src, uint64_t page)
{
    struct image *i = container_of(src, struct image, src);
    const struct loc *x = in_log(i, page);
    uint64_t entry;

    if (x || page >= i->pages)
        return !x || !x->batch;
    return !map_lookup(i->s, i->root, page, 1, &entry, NULL) &&
           (entry_kind(entry) == ENTRY_ZERO || (entry_kind(entry) == ENTRY_HOLE && !i->base));
}

/* Puts what page's frame holds of its surroundings into the template: the frame is verified and unpacked for one page
 * or for all. Zero pages are not worth a place there. */
static int fill_template(struct image *i, uint64_t page, struct err *e)
{
    uint64_t entries[FRAME_PAGES], first = page - page % FRAME_PAGES, own;
    uint32_t n = (uint32_t)MIN(FRAME_PAGES, i->pages - first), run = 0;
    uint8_t data[FRAME_PAGES * VT_PAGE_SIZE];
    int r = map_lookup(i->s, i->root, first, n, entries, e);

    if (r)
        return r;
    own = entries[page - first];
    if (entry_kind(own) != ENTRY_FRAME)
        return VT_NOENT;
    for (uint32_t k = 0; k <= n && !r; k++) {
        bool put = k < n && entries[k] >> 12 == own >> 12; /* kind, store and number */
        if (put)
            r = read_one(i, first + k, entries[k], data + (size_t)run++ * VT_PAGE_SIZE, e);
        else if (run) {
            r = template_put(i->template, first + k - run, run, data, e);
            run = 0;
        }
    }
    return r;
}

static bool src_share(struct pagesrc *src, uint64_t page)
{
    struct image *i = container_of(src, struct image, src);

    if (template_has(i->template, page))
        return true;
    if (page >= i->pages || fill_template(i, page, NULL) != 0)
        return false;
    if (i->touch)
        touch_note(i->touch, page);
    return true;
}

static int fill_ahead(void *opaque, uint64_t page)
{
    struct image *i = opaque;

    return template_has(i->template, page) ? 0 : fill_template(i, page, NULL);
}

int image_share(struct image *i, const struct snapshot_info *of, struct err *e)
{
    struct template_of what = {of->id, of->taken_at, i->root, i->pages};
    bool made = false;
    int r = 0;

    if (i->template)
        return 0;
    if (i->base || i->log.n)
        return err_set(e, VT_USAGE, "it is more than a map");
    r = template_open(i->s, &what, &i->template, &made, e);
    if (r)
        return r;
    if (made)
        i->touch = touch_begin(i->s, &what, fill_ahead, i);
    i->src.template_fd = template_fd(i->template, &i->src.template_at);
    i->src.share = src_share;
    return 0;
}

static int dev_pread(struct blockdev *b, void *dst, size_t len, uint64_t off, struct err *e)
{
    struct image *i = container_of(b, struct image, dev);
    uint8_t page[VT_PAGE_SIZE];

    if (off > b->size || len > b->size - off)
        return err_set(e, VT_USAGE, "offset %llu is past the image's end", (unsigned long long)off);
    while (len) {
        size_t in = off % VT_PAGE_SIZE, n = MIN(len, VT_PAGE_SIZE - in);
        int r;
        if (!in && len >= VT_PAGE_SIZE) {
            n = MIN(len / VT_PAGE_SIZE, (size_t)1024) * VT_PAGE_SIZE;
            r = image_read(i, off / VT_PAGE_SIZE, (uint32_t)(n / VT_PAGE_SIZE), dst, e);
        } else {
            r = image_read(i, off / VT_PAGE_SIZE, 1, page, e);
            if (!r)
                memcpy(dst, page + in, n);
        }
        if (r)
            return r;
        dst = (uint8_t *)dst + n;
        off += n;
        len -= n;
    }
    return 0;
}

static int dev_pwrite(struct blockdev *b, const void *src, size_t len, uint64_t off, struct err *e)
{
    return err_set(e, VT_PERM, "a snapshot's image cannot be written");
}

static int dev_flush(struct blockdev *b, struct err *e)
{
    return 0;
}

static int dev_discard(struct blockdev *b, uint64_t len, uint64_t off, bool zero, struct err *e)
{
    return err_set(e, VT_PERM, "a snapshot's image cannot be written");
}

static void dev_close(struct blockdev *b)
{
    /* the image owns it */
}

static const struct blockdev_ops image_ops = {dev_pread, dev_pwrite, dev_flush, dev_discard, dev_close};

static int image_new(struct store *s, uint64_t bytes, uint64_t root, const char *base_json, struct image **ret,
                     struct err *e)
{
    struct image *i = calloc(1, sizeof *i);
    int r = 0;

    if (!i)
        return err_set(e, VT_FAIL, "out of memory");
    i->s = s;
    i->bytes = bytes;
    i->pages = (bytes + VT_PAGE_SIZE - 1) / VT_PAGE_SIZE;
    i->root = root;
    i->src = (struct pagesrc){.pages = i->pages, .fill = src_fill, .is_zero = src_is_zero};
    i->dev = (struct blockdev){.ops = &image_ops, .size = bytes, .read_only = true};
    if (base_json)
        r = basefile_open(&s->files, base_json, &i->base, e);
    if (r) {
        free(i);
        return r;
    }
    *ret = i;
    return 0;
}

int image_open_row(struct store *s, int64_t snapshot, int64_t head, const char *slot, enum root root,
                   struct image **ret, struct err *e)
{
    struct db *db cleanup(cleanup_db) = NULL;
    struct rows rows cleanup(rows_done) = {0};
    int r = db_get(s, &db, e);

    if (!r)
        r = db_query(db, SQL_IMAGE_GET, &rows, e, "zzt", snapshot, head, slot);
    if (!r)
        r = rows_next(&rows, e);
    if (r < 0)
        return r;
    if (!r)
        return err_set(e, VT_NOENT, "there is no %s in it", slot);
    return image_new(s, (uint64_t)rows_int(&rows, 0), (uint64_t)rows_int(&rows, root == ROOT_QUIESCED ? 2 : 1),
                     rows_text(&rows, 3), ret, e);
}

int image_open(struct store *s, int64_t snapshot, const char *slot, enum root root, struct image **ret, struct err *e)
{
    return image_open_row(s, snapshot, 0, slot, root, ret, e);
}

int image_open_logs(struct store *s, int64_t head, const char *logs, const char *slot, const int64_t *when,
                    struct image **ret, struct err *e)
{
    struct logset set cleanup(logset_release) = {0};
    struct head as = {.s = s};
    struct disk *d = NULL;
    struct image *i;
    int r = image_open_row(s, 0, head, slot, ROOT_LIVE, &i, e);

    if (r || disk_index(slot) < 0) {
        if (!r)
            *ret = i;
        return r;
    }
    /* A disk of its own, only to replay the logs; what a running writer adds meanwhile is taken for a torn tail. */
    r = logset_open(s, logs, slot, false, &set, e);
    if (!r)
        r = disk_new(&as, slot, i->bytes, i->root, NULL, &d, e);
    if (!r)
        r = when ? disk_replay_past(d, set.v, set.n, set.from, *when, e)
                 : disk_replay(d, set.v, set.n, set.from, false, e);
    if (!r)
        r = disk_collect(d, 0, UINT64_MAX, &i->log, e);
    disk_free(d);
    if (r) {
        image_close(i);
        return r;
    }
    *ret = i;
    return 0;
}

int image_open_flushed(struct store *s, int64_t machine, const char *slot, struct image **ret, struct err *e)
{
    struct db *db cleanup(cleanup_db) = NULL;
    struct rows rows cleanup(rows_done) = {0};
    int r = db_get(s, &db, e);

    if (!r)
        r = db_query(db, SQL_HEAD_GET, &rows, e, "i", machine);
    if (!r)
        r = rows_next(&rows, e);
    if (!r)
        r = err_set(e, VT_NOENT, "no such machine");
    return r < 0 ? r : image_open_logs(s, rows_int(&rows, 0), rows_text(&rows, 2), slot, NULL, ret, e);
}

int image_open_past(struct store *s, int64_t machine, const char *slot, int64_t when, struct image **ret, struct err *e)
{
    struct db *db cleanup(cleanup_db) = NULL;
    struct rows rows cleanup(rows_done) = {0};
    int r = db_get(s, &db, e);

    if (!r)
        r = past_find(db, machine, when, &rows, e);
    return r ? r : image_open_logs(s, rows_int(&rows, 0), rows_text(&rows, 1), slot, &when, ret, e);
}

int head_image(struct head *h, const char *slot, struct image **ret, struct err *e)
{
    struct disk *d = head_find(h, slot);
    struct image *i = NULL;
    uint64_t seq, root;
    int r;

    pthread_mutex_lock(&h->row); /* no commit may move the map under us */
    if (d) {
        r = disk_mark(d, false, &seq, e);
        pthread_mutex_lock(&d->lock);
        root = d->root;
        pthread_mutex_unlock(&d->lock);
        if (!r) {
            r = image_new(h->s, d->dev.size, root, d->base_json, &i, e);
            if (!r)
                r = disk_collect(d, 0, seq, &i->log, e);
            disk_unmark(d, seq);
        }
    } else {
        r = VT_NOENT;
        for (size_t k = 0; k < h->n_mem && r; k++)
            if (!strcmp(h->mem[k].slot, slot))
                r = image_new(h->s, h->mem[k].bytes, h->mem[k].root, NULL, &i, e);
        if (r)
            err_set(e, r, "there is no %s in it", slot);
    }
    pthread_mutex_unlock(&h->row);
    if (r) {
        image_close(i);
        return r;
    }
    *ret = i;
    return 0;
}

void image_close(struct image *i)
{
    if (!i)
        return;
    pagelist_release(&i->log);
    basefile_close(i->base);
    touch_end(i->touch);
    template_close(i->template);
    free(i);
}

uint64_t image_bytes(const struct image *i)
{
    return i->bytes;
}

uint64_t image_pages(const struct image *i)
{
    return i->pages;
}

struct pagesrc *image_pagesrc(struct image *i)
{
    return &i->src;
}

struct blockdev *image_blockdev(struct image *i)
{
    return &i->dev;
}

static int next_page(struct image *i, bool skip_holes, uint64_t *page, bool *ret_found, struct err *e)
{
    uint64_t p = *page;
    size_t k = log_from(i, p);
    bool found;

    for (;;) {
        const struct loc *x;
        uint64_t limit;
        int r;
        while (k < i->log.n && (i->log.v[k].page < p || !i->log.v[k].batch)) /* the next that the log has data of */
            k++;
        limit = k < i->log.n ? i->log.v[k].page : i->pages;
        r = map_next(i->s, i->root, skip_holes, &p, limit, &found, e);
        if (r)
            return r;
        x = found ? in_log(i, p) : NULL;
        if (x && !x->batch) { /* zero by now */
            p++;
            continue;
        }
        *page = found ? p : limit;
        *ret_found = *page < i->pages;
        return 0;
    }
}

/* Is the page the base file's to say, by log and map? */
static int falls_through(struct image *i, uint64_t page, bool *ret, struct err *e)
{
    uint64_t entry;
    int r = map_lookup(i->s, i->root, page, 1, &entry, e);

    *ret = !r && i->base && entry_kind(entry) == ENTRY_HOLE && !in_log(i, page);
    return r;
}

int image_next_data(struct image *i, uint64_t *page, bool *ret_found, struct err *e)
{
    int r;

    for (;;) {
        uint64_t own, below;
        bool through, found;

        r = next_page(i, !i->base, page, ret_found, e);
        if (r || !*ret_found || !i->base)
            return r;
        r = falls_through(i, *page, &through, e);
        if (r || !through)
            return r;
        below = basefile_next_data(i->base, *page);
        if (below == *page)
            return 0;
        own = *page; /* in a hole of the file: what of ours comes before its next data? */
        r = next_page(i, true, &own, &found, e);
        if (r)
            return r;
        *page = MIN(below, found ? own : i->pages);
        *ret_found = *page < i->pages;
        if (!*ret_found || (found && *page == own))
            return 0;
    }
}

int image_next_own(struct image *i, uint64_t *page, bool *ret_found, struct err *e)
{
    return next_page(i, true, page, ret_found, e);
}

struct compare {
    struct image *a, *b;
    size_t na, nb; /* next of each log's pages */
    int (*fn)(void *opaque, const struct image_diff *d, struct err *e);
    void *opaque;
};

static bool is_zero(const struct image *i, const struct loc *x, uint64_t page, uint64_t entry)
{
    if (x || page >= i->pages)
        return !x || !x->batch;
    return entry_kind(entry) == ENTRY_ZERO || (entry_kind(entry) == ENTRY_HOLE && !i->base);
}

static int emit(struct compare *c, uint64_t page, uint64_t ea, uint64_t eb, struct err *e)
{
    const struct loc *xa = in_log(c->a, page), *xb = in_log(c->b, page);
    struct image_diff d = {page, is_zero(c->a, xa, page, ea), is_zero(c->b, xb, page, eb)};

    if (d.a_zero && d.b_zero)
        return 0;
    if (xa && xb && xa->batch == xb->batch && xa->slot == xb->slot)
        return 0;
    return c->fn(c->opaque, &d, e);
}

/* The pages of the logs before `page`, which the maps agree on. */
static int emit_logs(struct compare *c, uint64_t page, struct err *e)
{
    for (;;) {
        uint64_t pa = c->na < c->a->log.n ? c->a->log.v[c->na].page : UINT64_MAX;
        uint64_t pb = c->nb < c->b->log.n ? c->b->log.v[c->nb].page : UINT64_MAX, p = MIN(pa, pb), ea, eb;
        int r;
        if (p >= page)
            return 0;
        c->na += pa == p;
        c->nb += pb == p;
        r = map_lookup(c->a->s, c->a->root, p, 1, &ea, e);
        if (!r)
            r = map_lookup(c->b->s, c->b->root, p, 1, &eb, e);
        if (!r)
            r = emit(c, p, ea, eb, e);
        if (r)
            return r;
    }
}

static int on_diff(void *opaque, uint64_t page, uint64_t ea, uint64_t eb, struct err *e)
{
    struct compare *c = opaque;
    int r = emit_logs(c, page, e);

    if (r)
        return r;
    c->na += c->na < c->a->log.n && c->a->log.v[c->na].page == page;
    c->nb += c->nb < c->b->log.n && c->b->log.v[c->nb].page == page;
    return emit(c, page, ea, eb, e);
}

int image_compare(struct image *a, struct image *b, int (*fn)(void *opaque, const struct image_diff *d, struct err *e),
                  void *opaque, struct err *e)
{
    struct compare c = {.a = a, .b = b, .fn = fn, .opaque = opaque};
    uint64_t pages = MAX(a->pages, b->pages);
    int r = map_diff(a->s, a->root, b->root, pages, !basefile_same(a->base, b->base), on_diff, &c, e);

    return r ? r : emit_logs(&c, UINT64_MAX, e);
}
