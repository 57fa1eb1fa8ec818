#include "src/archive/tar.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "src/base/util.h"

#define BLOCK (1 << 16)

struct tar_out {
    struct archive *a;
    const char *name;
};

static int write_failed(struct tar_out *t, struct err *e)
{
    return err_set(e, VT_IO, "%s: cannot be written: %s", t->name, archive_error_string(t->a));
}

int tar_out_begin(int fd, const char *name, struct tar_out **ret, struct err *e)
{
    struct tar_out *t = calloc(1, sizeof *t);

    if (!t || !(t->a = archive_write_new())) {
        free(t);
        return err_set(e, VT_FAIL, "out of memory");
    }
    t->name = name;
    if (archive_write_add_filter_zstd(t->a) != ARCHIVE_OK ||
        archive_write_set_filter_option(t->a, "zstd", "compression-level", "3") != ARCHIVE_OK ||
        archive_write_set_format_pax_restricted(t->a) != ARCHIVE_OK ||
        archive_write_set_bytes_in_last_block(t->a, 1) != ARCHIVE_OK || archive_write_open_fd(t->a, fd) != ARCHIVE_OK) {
        int r = write_failed(t, e);
        tar_out_free(t);
        return r;
    }
    *ret = t;
    return 0;
}

int tar_out_put(struct tar_out *t, const char *member, const void *data, size_t len, struct err *e)
{
    struct archive_entry *entry = archive_entry_new();
    int r = 0;

    if (!entry)
        return err_set(e, VT_FAIL, "out of memory");
    archive_entry_set_pathname(entry, member);
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_mtime(entry, 0, 0);
    archive_entry_set_size(entry, (la_int64_t)len);
    if (archive_write_header(t->a, entry) != ARCHIVE_OK || archive_write_data(t->a, data, len) != (la_ssize_t)len)
        r = write_failed(t, e);
    archive_entry_free(entry);
    return r;
}

int tar_out_end(struct tar_out *t, struct err *e)
{
    return archive_write_close(t->a) == ARCHIVE_OK ? 0 : write_failed(t, e);
}

void tar_out_free(struct tar_out *t)
{
    if (!t)
        return;
    archive_write_free(t->a);
    free(t);
}

static void cleanup_archive(struct archive **a)
{
    archive_read_free(*a);
}

static int read_failed(struct archive *a, const char *name, struct err *e)
{
    const char *why = archive_error_string(a);

    return err_set(e, archive_errno(a) == EIO ? VT_IO : VT_CORRUPT, "%s: is no exported machine, or damaged: %s", name,
                   why ? why : "unexpected end");
}

static int read_member(struct archive *a, const char *name, void *buf, size_t len, struct err *e)
{
    size_t got = 0;

    while (got < len) {
        la_ssize_t n = archive_read_data(a, (char *)buf + got, len - got);
        if (n < 0)
            return read_failed(a, name, e);
        if (!n)
            return err_set(e, VT_CORRUPT, "%s: is cut short", name);
        got += (size_t)n;
    }
    return 0;
}

int tar_in(int fd, const char *name, size_t max,
           int (*fn)(void *opaque, const char *member, const void *data, size_t len, struct err *e), void *opaque,
           struct err *e)
{
    cleanup(cleanup_archive) struct archive *a = archive_read_new();
    cleanup(cleanup_free) void *buf = NULL;
    struct archive_entry *entry;
    size_t cap = 0;
    int r = 0, got;

    if (!a)
        return err_set(e, VT_FAIL, "out of memory");
    if (archive_read_support_filter_zstd(a) != ARCHIVE_OK || archive_read_support_format_tar(a) != ARCHIVE_OK ||
        archive_read_open_fd(a, fd, BLOCK) != ARCHIVE_OK)
        return read_failed(a, name, e);
    while (!r && (got = archive_read_next_header(a, &entry)) == ARCHIVE_OK) {
        const char *member = archive_entry_pathname(entry);
        la_int64_t size = archive_entry_size(entry);
        if (!member || archive_entry_filetype(entry) != AE_IFREG || size < 0 || (uint64_t)size > max)
            return err_set(e, VT_CORRUPT, "%s: is no exported machine (it holds \"%.80s\")", name,
                           member ? member : "");
        if ((size_t)size + 1 > cap) {
            free(buf);
            cap = (size_t)size + 1;
            buf = malloc(cap);
            if (!buf)
                return err_set(e, VT_FAIL, "out of memory");
        }
        r = read_member(a, name, buf, (size_t)size, e);
        if (!r)
            r = fn(opaque, member, buf, (size_t)size, e);
        if (r)
            return r;
    }
    return got == ARCHIVE_EOF ? 0 : read_failed(a, name, e);
}
