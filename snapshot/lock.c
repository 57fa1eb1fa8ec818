#include "snapshot/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "src/base/util.h"
#include "snapshot/db.h"
#include "snapshot/store.h"

struct snaplock {
    int fd;
};

static struct flock one_byte(uint64_t byte, short type)
{
    return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)byte, .l_len = 1};
}

int lock_byte(int fd, uint64_t byte, enum lock_mode mode, bool wait, struct err *e)
{
    static const short types[] = {[LOCK_NONE] = F_UNLCK, [LOCK_SHARED] = F_RDLCK, [LOCK_EXCLUSIVE] = F_WRLCK};
    struct flock l = one_byte(byte, types[mode]);
    int r;

    do
        r = fcntl(fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &l);
    while (r < 0 && errno == EINTR);
    if (!r)
        return 0;
    if (errno == EAGAIN || errno == EACCES)
        return err_set(e, VT_BUSY, "in use by another process");
    return err_set(e, VT_IO, "the store's lock file cannot be locked: %m");
}

int lock_test(int fd, uint64_t byte, bool *ret_taken, struct err *e)
{
    struct flock l = one_byte(byte, F_WRLCK);

    if (fcntl(fd, F_OFD_GETLK, &l))
        return err_set(e, VT_IO, "the store's lock file cannot be asked: %m");
    *ret_taken = l.l_type != F_UNLCK;
    return 0;
}

int lock_open(struct store *s, int *ret_fd, struct err *e)
{
    int fd = s->sealed ? -1 : openat(s->io.dirfd, "lock", O_RDWR | O_CLOEXEC);

    if (s->sealed)
        return err_set(e, VT_PERM, "%s: is sealed; vmtest import --base puts it under a store that can be changed",
                       s->dir);
    if (fd < 0)
        return err_set(e, err_from_errno(errno), "%s/lock: %m", s->dir);
    *ret_fd = fd;
    return 0;
}

int machine_lock(struct store *s, int64_t id, int *ret_fd, struct err *e)
{
    int fd cleanup(cleanup_close) = -1, r;

    r = lock_open(s, &fd, e);
    if (!r)
        r = lock_byte(fd, LOCK_MACHINE(id), LOCK_EXCLUSIVE, false, e);
    if (r)
        return r;
    *ret_fd = steal_fd(&fd);
    return 0;
}

int machine_lock_adopt(struct store *s, int64_t id, int fd, struct err *e)
{
    struct stat ours, got;

    if (fstatat(s->io.dirfd, "lock", &ours, 0) || fstat(fd, &got))
        return err_set(e, VT_USAGE, "descriptor %d is no lock: %m", fd);
    if (ours.st_dev != got.st_dev || ours.st_ino != got.st_ino)
        return err_set(e, VT_USAGE, "descriptor %d is not the lock file of %s", fd, s->dir);
    return lock_byte(fd, LOCK_MACHINE(id), LOCK_EXCLUSIVE, false, e); /* held already: nothing changes */
}

int machine_locked(struct store *s, int64_t id, bool *ret, struct err *e)
{
    int fd cleanup(cleanup_close) = -1, r;

    *ret = false;
    if (s->sealed)
        return 0;
    r = lock_open(s, &fd, e);
    return r ? r : lock_test(fd, LOCK_MACHINE(id), ret, e);
}

static int lock_snapshot(struct store *s, int64_t id, enum lock_mode mode, int *ret_fd, struct err *e)
{
    int fd cleanup(cleanup_close) = -1, r;

    r = lock_open(s, &fd, e);
    if (!r)
        r = lock_byte(fd, LOCK_SNAPSHOT(id), mode, false, e);
    if (r)
        return r;
    *ret_fd = steal_fd(&fd);
    return 0;
}

int lock_snapshot_alone(struct store *s, int64_t snapshot, int *ret_fd, struct err *e)
{
    return lock_snapshot(s, snapshot, LOCK_EXCLUSIVE, ret_fd, e);
}

int snapshot_hold(struct store *s, int64_t id, struct snaplock **ret, struct err *e)
{
    int fd cleanup(cleanup_close) = -1, r;
    struct snapshot_info info;
    struct snaplock *l;

    r = s->sealed ? 0 : lock_snapshot(s, id, LOCK_SHARED, &fd, e);
    if (!r)
        r = snapshot_get(s, id, &info, e); /* deleted just before: says so */
    if (r)
        return r;
    snapshot_info_release(&info);
    l = malloc(sizeof *l);
    if (!l)
        return err_set(e, VT_FAIL, "out of memory");
    l->fd = steal_fd(&fd);
    *ret = l;
    return 0;
}

void snapshot_release(struct snaplock *l)
{
    if (!l)
        return;
    cleanup_close(&l->fd);
    free(l);
}
