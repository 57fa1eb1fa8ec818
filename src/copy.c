#include "src/copy.h"

#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "src/base/banned.h"
#include "src/base/io.h"
#include "src/base/units.h"
#include "src/base/util.h"
#include "src/exec.h"
#include "src/guestfile.h"
#include "src/untar.h"

#define PIECE_MAX (8u << 20) /* archive bytes that one run of the guest's tar gets */
#define LARGE     (4u << 20) /* a file from this on goes straight into its place */
#define DEPTH_MAX 256

/* ---- into the guest */

struct pack {
    struct agent *agent;
    struct archive *archive; /* writes to piece */
    struct buf piece;
    char *parent; /* the directory in the guest that the copy goes into */
    struct copy_count *count;
};

static la_ssize_t piece_write(struct archive *ar, void *opaque, const void *data, size_t len)
{
    struct pack *p = opaque;

    buf_add(&p->piece, data, len);
    if (!p->piece.failed)
        return (la_ssize_t)len;
    archive_set_error(ar, ENOMEM, "out of memory");
    return -1;
}

static int piece_begin(struct pack *p, struct err *e)
{
    p->archive = archive_write_new();
    if (!p->archive || archive_write_set_format_pax_restricted(p->archive) != ARCHIVE_OK ||
        archive_write_set_bytes_per_block(p->archive, 10240) != ARCHIVE_OK ||
        archive_write_open(p->archive, p, NULL, piece_write, NULL) != ARCHIVE_OK)
        return err_set(e, VT_FAIL, "cannot make an archive: out of memory");
    return 0;
}

static int archive_failed(struct pack *p, const char *path, struct err *e)
{
    return err_set(e, VT_FAIL, "%s: %s", path, archive_error_string(p->archive));
}

/* Ends the piece and has the guest unpack it. */
static int piece_send(struct pack *p, struct err *e)
{
    const char *argv[] = {"tar", "-x", "-p", "-f", "-", "-C", p->parent, NULL};
    struct exec_spec x = {.argv = argv, .cancel_fd = -1};
    cleanup(exec_result_release) struct exec_result r = {0};
    int rc;

    if (archive_write_close(p->archive) != ARCHIVE_OK)
        return archive_failed(p, "archive", e);
    archive_write_free(p->archive);
    p->archive = NULL;
    rc = exec_run(p->agent, &x, p->piece.data, p->piece.len, &r, e);
    buf_clear(&p->piece);
    if (rc == 0 && r.status != 0)
        rc = err_set(e, VT_FAIL, "the guest's tar failed with status %d: %s", r.status, buf_cstr(&r.err));
    return rc;
}

static int pack_content(struct pack *p, int fd, const char *path, uint64_t size, struct err *e)
{
    char data[65536];

    while (size) {
        size_t want = (size_t)MIN(size, (uint64_t)sizeof data), got = 0;
        int rc = io_read_full(fd, data, want, &got, path, e);

        if (rc < 0)
            return rc;
        if (got == 0)
            return err_set(e, VT_IO, "%s: it became shorter while it was read", path);
        if (archive_write_data(p->archive, data, got) != (la_ssize_t)got)
            return archive_failed(p, path, e);
        size -= got;
    }
    return 0;
}

/* A large file's content; its (empty) entry is in the guest already, with owner and mode. */
static int send_large(struct pack *p, int fd, const char *path, const char *name, const struct stat *st, struct err *e)
{
    cleanup(cleanup_free) char *guest = str_printf("%s/%s", p->parent, name);
    cleanup(cleanup_free) char *mtime = str_printf("@%lld", (long long)st->st_mtime);
    cleanup(cleanup_free) char *data = malloc(GUESTFILE_CHUNK);
    cleanup(exec_result_release) struct exec_result r = {0};
    struct guestfile f;
    size_t got = 0;
    int rc, closed;

    if (!guest || !mtime || !data)
        return err_set(e, VT_FAIL, "out of memory");
    rc = guestfile_open(p->agent, guest, "r+", &f, e);
    if (rc < 0)
        return rc;
    do {
        rc = io_read_full(fd, data, GUESTFILE_CHUNK, &got, path, e);
        if (rc == 0)
            rc = guestfile_write(&f, data, got, e);
    } while (rc == 0 && got == GUESTFILE_CHUNK);
    closed = guestfile_close(&f, rc == 0 ? e : NULL);
    if (rc == 0)
        rc = closed;
    if (rc == 0)
        rc = exec_script(p->agent, "touch -d \"$2\" -- \"$1\"", (const char *[]){guest, mtime, NULL}, &r, e);
    return rc;
}

