/* A VFS that hands every call on to SQLite's own, after asking the hook about those that change something. The
 * shared-memory file of the write-ahead log is not asked about: it holds nothing that outlives its users. */
#include "snapshot/vfs.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include "src/base/util.h"

struct vfs {
    sqlite3_vfs base;
    sqlite3_vfs *real;
    struct sio *io;
    char name[32];
};

struct vfile {
    sqlite3_file base;
    struct vfs *vfs;
    const char *name; /* last part of the path; SQLite keeps it while the file is open */
    bool wal, temporary;
    sqlite3_file real[]; /* of vfs->real->szOsFile bytes */
};

static sqlite3_file *real_of(sqlite3_file *f)
{
    return ((struct vfile *)f)->real;
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static int ask(struct vfile *f, enum sio_kind kind, uint64_t off, const void *data, size_t len)
{
    return f->temporary ? 0 : sio_ask(f->vfs->io, kind, f->name, off, data, len);
}

static int vf_close(sqlite3_file *f)
{
    return real_of(f)->pMethods->xClose(real_of(f));
}

static int vf_read(sqlite3_file *f, void *dst, int n, sqlite3_int64 off)
{
    return real_of(f)->pMethods->xRead(real_of(f), dst, n, off);
}

static int vf_write(sqlite3_file *f, const void *src, int n, sqlite3_int64 off)
{
    int r = ask((struct vfile *)f, SIO_WRITE, (uint64_t)off, src, (size_t)n);

    if (!r)
        return real_of(f)->pMethods->xWrite(real_of(f), src, n, off);
    if (r == -ENOSPC)
        return SQLITE_FULL;
    if (r > 1)
        real_of(f)->pMethods->xWrite(real_of(f), src, MIN(n, r - 1), off);
    return SQLITE_IOERR_WRITE;
}

static int vf_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    if (ask((struct vfile *)f, SIO_TRUNCATE, (uint64_t)size, NULL, 0))
        return SQLITE_IOERR_TRUNCATE;
    return real_of(f)->pMethods->xTruncate(real_of(f), size);
}

static int vf_sync(sqlite3_file *f, int flags)
{
    struct vfile *v = (struct vfile *)f;
    int r = ask(v, SIO_SYNC, 0, NULL, 0) ? SQLITE_IOERR_FSYNC : real_of(f)->pMethods->xSync(real_of(f), flags);

    if (r && v->wal)
        v->vfs->io->wal_condemned = true;
    return r;
}

static int vf_size(sqlite3_file *f, sqlite3_int64 *ret)
{
    return real_of(f)->pMethods->xFileSize(real_of(f), ret);
}

static int vf_lock(sqlite3_file *f, int l)
{
    return real_of(f)->pMethods->xLock(real_of(f), l);
}

static int vf_unlock(sqlite3_file *f, int l)
{
    return real_of(f)->pMethods->xUnlock(real_of(f), l);
}

static int vf_reserved(sqlite3_file *f, int *ret)
{
    return real_of(f)->pMethods->xCheckReservedLock(real_of(f), ret);
}

static int vf_control(sqlite3_file *f, int op, void *arg)
{
    return real_of(f)->pMethods->xFileControl(real_of(f), op, arg);
}

static int vf_sector(sqlite3_file *f)
{
    return real_of(f)->pMethods->xSectorSize(real_of(f));
}

static int vf_device(sqlite3_file *f)
{
    return real_of(f)->pMethods->xDeviceCharacteristics(real_of(f));
}

static int vf_shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **ret)
{
    return real_of(f)->pMethods->xShmMap(real_of(f), page, size, extend, ret);
}

static int vf_shm_lock(sqlite3_file *f, int off, int n, int flags)
{
    return real_of(f)->pMethods->xShmLock(real_of(f), off, n, flags);
}

static void vf_shm_barrier(sqlite3_file *f)
{
    real_of(f)->pMethods->xShmBarrier(real_of(f));
}

static int vf_shm_unmap(sqlite3_file *f, int remove)
{
    return real_of(f)->pMethods->xShmUnmap(real_of(f), remove);
}

static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = vf_close,
    .xRead = vf_read,
    .xWrite = vf_write,
    .xTruncate = vf_truncate,
    .xSync = vf_sync,
    .xFileSize = vf_size,
    .xLock = vf_lock,
    .xUnlock = vf_unlock,
    .xCheckReservedLock = vf_reserved,
    .xFileControl = vf_control,
    .xSectorSize = vf_sector,
    .xDeviceCharacteristics = vf_device,
    .xShmMap = vf_shm_map,
    .xShmLock = vf_shm_lock,
    .xShmBarrier = vf_shm_barrier,
    .xShmUnmap = vf_shm_unmap,
};

