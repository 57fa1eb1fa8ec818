/* Every change that the store makes to its directory goes through here, SQLite's included (vfs.c): so that syncs are
 * counted, and so that a test can hang a hook here that records a run, fails the Nth call or tears a write. */
#ifndef VT_SNAPSHOT_IO_H
#define VT_SNAPSHOT_IO_H

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/uio.h>
#include "src/base/err.h"
#include "snapshot/snapshot.h"

enum sio_kind { SIO_CREATE, SIO_WRITE, SIO_SYNC, SIO_DIRSYNC, SIO_TRUNCATE, SIO_UNLINK };

struct sio_op {
    enum sio_kind kind;
    const char *path; /* relative to the store's directory; for SIO_DIRSYNC the folder ("." the store itself) */
    uint64_t off;     /* of a write; the new size of a truncation */
    const void *data;
    size_t len;
};

/* Called before the act. 0: go on. -errno: fail with it, undone. For a write, n > 0: write n - 1 bytes, then fail with
 * EIO. Any thread. */
struct sio_hook {
    int (*fn)(void *opaque, const struct sio_op *op);
    void *opaque;
};

struct sio {
    int dirfd; /* of the store */
    struct sio_hook hook;
    atomic_uint_least64_t writes, syncs, creates, unlinks;
    atomic_bool wal_condemned; /* a sync of SQLite's log failed: its pages may be marked clean and yet be lost */
};

struct sfile {
    struct sio *io;
    int fd; /* -1: none */
    char path[40];
};

#define SFILE_NONE ((struct sfile){.fd = -1})

/* Asks the hook; returns what it says. */
int sio_ask(struct sio *io, enum sio_kind kind, const char *path, uint64_t off, const void *data, size_t len);
/* A new file, read-write; VT_EXISTS when the name is taken. */
int sio_create(struct sio *io, const char *path, struct sfile *ret, struct err *e);
/* A file without a name in folder `path`, gone with its descriptor. Not seen by the hook, except for its writes. */
int sio_create_unnamed(struct sio *io, const char *path, struct sfile *ret, struct err *e);
/* An existing one; VT_NOENT. */
int sio_open(struct sio *io, const char *path, bool write, struct sfile *ret, struct err *e);
void sio_close(struct sfile *f);
/* Writes it all at off. Failure says file and offset. */
int sio_pwritev(struct sfile *f, const struct iovec *iov, int n, uint64_t off, struct err *e);
int sio_pwrite(struct sfile *f, const void *data, size_t len, uint64_t off, struct err *e);
/* Reads exactly len bytes; VT_CORRUPT where the file ends before. */
int sio_pread(const struct sfile *f, void *dst, size_t len, uint64_t off, struct err *e);
int sio_size(const struct sfile *f, uint64_t *ret, struct err *e);
int sio_truncate(struct sfile *f, uint64_t size, struct err *e);
int sio_sync(struct sfile *f, struct err *e);
int sio_dirsync(struct sio *io, const char *path, struct err *e);
/* A name that is gone already is fine. */
int sio_unlink(struct sio *io, const char *path, struct err *e);

#endif
