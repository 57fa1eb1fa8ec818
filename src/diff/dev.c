/* See dev.h. All devices here are read-only and used by one thread. */
#include "src/diff/dev.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "src/base/util.h"

int dev_read(struct blockdev *b, void *dst, size_t len, uint64_t off, struct err *e)
{
    if (off > b->size || len > b->size - off)
        return err_set(e, VT_CORRUPT, "read of %zu bytes at %llu is past the end of the disk (%llu bytes)", len,
                       (unsigned long long)off, (unsigned long long)b->size);
    return b->ops->pread(b, dst, len, off, e);
}

void dev_close(struct blockdev *b)
{
    if (b)
        b->ops->close(b);
}

/* A raw image. */

struct file_dev {
    struct blockdev dev;
    int fd;
};

static int file_pread(struct blockdev *b, void *dst, size_t len, uint64_t off, struct err *e)
{
    struct file_dev *f = container_of(b, struct file_dev, dev);
    char *p = dst;

    while (len) {
        ssize_t n = pread(f->fd, p, len, (off_t)off);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set(e, VT_IO, "cannot read the image at %llu: %m", (unsigned long long)off);
        if (n == 0)
            return err_set(e, VT_IO, "the image became shorter while it was read");
        p += n;
        off += (uint64_t)n;
        len -= (size_t)n;
    }
    return 0;
}

static void file_close(struct blockdev *b)
{
    struct file_dev *f = container_of(b, struct file_dev, dev);

    close(f->fd);
    free(f);
}

static const struct blockdev_ops file_ops = {.pread = file_pread, .close = file_close};

