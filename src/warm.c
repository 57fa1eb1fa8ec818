#include "src/warm.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>
#include "snapshot/snapshot.h"
#include "src/base/buf.h"
#include "src/base/io.h"
#include "src/base/util.h"
#include "src/capture.h"
#include "src/machine.h"

#define ALL_MOST  (512ull << 20) /* bytes of all files: the oldest go first */
#define FILE_MOST (40ull << 20)  /* more would be what few of the next machines use */

/* The folder, made if need be; NULL: there is none to be had. malloc'ed. */
static char *folder(void)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    char *path = cache && *cache == '/' ? str_printf("%s/vmtest/warm", cache)
                 : home && *home == '/' ? str_printf("%s/.cache/vmtest/warm", home)
                                        : NULL;

    if (path && io_mkdirs(path, 0700, NULL) < 0) {
        free(path);
        path = NULL;
    }
    return path;
}

/* What all that translations rest on comes to: this program, the store, the snapshot, its state, the processor. */
static int name_of(struct store *s, int64_t snapshot, const char *features, char *ret, size_t size, struct err *e)
{
    cleanup(cleanup_free) void *state = NULL;
    size_t len = 0;
    struct stat st;
    struct {
        uint64_t dev, ino, bytes, sec, nsec;
        int64_t snapshot;
        XXH64_hash_t state, features, store;
    } key = {0};
    XXH128_hash_t sum;
    int rc = snapshot_state(s, snapshot, &state, &len, e);

    if (rc < 0)
        return rc;
    if (stat("/proc/self/exe", &st) < 0)
        return err_set(e, VT_FAIL, "/proc/self/exe: %m");
    key.dev = st.st_dev;
    key.ino = st.st_ino;
    key.bytes = (uint64_t)st.st_size;
    key.sec = (uint64_t)st.st_mtim.tv_sec;
    key.nsec = (uint64_t)st.st_mtim.tv_nsec;
    key.snapshot = snapshot;
    key.state = XXH3_64bits(state, len);
    key.features = XXH3_64bits(features, strlen(features));
    key.store = XXH3_64bits(store_uuid(s), strlen(store_uuid(s)));
    sum = XXH3_128bits(&key, sizeof key);
    snprintf(ret, size, "%016llx%016llx", (unsigned long long)sum.high64, (unsigned long long)sum.low64);
    return 0;
}

static bool load(struct vm *vm, int fd)
{
    struct stat st;
    bool good = false;
    uint8_t *p;
    uint64_t sum;

    if (fstat(fd, &st) < 0 || st.st_size < 64 || (uint64_t)st.st_size > FILE_MOST || st.st_uid != geteuid())
        return false;
    size_t len = (size_t)st.st_size - sizeof sum;
    p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (p == MAP_FAILED)
        return false;
    memcpy(&sum, p + len, sizeof sum);
    if (XXH3_64bits(p, len) == sum)
        good = vm_code_load(vm, p, len);
    munmap(p, (size_t)st.st_size);
    return good;
}

void warm_begin(struct warm *w, struct store *s, struct machine *m, int64_t snapshot)
{
    cleanup(cleanup_free) char *dir = folder();
    char features[1024], name[40];
    int fd;

    vm_cpu_features(m->vm, features, sizeof features);
    if (!dir || name_of(s, snapshot, features, name, sizeof name, NULL) < 0)
        return;
    w->snapshot = snapshot;
    w->path = str_printf("%s/%s", dir, name);
    fd = w->path ? open(w->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
    if (fd < 0)
        return;
    w->loaded = load(m->vm, fd);
    if (w->loaded)
        futimens(fd, NULL); /* it was of use */
    else
        unlink(w->path);
    close(fd);
}

struct entry {
    char name[40];
    struct timespec when;
    uint64_t bytes;
};

static int by_age(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;

    return x->when.tv_sec != y->when.tv_sec ? (x->when.tv_sec > y->when.tv_sec) - (x->when.tv_sec < y->when.tv_sec)
                                            : (x->when.tv_nsec > y->when.tv_nsec) - (x->when.tv_nsec < y->when.tv_nsec);
}

/* The oldest files go until the others fit. */
static void prune(const char *path)
{
    cleanup(cleanup_free) struct entry *all = NULL;
    size_t n = 0, room = 0;
    uint64_t sum = 0;
    DIR *d = opendir(path);
    const struct dirent *f;
    struct stat st;

    while (d && (f = readdir(d))) {
        if (strlen(f->d_name) >= sizeof all->name || fstatat(dirfd(d), f->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
            !S_ISREG(st.st_mode))
            continue;
        if (n == room) {
            struct entry *more = realloc(all, (room = room ? 2 * room : 64) * sizeof *all);
            if (!more)
                break;
            all = more;
        }
        all[n] = (struct entry){.when = st.st_mtim, .bytes = (uint64_t)st.st_size};
        snprintf(all[n].name, sizeof all[n].name, "%s", f->d_name);
        sum += all[n++].bytes;
    }
    if (n)
        qsort(all, n, sizeof *all, by_age);
    for (size_t i = 0; d && i < n && sum > ALL_MOST; i++) {
        unlinkat(dirfd(d), all[i].name, 0);
        sum -= all[i].bytes;
    }
    if (d)
        closedir(d);
}

void warm_end(struct warm *w, struct capture *c, struct machine *m)
{
    cleanup(cleanup_free) char *path = w->path;
    struct buf data cleanup(buf_release) = {0};
    uint64_t sum;

    w->path = NULL;
    if (!path || w->loaded || !m || !m->vcpu || capture_base(c) != w->snapshot || access(path, F_OK) == 0)
        return;
    vcpu_pause(m->vcpu);
    if (vm_code_save(m->vm, &data, NULL) == 0 && data.len <= FILE_MOST) {
        sum = XXH3_64bits(data.data, data.len);
        buf_add(&data, &sum, sizeof sum);
        if (!data.failed && io_replace_file(AT_FDCWD, path, data.data, data.len, 0600, NULL) == 0) {
            *strrchr(path, '/') = 0;
            prune(path);
        }
    }
    vcpu_resume(m->vcpu);
}