static int pack_entry(struct pack *p, const char *path, const char *name, const struct stat *st, const char *link,
                      uint64_t size, struct err *e)
{
    struct archive_entry *entry = archive_entry_new();
    int rc;

    if (!entry)
        return err_set(e, VT_FAIL, "out of memory");
    archive_entry_copy_stat(entry, st);
    archive_entry_set_pathname(entry, name);
    archive_entry_set_uid(entry, 0);
    archive_entry_set_gid(entry, 0);
    archive_entry_set_size(entry, (la_int64_t)size);
    archive_entry_set_nlink(entry, 1);
    if (link)
        archive_entry_set_symlink(entry, link);
    rc = archive_write_header(p->archive, entry);
    archive_entry_free(entry);
    return rc == ARCHIVE_OK || rc == ARCHIVE_WARN ? 0 : archive_failed(p, path, e);
}

static int next_piece(struct pack *p, struct err *e)
{
    int rc = piece_send(p, e);

    return rc < 0 ? rc : piece_begin(p, e);
}

static int pack_file(struct pack *p, int dirfd, const char *base, const char *path, const char *name,
                     const struct stat *st, struct err *e)
{
    cleanup(cleanup_close) int fd = -1;
    bool large = st->st_size >= LARGE;
    int rc = io_openat(dirfd, base, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0, &fd, e);

    if (rc < 0)
        return rc;
    rc = pack_entry(p, path, name, st, NULL, large ? 0 : (uint64_t)st->st_size, e);
    if (rc == 0 && large) {
        rc = next_piece(p, e);
        if (rc == 0)
            rc = send_large(p, fd, path, name, st, e);
    } else if (rc == 0) {
        rc = pack_content(p, fd, path, (uint64_t)st->st_size, e);
    }
    p->count->bytes += (uint64_t)st->st_size;
    return rc;
}

static int pack_tree(struct pack *p, int dirfd, const char *base, const char *path, const char *name, unsigned depth,
                     struct err *e);

static void close_dir(DIR **d)
{
    if (*d)
        closedir(*d);
}

static int pack_dir(struct pack *p, int dirfd, const char *base, const char *path, const char *name, unsigned depth,
                    struct err *e)
{
    cleanup(close_dir) DIR *dir = NULL;
    const struct dirent *d;
    int fd = -1, rc;

    if (depth == DEPTH_MAX)
        return err_set(e, VT_FAIL, "%s: more than %d directories deep", path, DEPTH_MAX);
    rc = io_openat(dirfd, base, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, &fd, e);
    if (rc < 0)
        return rc;
    dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return err_set(e, VT_IO, "%s: %m", path);
    }
    while (rc == 0 && (errno = 0, d = readdir(dir)) != NULL) {
        cleanup(cleanup_free) char *sub_path = NULL, *sub_name = NULL;

        if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
            continue;
        sub_path = str_printf("%s/%s", path, d->d_name);
        sub_name = str_printf("%s/%s", name, d->d_name);
        if (!sub_path || !sub_name)
            return err_set(e, VT_FAIL, "out of memory");
        rc = pack_tree(p, fd, d->d_name, sub_path, sub_name, depth + 1, e);
    }
    return rc == 0 && errno ? err_set(e, VT_IO, "%s: %m", path) : rc;
}

/* One file or directory with all below it; base in dirfd, `path` for messages, `name` in the archive. */
static int pack_tree(struct pack *p, int dirfd, const char *base, const char *path, const char *name, unsigned depth,
                     struct err *e)
{
    char link[PATH_MAX];
    struct stat st;
    ssize_t n;
    int rc = 0;

