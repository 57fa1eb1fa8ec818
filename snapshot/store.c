/* A store: one directory. What its files keep, each numbered in the file that keeps it:
 *
 *  1. What is written is never changed; only gc deletes.                                   (pack.c, map_write.c)
 *  2. Bytes are durable before the row that names them; that row's transaction is the moment a snapshot exists.
 * (snap.c)
 *  3. Everything read is verified before use; a wrong byte is VT_CORRUPT with file and offset. (frames.c, map.c,
 * hlog.c)
 *  4. Killing any process at any instant, a full disk, or a failing write loses no named snapshot and leaves the store
 *     openable.                                                                            (snap.c, head.c)
 *  5. What the guest was told is flushed survives a power failure of the host.             (disk.c) */
#include "snapshot/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include "src/base/io.h"
#include "src/base/util.h"
#include "snapshot/dedup.h"
#include "snapshot/frames.h"
#include "snapshot/hostfs.h"
#include "snapshot/lock.h"
#include "snapshot/map.h"
#include "snapshot/vfs.h"

int uuid_make(char ret[37], struct err *e)
{
    uint8_t b[16];

    if (getrandom(b, sizeof b, 0) != sizeof b)
        return err_set(e, VT_FAIL, "no random numbers: %m");
    b[6] = (b[6] & 0x0f) | 0x40; /* RFC 4122, version 4 */
    b[8] = (b[8] & 0x3f) | 0x80;
    for (int i = 0, at = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            ret[at++] = '-';
        at += snprintf(ret + at, 3, "%02x", b[i]);
    }
    return 0;
}

static int uuid_parse(const char *text, uint8_t ret[16], struct err *e)
{
    int n = 0;

    for (const char *p = text; *p && n < 16; p += 2) {
        unsigned v;
        if (*p == '-')
            p++;
        if (sscanf(p, "%2x", &v) != 1 || !p[1])
            break;
        ret[n++] = (uint8_t)v;
    }
    return n == 16 ? 0 : err_set(e, VT_CORRUPT, "store.db: malformed uuid \"%s\"", text);
}

