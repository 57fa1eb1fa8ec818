#include "tests/store/record.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

int record_hook(void *opaque, const struct sio_op *op)
{
    struct record *r = opaque;
    struct rec_op *o;

    r->v = realloc(r->v, (r->n + 1) * sizeof *r->v);
    o = &r->v[r->n++];
    *o = (struct rec_op){.kind = op->kind, .off = op->off, .len = op->len};
    snprintf(o->path, sizeof o->path, "%s", op->path);
    if (op->kind == SIO_WRITE && op->len) {
        o->data = malloc(op->len);
        memcpy(o->data, op->data, op->len);
    }
    return 0;
}

void record_release(struct record *r)
{
    for (size_t i = 0; i < r->n; i++)
        free(r->v[i].data);
    free(r->v);
}

static bool in_folder(const char *path, const char *folder)
{
    const char *slash = strchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) : 0;

    return slash ? strlen(folder) == n && !strncmp(path, folder, n) : !strcmp(folder, ".");
}

/* Does op make the operation o, which came before it, durable? */
static bool covers(const struct rec_op *op, const struct rec_op *o)
{
    bool name = o->kind == SIO_CREATE || o->kind == SIO_UNLINK;

    if (o->kind == SIO_SYNC || o->kind == SIO_DIRSYNC)
        return true;
    if (op->kind == SIO_DIRSYNC)
        return name && in_folder(o->path, op->path);
    /* SQLite syncs the folder itself with the first sync of a file that it made. */
    if (op->kind == SIO_SYNC && !strcmp(op->path, o->path))
        return !name || !strncmp(o->path, "store.db", 8);
    return false;
}

size_t record_unsynced(const struct record *r, size_t n, size_t **ret)
{
    size_t *v = malloc((n ? n : 1) * sizeof *v), k = 0;

    for (size_t i = 0; i < n; i++) {
        bool durable = r->v[i].kind == SIO_SYNC || r->v[i].kind == SIO_DIRSYNC;
        for (size_t j = i + 1; j < n && !durable; j++)
            durable = covers(&r->v[j], &r->v[i]);
        if (!durable)
            v[k++] = i;
    }
    *ret = v;
    return k;
}

static void apply(int dirfd, const struct rec_op *o, bool torn)
{
    int fd = -1;

    if (o->kind == SIO_SYNC || o->kind == SIO_DIRSYNC)
        return;
    if (o->kind == SIO_UNLINK) {
        unlinkat(dirfd, o->path, 0);
        return;
    }
    fd = openat(dirfd, o->path, O_RDWR | O_CLOEXEC | (o->kind == SIO_CREATE ? O_CREAT : 0), 0600);
    if (fd < 0) /* its name was lost, or it is gone already */
        return;
    if (o->kind == SIO_TRUNCATE)
        assert_int_equal(ftruncate(fd, (off_t)o->off), 0);
    for (size_t at = 0; o->kind == SIO_WRITE && at < o->len; at += 512) {
        size_t len = MIN((size_t)512, o->len - at);
        if (torn && at / 512 % 3 == 1) /* this block did not make it, though later ones did */
            continue;
        assert_int_equal(pwrite(fd, o->data + at, len, (off_t)(o->off + at)), (ssize_t)len);
    }
    close(fd);
}

void record_replay(const struct record *r, size_t n, enum crash_kind kind, size_t which, const char *dir)
{
    size_t *lost = NULL, n_lost = 0, k = 0;
    int dirfd, fd;

    mkdir(dir, 0700);
    dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(dirfd >= 0);
    mkdirat(dirfd, "packs", 0700);
    mkdirat(dirfd, "heads", 0700);
    fd = openat(dirfd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    close(fd);
    if (kind == CRASH_POWER || kind == CRASH_ONLY_ONE)
        n_lost = record_unsynced(r, n, &lost);
    for (size_t i = 0; i < n; i++) {
        bool gone = k < n_lost && lost[k] == i;
        k += gone;
        if (kind == CRASH_LOST_ONE)
            gone = i == which;
        if (kind == CRASH_ONLY_ONE && i == which)
            gone = false;
        if (!gone)
            apply(dirfd, &r->v[i], kind == CRASH_TORN_ONE && i == which);
    }
    free(lost);
    close(dirfd);
}