static int v_open(sqlite3_vfs *base, const char *path, sqlite3_file *f, int flags, int *ret_flags)
{
    struct vfs *v = container_of(base, struct vfs, base);
    struct vfile *vf = (struct vfile *)f;
    int exists = 0, r;

    f->pMethods = NULL;
    vf->vfs = v;
    vf->temporary = !path || (flags & SQLITE_OPEN_DELETEONCLOSE);
    vf->name = path ? last_part(path) : "";
    vf->wal = flags & SQLITE_OPEN_WAL;
    if (!vf->temporary && (flags & SQLITE_OPEN_CREATE)) {
        v->real->xAccess(v->real, path, SQLITE_ACCESS_EXISTS, &exists);
        if (!exists && ask(vf, SIO_CREATE, 0, NULL, 0))
            return SQLITE_CANTOPEN;
    }
    r = v->real->xOpen(v->real, path, vf->real, flags, ret_flags);
    if (!r)
        f->pMethods = &methods;
    return r;
}

static int v_delete(sqlite3_vfs *base, const char *path, int sync_dir)
{
    struct vfs *v = container_of(base, struct vfs, base);

    if (sio_ask(v->io, SIO_UNLINK, last_part(path), 0, NULL, 0))
        return SQLITE_IOERR_DELETE;
    if (sync_dir && sio_ask(v->io, SIO_DIRSYNC, ".", 0, NULL, 0))
        return SQLITE_IOERR_DIR_FSYNC;
    return v->real->xDelete(v->real, path, sync_dir);
}

static int v_access(sqlite3_vfs *base, const char *path, int flags, int *ret)
{
    sqlite3_vfs *real = container_of(base, struct vfs, base)->real;
    return real->xAccess(real, path, flags, ret);
}

static int v_full(sqlite3_vfs *base, const char *path, int n, char *ret)
{
    sqlite3_vfs *real = container_of(base, struct vfs, base)->real;
    return real->xFullPathname(real, path, n, ret);
}

static int v_random(sqlite3_vfs *base, int n, char *ret)
{
    sqlite3_vfs *real = container_of(base, struct vfs, base)->real;
    return real->xRandomness(real, n, ret);
}

static int v_sleep(sqlite3_vfs *base, int us)
{
    sqlite3_vfs *real = container_of(base, struct vfs, base)->real;
    return real->xSleep(real, us);
}

static int v_time(sqlite3_vfs *base, sqlite3_int64 *ret)
{
    sqlite3_vfs *real = container_of(base, struct vfs, base)->real;
    return real->xCurrentTimeInt64(real, ret);
}

static int v_last_error(sqlite3_vfs *base, int n, char *ret)
{
    sqlite3_vfs *real = container_of(base, struct vfs, base)->real;
    return real->xGetLastError ? real->xGetLastError(real, n, ret) : 0;
}

int vfs_new(struct sio *io, struct vfs **ret, struct err *e)
{
    sqlite3_vfs *real = sqlite3_vfs_find(NULL);
    struct vfs *v = calloc(1, sizeof *v);

    if (!v || !real) {
        free(v);
        return err_set(e, VT_FAIL, "SQLite cannot be started");
    }
    v->io = io;
    v->real = real;
    snprintf(v->name, sizeof v->name, "vmtest-%p", (void *)v);
    v->base = (sqlite3_vfs){
        .iVersion = 2,
        .szOsFile = (int)sizeof(struct vfile) + real->szOsFile,
        .mxPathname = real->mxPathname,
        .zName = v->name,
        .xOpen = v_open,
        .xDelete = v_delete,
        .xAccess = v_access,
        .xFullPathname = v_full,
        .xRandomness = v_random,
        .xSleep = v_sleep,
        .xGetLastError = v_last_error,
        .xCurrentTimeInt64 = v_time,
    };
    if (sqlite3_vfs_register(&v->base, 0)) {
        free(v);
        return err_set(e, VT_FAIL, "SQLite cannot be started");
    }
    *ret = v;
    return 0;
}

void vfs_free(struct vfs *v)
{
    if (!v)
        return;
    sqlite3_vfs_unregister(&v->base);
    free(v);
}

const char *vfs_name(const struct vfs *v)
{
    return v->name;
}