static int make_folders(struct store *s, struct err *e)
{
    int fd;

    if ((mkdirat(s->io.dirfd, "packs", 0700) && errno != EEXIST) ||
        (mkdirat(s->io.dirfd, "heads", 0700) && errno != EEXIST))
        return err_set(e, err_from_errno(errno), "%s: folders cannot be made: %m", s->dir);
    fd = openat(s->io.dirfd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_set(e, err_from_errno(errno), "%s/lock: cannot be made: %m", s->dir);
    close(fd);
    return 0;
}

/* Under the exclusive store lock, so that two that create at once do it once. */
static int create(struct store *s, unsigned flags, struct err *e)
{
    int r = lock_byte(s->lock_fd, LOCK_STORE, LOCK_EXCLUSIVE, true, e);

    if (!r)
        r = db_prepare(s, flags | STORE_CREATE, e);
    if (!r)
        r = sio_dirsync(&s->io, ".", e);
    return r;
}

static bool has_database(struct store *s)
{
    return !faccessat(s->io.dirfd, "store.db", F_OK, 0);
}

static int open_files(struct store *s, unsigned flags, struct err *e)
{
    bool make = false;
    int r;

    s->sealed = has_database(s) && faccessat(s->io.dirfd, "lock", F_OK, 0);
    r = s->sealed ? vfs_new(&s->io, &s->vfs, e) : hostfs_check(s->io.dirfd, s->dir, e);
    if (r)
        return r;
    if (s->sealed) { /* anywhere, over a network too: nothing in it changes */
        dbpool_init(&s->pool);
        r = db_prepare(s, flags & ~(unsigned)STORE_CREATE, e);
        return r ? r : uuid_parse(s->uuid, s->uuid_bytes, e);
    }
    if (!has_database(s)) {
        if (!(flags & STORE_CREATE))
            return err_set(e, VT_NOENT, "%s: no store here (vmtest create makes one)", s->dir);
        make = true;
    }
    if (flags & STORE_CREATE)
        r = make_folders(s, e);
    if (!r)
        r = lock_open(s, &s->lock_fd, e);
    if (!r)
        r = vfs_new(&s->io, &s->vfs, e);
    if (r)
        return r;
    dbpool_init(&s->pool);
    if (make)
        r = create(s, flags, e);
    if (!r)
        r = lock_byte(s->lock_fd, LOCK_STORE, LOCK_SHARED, true, e);
    if (!r)
        r = db_prepare(s, flags & ~(unsigned)STORE_CREATE, e);
    if (r == VT_NOENT && (flags & STORE_CREATE)) { /* another was killed while it made the store */
        if (e)
            *e = (struct err){0};
        r = create(s, flags, e);
        if (!r)
            r = lock_byte(s->lock_fd, LOCK_STORE, LOCK_SHARED, true, e);
    }
    return r ? r : uuid_parse(s->uuid, s->uuid_bytes, e);
}

/* The absolute path of dir, made where it is missing and may be; malloc'd. */
static int resolve(const char *dir, unsigned flags, char **ret, struct err *e)
{
    char *full = realpath(dir, NULL);
    int r;

    if (!full && errno == ENOENT && (flags & STORE_CREATE)) {
        r = io_mkdirs(dir, 0700, e);
        if (r)
            return r;
        full = realpath(dir, NULL);
    }
    if (!full)
        return err_set(e, err_from_errno(errno), "%s: %m", dir);
    *ret = full;
    return 0;
}

int store_open_hooked(const char *dir, unsigned flags, const struct sio_hook *hook, struct store **ret, struct err *e)
{
    struct store *s = calloc(1, sizeof *s);
    int r;

    if (!s)
        return err_set(e, VT_FAIL, "out of memory");
    s->lock_fd = s->io.dirfd = -1;
    s->mark = SFILE_NONE;
    pthread_mutex_init(&s->marks, NULL);
    pthread_mutex_init(&s->batches, NULL);
    pthread_mutex_init(&s->base_lock, NULL);
    pthread_mutex_init(&s->files.lock, NULL);
    if (hook)
        s->io.hook = *hook;
    r = resolve(dir, flags, &s->dir, e);
    if (!r && (s->io.dirfd = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        r = err_set(e, err_from_errno(errno), "%s: %m", s->dir);
    if (!r && (!map_cache_init(s) || !frames_cache_init(s) || !(s->dedup = dedup_new())))
        r = err_set(e, VT_FAIL, "out of memory");
    if (!r)
        r = open_files(s, flags, e);
    if (r) {
        store_close(s);
        return r;
    }
    *ret = s;
    return 0;
}

int store_open(const char *dir, unsigned flags, struct store **ret, struct err *e)
{
    return store_open_hooked(dir, flags, NULL, ret, e);
}

void store_close(struct store *s)
{
    if (!s)
        return;
    lru_release(&s->frames);
    lru_release(&s->packs);
    lru_release(&s->nodes);
    dedup_free(s->dedup);
    for (unsigned i = 0; i < ARRAY_LEN(s->bases); i++)
        store_close(s->bases[i]);
    if (s->vfs)
        dbpool_release(&s->pool);
    vfs_free(s->vfs);
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    sio_close(&s->mark);
    if (s->io.dirfd >= 0)
        close(s->io.dirfd);
    pthread_mutex_destroy(&s->batches);
    pthread_mutex_destroy(&s->marks);
    pthread_mutex_destroy(&s->base_lock);
    pthread_mutex_destroy(&s->files.lock);
    free(s->dir);
    free(s);
}

const char *store_dir(const struct store *s)
{
    return s->dir;
}

const char *store_uuid(const struct store *s)
{
    return s->uuid;
}

void store_counts(const struct store *s, struct store_counts *ret)
{
    *ret = (struct store_counts){
        .writes = s->io.writes, .syncs = s->io.syncs, .creates = s->io.creates, .unlinks = s->io.unlinks};
}

int store_use_get(struct store *s, int64_t *ret_id, struct err *e)
{
    struct db *db cleanup(cleanup_db) = NULL;
    struct rows rows cleanup(rows_done) = {0};
    int r = db_get(s, &db, e);

    if (!r)
        r = db_query(db, SQL_USE_GET, &rows, e, "");
    if (!r)
        r = rows_next(&rows, e);
    if (r < 0)
        return r;
    *ret_id = r ? rows_int(&rows, 0) : 0;
    return 0;
}

int store_use_set(struct store *s, int64_t machine, struct err *e)
{
    struct db *db cleanup(cleanup_db) = NULL;
    int r = db_get(s, &db, e);

    if (!r)
        r = db_begin(db, DB_NORMAL, e);
    if (!r)
        r = db_run(db, SQL_USE_SET, e, "z", machine);
    return r ? r : db_commit(db, e);
}
