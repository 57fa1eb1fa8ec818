/* See files.h. Names come from a hostile file system: each is one component without '/' (extfs_list sees to that), and
 * files are made relative to an open directory, never through a link. */
#include "src/diff/files.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "src/base/io.h"
#include "src/base/json.h"
#include "src/base/units.h"
#include "src/base/util.h"
#include "src/diff/report.h"

#define CHUNK     (256u * 1024)
#define DEPTH_MAX 1000

static int list_one(struct extfs *fs, const char *name, uint32_t ino, bool json, FILE *out, struct err *e)
{
    cleanup(cleanup_free) char *target = NULL, *text = NULL;
    cleanup(cleanup_json) json_t *o = NULL;
    char when[UNITS_MAX], mode[16];
    struct fsnode n;
    int r = extfs_node(fs, ino, &n, e);

    if (r == 0 && S_ISLNK(n.mode))
        r = extfs_readlink(fs, &n, &target, e);
    if (r < 0)
        return r;
    time_format(when, (int64_t)MIN(n.mtime, INT64_MAX / (int64_t)NS_PER_SEC - 1) * (int64_t)NS_PER_SEC);
    snprintf(mode, sizeof(mode), "%04o", n.mode & 07777);
    if (json) {
        o = json_object();
        json_object_set_new(o, "name", json_string_lossy(name, strlen(name)));
        json_object_set_new(o, "type", json_string(report_type(&n)));
        json_object_set_new(o, "mode", json_string(mode));
        json_object_set_new(o, "uid", json_integer(n.uid));
        json_object_set_new(o, "gid", json_integer(n.gid));
        json_object_set_new(o, "size", json_integer((json_int_t)n.size));
        json_object_set_new(o, "mtime", json_string(when));
        if (target)
            json_object_set_new(o, "target", json_string_lossy(target, strlen(target)));
        text = json_text(o);
        if (!text)
            return err_set(e, VT_FAIL, "out of memory");
        fprintf(out, "%s\n", text);
    } else {
        cleanup(buf_release) struct buf line = {0};

        buf_printf(&line, "%-7s %s %5u:%-5u %10llu %s ", report_type(&n), mode, n.uid, n.gid,
                   (unsigned long long)n.size, when);
        report_path(&line, "", name);
        if (target) {
            buf_str(&line, " -> ");
            report_path(&line, "", target);
        }
        fprintf(out, "%s\n", buf_cstr(&line));
    }
    return 0;
}

int files_ls(struct extfs *fs, const char *path, bool json, FILE *out, struct err *e)
{
    cleanup(dirlist_clear) struct dirlist list = {0};
    const char *slash = strrchr(path, '/');
    struct fsnode n;
    int r = extfs_lookup(fs, path, path[0] && path[strlen(path) - 1] == '/', &n, e);

    if (r < 0)
        return r;
    if (!S_ISDIR(n.mode))
        return list_one(fs, slash ? slash + 1 : path, n.ino, json, out, e);
    r = extfs_list(fs, &n, &list, e);
    for (size_t i = 0; r == 0 && i < list.n; i++)
        r = list_one(fs, list.entry[i].name, list.entry[i].ino, json, out, e);
    return r;
}

/* The start of the first data at or behind at, as a multiple of CHUNK; the file's size or more where there is none. */
static uint64_t next_data(const struct extfs *fs, const struct runs *runs, const struct fsnode *n, uint64_t at)
{
    uint32_t bs = extfs_block_size(fs);

    for (size_t i = 0; i < runs->n; i++)
        if ((runs->run[i].lblk + runs->run[i].len) * bs > at)
            return MAX(at, runs->run[i].lblk * bs / CHUNK * CHUNK);
    return n->size;
}

/* Hands the content to put, in order, holes as zeros, or not at all where they are to be skipped. */
static int each_chunk(struct extfs *fs, const struct fsnode *n, bool skip_holes,
                      int (*put)(void *opaque, const void *data, size_t len, uint64_t off, struct err *e), void *opaque,
                      struct err *e)
{
    cleanup(cleanup_free) unsigned char *buf = malloc(CHUNK);
    cleanup(runs_clear) struct runs runs = {0};
    int r = extfs_runs(fs, n, &runs, e);

    if (!buf)
        return err_set(e, VT_FAIL, "out of memory");
    for (uint64_t at = 0; r == 0 && at < n->size; at += CHUNK) {
        size_t len;

        if (skip_holes && !(n->flags & FSNODE_INLINE))
            at = next_data(fs, &runs, n, at);
        if (at >= n->size)
            break;
        len = (size_t)MIN((uint64_t)CHUNK, n->size - at);
        r = extfs_read(fs, n, &runs, at, buf, len, e);
        if (r == 0)
            r = put(opaque, buf, len, at, e);
    }
    return r;
}

static int put_stream(void *opaque, const void *data, size_t len, uint64_t off, struct err *e)
{
    return fwrite(data, 1, len, opaque) == len ? 0 : err_set(e, VT_IO, "cannot write: %m");
}

int files_cat(struct extfs *fs, const char *path, FILE *out, struct err *e)
{
    struct fsnode n;
    int r = extfs_lookup(fs, path, true, &n, e);

    if (r < 0)
        return r;
    if (!S_ISREG(n.mode))
        return err_set(e, VT_USAGE, "%s: not a file (%s)", path, report_type(&n));
    return each_chunk(fs, &n, false, put_stream, out, e);
}

/* get */

struct get {
    struct extfs *fs;
    struct strlist *warnings;
    struct err *e;
};

