#include "tests/store/record.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct arena *arena_new(size_t size)
{
    struct arena *a = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    assert_true(a != MAP_FAILED);
    a->size = size;
    return a;
}

void arena_free(struct arena *a)
{
    if (a)
        munmap(a, a->size);
}

void *arena_get(struct arena *a, size_t size)
{
    void *p = a->mem + a->used;

    if (size > a->size - sizeof *a - a->used)
        fail_msg("the arena of %zu bytes is full", a->size);
    a->used += (size + 15) & ~(size_t)15;
    return memset(p, 0, size);
}

static void *get(struct record *r, size_t size)
{
    void *p = r->arena ? arena_get(r->arena, size) : malloc(size);

    assert_non_null(p);
    return p;
}

int record_hook(void *opaque, const struct sio_op *op)
{
    struct record *r = opaque;
    struct rec_op o = {.kind = op->kind, .off = op->off, .len = op->len};

    if (r->n == r->cap) {
        size_t cap = r->cap ? 2 * r->cap : 256;
        struct rec_op *v = get(r, cap * sizeof *v);
        if (r->n)
            memcpy(v, r->v, r->n * sizeof *v);
        if (!r->arena)
            free(r->v);
        r->v = v;
        r->cap = cap;
    }
    snprintf(o.path, sizeof o.path, "%s", op->path);
    if (op->kind == SIO_WRITE && op->len) {
        o.data = get(r, op->len);
        memcpy(o.data, op->data, op->len);
    }
    r->v[r->n] = o;
    atomic_signal_fence(memory_order_seq_cst); /* whoever is killed here has not done it */
    r->n++;
    return 0;
}

/* ---- files in memory ---- */

static void memfs_release(struct memfs *fs)
{
    for (size_t i = 0; i < fs->n; i++)
        free(fs->v[i].data);
    free(fs->v);
    *fs = (struct memfs){0};
}

static struct memfile *memfs_find(struct memfs *fs, const char *path)
{
    for (size_t i = 0; i < fs->n; i++)
        if (!strcmp(fs->v[i].path, path))
            return &fs->v[i];
    return NULL;
}

static struct memfile *memfs_add(struct memfs *fs, const char *path)
{
    struct memfile *f;

    fs->v = realloc(fs->v, (fs->n + 1) * sizeof *fs->v);
    assert_non_null(fs->v);
    f = &fs->v[fs->n++];
    *f = (struct memfile){0};
    snprintf(f->path, sizeof f->path, "%s", path);
    return f;
}

static void memfile_size(struct memfile *f, size_t len)
{
    if (len > f->cap) {
        f->cap = len + len / 2;
        f->data = realloc(f->data, f->cap);
        assert_non_null(f->data);
    }
    if (len > f->len)
        memset(f->data + f->len, 0, len - f->len);
    f->len = len;
}

static struct memfs memfs_copy(const struct memfs *from)
{
    struct memfs fs = {0};

    for (size_t i = 0; i < from->n; i++) {
        struct memfile *f = memfs_add(&fs, from->v[i].path);
        memfile_size(f, from->v[i].len);
        if (f->len)
            memcpy(f->data, from->v[i].data, f->len);
    }
    return fs;
}

enum tear { WHOLE, SOME, FIRST };

static void apply(struct memfs *fs, const struct rec_op *o, enum tear tear)
{
    struct memfile *f = memfs_find(fs, o->path);

    if (o->kind == SIO_SYNC || o->kind == SIO_DIRSYNC)
        return;
    if (o->kind == SIO_CREATE) {
        if (!f)
            memfs_add(fs, o->path);
        return;
    }
    if (!f) /* its name was lost, or it is gone already */
        return;
    if (o->kind == SIO_UNLINK) {
        free(f->data);
        *f = fs->v[--fs->n];
        return;
    }
    if (o->kind == SIO_TRUNCATE)
        memfile_size(f, o->off);
    for (size_t at = 0; o->kind == SIO_WRITE && at < o->len; at += 512) {
        size_t len = MIN((size_t)512, o->len - at);
        if ((tear == SOME && at / 512 % 3 == 1) || (tear == FIRST && at)) /* this block did not make it */
            continue;
        memfile_size(f, MAX(f->len, o->off + at + len));
        memcpy(f->data + o->off + at, o->data + at, len);
    }
}

