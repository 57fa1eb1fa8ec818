/* libext2fs's way to the disk: a read-only io_manager over a struct blockdev. It bounds how many blocks one operation
 * may read, so that a crafted tree of extents cannot keep the reader busy for ever. */
#ifndef VT_DIFF_EXTIO_H
#define VT_DIFF_EXTIO_H

#include <ext2fs/ext2fs.h>

#include "src/base/blockdev.h"

struct extio {
    struct struct_io_manager manager; /* libext2fs takes it as non-const: each file system brings its own */
    struct blockdev *dev;
    uint64_t budget; /* blocks that may still be read; the caller sets it before each operation */
    struct err err;  /* the first failure of the device or the budget */
};

/* The name to hand to ext2fs_open2() so that its channel reads through io, which must outlive the file system. */
struct extio_name {
    char s[32];
};
struct extio_name extio_name(const struct extio *io);

/* Ready to open a file system on dev with, by io->manager. */
void extio_init(struct extio *io, struct blockdev *dev, uint64_t budget);

#endif
