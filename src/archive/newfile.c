#include "src/archive/newfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "src/base/buf.h"
#include "src/base/io.h"
#include "src/base/util.h"

static int exists(const char *path, struct err *e)
{
    return err_set(e, VT_EXISTS, "%s: is there already", path);
}

/* Without a name; not every file system has that. */
static int open_unnamed(const char *path, size_t dir_len)
{
    cleanup(cleanup_free) char *dir = str_printf("%.*s", (int)dir_len, path);

    return dir ? open(*dir ? dir : ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0666) : -1;
}

int newfile_begin(const char *path, bool named, struct newfile *ret, struct err *e)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    cleanup(newfile_release) struct newfile f = {.fd = -1};
    struct stat st;
    int r;

    if (!*name || !strcmp(name, ".") || !strcmp(name, ".."))
        return err_set(e, VT_USAGE, "\"%s\": is no name for a file", path);
    if (!lstat(path, &st))
        return exists(path, e);
    f.path = strdup(path);
    f.fd = named ? -1 : open_unnamed(path, (size_t)(name - path));
    if (f.path && f.fd >= 0) {
        *ret = f;
        f = (struct newfile){.fd = -1};
        return 0;
    }
    f.folder = str_printf("%.*s.vmtest-XXXXXX", (int)(name - path), path);
    if (!f.path || !f.folder)
        return err_set(e, VT_FAIL, "out of memory");
    if (!mkdtemp(f.folder)) {
        r = err_set(e, err_from_errno(errno), "%s: cannot be made: %m", path);
        cleanup_free(&f.folder);
        f.folder = NULL;
        return r;
    }
    f.tmp = str_printf("%s/%s", f.folder, name);
    if (!f.tmp)
        return err_set(e, VT_FAIL, "out of memory");
    r = io_open(f.tmp, O_RDWR | O_CREAT | O_EXCL, 0666, &f.fd, e);
    if (r)
        return r;
    *ret = f;
    f = (struct newfile){.fd = -1};
    return 0;
}

static int get_name(struct newfile *f, struct err *e)
{
    char self[40];

    snprintf(self, sizeof self, "/proc/self/fd/%d", f->fd);
    if (!linkat(AT_FDCWD, self, AT_FDCWD, f->path, AT_SYMLINK_FOLLOW))
        return 0;
    return errno == EEXIST ? exists(f->path, e) : err_set(e, err_from_errno(errno), "%s: %m", f->path);
}

static int take_place(struct newfile *f, struct err *e)
{
    struct stat st;

    if (!f->tmp)
        return get_name(f, e);

    if (!renameat2(AT_FDCWD, f->tmp, AT_FDCWD, f->path, RENAME_NOREPLACE))
        return 0;
    if (errno == EINVAL) { /* a file system that cannot promise it: as near as can be */
        if (!lstat(f->path, &st))
            return exists(f->path, e);
        if (!rename(f->tmp, f->path))
            return 0;
    }
    return errno == EEXIST ? exists(f->path, e) : err_set(e, err_from_errno(errno), "%s: %m", f->path);
}

int newfile_commit(struct newfile *f, struct err *e)
{
    int r = fsync(f->fd) ? err_set(e, VT_IO, "%s: cannot be made durable: %m", f->path) : take_place(f, e);

    if (!r) {
        free(f->tmp);
        f->tmp = NULL;
    }
    return r;
}

void newfile_release(struct newfile *f)
{
    if (f->tmp)
        unlink(f->tmp);
    if (f->folder)
        rmdir(f->folder);
    if (f->fd > 0)
        close(f->fd);
    free(f->path);
    free(f->folder);
    free(f->tmp);
    *f = (struct newfile){.fd = -1};
}