static void memfs_write(const struct memfs *fs, const char *dir)
{
    int dirfd, fd;

    mkdir(dir, 0700);
    dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(dirfd >= 0);
    mkdirat(dirfd, "packs", 0700);
    mkdirat(dirfd, "heads", 0700);
    fd = openat(dirfd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    close(fd);
    for (size_t i = 0; i < fs->n; i++) {
        const struct memfile *f = &fs->v[i];
        fd = openat(dirfd, f->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        assert_int_equal(pwrite(fd, f->data, f->len, 0), (ssize_t)f->len);
        close(fd);
    }
    close(dirfd);
}

/* ---- what survives ---- */

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

static struct memfs survivors(const struct record *r, const struct crash *c)
{
    struct memfs fs = memfs_copy(&r->base);
    size_t *lost = NULL, n_lost = 0, k = 0;

    if (c->kind == CRASH_POWER || c->kind == CRASH_ONLY_ONE)
        n_lost = record_unsynced(r, c->n, &lost);
    for (size_t i = 0; i < c->n; i++) {
        bool it = i == c->which, gone = k < n_lost && lost[k] == i;
        k += gone;
        if (c->kind == CRASH_LOST_ONE)
            gone = it;
        if (c->kind == CRASH_ONLY_ONE && it)
            gone = false;
        if (!gone)
            apply(&fs, &r->v[i],
                  it && c->kind == CRASH_TORN_ONE    ? SOME
                  : it && c->kind == CRASH_FIRST_ONE ? FIRST
                                                     : WHOLE);
    }
    free(lost);
    return fs;
}

void record_replay(const struct record *r, const struct crash *c, const char *dir)
{
    struct memfs fs = survivors(r, c);

    memfs_write(&fs, dir);
    memfs_release(&fs);
}

void record_restart(struct record *r, const struct crash *c, const char *dir)
{
    struct memfs fs = survivors(r, c);
    struct arena *a = r->arena;

    memfs_write(&fs, dir);
    record_release(r);
    *r = (struct record){.base = fs, .arena = a};
}

static void memfs_load(struct memfs *fs, const char *dir, const char *folder)
{
    char *path, *name;
    struct dirent *d;
    DIR *f;

    assert_true(asprintf(&path, "%s/%s", dir, folder) > 0);
    f = opendir(path);
    assert_non_null(f);
    while ((d = readdir(f))) {
        struct memfile *to;
        struct stat st;
        int fd = openat(dirfd(f), d->d_name, O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(fstat(fd, &st), 0);
        if (S_ISREG(st.st_mode) && strcmp(d->d_name, "store.db-shm") != 0) {
            assert_true(asprintf(&name, "%s%s%s", folder, *folder ? "/" : "", d->d_name) > 0);
            to = memfs_add(fs, name);
            memfile_size(to, (size_t)st.st_size);
            assert_int_equal(pread(fd, to->data, to->len, 0), (ssize_t)to->len);
            free(name);
        }
        close(fd);
    }
    closedir(f);
    free(path);
}

void record_restart_here(struct record *r, const char *dir)
{
    struct memfs fs = {0};
    struct arena *a = r->arena;

    memfs_load(&fs, dir, "");
    memfs_load(&fs, dir, "packs");
    memfs_load(&fs, dir, "heads");
    record_release(r);
    *r = (struct record){.base = fs, .arena = a};
}

void record_release(struct record *r)
{
    for (size_t i = 0; i < r->n && !r->arena; i++)
        free(r->v[i].data);
    if (!r->arena)
        free(r->v);
    memfs_release(&r->base);
}