int dev_open_file(const char *path, struct blockdev **ret, struct err *e)
{
    cleanup(cleanup_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct file_dev *f;
    struct stat st;
    off_t end;

    if (fd < 0)
        return err_set(e, err_from_errno(errno), "%s: %m", path);
    if (fstat(fd, &st) < 0)
        return err_set(e, VT_IO, "%s: %m", path);
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return err_set(e, VT_USAGE, "%s: not a disk image", path);
    end = lseek(fd, 0, SEEK_END);
    if (end < 0)
        return err_set(e, VT_IO, "%s: %m", path);
    f = calloc(1, sizeof(*f));
    if (!f)
        return err_set(e, VT_FAIL, "out of memory");
    f->dev = (struct blockdev){.ops = &file_ops, .size = (uint64_t)end & ~511ull, .read_only = true};
    f->fd = steal_fd(&fd);
    *ret = &f->dev;
    return 0;
}

uint64_t dev_file_next_data(const struct blockdev *file, uint64_t off)
{
    off_t at = lseek(container_of(file, const struct file_dev, dev)->fd, (off_t)off, SEEK_DATA);

    if (at >= 0)
        return (uint64_t)at;
    return errno == ENXIO ? file->size : off; /* no data behind off; or a file system that cannot tell */
}

/* A slice. */

struct slice_dev {
    struct blockdev dev;
    struct blockdev *base;
    uint64_t off;
};

static int slice_pread(struct blockdev *b, void *dst, size_t len, uint64_t off, struct err *e)
{
    struct slice_dev *s = container_of(b, struct slice_dev, dev);

    return s->base->ops->pread(s->base, dst, len, s->off + off, e);
}

static void slice_close(struct blockdev *b)
{
    free(container_of(b, struct slice_dev, dev));
}

static const struct blockdev_ops slice_ops = {.pread = slice_pread, .close = slice_close};

int dev_slice(struct blockdev *base, uint64_t off, uint64_t len, struct blockdev **ret, struct err *e)
{
    struct slice_dev *s;

    if (off > base->size || len > base->size - off)
        return err_set(e, VT_CORRUPT, "partition at %llu, %llu bytes, is past the end of the disk (%llu bytes)",
                       (unsigned long long)off, (unsigned long long)len, (unsigned long long)base->size);
    s = calloc(1, sizeof(*s));
    if (!s)
        return err_set(e, VT_FAIL, "out of memory");
    s->dev = (struct blockdev){.ops = &slice_ops, .size = len & ~511ull, .read_only = true};
    s->base = base;
    s->off = off;
    *ret = &s->dev;
    return 0;
}

/* A direct-mapped page cache. */

#define CACHE_LINES 4096u
#define CACHE_LARGE (4u * VT_PAGE_SIZE) /* reads from this size on are not kept */

struct cache_dev {
    struct blockdev dev;
    struct blockdev *base;
    uint64_t read_bytes;
    uint64_t tag[CACHE_LINES]; /* page + 1, 0 for none */
    unsigned char *data[CACHE_LINES];
};

static int cache_page(struct cache_dev *c, uint64_t page, const unsigned char **ret, struct err *e)
{
    size_t line = page % CACHE_LINES;
    uint64_t off = page * VT_PAGE_SIZE;
    size_t len = (size_t)MIN((uint64_t)VT_PAGE_SIZE, c->dev.size - off);
    int r;

    if (c->tag[line] != page + 1) {
        if (!c->data[line] && !(c->data[line] = malloc(VT_PAGE_SIZE)))
            return err_set(e, VT_FAIL, "out of memory");
        c->tag[line] = 0;
        r = c->base->ops->pread(c->base, c->data[line], len, off, e);
        if (r < 0)
            return r;
        c->read_bytes += len;
        c->tag[line] = page + 1;
    }
    *ret = c->data[line];
    return 0;
}

static int cache_pread(struct blockdev *b, void *dst, size_t len, uint64_t off, struct err *e)
{
    struct cache_dev *c = container_of(b, struct cache_dev, dev);
    unsigned char *out = dst;

    if (len >= CACHE_LARGE) {
        c->read_bytes += len;
        return c->base->ops->pread(c->base, dst, len, off, e);
    }
    while (len) {
        size_t in = off % VT_PAGE_SIZE, n = MIN(len, VT_PAGE_SIZE - in);
        const unsigned char *page = NULL;
        int r = cache_page(c, off / VT_PAGE_SIZE, &page, e);

        if (r < 0)
            return r;
        memcpy(out, page + in, n);
        out += n;
        off += n;
        len -= n;
    }
    return 0;
}

static void cache_close(struct blockdev *b)
{
    struct cache_dev *c = container_of(b, struct cache_dev, dev);

    for (size_t i = 0; i < CACHE_LINES; i++)
        free(c->data[i]);
    free(c);
}

static const struct blockdev_ops cache_ops = {.pread = cache_pread, .close = cache_close};

int dev_cache(struct blockdev *base, struct blockdev **ret, struct err *e)
{
    struct cache_dev *c = calloc(1, sizeof(*c));

    if (!c)
        return err_set(e, VT_FAIL, "out of memory");
    c->dev = (struct blockdev){.ops = &cache_ops, .size = base->size, .read_only = true};
    c->base = base;
    *ret = &c->dev;
    return 0;
}

uint64_t dev_cache_read_bytes(const struct blockdev *cache)
{
    vt_assert(cache->ops == &cache_ops);
    return container_of(cache, const struct cache_dev, dev)->read_bytes;
}

/* An overlay: an open-addressed table from block number to an index into the list of replaced blocks. */

struct overlay_dev {
    struct blockdev dev;
    struct blockdev *base;
    uint32_t block_size;
    size_t n, cap;       /* replaced blocks */
    uint64_t *block;     /* their numbers */
    unsigned char *data; /* their bytes */
    size_t slots;        /* of index, a power of two, at least 2 * cap */
    uint32_t *index;     /* position + 1, 0 for none */
};

static size_t overlay_slot(const struct overlay_dev *o, uint64_t block)
{
    size_t i = (size_t)(block * 0x9e3779b97f4a7c15ull >> 20) & (o->slots - 1);

    while (o->index[i] && o->block[o->index[i] - 1] != block)
        i = (i + 1) & (o->slots - 1);
    return i;
}

static int overlay_grow(struct overlay_dev *o, struct err *e)
{
    size_t cap = o->cap ? o->cap * 2 : 64;
    uint64_t *block = realloc(o->block, cap * sizeof(*block));
    unsigned char *data;
    uint32_t *index;

    if (block)
        o->block = block;
    data = realloc(o->data, cap * o->block_size);
    if (data)
        o->data = data;
    index = calloc(cap * 2, sizeof(*index));
    if (!block || !data || !index) {
        free(index);
        return err_set(e, VT_FAIL, "out of memory for replayed journal blocks");
    }
    free(o->index);
    o->index = index;
    o->cap = cap;
    o->slots = cap * 2;
    for (size_t i = 0; i < o->n; i++)
        o->index[overlay_slot(o, o->block[i])] = (uint32_t)i + 1;
    return 0;
}

static int overlay_pread(struct blockdev *b, void *dst, size_t len, uint64_t off, struct err *e)
{
    struct overlay_dev *o = container_of(b, struct overlay_dev, dev);
    uint64_t end = off + len;
    int r = o->base->ops->pread(o->base, dst, len, off, e);

    if (r < 0 || !o->n)
        return r;
    for (uint64_t blk = off / o->block_size; blk * o->block_size < end; blk++) {
        uint32_t at = o->index[overlay_slot(o, blk)];
        uint64_t start = blk * o->block_size, from = MAX(start, off), to = MIN(start + o->block_size, end);

        if (at)
            memcpy((char *)dst + (from - off), o->data + (size_t)(at - 1) * o->block_size + (from - start), to - from);
    }
    return 0;
}

static void overlay_close(struct blockdev *b)
{
    struct overlay_dev *o = container_of(b, struct overlay_dev, dev);

    free(o->block);
    free(o->data);
    free(o->index);
    free(o);
}

static const struct blockdev_ops overlay_ops = {.pread = overlay_pread, .close = overlay_close};

int dev_overlay(struct blockdev *base, uint32_t block_size, struct blockdev **ret, struct err *e)
{
    struct overlay_dev *o = calloc(1, sizeof(*o));

    if (!o)
        return err_set(e, VT_FAIL, "out of memory");
    o->dev = (struct blockdev){.ops = &overlay_ops, .size = base->size, .read_only = true};
    o->base = base;
    o->block_size = block_size;
    *ret = &o->dev;
    return 0;
}

int dev_overlay_put(struct blockdev *overlay, uint64_t block, const void *data, struct err *e)
{
    struct overlay_dev *o = container_of(overlay, struct overlay_dev, dev);
    size_t slot;
    int r;

    vt_assert(overlay->ops == &overlay_ops);
    if (block >= overlay->size / o->block_size)
        return err_set(e, VT_CORRUPT, "block %llu is past the end of the file system", (unsigned long long)block);
    if (o->n == o->cap && (r = overlay_grow(o, e)) < 0)
        return r;
    slot = overlay_slot(o, block);
    if (!o->index[slot]) {
        o->block[o->n] = block;
        o->index[slot] = (uint32_t)++o->n;
    }
    memcpy(o->data + (size_t)(o->index[slot] - 1) * o->block_size, data, o->block_size);
    return 0;
}

size_t dev_overlay_count(const struct blockdev *overlay)
{
    return container_of(overlay, const struct overlay_dev, dev)->n;
}

uint64_t dev_overlay_block(const struct blockdev *overlay, size_t index)
{
    return container_of(overlay, const struct overlay_dev, dev)->block[index];
}
