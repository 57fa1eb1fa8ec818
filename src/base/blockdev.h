/* A block device as the layers see each other's: byte-addressed, whole 512-byte sectors. Calls may block; one thread
 * at a time. Each returns 0 or a negative enum vt_err and fills e (may be NULL). */
#ifndef VT_BASE_BLOCKDEV_H
#define VT_BASE_BLOCKDEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "src/base/err.h"

struct blockdev;

struct blockdev_ops {
    int (*pread)(struct blockdev *b, void *dst, size_t len, uint64_t off, struct err *e);
    int (*pwrite)(struct blockdev *b, const void *src, size_t len, uint64_t off, struct err *e);
    int (*flush)(struct blockdev *b, struct err *e); /* returns when all writes before it are durable */
    int (*discard)(struct blockdev *b, uint64_t len, uint64_t off, bool zero, struct err *e); /* reads zero after */
    void (*close)(struct blockdev *b);
};

struct blockdev {
    const struct blockdev_ops *ops;
    uint64_t size; /* bytes, a multiple of 512 */
    bool read_only;
};

#endif
