/* A disk that a hostile guest has written: partition table, ext2/3/4, journal. All that can be read is read, and the
 * disk is compared with itself, once as a walk and once with every block said to differ: both must find nothing, or
 * both must fail.
 *
 * An input is a sparse disk: its size in KiB (2 bytes, little-endian), then blocks of 1 KiB with their number (2 bytes)
 * before each. tests/diff/corpus.py makes them from images. */
#include <stdlib.h>
#include <string.h>
#include "src/base/util.h"
#include "src/diff/part.h"
#include "src/diff/dev.h"
#include "src/diff/tree.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { BLOCK = 1024, KIB_MAX = 16384, READ_MAX = 65536 };

struct ram_dev {
    struct blockdev dev;
    unsigned char *data;
};

static int ram_pread(struct blockdev *b, void *dst, size_t len, uint64_t off, struct err *e)
{
    memcpy(dst, container_of(b, struct ram_dev, dev)->data + off, len);
    return 0;
}

static void ram_close(struct blockdev *b)
{
}

static const struct blockdev_ops ram_ops = {.pread = ram_pread, .close = ram_close};

static void read_node(struct extfs *fs, uint32_t ino)
{
    cleanup(runs_clear) struct runs runs = {0};
    cleanup(xattrs_clear) struct xattrs attrs = {0};
    cleanup(dirlist_clear) struct dirlist list = {0};
    cleanup(cleanup_free) char *target = NULL;
    static const struct fsnode none;
    struct fsnode n = none;
    char buf[512];

    if (extfs_node(fs, ino, &n, NULL) < 0)
        return;
    extfs_xattrs(fs, &n, &attrs, NULL);
    extfs_list(fs, &n, &list, NULL);
    extfs_readlink(fs, &n, &target, NULL);
    if (extfs_runs(fs, &n, &runs, NULL) < 0)
        return;
    for (uint64_t at = 0; at < n.size && at < READ_MAX; at += sizeof(buf))
        if (extfs_read(fs, &n, &runs, at, buf, (size_t)MIN(sizeof(buf), n.size - at), NULL) < 0)
            return;
}

static void compare(struct extfs *a, struct extfs *b, uint64_t size)
{
    static const struct tree_options times = {.times = true};
    struct changes walked = {0}, pruned = {0};
    struct bitset all;
    struct err e = {0};

    if (bitset_init(&all, size / extfs_block_size(a), &e) < 0)
        abort();
    for (uint64_t i = 0; i < all.n; i++)
        bitset_set(&all, i);
    if (tree_compare(a, b, NULL, &times, &walked, &e) == 0 && walked.n)
        abort();
    if (tree_compare(a, b, &all, &times, &pruned, &e) == 0 && pruned.n)
        abort();
    changes_clear(&walked);
    changes_clear(&pruned);
    bitset_clear(&all);
}

static void read_part(struct blockdev *disk, const struct part *p)
{
    cleanup(cleanup_dev) struct blockdev *slice = NULL;
    cleanup(cleanup_extfs) struct extfs *fs = NULL, *again = NULL;
    const char *kind = NULL;
    struct fsnode n;

    if (dev_slice(disk, p->off, p->len, &slice, NULL) < 0)
        abort(); /* part_read() gives none that do not fit */
    if (part_probe(slice, &kind, NULL) < 0 || extfs_open(slice, &fs, NULL) < 0)
        return;
    for (uint32_t ino = 1; ino <= MIN(extfs_inodes(fs), 64u); ino++)
        read_node(fs, ino);
    extfs_lookup(fs, "/link/../dir/./deep/file", true, &n, NULL);
    if (extfs_open(slice, &again, NULL) == 0)
        compare(fs, again, slice->size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct ram_dev ram = {.dev = {.ops = &ram_ops, .read_only = true}};
    struct part_table t;
    size_t kib;

    if (len < 2)
        return 0;
    kib = MIN((size_t)(data[0] | data[1] << 8), (size_t)KIB_MAX);
    ram.dev.size = kib * BLOCK;
    ram.data = calloc(kib + 1, BLOCK);
    if (!ram.data)
        abort();
    for (data += 2, len -= 2; len > 2;) {
        size_t block = (size_t)(data[0] | data[1] << 8), n = MIN(len - 2, (size_t)BLOCK);

        if (block < kib)
            memcpy(ram.data + block * BLOCK, data + 2, n);
        data += 2 + n;
        len -= 2 + n;
    }
    if (part_read(&ram.dev, &t, NULL) == 0)
        for (int i = 0; i < t.n; i++)
            read_part(&ram.dev, &t.part[i]);
    free(ram.data);
    return 0;
}
