/* Preloaded into vmtest and its monitors: notes in the file $POWERSHIM_JOURNAL all that they change below the folder
 * $POWERSHIM_DIR, in order, so that a test can say what a power failure would have left of it (power.py). A change is
 * noted before it is made, a sync after it succeeded: what was reported to anybody is noted by then. Each note is one
 * line, "KIND PATH OFFSET LENGTH", and the data of a write. */
#undef _FILE_OFFSET_BITS /* both names of each function are wanted */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define FDS 1024

static int journal = -1;
static const char *top;
static char paths[FDS][128]; /* below top; empty: not ours */

/* The next definition, of the C library. */
#define REAL(ret, name, ...)         \
    static ret (*real)(__VA_ARGS__); \
    if (!real)                       \
    *(void **)&real = dlsym(RTLD_NEXT, name)

__attribute__((constructor)) static void start(void)
{
    const char *file = getenv("POWERSHIM_JOURNAL");

    top = getenv("POWERSHIM_DIR");
    if (!file || !top)
        return;
    journal = open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (journal < 0) {
        fprintf(stderr, "powershim: %s: %s\n", file, strerror(errno));
        abort();
    }
    journal = fcntl(journal, F_DUPFD_CLOEXEC, 900); /* out of the way of the program's own */
}

static void note(char kind, const char *path, unsigned long long off, size_t len, const struct iovec *iov, int n)
{
    int saved = errno;
    char line[256];
    struct iovec all[17] = {{line, 0}};
    size_t total;

    all[0].iov_len = total = (size_t)snprintf(line, sizeof line, "%c %s %llu %zu\n", kind, path, off, len);
    for (int i = 0; i < n && i < 16; i++)
        all[i + 1] = iov[i];
    if (n > 16 || writev(journal, all, n + 1) != (ssize_t)(total + (n ? len : 0)))
        abort();
    errno = saved;
}

static bool below_top(const char *full, char ret[128])
{
    size_t n = top ? strlen(top) : 0;

    if (journal < 0 || strncmp(full, top, n) != 0 || (full[n] && full[n] != '/') || strlen(full + n) > 120)
        return false;
    strcpy(ret, full[n] ? full + n + 1 : ".");
    return strstr(ret, "(deleted)") == NULL;
}

static bool of_fd(int fd, char ret[128])
{
    char link[32], full[PATH_MAX];
    ssize_t n;

    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    n = readlink(link, full, sizeof full - 1);
    if (n < 0)
        return false;
    full[n] = 0;
    return below_top(full, ret);
}

static bool of_name(int dirfd, const char *name, char ret[128])
{
    char folder[128], full[PATH_MAX];

    if (name[0] == '/')
        return below_top(name, ret);
    if (dirfd == AT_FDCWD || !of_fd(dirfd, folder))
        return false;
    snprintf(full, sizeof full, "%s/%s%s%s", top, strcmp(folder, ".") ? folder : "", strcmp(folder, ".") ? "/" : "",
             name);
    return below_top(full, ret);
}

static void opened(int fd)
{
    if (fd >= 0 && fd < FDS && !of_fd(fd, paths[fd]))
        paths[fd][0] = 0;
}

static void creating(int dirfd, const char *name, int flags)
{
    char path[128];

    if ((flags & O_CREAT) && of_name(dirfd, name, path) && faccessat(dirfd, name, F_OK, 0))
        note('C', path, 0, 0, NULL, 0);
}

static bool ours(int fd)
{
    return fd >= 0 && fd < FDS && paths[fd][0] && journal >= 0;
}

static mode_t mode_of(int flags, va_list ap)
{
    return flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0;
}

int open64(const char *name, int flags, ...);
int openat64(int dirfd, const char *name, int flags, ...);

#define OPEN(function)                                \
    int function(const char *name, int flags, ...)    \
    {                                                 \
        va_list ap;                                   \
        mode_t mode;                                  \
        int fd;                                       \
        REAL(int, #function, const char *, int, ...); \
        va_start(ap, flags);                          \
        mode = mode_of(flags, ap);                    \
        va_end(ap);                                   \
        creating(AT_FDCWD, name, flags);              \
        fd = real(name, flags, mode);                 \
        opened(fd);                                   \
        return fd;                                    \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(function)                                      \
    int function(int dirfd, const char *name, int flags, ...) \
    {                                                         \
        va_list ap;                                           \
        mode_t mode;                                          \
        int fd;                                               \
        REAL(int, #function, int, const char *, int, ...);    \
        va_start(ap, flags);                                  \
        mode = mode_of(flags, ap);                            \
        va_end(ap);                                           \
        creating(dirfd, name, flags);                         \
        fd = real(dirfd, name, flags, mode);                  \
        opened(fd);                                           \
        return fd;                                            \
    }
OPENAT(openat)
OPENAT(openat64)

int close(int fd)
{
    REAL(int, "close", int);
    if (fd >= 0 && fd < FDS)
        paths[fd][0] = 0;
    return real(fd);
}

#define PWRITE(function)                                               \
    ssize_t function(int fd, const void *data, size_t n, off_t off)    \
    {                                                                  \
        struct iovec iov = {(void *)(uintptr_t)data, n};               \
        REAL(ssize_t, #function, int, const void *, size_t, off_t);    \
        if (ours(fd))                                                  \
            note('W', paths[fd], (unsigned long long)off, n, &iov, 1); \
        return real(fd, data, n, off);                                 \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

#define PWRITEV(function)                                                \
    ssize_t function(int fd, const struct iovec *iov, int n, off_t off)  \
    {                                                                    \
        size_t len = 0;                                                  \
        REAL(ssize_t, #function, int, const struct iovec *, int, off_t); \
        for (int i = 0; i < n; i++)                                      \
            len += iov[i].iov_len;                                       \
        if (ours(fd))                                                    \
            note('W', paths[fd], (unsigned long long)off, len, iov, n);  \
        return real(fd, iov, n, off);                                    \
    }
PWRITEV(pwritev)
PWRITEV(pwritev64)

#define TRUNCATE(function)                                              \
    int function(int fd, off_t size)                                    \
    {                                                                   \
        REAL(int, #function, int, off_t);                               \
        if (ours(fd))                                                   \
            note('T', paths[fd], (unsigned long long)size, 0, NULL, 0); \
        return real(fd, size);                                          \
    }
TRUNCATE(ftruncate)
TRUNCATE(ftruncate64)

#define SYNC(function)                           \
    int function(int fd)                         \
    {                                            \
        int r;                                   \
        REAL(int, #function, int);               \
        r = real(fd);                            \
        if (!r && ours(fd))                      \
            note('S', paths[fd], 0, 0, NULL, 0); \
        return r;                                \
    }
SYNC(fsync)
SYNC(fdatasync)

int unlinkat(int dirfd, const char *name, int flags)
{
    char path[128];
    REAL(int, "unlinkat", int, const char *, int);
    if (of_name(dirfd, name, path))
        note('U', path, 0, 0, NULL, 0);
    return real(dirfd, name, flags);
}

int unlink(const char *name)
{
    char path[128];
    REAL(int, "unlink", const char *);
    if (of_name(AT_FDCWD, name, path))
        note('U', path, 0, 0, NULL, 0);
    return real(name);
}
