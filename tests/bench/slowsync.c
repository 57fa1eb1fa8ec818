/* Preloaded into vmtest, its monitors and QEMU: counts the syncs of all of them in a file that they share, $SLOWSYNC,
 * and makes each last as much longer as is written there. The file is two numbers of 64 bits: how many, and
 * nanoseconds. */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct shared {
    _Atomic uint64_t count, delay;
};

static struct shared *shared;

__attribute__((constructor)) static void start(void)
{
    const char *path = getenv("SLOWSYNC");
    int fd;

    if (!path)
        return;
    fd = open(path, O_RDWR | O_CLOEXEC);
    shared = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (shared == MAP_FAILED) {
        fprintf(stderr, "slowsync: %s: %s\n", path, strerror(errno));
        abort();
    }
    close(fd);
}

static void before_sync(void)
{
    struct timespec t;
    uint64_t delay;

    if (!shared)
        return;
    atomic_fetch_add(&shared->count, 1);
    delay = atomic_load(&shared->delay);
    t = (struct timespec){.tv_sec = (time_t)(delay / 1000000000), .tv_nsec = (long)(delay % 1000000000)};
    while (nanosleep(&t, &t) && errno == EINTR)
        ;
}

int fsync(int fd)
{
    before_sync();
    return (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    before_sync();
    return (int)syscall(SYS_fdatasync, fd);
}
