/* See disk.h. */
#include "src/diff/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "snapshot/snapshot.h"
#include "src/base/units.h"
#include "src/base/util.h"
#include "src/diff/dev.h"

#define COMPARE_CHUNK (1u << 20)

struct disk {
    char *path;            /* of a file, or the store's directory */
    struct blockdev *file; /* of a file, else NULL */
    struct store *store;   /* NULL for a file */
    bool own_store;
    struct snaplock *hold;
    struct image *image;
    struct blockdev *cache;
};

static int bad_spec(const char *spec, struct err *e)
{
    return err_set(e, VT_USAGE, "%s: not a disk (file:PATH, or store:DIR:ID:SLOT:quiesced|live|head)", spec);
}

/* Cuts the last word behind a ':' off s. */
static char *cut_last(char *s)
{
    char *colon = strrchr(s, ':');

    if (!colon)
        return NULL;
    *colon = 0;
    return colon + 1;
}

static int open_image(struct disk *d, const char *spec, struct disk *other, struct err *e)
{
    char *root = cut_last(d->path), *slot = cut_last(d->path), *word = cut_last(d->path);
    uint64_t id = 0, when = 0;
    int r;

    if (!root || !slot || !word || !*d->path ||
        (strcmp(root, "quiesced") && strcmp(root, "live") && strcmp(root, "head") && strncmp(root, "at=", 3)))
        return bad_spec(spec, e);
    r = number_parse(word, 1, INT64_MAX, &id, e);
    if (r == 0 && !strncmp(root, "at=", 3))
        r = number_parse(root + 3, 1, INT64_MAX, &when, e);
    if (r < 0)
        return r;
    if (other && other->store && !strcmp(other->path, d->path)) {
        d->store = other->store;
    } else {
        r = store_open(d->path, 0, &d->store, e);
        if (r < 0)
            return r;
        d->own_store = true;
    }
    if (when)
        return image_open_past(d->store, (int64_t)id, slot, (int64_t)when, &d->image, e);
    if (!strcmp(root, "head"))
        return image_open_flushed(d->store, (int64_t)id, slot, &d->image, e);
    r = snapshot_hold(d->store, (int64_t)id, &d->hold, e);
    if (r < 0)
        return r;
    return image_open(d->store, (int64_t)id, slot, !strcmp(root, "live") ? ROOT_LIVE : ROOT_QUIESCED, &d->image, e);
}

int disk_open(const char *spec, struct disk *other, struct disk **ret, struct err *e)
{
    cleanup(cleanup_disk) struct disk *d = calloc(1, sizeof(*d));
    bool is_file = !strncmp(spec, "file:", 5);
    int r;

    if (!is_file && strncmp(spec, "store:", 6))
        return bad_spec(spec, e);
    if (!d || !(d->path = strdup(strchr(spec, ':') + 1)))
        return err_set(e, VT_FAIL, "out of memory");
    r = is_file ? dev_open_file(d->path, &d->file, e) : open_image(d, spec, other, e);
    if (r == 0)
        r = dev_cache(is_file ? d->file : image_blockdev(d->image), &d->cache, e);
    if (r < 0)
        return r;
    *ret = steal(&d);
    return 0;
}

void disk_close(struct disk *d)
{
    if (!d)
        return;
    dev_close(d->cache);
    dev_close(d->file);
    image_close(d->image);
    if (d->hold)
        snapshot_release(d->hold);
    if (d->own_store)
        store_close(d->store);
    free(d->path);
    free(d);
}

struct blockdev *disk_dev(struct disk *d)
{
    return d->cache;
}

uint64_t disk_read_bytes(const struct disk *d)
{
    return dev_cache_read_bytes(d->cache);
}

static int set_page(void *opaque, const struct image_diff *d, struct err *e)
{
    bitset_set(opaque, d->page);
    return 0;
}

/* Two files: reads both but for what is a hole in both. */
static int differ_files(struct disk *a, struct disk *b, struct bitset *pages, struct err *e)
{
    uint64_t size = MIN(a->file->size, b->file->size), at = 0, page;
    cleanup(cleanup_free) unsigned char *buf = malloc(2 * COMPARE_CHUNK);

    if (!buf)
        return err_set(e, VT_FAIL, "out of memory");
    while (at < size) {
        uint64_t data = MIN(dev_file_next_data(a->file, at), dev_file_next_data(b->file, at));
        size_t n;
        int r;

        at = MAX(at, data & ~(uint64_t)(VT_PAGE_SIZE - 1));
        if (at >= size)
            break;
        n = (size_t)MIN((uint64_t)COMPARE_CHUNK, size - at);
        r = dev_read(a->file, buf, n, at, e);
        if (r == 0)
            r = dev_read(b->file, buf + COMPARE_CHUNK, n, at, e);
        if (r < 0)
            return r;
        if (memcmp(buf, buf + COMPARE_CHUNK, n))
            for (size_t i = 0; i < n; i += VT_PAGE_SIZE)
                if (memcmp(buf + i, buf + COMPARE_CHUNK + i, MIN((size_t)VT_PAGE_SIZE, n - i)))
                    bitset_set(pages, (at + i) / VT_PAGE_SIZE);
        at += n;
    }
    for (page = size / VT_PAGE_SIZE; page < pages->n; page++) /* what only one of them has */
        if (a->file->size != b->file->size)
            bitset_set(pages, page);
    return 0;
}

static void unset_bitset(struct bitset *s)
{
    bitset_clear(s);
}

int disk_differ(struct disk *a, struct disk *b, struct bitset *ret, bool *ret_known, struct err *e)
{
    cleanup(unset_bitset) struct bitset pages = {0};
    bool files = a->file && b->file, images = a->image && b->image && a->store == b->store;
    int r;

    *ret_known = files || images;
    if (!*ret_known)
        return 0;
    r = bitset_init(&pages, (MAX(a->cache->size, b->cache->size) + VT_PAGE_SIZE - 1) / VT_PAGE_SIZE, e);
    if (r == 0)
        r = files ? differ_files(a, b, &pages, e) : image_compare(a->image, b->image, set_page, &pages, e);
    if (r < 0)
        return r;
    *ret = pages;
    pages = (struct bitset){0};
    return 0;
}
