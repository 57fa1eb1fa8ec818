/* Read-only block devices for reading file systems offline: a raw file, a slice (a partition), a page cache that counts
 * what it reads, and an overlay that holds replayed journal blocks. Each keeps a pointer to the one below, which must
 * outlive it; dev_close() frees only the one it is given. */
#ifndef VT_DIFF_DEV_H
#define VT_DIFF_DEV_H

#include "src/base/blockdev.h"

/* Opens a raw image read-only. Its size is rounded down to 512 bytes. */
int dev_open_file(const char *path, struct blockdev **ret, struct err *e);
/* The first byte >= off of a dev_open_file() device that is not in a hole; its size or more when there is none. */
uint64_t dev_file_next_data(const struct blockdev *file, uint64_t off);
/* Bytes [off, off + len) of base; the range must lie within it (VT_CORRUPT otherwise). */
int dev_slice(struct blockdev *base, uint64_t off, uint64_t len, struct blockdev **ret, struct err *e);
/* Keeps recently read pages of base; large reads pass by it. */
int dev_cache(struct blockdev *base, struct blockdev **ret, struct err *e);
/* Bytes that a dev_cache() device has asked of the device below. */
uint64_t dev_cache_read_bytes(const struct blockdev *cache);
/* base with some blocks of block_size bytes (a power of two, 512 at least) replaced in memory. */
int dev_overlay(struct blockdev *base, uint32_t block_size, struct blockdev **ret, struct err *e);
/* Replaces (again) one block. data is copied. */
int dev_overlay_put(struct blockdev *overlay, uint64_t block, const void *data, struct err *e);
/* How many blocks are replaced, and which (index 0..n-1, in order of first replacement). */
size_t dev_overlay_count(const struct blockdev *overlay);
uint64_t dev_overlay_block(const struct blockdev *overlay, size_t index);

void dev_close(struct blockdev *b); /* NULL is fine */
static inline void cleanup_dev(struct blockdev **b)
{
    dev_close(*b);
}

/* Reads through b, with the range checked against its size first. */
int dev_read(struct blockdev *b, void *dst, size_t len, uint64_t off, struct err *e);

#endif
