/* See extio.h. libext2fs's open hook is given a name and nothing else, so the name is the address of the context. */
#include "src/diff/extio.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "src/diff/dev.h"

struct extio_name extio_name(const struct extio *io)
{
    struct extio_name n;

    snprintf(n.s, sizeof(n.s), "%" PRIxPTR, (uintptr_t)io);
    return n;
}

static errcode_t io_open(const char *name, int flags, io_channel *channel)
{
    io_channel io = NULL;
    struct extio *x;
    errcode_t r;

    if (flags & IO_FLAG_RW)
        return EXT2_ET_RO_FILSYS;
    r = ext2fs_get_memzero(sizeof(*io), &io);
    if (r)
        return r;
    r = ext2fs_get_mem(strlen(name) + 1, &io->name);
    if (r) {
        ext2fs_free_mem(&io);
        return r;
    }
    memcpy(io->name, name, strlen(name) + 1);
    io->magic = EXT2_ET_MAGIC_IO_CHANNEL;
    io->block_size = 1024;
    io->refcount = 1;
    x = (struct extio *)(uintptr_t)strtoull(name, NULL, 16);
    io->manager = &x->manager;
    io->private_data = x;
    *channel = io;
    return 0;
}

static errcode_t io_close(io_channel io)
{
    if (--io->refcount > 0)
        return 0;
    ext2fs_free_mem(&io->name);
    ext2fs_free_mem(&io);
    return 0;
}

static errcode_t io_set_blksize(io_channel io, int size)
{
    io->block_size = size;
    return 0;
}

/* count is blocks, or bytes where it is negative. */
static errcode_t io_read64(io_channel io, unsigned long long block, int count, void *data)
{
    struct extio *x = io->private_data;
    size_t len = count < 0 ? (size_t) - (long)count : (size_t)count * (size_t)io->block_size;
    uint64_t blocks = count < 0 ? 1 : (uint64_t)count;

    if (blocks > x->budget) {
        err_set(&x->err, VT_CORRUPT, "the file system's structure is not finite");
        return EXT2_ET_FILESYSTEM_CORRUPTED;
    }
    x->budget -= blocks;
    if (block > UINT64_MAX / (uint64_t)io->block_size)
        return EXT2_ET_SHORT_READ;
    return dev_read(x->dev, data, len, block * (uint64_t)io->block_size, &x->err) < 0 ? EXT2_ET_SHORT_READ : 0;
}

static errcode_t io_read(io_channel io, unsigned long block, int count, void *data)
{
    return io_read64(io, block, count, data);
}

static errcode_t io_write64(io_channel io, unsigned long long block, int count, const void *data)
{
    return EXT2_ET_RO_FILSYS;
}

static errcode_t io_write(io_channel io, unsigned long block, int count, const void *data)
{
    return EXT2_ET_RO_FILSYS;
}

static errcode_t io_flush(io_channel io)
{
    return 0;
}

void extio_init(struct extio *io, struct blockdev *dev, uint64_t budget)
{
    *io = (struct extio){
        .manager =
            {
                .magic = EXT2_ET_MAGIC_IO_MANAGER,
                .name = "vmtest block device",
                .open = io_open,
                .close = io_close,
                .set_blksize = io_set_blksize,
                .read_blk = io_read,
                .write_blk = io_write,
                .flush = io_flush,
                .read_blk64 = io_read64,
                .write_blk64 = io_write64,
            },
        .dev = dev,
        .budget = budget,
    };
}
