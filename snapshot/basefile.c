#include "snapshot/basefile.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <linux/fs.h>
#include <xxhash.h>
#include "src/base/json.h"
#include "src/base/util.h"
#include "snapshot/format.h"

#define SAMPLES 64

struct facts {
    uint64_t size, ino, samples;
    int64_t mtime;
};

static int read_block(int fd, const char *path, uint64_t off, void *dst, struct err *e)
{
    size_t got = 0;

    while (got < VT_PAGE_SIZE) {
        ssize_t n = pread(fd, (char *)dst + got, VT_PAGE_SIZE - got, (off_t)(off + got));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set(e, VT_IO, "%s: offset %" PRIu64 ": read failed: %m", path, off);
        if (!n)
            break;
        got += (size_t)n;
    }
    memset((char *)dst + got, 0, VT_PAGE_SIZE - got);
    return 0;
}

static int gather(int fd, const char *path, struct facts *ret, struct stat *ret_stat, struct err *e)
{
    uint64_t block[VT_PAGE_SIZE / 8], sum = 0;
    struct stat st;

    if (fstat(fd, &st))
        return err_set(e, VT_IO, "%s: %m", path);
    *ret_stat = st;
    ret->size = (uint64_t)st.st_size;
    if (S_ISBLK(st.st_mode) && ioctl(fd, BLKGETSIZE64, &ret->size))
        return err_set(e, VT_IO, "%s: %m", path);
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return err_set(e, VT_USAGE, "%s: is neither a file nor a block device", path);
    if (!ret->size)
        return err_set(e, VT_USAGE, "%s: is empty", path);
    for (unsigned i = 0; i < SAMPLES; i++) {
        uint64_t pages = (ret->size + VT_PAGE_SIZE - 1) / VT_PAGE_SIZE;
        int r = read_block(fd, path, pages * i / SAMPLES * VT_PAGE_SIZE, block, e);
        if (r)
            return r;
        sum = XXH3_64bits_withSeed(block, sizeof block, sum);
    }
    ret->ino = st.st_ino;
    ret->mtime = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    ret->samples = sum;
    return 0;
}

