#include "src/base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "src/base/util.h"

/* errno as a result, its text in the message */
static int sys_err(struct err *e, const char *what, const char *name)
{
    int saved = errno;

    errno = saved;
    return err_set(e, err_from_errno(saved), "%s%s%s: %m", what, *what ? " " : "", name);
}

int io_openat(int dirfd, const char *path, int flags, mode_t mode, int *ret_fd, struct err *e)
{
    int fd;

    do
        fd = openat(dirfd, path, flags | O_CLOEXEC, mode);
    while (fd < 0 && errno == EINTR);
    if (fd < 0)
        return sys_err(e, "", path);
    *ret_fd = fd;
    return 0;
}

int io_open(const char *path, int flags, mode_t mode, int *ret_fd, struct err *e)
{
    return io_openat(AT_FDCWD, path, flags, mode, ret_fd, e);
}

/* off < 0: at the file position */
static int read_loop(int fd, char *dst, size_t len, int64_t off, size_t *ret_got, const char *name, struct err *e)
{
    size_t got = 0;

    while (got < len) {
        ssize_t n = off < 0 ? read(fd, dst + got, len - got) : pread(fd, dst + got, len - got, off + (int64_t)got);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return sys_err(e, "cannot read", name);
        if (n == 0)
            break;
        got += (size_t)n;
    }
    if (!ret_got && got < len)
        return err_set(e, VT_CORRUPT, "%s: ends early: %zu bytes where %zu were expected", name, got, len);
    if (ret_got)
        *ret_got = got;
    return 0;
}

int io_read_full(int fd, void *dst, size_t len, size_t *ret_got, const char *name, struct err *e)
{
    return read_loop(fd, dst, len, -1, ret_got, name, e);
}

int io_pread_full(int fd, void *dst, size_t len, uint64_t off, size_t *ret_got, const char *name, struct err *e)
{
    if (off > INT64_MAX - len)
        return err_set(e, VT_USAGE, "%s: offset %llu is out of range", name, (unsigned long long)off);
    return read_loop(fd, dst, len, (int64_t)off, ret_got, name, e);
}

static int write_loop(int fd, const char *src, size_t len, int64_t off, const char *name, struct err *e)
{
    size_t put = 0;

    while (put < len) {
        ssize_t n = off < 0 ? write(fd, src + put, len - put) : pwrite(fd, src + put, len - put, off + (int64_t)put);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return sys_err(e, "cannot write", name);
        put += (size_t)n;
    }
    return 0;
}

int io_write_full(int fd, const void *src, size_t len, const char *name, struct err *e)
{
    return write_loop(fd, src, len, -1, name, e);
}

int io_pwrite_full(int fd, const void *src, size_t len, uint64_t off, const char *name, struct err *e)
{
    if (off > INT64_MAX - len)
        return err_set(e, VT_USAGE, "%s: offset %llu is out of range", name, (unsigned long long)off);
    return write_loop(fd, src, len, (int64_t)off, name, e);
}

int io_read_file(int dirfd, const char *path, size_t max, struct buf *b, struct err *e)
{
    cleanup(cleanup_close) int fd = -1;
    size_t start = b->len, got;
    int r;

    r = io_openat(dirfd, path, O_RDONLY, 0, &fd, e);
    if (r)
        return r;
    for (;;) {
        size_t want = MIN((size_t)65536, max - (b->len - start) + 1);
        void *p = buf_reserve(b, want);

        if (!p)
            return buf_check(b, e);
        r = io_read_full(fd, p, want, &got, path, e);
        if (r)
            return r;
        b->len += got;
        b->data[b->len] = 0;
        if (b->len - start > max)
            return err_set(e, VT_CORRUPT, "%s: longer than %zu bytes", path, max);
        if (got < want)
            return 0;
    }
}

int io_replace_file(int dirfd, const char *path, const void *data, size_t len, mode_t mode, struct err *e)
{
    cleanup(cleanup_free) char *tmp = str_printf("%s.new-%d", path, (int)getpid());
    cleanup(cleanup_close) int fd = -1;
    int r;

    if (!tmp)
        return err_set(e, VT_FAIL, "out of memory");
    r = io_openat(dirfd, tmp, O_WRONLY | O_CREAT | O_TRUNC, mode, &fd, e);
    if (r)
        return r;
    r = io_write_full(fd, data, len, tmp, e);
    if (!r && fdatasync(fd) < 0)
        r = sys_err(e, "cannot sync", tmp);
    if (!r && renameat(dirfd, tmp, dirfd, path) < 0)
        r = sys_err(e, "cannot replace", path);
    if (r)
        unlinkat(dirfd, tmp, 0);
    return r;
}

int io_mkdirs(const char *path, mode_t mode, struct err *e)
{
    cleanup(cleanup_free) char *p = strdup(path);
    struct stat st;

    if (!p)
        return err_set(e, VT_FAIL, "out of memory");
    for (char *s = p + 1; *p; s++) {
        char c = *s;

        if (c != '/' && c != 0)
            continue;
        *s = 0;
        if (mkdir(p, mode) < 0 && errno != EEXIST)
            return sys_err(e, "cannot make directory", p);
        *s = c;
        if (!c)
            break;
    }
    if (stat(path, &st) < 0)
        return sys_err(e, "", path);
    if (!S_ISDIR(st.st_mode))
        return err_set(e, VT_EXISTS, "%s: exists and is not a directory", path);
    return 0;
}

int io_set_nonblock(int fd, bool on, struct err *e)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK) < 0)
        return sys_err(e, "cannot set mode of", "descriptor");
    return 0;
}

int io_copy(int in, int out, uint64_t *ret_bytes, const char *name, struct err *e)
{
    const size_t chunk = 1 << 20;
    cleanup(cleanup_free) char *p = malloc(chunk);
    uint64_t total = 0;

    if (!p)
        return err_set(e, VT_FAIL, "out of memory");
    for (;;) {
        ssize_t n = read(in, p, chunk);
        int r;

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return sys_err(e, "cannot read", name);
        if (n == 0)
            break;
        r = io_write_full(out, p, (size_t)n, name, e);
        if (r)
            return r;
        total += (uint64_t)n;
    }
    if (ret_bytes)
        *ret_bytes = total;
    return 0;
}
