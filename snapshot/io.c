#include "snapshot/io.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "src/base/util.h"

int sio_ask(struct sio *io, enum sio_kind kind, const char *path, uint64_t off, const void *data, size_t len)
{
    struct sio_op op = {kind, path, off, data, len};

    switch (kind) {
    case SIO_CREATE:
        io->creates++;
        break;
    case SIO_WRITE:
    case SIO_TRUNCATE:
        io->writes++;
        break;
    case SIO_SYNC:
    case SIO_DIRSYNC:
        io->syncs++;
        break;
    case SIO_UNLINK:
        io->unlinks++;
        break;
    }
    return io->hook.fn ? io->hook.fn(io->hook.opaque, &op) : 0;
}

/* Asks the hook for an act that is done whole or not at all; errno is set where it refuses. */
static bool allowed(struct sio *io, enum sio_kind kind, const char *path, uint64_t off)
{
    int r = sio_ask(io, kind, path, off, NULL, 0);

    if (!r)
        return true;
    errno = r < 0 ? -r : EIO;
    return false;
}

static void set_path(struct sfile *f, struct sio *io, int fd, const char *path)
{
    f->io = io;
    f->fd = fd;
    snprintf(f->path, sizeof f->path, "%s", path);
}

int sio_create(struct sio *io, const char *path, struct sfile *ret, struct err *e)
{
    int fd = -1;

    if (allowed(io, SIO_CREATE, path, 0))
        fd = openat(io->dirfd, path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_set(e, err_from_errno(errno), "%s: cannot be made: %m", path);
    set_path(ret, io, fd, path);
    return 0;
}

int sio_create_unnamed(struct sio *io, const char *path, struct sfile *ret, struct err *e)
{
    int fd = openat(io->dirfd, path, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
    char name[sizeof ret->path];

    if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == ENOENT)) { /* not had on every file system */
        snprintf(name, sizeof name, "%s/tmp-%d-%p", path, (int)getpid(), (void *)ret);
        fd = openat(io->dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd >= 0)
            unlinkat(io->dirfd, name, 0);
    }
    if (fd < 0)
        return err_set(e, err_from_errno(errno), "%s: no unnamed file can be made there: %m", path);
    set_path(ret, io, fd, path);
    return 0;
}

int sio_open(struct sio *io, const char *path, bool write, struct sfile *ret, struct err *e)
{
    int fd = openat(io->dirfd, path, (write ? O_RDWR : O_RDONLY) | O_CLOEXEC);

    if (fd < 0)
        return err_set(e, err_from_errno(errno), "%s: %m", path);
    set_path(ret, io, fd, path);
    return 0;
}

void sio_close(struct sfile *f)
{
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
}

static int write_failed(const struct sfile *f, uint64_t off, struct err *e)
{
    return err_set(e, VT_IO, "%s: offset %llu: write failed: %m", f->path, (unsigned long long)off);
}

static int write_all(struct sfile *f, const char *p, size_t len, uint64_t off, struct err *e)
{
    while (len) {
        ssize_t n = pwrite(f->fd, p, len, (off_t)off);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            if (!n)
                errno = ENOSPC;
            return write_failed(f, off, e);
        }
        p += n;
        off += (size_t)n;
        len -= (size_t)n;
    }
    return 0;
}

int sio_pwrite(struct sfile *f, const void *data, size_t len, uint64_t off, struct err *e)
{
    int r = sio_ask(f->io, SIO_WRITE, f->path, off, data, len);

    if (!r)
        return write_all(f, data, len, off, e);
    if (r > 0) {
        write_all(f, data, MIN(len, (size_t)r - 1), off, NULL);
        errno = EIO;
    } else {
        errno = -r;
    }
    return write_failed(f, off, e);
}

int sio_pwritev(struct sfile *f, const struct iovec *iov, int n, uint64_t off, struct err *e)
{
    size_t len = 0, at = 0;
    char *flat cleanup(cleanup_free) = NULL;

    for (int i = 0; i < n; i++)
        len += iov[i].iov_len;
    if (!f->io->hook.fn) { /* one call in the usual case; a short count goes on below */
        ssize_t got;
        sio_ask(f->io, SIO_WRITE, f->path, off, NULL, len);
        do
            got = pwritev(f->fd, iov, n, (off_t)off);
        while (got < 0 && errno == EINTR);
        if (got < 0)
            return write_failed(f, off, e);
        for (int i = 0; i < n; off += iov[i].iov_len, i++) {
            size_t done = MIN((size_t)got, iov[i].iov_len);
            int r = write_all(f, (char *)iov[i].iov_base + done, iov[i].iov_len - done, off + done, e);
            if (r)
                return r;
            got -= (ssize_t)done;
        }
        return 0;
    }
    flat = malloc(len);
    if (!flat)
        return err_set(e, VT_FAIL, "out of memory");
    for (int i = 0; i < n; at += iov[i].iov_len, i++)
        memcpy(flat + at, iov[i].iov_base, iov[i].iov_len);
    return sio_pwrite(f, flat, len, off, e);
}

int sio_pread(const struct sfile *f, void *dst, size_t len, uint64_t off, struct err *e)
{
    char *p = dst;

    while (len) {
        ssize_t n = pread(f->fd, p, len, (off_t)off);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set(e, VT_IO, "%s: offset %llu: read failed: %m", f->path, (unsigned long long)off);
        if (!n)
            return err_set(e, VT_CORRUPT, "%s: offset %llu: the file ends here, %zu bytes too early", f->path,
                           (unsigned long long)off, len);
        p += n;
        off += (size_t)n;
        len -= (size_t)n;
    }
    return 0;
}

int sio_size(const struct sfile *f, uint64_t *ret, struct err *e)
{
    struct stat st;

    if (fstat(f->fd, &st))
        return err_set(e, VT_IO, "%s: %m", f->path);
    *ret = (uint64_t)st.st_size;
    return 0;
}

int sio_truncate(struct sfile *f, uint64_t size, struct err *e)
{
    if (!allowed(f->io, SIO_TRUNCATE, f->path, size) || ftruncate(f->fd, (off_t)size))
        return err_set(e, VT_IO, "%s: cannot be cut to %llu bytes: %m", f->path, (unsigned long long)size);
    return 0;
}

int sio_sync(struct sfile *f, struct err *e)
{
    if (!allowed(f->io, SIO_SYNC, f->path, 0) || fdatasync(f->fd))
        return err_set(e, VT_IO, "%s: cannot be made durable: %m", f->path);
    return 0;
}

int sio_dirsync(struct sio *io, const char *path, struct err *e)
{
    int fd cleanup(cleanup_close) = -1;

    if (allowed(io, SIO_DIRSYNC, path, 0)) {
        fd = openat(io->dirfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd >= 0 && !fsync(fd))
            return 0;
    }
    return err_set(e, VT_IO, "%s: folder cannot be made durable: %m", path);
}

int sio_unlink(struct sio *io, const char *path, struct err *e)
{
    if (!allowed(io, SIO_UNLINK, path, 0) || (unlinkat(io->dirfd, path, 0) && errno != ENOENT))
        return err_set(e, VT_IO, "%s: cannot be removed: %m", path);
    return 0;
}
