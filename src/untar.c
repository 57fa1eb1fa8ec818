#include "src/untar.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include "src/base/banned.h"
#include "src/base/buf.h"
#include "src/base/io.h"
#include "src/base/util.h"

struct target {
    int root;         /* the directory that exists */
    const char *top;  /* the name of the copy in it */
    const char *name; /* the name that the archive gives it */
};

static int bad_name(const char *path, struct err *e)
{
    return err_set(e, VT_CORRUPT, "the guest's archive holds a name that leads elsewhere: %s", path);
}

/* An archive's path as one below root; malloc'ed. */
static int host_path(const struct target *t, const char *path, char **ret, struct err *e)
{
    size_t n = strlen(t->name);
    const char *p = path;

    while (p[0] == '.' && p[1] == '/')
        p += 2;
    if (strcmp(p, ".") == 0)
        p++;
    if (strcmp(t->name, ".") != 0) {
        if (strncmp(p, t->name, n) != 0 || (p[n] && p[n] != '/'))
            return bad_name(path, e);
        p += n;
    }
    while (*p == '/')
        p++;
    *ret = str_printf("%s%s%s", t->top, *p ? "/" : "", p);
    return *ret ? 0 : err_set(e, VT_FAIL, "out of memory");
}

/* Opens the directory that holds the last component of path, step by step, without following a link. */
static int open_parent(const struct target *t, char *path, int *ret_fd, char **ret_last, struct err *e)
{
    cleanup(cleanup_close) int fd = dup(t->root);
    char *at = path, *slash;

    for (size_t n = strlen(path); n > 1 && path[n - 1] == '/'; n--)
        path[n - 1] = 0;
    while (fd >= 0 && (slash = strchr(at, '/')) != NULL) {
        int next;
        *slash = 0;
        if (!*at || strcmp(at, ".") == 0 || strcmp(at, "..") == 0)
            return bad_name(path, e);
        next = openat(fd, at, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (next < 0)
            return err_set(e, errno == ELOOP || errno == ENOTDIR ? VT_CORRUPT : err_from_errno(errno), "%s: %m", path);
        *slash = '/';
        close(fd);
        fd = next;
        at = slash + 1;
    }
    if (fd < 0)
        return err_set(e, VT_IO, "%s: %m", path);
    if (!*at || strcmp(at, ".") == 0 || strcmp(at, "..") == 0)
        return bad_name(path, e);
    *ret_fd = steal_fd(&fd);
    *ret_last = at;
    return 0;
}

static int write_content(struct archive *ar, int fd, const char *path, uint64_t *bytes, struct err *e)
{
    for (;;) {
        char data[65536];
        la_ssize_t n = archive_read_data(ar, data, sizeof data);
        int rc;

        if (n < 0)
            return err_set(e, VT_IO, "%s: %s", path, archive_error_string(ar));
        if (n == 0)
            return 0;
        rc = io_write_full(fd, data, (size_t)n, path, e);
        if (rc < 0)
            return rc;
        *bytes += (uint64_t)n;
    }
}

static int make_file(struct archive *ar, struct archive_entry *entry, int dir, const char *last, const char *path,
                     uint64_t *bytes, struct err *e)
{
    const struct timespec times[2] = {
        {.tv_nsec = UTIME_OMIT}, {.tv_sec = archive_entry_mtime(entry), .tv_nsec = archive_entry_mtime_nsec(entry)}};
    cleanup(cleanup_close) int fd = -1;
    int rc;

    if (unlinkat(dir, last, 0) < 0 && errno != ENOENT)
        return err_set(e, err_from_errno(errno), "%s: %m", path);
    fd = openat(dir, last, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_set(e, err_from_errno(errno), "%s: %m", path);
    rc = write_content(ar, fd, path, bytes, e);
    if (rc == 0 && (fchmod(fd, archive_entry_perm(entry) & 0777) < 0 || futimens(fd, times) < 0))
        rc = err_set(e, VT_IO, "%s: %m", path);
    return rc;
}

static int make_hardlink(const struct target *t, const char *to, int dir, const char *last, struct err *e)
{
    cleanup(cleanup_free) char *path = NULL;
    cleanup(cleanup_close) int from = -1;
    char *base = NULL;
    int rc = host_path(t, to, &path, e);

    if (rc == 0)
        rc = open_parent(t, path, &from, &base, e);
    if (rc == 0 && unlinkat(dir, last, 0) < 0 && errno != ENOENT)
        rc = err_set(e, err_from_errno(errno), "%s: %m", last);
    if (rc == 0 && linkat(from, base, dir, last, 0) < 0)
        rc = err_set(e, err_from_errno(errno), "%s: %m", path);
    return rc;
}

static int make_other(struct archive_entry *entry, int dir, const char *last, const char *path, struct err *e)
{
    const char *link = archive_entry_symlink(entry);
    mode_t type = archive_entry_filetype(entry);

    if (type != AE_IFLNK && type != AE_IFIFO)
        return err_set(e, VT_FAIL, "%s: a device or a socket is not copied", path);
    if (unlinkat(dir, last, 0) < 0 && errno != ENOENT)
        return err_set(e, err_from_errno(errno), "%s: %m", path);
    if (type == AE_IFIFO ? mkfifoat(dir, last, archive_entry_perm(entry) & 0777) < 0
                         : !link || symlinkat(link, dir, last) < 0)
        return err_set(e, err_from_errno(errno), "%s: %m", path);
    return 0;
}

static int put_entry(struct archive *ar, struct archive_entry *entry, const struct target *t, uint64_t *files,
                     uint64_t *bytes, struct err *e)
{
    const char *in = archive_entry_pathname(entry), *hard = archive_entry_hardlink(entry);
    cleanup(cleanup_free) char *path = NULL;
    cleanup(cleanup_close) int dir = -1;
    char *last = NULL;
    int rc =
        in ? host_path(t, in, &path, e) : err_set(e, VT_CORRUPT, "the guest's archive holds an entry without a name");

    if (rc == 0)
        rc = open_parent(t, path, &dir, &last, e);
    if (rc < 0)
        return rc;
    if (!hard && archive_entry_filetype(entry) == AE_IFDIR) {
        /* Ours to write into, whatever the guest says: what is below comes next. */
        if (mkdirat(dir, last, (archive_entry_perm(entry) & 0777) | 0700) < 0 && errno != EEXIST)
            return err_set(e, err_from_errno(errno), "%s: %m", path);
        return 0;
    }
    ++*files;
    if (hard)
        return make_hardlink(t, hard, dir, last, e);
    if (archive_entry_filetype(entry) == AE_IFREG)
        return make_file(ar, entry, dir, last, path, bytes, e);
    return make_other(entry, dir, last, path, e);
}

/* Opens the directory that the copy goes to, and says under which name. *ret_name is malloc'ed. */
static int open_target(const char *name, const char *host, int *ret_root, char **ret_name, struct err *e)
{
    cleanup(cleanup_free) char *dir = strdup(host);
    size_t n = dir ? strlen(dir) : 0;
    bool must_be_dir = n && dir[n - 1] == '/';
    struct stat st;
    char *slash;

    if (!dir)
        return err_set(e, VT_FAIL, "out of memory");
    while (n > 1 && dir[n - 1] == '/')
        dir[--n] = 0;
    if (stat(dir, &st) == 0 && S_ISDIR(st.st_mode)) {
        *ret_name = strdup(strcmp(name, ".") == 0 ? "root" : name);
        return *ret_name ? io_open(dir, O_RDONLY | O_DIRECTORY, 0, ret_root, e) : err_set(e, VT_FAIL, "out of memory");
    }
    slash = strrchr(dir, '/');
    if (must_be_dir || !slash)
        return err_set(e, VT_NOENT, "%s: no such directory", host);
    *ret_name = strdup(slash + 1);
    *(slash == dir ? slash + 1 : slash) = 0;
    return *ret_name ? io_open(dir, O_RDONLY | O_DIRECTORY, 0, ret_root, e) : err_set(e, VT_FAIL, "out of memory");
}

int untar(struct archive *ar, const char *name, const char *host, uint64_t *files, uint64_t *bytes, struct err *e)
{
    cleanup(cleanup_close) int root = -1;
    cleanup(cleanup_free) char *top = NULL;
    int rc;

    if (!*name || strcmp(name, "..") == 0 || strchr(name, '/'))
        return bad_name(name, e);
    rc = open_target(name, host, &root, &top, e);
    while (rc == 0) {
        struct target t = {.root = root, .top = top, .name = name};
        struct archive_entry *entry = NULL;
        int got = archive_read_next_header(ar, &entry);

        if (got == ARCHIVE_EOF)
            return 0;
        if (got != ARCHIVE_OK && got != ARCHIVE_WARN)
            return err_set(e, VT_CORRUPT, "the guest's archive: %s", archive_error_string(ar));
        rc = put_entry(ar, entry, &t, files, bytes, e);
    }
    return rc;
}