int basefile_describe(const char *path, char **ret_json, uint64_t *ret_size, struct err *e)
{
    char *full cleanup(cleanup_free) = realpath(path, NULL);
    json_t *j cleanup(cleanup_json) = NULL;
    int fd cleanup(cleanup_close) = full ? open(full, O_RDONLY | O_CLOEXEC) : -1;
    struct facts f;
    struct stat st;
    char samples[17];
    int r;

    if (fd < 0)
        return err_set(e, err_from_errno(errno), "%s: %m", path);
    r = gather(fd, full, &f, &st, e);
    if (r)
        return r;
    snprintf(samples, sizeof samples, "%016" PRIx64, f.samples);
    j = json_pack("{s:s, s:I, s:I, s:I, s:s}", "path", full, "size", (json_int_t)f.size, "mtime_ns",
                  (json_int_t)f.mtime, "ino", (json_int_t)f.ino, "samples", samples);
    if (!j) /* jansson takes UTF-8 only */
        return err_set(e, VT_USAGE, "%s: its path is not UTF-8", path);
    *ret_json = json_text(j);
    *ret_size = f.size;
    return *ret_json ? 0 : err_set(e, VT_FAIL, "out of memory");
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

/* Is what lies at its path still what was looked into? */
static bool untouched(const struct basefile *b)
{
    const struct stat *was = &b->seen;
    struct stat st;

    return !stat(b->path, &st) && st.st_dev == was->st_dev && st.st_ino == was->st_ino && st.st_size == was->st_size &&
           same_time(&st.st_mtim, &was->st_mtim) && same_time(&st.st_ctim, &was->st_ctim);
}

/* One that is open already; under the lock. */
static struct basefile *find_open(const struct basefiles *set, const char *json)
{
    for (struct basefile *b = set->first; b; b = b->next)
        if (!strcmp(b->json, json) && S_ISREG(b->seen.st_mode) && untouched(b))
            return b;
    return NULL;
}

static void basefile_free(struct basefile *b)
{
    if (b->fd >= 0)
        close(b->fd);
    free(b->path);
    free(b->json);
    free(b);
}

/* Opens what is described and looks into it. */
static int open_checked(const char *json, struct basefile **ret, struct err *e)
{
    static const char where[] = "store.db: base file";
    json_t *j cleanup(cleanup_json) = NULL;
    int fd cleanup(cleanup_close) = -1;
    const char *path = NULL, *samples = NULL;
    uint64_t size = 0, mtime = 0;
    char now[17];
    struct basefile *b;
    struct facts f;
    struct stat st;
    int r = json_parse(json, strlen(json), where, &j, e);

    if (!r)
        r = json_get_str(j, "path", JSON_REQUIRED, &path, where, e);
    if (!r)
        r = json_get_str(j, "samples", JSON_REQUIRED, &samples, where, e);
    if (!r)
        r = json_get_u64(j, "size", JSON_REQUIRED, &size, where, e);
    if (!r)
        r = json_get_u64(j, "mtime_ns", JSON_REQUIRED, &mtime, where, e);
    if (r)
        return r;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set(e, VT_CORRUPT, "%s: the file under this disk cannot be opened: %m", path);
    r = gather(fd, path, &f, &st, e);
    if (r)
        return r;
    snprintf(now, sizeof now, "%016" PRIx64, f.samples);
    /* The inode is not compared: a copy back from an archive with size, time and samples kept is as good. */
    if (f.size != size || f.mtime != (int64_t)mtime || strcmp(now, samples))
        return err_set(e, VT_CORRUPT, "%s: the file under this disk changed since the machine was made from it", path);
    b = calloc(1, sizeof *b);
    if (!b)
        return err_set(e, VT_FAIL, "out of memory");
    *b = (struct basefile){.fd = steal_fd(&fd), .size = size, .users = 1, .seen = st};
    b->path = strdup(path);
    b->json = strdup(json);
    if (!b->path || !b->json) {
        basefile_free(b);
        return err_set(e, VT_FAIL, "out of memory");
    }
    *ret = b;
    return 0;
}

int basefile_open(struct basefiles *set, const char *json, struct basefile **ret, struct err *e)
{
    int r = 0;

    pthread_mutex_lock(&set->lock);
    *ret = find_open(set, json);
    if (*ret)
        (*ret)->users++;
    else
        r = open_checked(json, ret, e);
    if (!r && !(*ret)->set) {
        (*ret)->set = set;
        (*ret)->next = set->first;
        set->first = *ret;
    }
    pthread_mutex_unlock(&set->lock);
    return r;
}

void basefile_close(struct basefile *b)
{
    struct basefile **at;
    bool last;

    if (!b)
        return;
    pthread_mutex_lock(&b->set->lock);
    last = !--b->users;
    for (at = &b->set->first; last && *at != b; at = &(*at)->next)
        ;
    if (last)
        *at = b->next;
    pthread_mutex_unlock(&b->set->lock);
    if (last)
        basefile_free(b);
}

int basefile_page(const struct basefile *b, uint64_t page, void *dst, struct err *e)
{
    return read_block(b->fd, b->path, page * VT_PAGE_SIZE, dst, e);
}

uint64_t basefile_next_data(const struct basefile *b, uint64_t page)
{
    off_t at;

    if (page >= (b->size + VT_PAGE_SIZE - 1) / VT_PAGE_SIZE)
        return UINT64_MAX;
    at = lseek(b->fd, (off_t)(page * VT_PAGE_SIZE), SEEK_DATA);
    if (at < 0) /* a block device, or a file system that knows no holes: all of it is data */
        return errno == ENXIO ? UINT64_MAX : page;
    return MAX((uint64_t)at / VT_PAGE_SIZE, page);
}

bool basefile_same(const struct basefile *a, const struct basefile *b)
{
    return a && b ? !strcmp(a->path, b->path) : a == b;
}

char *basefile_path(const char *json)
{
    json_t *j cleanup(cleanup_json) = NULL;
    const char *path = NULL;

    if (!json || json_parse(json, strlen(json), "store.db: base file", &j, NULL) ||
        json_get_str(j, "path", JSON_REQUIRED, &path, "", NULL))
        return NULL;
    return strdup(path);
}