/* Zeros stay holes. */
static int put_fd(void *opaque, const void *data, size_t len, uint64_t off, struct err *e)
{
    static const unsigned char zero[VT_PAGE_SIZE];
    const unsigned char *p = data;
    int fd = *(int *)opaque;

    for (size_t at = 0; at < len; at += sizeof(zero)) {
        size_t n = MIN(len - at, sizeof(zero));
        int r = memcmp(p + at, zero, n) ? io_pwrite_full(fd, p + at, n, off + at, "the copy", e) : 0;

        if (r < 0)
            return r;
    }
    return 0;
}

static void set_times(int fd, const struct fsnode *n)
{
    const struct timespec t[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = n->mtime, .tv_nsec = (long)n->mtime_ns}};

    /* A time that the host's file system cannot hold is no reason to fail. */
    (void)futimens(fd, t);
}

static int get_file(struct get *g, const struct fsnode *n, int dirfd, const char *name, const char *path)
{
    cleanup(cleanup_close) int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    int r;

    if (fd < 0)
        return err_set(g->e, err_from_errno(errno), "cannot make %s: %m", name);
    r = each_chunk(g->fs, n, true, put_fd, &fd, g->e);
    if (r < 0)
        return err_prefix(g->e, r, "%s", path);
    if (ftruncate(fd, (off_t)n->size) < 0 || fchmod(fd, n->mode & 0777) < 0)
        return err_set(g->e, VT_IO, "%s: %m", name);
    set_times(fd, n);
    return 0;
}

static int get_link(struct get *g, const struct fsnode *n, int dirfd, const char *name)
{
    cleanup(cleanup_free) char *target = NULL;
    int r = extfs_readlink(g->fs, n, &target, g->e);

    if (r < 0)
        return r;
    if (symlinkat(target, dirfd, name) < 0 &&
        (errno != EEXIST || unlinkat(dirfd, name, 0) < 0 || symlinkat(target, dirfd, name) < 0))
        return err_set(g->e, err_from_errno(errno), "cannot make the link %s: %m", name);
    return 0;
}

static int get_node(struct get *g, uint32_t ino, int dirfd, const char *name, const char *path, int depth);

static int get_dir(struct get *g, const struct fsnode *n, int dirfd, const char *name, const char *path, int depth)
{
    cleanup(dirlist_clear) struct dirlist list = {0};
    cleanup(cleanup_close) int fd = -1;
    int r;

    if (depth >= DEPTH_MAX)
        return err_set(g->e, VT_CORRUPT, "%s: directories go too deep", path);
    if (mkdirat(dirfd, name, 0700) < 0 && errno != EEXIST)
        return err_set(g->e, err_from_errno(errno), "cannot make the directory %s: %m", name);
    fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return err_set(g->e, err_from_errno(errno), "cannot enter the directory %s: %m", name);
    r = extfs_list(g->fs, n, &list, g->e);
    for (size_t i = 0; r == 0 && i < list.n; i++) {
        cleanup(cleanup_free) char *below = str_printf("%s/%s", path, list.entry[i].name);

        r = below ? get_node(g, list.entry[i].ino, fd, list.entry[i].name, below, depth + 1)
                  : err_set(g->e, VT_FAIL, "out of memory");
    }
    if (r == 0 && fchmod(fd, n->mode & 0777) < 0)
        r = err_set(g->e, VT_IO, "%s: %m", name);
    set_times(fd, n);
    return r;
}

static int get_node(struct get *g, uint32_t ino, int dirfd, const char *name, const char *path, int depth)
{
    struct fsnode n;
    int r = extfs_node(g->fs, ino, &n, g->e);

    if (r < 0)
        return r;
    if (S_ISREG(n.mode))
        return get_file(g, &n, dirfd, name, path);
    if (S_ISDIR(n.mode))
        return get_dir(g, &n, dirfd, name, path, depth);
    if (S_ISLNK(n.mode))
        return get_link(g, &n, dirfd, name);
    strlist_addf(g->warnings, "%s: a %s is not copied", path, report_type(&n));
    return 0;
}

int files_get(struct extfs *fs, const char *path, const char *to, struct strlist *warnings, struct err *e)
{
    struct get g = {.fs = fs, .warnings = warnings, .e = e};
    cleanup(cleanup_free) char *parent = strdup(to), *base = strdup(path);
    cleanup(cleanup_close) int dirfd = -1;
    const char *name;
    struct fsnode n;
    size_t len;
    int r = extfs_lookup(fs, path, true, &n, e);

    if (r < 0)
        return r;
    if (!parent || !base)
        return err_set(e, VT_FAIL, "out of memory");
    dirfd = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dirfd >= 0) {
        /* Into a directory, under the file's own name; the root's contents have none. */
        for (len = strlen(base); len && base[len - 1] == '/'; len--)
            base[len - 1] = 0;
        name = strrchr(base, '/') ? strrchr(base, '/') + 1 : base;
        if (!*name || !strcmp(name, ".") || !strcmp(name, ".."))
            name = ".";
    } else {
        for (len = strlen(parent); len > 1 && parent[len - 1] == '/'; len--)
            parent[len - 1] = 0;
        name = strrchr(to, '/') ? strrchr(parent, '/') + 1 : parent;
        dirfd = name == parent ? open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
        if (name != parent) {
            cleanup(cleanup_free) char *dir = strndup(parent, (size_t)(name - parent));

            dirfd = dir ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
        }
        if (dirfd < 0)
            return err_set(e, err_from_errno(errno), "%s: %m", to);
    }
    return get_node(&g, n.ino, dirfd, name, path, 0);
}
