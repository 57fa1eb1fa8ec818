/* File and descriptor I/O that retries what may be retried and says which file failed. Every descriptor opened here is
 * close-on-exec. `name` in the calls is for messages only. */
#ifndef VT_BASE_IO_H
#define VT_BASE_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "src/base/buf.h"
#include "src/base/err.h"

/* Opens path (relative to dirfd, or AT_FDCWD). The error names path; a missing file is VT_NOENT. */
int io_openat(int dirfd, const char *path, int flags, mode_t mode, int *ret_fd, struct err *e);
int io_open(const char *path, int flags, mode_t mode, int *ret_fd, struct err *e);

/* Reads until len bytes or the end of file; *ret_got (may be NULL: then an early end is VT_CORRUPT) gets the count. */
int io_read_full(int fd, void *dst, size_t len, size_t *ret_got, const char *name, struct err *e);
int io_pread_full(int fd, void *dst, size_t len, uint64_t off, size_t *ret_got, const char *name, struct err *e);
int io_write_full(int fd, const void *src, size_t len, const char *name, struct err *e);
int io_pwrite_full(int fd, const void *src, size_t len, uint64_t off, const char *name, struct err *e);

/* Appends the whole file to b; VT_CORRUPT where it is longer than max bytes. */
int io_read_file(int dirfd, const char *path, size_t max, struct buf *b, struct err *e);
/* Replaces path's content so that a reader sees the old or the new whole: a temporary beside it, fdatasync, rename.
 * The directory is not synced; callers that promise durability do that. */
int io_replace_file(int dirfd, const char *path, const void *data, size_t len, mode_t mode, struct err *e);

/* Makes path and its missing parents, each with mode. An existing directory is fine. */
int io_mkdirs(const char *path, mode_t mode, struct err *e);

/* Sets or clears O_NONBLOCK. */
int io_set_nonblock(int fd, bool on, struct err *e);
/* Copies in to out until end of file; *ret_bytes may be NULL. Holes are not kept. */
int io_copy(int in, int out, uint64_t *ret_bytes, const char *name, struct err *e);

#endif
