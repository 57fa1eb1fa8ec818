#include "src/rawdisk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "src/base/banned.h"
#include "src/base/util.h"

struct rawdisk {
    struct blockdev dev;
    int fd, overlay;      /* overlay: -1 where writes go to the file */
    uint64_t *in_overlay; /* a bit for each 4 KiB page */
    char path[256];       /* for messages */
};

static int full_pread(int fd, uint8_t *dst, size_t len, uint64_t off)
{
    while (len) {
        ssize_t n = pread(fd, dst, len, (off_t)off);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0) { /* a last page past the end of the file */
            memset(dst, 0, len);
            return 0;
        }
        dst += n;
        off += (uint64_t)n;
        len -= (size_t)n;
    }
    return 0;
}

static int full_pwrite(int fd, const uint8_t *src, size_t len, uint64_t off)
{
    while (len) {
        ssize_t n = pwrite(fd, src, len, (off_t)off);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        src += n;
        off += (uint64_t)n;
        len -= (size_t)n;
    }
    return 0;
}

static int io_error(struct rawdisk *d, const char *what, uint64_t off, struct err *e)
{
    return err_set(e, VT_IO, "%s: %s at %llu: %m", d->path, what, (unsigned long long)off);
}

static bool overlaid(const struct rawdisk *d, uint64_t page)
{
    return d->in_overlay && (d->in_overlay[page / 64] >> (page % 64) & 1);
}

static int check_range(const struct rawdisk *d, size_t len, uint64_t off, struct err *e)
{
    if (off > d->dev.size || len > d->dev.size - off)
        return err_set(e, VT_IO, "%s: access past the end at %llu", d->path, (unsigned long long)off);
    return 0;
}

static int raw_pread(struct blockdev *b, void *dst, size_t len, uint64_t off, struct err *e)
{
    struct rawdisk *d = container_of(b, struct rawdisk, dev);
    uint8_t *p = dst;
    int rc = check_range(d, len, off, e);

    while (rc == 0 && len) {
        uint64_t page = off / VT_PAGE_SIZE;
        size_t n = MIN(len, VT_PAGE_SIZE - off % VT_PAGE_SIZE);
        bool over = overlaid(d, page);

        while (n < len && overlaid(d, (off + n) / VT_PAGE_SIZE) == over)
            n = MIN(len, n + VT_PAGE_SIZE);
        if (full_pread(over ? d->overlay : d->fd, p, n, off) < 0)
            return io_error(d, "read", off, e);
        p += n;
        off += n;
        len -= n;
    }
    return rc;
}

static int raw_pwrite(struct blockdev *b, const void *src, size_t len, uint64_t off, struct err *e)
{
    struct rawdisk *d = container_of(b, struct rawdisk, dev);
    const uint8_t *p = src;
    int rc = check_range(d, len, off, e);

    if (rc < 0)
        return rc;
    if (b->read_only)
        return err_set(e, VT_IO, "%s: is read-only", d->path);
    if (!d->in_overlay)
        return full_pwrite(d->fd, p, len, off) < 0 ? io_error(d, "write", off, e) : 0;
    while (len) {
        uint64_t page = off / VT_PAGE_SIZE;
        size_t in = off % VT_PAGE_SIZE, n = MIN(len, VT_PAGE_SIZE - in);

        if (n < VT_PAGE_SIZE && !overlaid(d, page)) {
            uint8_t whole[VT_PAGE_SIZE];
            if (full_pread(d->fd, whole, sizeof whole, page * VT_PAGE_SIZE) < 0)
                return io_error(d, "read", off, e);
            memcpy(whole + in, p, n);
            if (full_pwrite(d->overlay, whole, sizeof whole, page * VT_PAGE_SIZE) < 0)
                return io_error(d, "overlay write", off, e);
        } else if (full_pwrite(d->overlay, p, n, off) < 0) {
            return io_error(d, "overlay write", off, e);
        }
        d->in_overlay[page / 64] |= 1ull << (page % 64);
        p += n;
        off += n;
        len -= n;
    }
    return 0;
}

static int raw_flush(struct blockdev *b, struct err *e)
{
    struct rawdisk *d = container_of(b, struct rawdisk, dev);

    if (!d->in_overlay && fdatasync(d->fd) < 0)
        return err_set(e, VT_IO, "%s: sync: %m", d->path);
    return 0;
}

static int raw_discard(struct blockdev *b, uint64_t len, uint64_t off, bool zero, struct err *e)
{
    static const uint8_t zeros[VT_PAGE_SIZE];
    int rc = 0;

    (void)zero; /* a plain discard reads zero as well: one behaviour to test */
    while (rc == 0 && len) {
        size_t n = MIN(len, VT_PAGE_SIZE - off % VT_PAGE_SIZE);
        rc = raw_pwrite(b, zeros, n, off, e);
        off += n;
        len -= n;
    }
    return rc;
}

static void raw_close(struct blockdev *b)
{
    struct rawdisk *d = container_of(b, struct rawdisk, dev);

    close(d->fd);
    if (d->overlay >= 0)
        close(d->overlay);
    free(d->in_overlay);
    free(d);
}

static int open_overlay(struct err *e)
{
    const char *dirs[] = {getenv("TMPDIR"), "/var/tmp", "/tmp"};

    for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
        char name[4096];
        int fd;

        if (!dirs[i] || !*dirs[i])
            continue;
        fd = open(dirs[i], O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        if (fd >= 0)
            return fd;
        snprintf(name, sizeof name, "%s/vmtest-XXXXXX", dirs[i]);
        fd = mkostemp(name, O_CLOEXEC);
        if (fd >= 0) {
            unlink(name);
            return fd;
        }
    }
    return err_set(e, VT_IO, "cannot make a temporary file for disk writes: %m");
}

int rawdisk_open(const char *path, enum rawdisk_mode mode, struct blockdev **ret_dev, struct err *e)
{
    static const struct blockdev_ops ops = {raw_pread, raw_pwrite, raw_flush, raw_discard, raw_close};
    cleanup(cleanup_close) int fd = open(path, (mode == RAWDISK_WRITE ? O_RDWR : O_RDONLY) | O_CLOEXEC);
    cleanup(cleanup_close) int overlay = -1;
    bool private = mode == RAWDISK_PRIVATE;
    struct rawdisk *d;
    struct stat st;
    off_t size;

    if (fd < 0 || fstat(fd, &st) < 0)
        return err_set(e, err_from_errno(errno), "%s: %m", path);
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return err_set(e, VT_CORRUPT, "%s: not a disk image: neither a file nor a block device", path);
    size = lseek(fd, 0, SEEK_END);
    if (size < 0)
        return err_set(e, VT_CORRUPT, "%s: not a disk image: %m", path);
    if (size < 512)
        return err_set(e, VT_CORRUPT, "%s: not a disk image: shorter than a sector", path);
    if (private) {
        overlay = open_overlay(e);
        if (overlay < 0)
            return overlay;
    }
    d = calloc(1, sizeof *d);
    if (d && private)
        d->in_overlay = calloc(((uint64_t)size / VT_PAGE_SIZE + 64) / 64 + 1, sizeof(uint64_t));
    if (!d || (private && !d->in_overlay)) {
        free(d);
        return err_set(e, VT_FAIL, "out of memory");
    }
    d->dev = (struct blockdev){.ops = &ops, .size = (uint64_t)size & ~511ull, .read_only = mode == RAWDISK_READ};
    snprintf(d->path, sizeof d->path, "%s", path);
    d->fd = steal_fd(&fd);
    d->overlay = steal_fd(&overlay);
    *ret_dev = &d->dev;
    return 0;
}