    if (fstatat(dirfd, base, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return err_set(e, err_from_errno(errno), "%s: %m", path);
    if (p->piece.len >= PIECE_MAX)
        rc = next_piece(p, e);
    if (rc < 0)
        return rc;
    if (S_ISDIR(st.st_mode)) {
        rc = pack_entry(p, path, name, &st, NULL, 0, e);
        return rc < 0 ? rc : pack_dir(p, dirfd, base, path, name, depth, e);
    }
    p->count->files++;
    if (S_ISREG(st.st_mode))
        return pack_file(p, dirfd, base, path, name, &st, e);
    if (!S_ISLNK(st.st_mode))
        return err_set(e, VT_FAIL, "%s: not a file, a directory or a symbolic link", path);
    n = readlinkat(dirfd, base, link, sizeof link - 1);
    if (n < 0)
        return err_set(e, VT_IO, "%s: %m", path);
    link[n] = 0;
    return pack_entry(p, path, name, &st, link, 0, e);
}

/* In the guest: where does a copy named $2 to $1 go? Prints the directory and the name, each with a NUL. */
static const char where_script[] =
    "cd / || exit 1\n"
    "if [ -d \"$1\" ]; then cd \"$1\" && printf '%s\\0%s\\0' \"$(pwd)\" \"$2\"; exit; fi\n"
    "case $1 in */) echo \"$1: no such directory\" >&2; exit 1;; esac\n"
    "d=$(dirname -- \"$1\")\n"
    "cd \"$d\" 2>/dev/null || { echo \"$d: no such directory\" >&2; exit 1; }\n"
    "printf '%s\\0%s\\0' \"$(pwd)\" \"$(basename -- \"$1\")\"\n";

/* Splits two NUL-ended words. */
static int two_words(const struct buf *b, char **ret_first, char **ret_second, struct err *e)
{
    const char *nul = b->len ? memchr(b->data, 0, b->len) : NULL;
    size_t first = nul ? (size_t)(nul - b->data) + 1 : 0;

    if (!nul || first >= b->len || b->data[b->len - 1] != 0)
        return err_set(e, VT_FAIL, "the guest gave an answer that makes no sense");
    *ret_first = strdup(b->data);
    *ret_second = strdup(b->data + first);
    return *ret_first && *ret_second ? 0 : err_set(e, VT_FAIL, "out of memory");
}

int copy_in(struct agent *a, const char *host, const char *guest, struct copy_count *ret, struct err *e)
{
    cleanup(exec_result_release) struct exec_result where = {0};
    cleanup(cleanup_free) char *name = NULL, *real = realpath(host, NULL);
    struct pack p = {.agent = a, .count = ret};
    const char *base;
    int rc;

    *ret = (struct copy_count){0};
    if (!real)
        return err_set(e, err_from_errno(errno), "%s: %m", host);
    base = strrchr(real, '/') + 1;
    if (!*base)
        return err_set(e, VT_USAGE, "the host's root directory is not copied");
    rc = exec_script(a, where_script, (const char *[]){guest, base, NULL}, &where, e);
    if (rc == 0)
        rc = two_words(&where.out, &p.parent, &name, e);
    if (rc == 0)
        rc = piece_begin(&p, e);
    if (rc == 0)
        rc = pack_tree(&p, AT_FDCWD, real, host, name, 0, e);
    if (rc == 0)
        rc = piece_send(&p, e);
    if (p.archive)
        archive_write_free(p.archive);
    buf_release(&p.piece);
    free(p.parent);
    return rc;
}

int copy_in_fd(struct agent *a, int fd, const char *guest, struct copy_count *ret, struct err *e)
{
    cleanup(cleanup_free) char *data = malloc(GUESTFILE_CHUNK);
    struct guestfile f;
    size_t got = 0;
    int rc, closed;

    *ret = (struct copy_count){.files = 1};
    if (!data)
        return err_set(e, VT_FAIL, "out of memory");
    rc = guestfile_open(a, guest, "w", &f, e);
    if (rc < 0)
        return rc;
    do {
        rc = io_read_full(fd, data, GUESTFILE_CHUNK, &got, "standard input", e);
        if (rc == 0)
            rc = guestfile_write(&f, data, got, e);
        ret->bytes += got;
    } while (rc == 0 && got == GUESTFILE_CHUNK);
    closed = guestfile_close(&f, rc == 0 ? e : NULL);
    return rc < 0 ? rc : closed;
}

/* ---- out of the guest */

/* In the guest: an archive of $1, in memory where there is room. Prints its path and the name inside, each with a NUL.
 */
static const char archive_script[] =
    "cd / || exit 1\n"
    "[ -e \"$1\" ] || [ -L \"$1\" ] || { echo \"$1: no such file or directory\" >&2; exit 66; }\n"
    "d=$(dirname -- \"$1\") b=$(basename -- \"$1\")\n"
    "if [ \"$b\" = / ] || [ \"$b\" = . ] || [ \"$b\" = .. ]; then d=$1 b=.; fi\n"
    "cd \"$d\" || exit 1\n"
    "need=$(du -sk \"./$b\" 2>/dev/null | { read -r n _; echo \"$n\"; })\n"
    "room=$(df -Pk /dev/shm 2>/dev/null | { read -r _; read -r _ _ _ n _; echo \"$n\"; })\n"
    "t=/var/tmp; [ $((need * 2)) -lt \"${room:-0}\" ] && t=/dev/shm\n"
    "t=$(mktemp \"$t/vmtest.XXXXXX\") || exit 1\n"
    "tar -c -f \"$t\" \"./$b\" >&2 || { rm -f \"$t\"; exit 1; }\n"
    "printf '%s\\0%s\\0' \"$t\" \"$b\"\n";

struct from_guest {
    struct guestfile file;
    struct buf data;
    bool eof;
    struct err *err; /* why reading failed */
};

static la_ssize_t archive_read_cb(struct archive *ar, void *opaque, const void **ret_data)
{
    struct from_guest *f = opaque;

    buf_clear(&f->data);
    if (!f->eof && guestfile_read(&f->file, &f->data, &f->eof, f->err) < 0) {
        archive_set_error(ar, EIO, "cannot read from the guest");
        return -1;
    }
    *ret_data = f->data.data;
    return (la_ssize_t)f->data.len;
}

static int unpack(struct agent *a, const char *path, const char *name, const char *host, struct copy_count *ret,
                  struct err *e)
{
    struct from_guest f = {.err = e};
    struct archive *ar = archive_read_new();
    int rc = guestfile_open(a, path, "r", &f.file, e);

    if (rc == 0) {
        archive_read_support_format_tar(ar);
        if (archive_read_open(ar, &f, NULL, archive_read_cb, NULL) != ARCHIVE_OK)
            rc = err_set(e, VT_FAIL, "the guest's archive: %s", archive_error_string(ar));
        else
            rc = untar(ar, name, host, &ret->files, &ret->bytes, e);
        guestfile_close(&f.file, NULL);
    }
    archive_read_free(ar);
    buf_release(&f.data);
    return rc;
}

int copy_out(struct agent *a, const char *guest, const char *host, struct copy_count *ret, struct err *e)
{
    cleanup(exec_result_release) struct exec_result made = {0}, removed = {0};
    cleanup(cleanup_free) char *path = NULL, *name = NULL;
    int rc = exec_script(a, archive_script, (const char *[]){guest, NULL}, &made, e);

    *ret = (struct copy_count){0};
    if (rc == VT_FAIL && made.status == 66) {
        if (e)
            e->code = VT_NOENT;
        return VT_NOENT;
    }
    if (rc == 0)
        rc = two_words(&made.out, &path, &name, e);
    if (rc < 0)
        return rc;
    rc = unpack(a, path, name, host, ret, e);
    if (exec_script(a, "rm -f -- \"$1\"", (const char *[]){path, NULL}, &removed, rc == 0 ? e : NULL) < 0 && rc == 0)
        rc = VT_FAIL;
    return rc;
}

int copy_out_fd(struct agent *a, const char *guest, int fd, struct copy_count *ret, struct err *e)
{
    cleanup(buf_release) struct buf data = {0};
    struct guestfile f;
    bool eof = false;
    int rc = guestfile_open(a, guest, "r", &f, e);

    *ret = (struct copy_count){.files = 1};
    if (rc < 0)
        return rc;
    while (rc == 0 && !eof) {
        buf_clear(&data);
        rc = guestfile_read(&f, &data, &eof, e);
        if (rc == 0 && data.len)
            rc = io_write_full(fd, data.data, data.len, "standard output", e);
        ret->bytes += data.len;
    }
    guestfile_close(&f, NULL);
    return rc;
}
