#include "snapshot/template.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include "src/base/buf.h"
#include "src/base/io.h"
#include "src/base/util.h"
#include "snapshot/format.h"
#include "snapshot/store.h"

#define FOLDER         "templates"
#define TEMPLATE_MAGIC 0x314c504d54545600ull /* "\0VTTMPL1" */
#define HEADER         4096
#define BOOT_ID        36
/* What all templates of a store may take, and of what the file system has free no more than a quarter. */
#define TEMPLATES_MAX (UINT64_C(8) << 30)
/* What stays free on the file system: a twentieth of it, and this. */
#define ROOM_LEFT (UINT64_C(64) << 20)

struct template
{
    int fd;
    uint8_t *map; /* header and bits, shared and writable */
    uint64_t pages, data_at;
};

static uint64_t bits_bytes(uint64_t pages)
{
    return (pages / 8 + VT_PAGE_SIZE) & ~(uint64_t)(VT_PAGE_SIZE - 1);
}

static int make_header(struct store *s, const struct template_of *of, uint8_t head[HEADER], struct err *e)
{
    struct buf boot cleanup(buf_release) = {0};
    int r = io_read_file(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 64, &boot, e);

    if (r)
        return r;
    if (boot.len < BOOT_ID)
        return err_set(e, VT_FAIL, "the host's boot has no identity");
    memset(head, 0, HEADER);
    put64(head, TEMPLATE_MAGIC);
    memcpy(head + 8, s->uuid_bytes, 16);
    put64(head + 24, (uint64_t)of->snapshot);
    put64(head + 32, (uint64_t)of->taken_at);
    put64(head + 40, of->root);
    put64(head + 48, of->pages);
    memcpy(head + 56, boot.data, BOOT_ID);
    return 0;
}

static void file_name(int64_t snapshot, char *ret, size_t size)
{
    snprintf(ret, size, FOLDER "/%lld", (long long)snapshot);
}

/* The one with this name, where it is of this snapshot; else VT_NOENT. */
static int open_there(struct store *s, const char *name, const uint8_t head[HEADER], uint64_t bytes, int *ret_fd)
{
    int fd cleanup(cleanup_close) = openat(s->io.dirfd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    uint8_t got[HEADER];
    size_t n = 0;
    struct stat st;

    if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode) || (uint64_t)st.st_size != bytes ||
        io_pread_full(fd, got, HEADER, 0, &n, name, NULL) || n != HEADER || memcmp(got, head, HEADER))
        return VT_NOENT;
    futimens(fd, NULL); /* for template_evict() */
    *ret_fd = steal_fd(&fd);
    return 0;
}

struct entry {
    int64_t snapshot;
    uint64_t bytes;
    int64_t used;
};

static int by_use(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;

    return x->used < y->used ? -1 : x->used > y->used;
}

/* Who has one mapped keeps it. */
void template_evict(struct store *s)
{
    int fd = openat(s->io.dirfd, FOLDER, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct entry v[256];
    uint64_t total = 0, limit = TEMPLATES_MAX;
    size_t n = 0;
    struct dirent *x;
    struct statfs fs;

    if (!d) {
        if (fd >= 0)
            close(fd);
        return;
    }
    while (n < ARRAY_LEN(v) && (x = readdir(d))) {
        struct snapshot_info info;
        struct stat st;
        char *end;
        int64_t id = strtoll(x->d_name, &end, 10);

        if ((*end && strcmp(end, ".order") != 0) || id <= 0 || fstatat(fd, x->d_name, &st, AT_SYMLINK_NOFOLLOW))
            continue;
        if (snapshot_get(s, id, &info, NULL) == VT_NOENT) {
            template_drop(s, id);
            continue;
        }
        snapshot_info_release(&info);
        if (*end)
            continue;
        v[n++] = (struct entry){id, (uint64_t)st.st_blocks * 512, st.st_mtim.tv_sec};
        total += v[n - 1].bytes;
    }
    closedir(d);
    if (fstatfs(s->io.dirfd, &fs) == 0)
        limit = MIN(limit, ((uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize + total) / 4);
    qsort(v, n, sizeof v[0], by_use);
    for (size_t i = 0; i < n && total > limit; i++) { /* what is known of the order is worth keeping */
        char name[40];
        file_name(v[i].snapshot, name, sizeof name);
        unlinkat(s->io.dirfd, name, 0);
        total -= v[i].bytes;
    }
}

/* Invariant 3: without a name until it is whole. Where another was faster, that one is taken. */
static int make_file(struct store *s, const char *name, const uint8_t head[HEADER], uint64_t bytes, int *ret_fd,
                     struct err *e)
{
    char self[40];
    struct statfs fs;
    int fd cleanup(cleanup_close) = -1, r;

    if (fstatfs(s->io.dirfd, &fs) == 0 && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC))
        return err_set(e, VT_VERSION, "%s is in memory itself", s->dir);
    if (mkdirat(s->io.dirfd, FOLDER, 0700) && errno != EEXIST)
        return err_set(e, err_from_errno(errno), "%s/" FOLDER ": %m", s->dir);
    template_evict(s);
    fd = openat(s->io.dirfd, FOLDER, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_set(e, err_from_errno(errno), "%s/" FOLDER ": %m", s->dir);
    r = io_pwrite_full(fd, head, HEADER, 0, name, e);
    if (!r && ftruncate(fd, (off_t)bytes))
        r = err_set(e, err_from_errno(errno), "%s: %m", name);
    if (r)
        return r;
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    if (linkat(AT_FDCWD, self, s->io.dirfd, name, AT_SYMLINK_FOLLOW)) {
        if (open_there(s, name, head, bytes, ret_fd) == 0)
            return 0;
        unlinkat(s->io.dirfd, name, 0); /* of another boot, or another store's */
        if (linkat(AT_FDCWD, self, s->io.dirfd, name, AT_SYMLINK_FOLLOW) &&
            open_there(s, name, head, bytes, ret_fd) == 0)
            return 0; /* a file without a name serves as well, if only us */
    }
    *ret_fd = steal_fd(&fd);
    return 0;
}

int template_open(struct store *s, const struct template_of *of, struct template **ret, bool *ret_made, struct err *e)
{
    uint64_t data_at = HEADER + bits_bytes(of->pages), bytes = data_at + of->pages * VT_PAGE_SIZE;
    struct template *t = calloc(1, sizeof *t);
    uint8_t head[HEADER];
    char name[40];
    bool made = false;
    int r;

    if (!t)
        return err_set(e, VT_FAIL, "out of memory");
    if (s->sealed) {
        free(t);
        return err_set(e, VT_PERM, "%s: is sealed", s->dir);
    }
    *t = (struct template){.fd = -1, .pages = of->pages, .data_at = data_at};
    file_name(of->snapshot, name, sizeof name);
    r = make_header(s, of, head, e);
    if (!r && open_there(s, name, head, bytes, &t->fd)) {
        made = true;
        r = make_file(s, name, head, bytes, &t->fd, e);
    }
    if (!r) {
        t->map = mmap(NULL, data_at, PROT_READ | PROT_WRITE, MAP_SHARED, t->fd, 0);
        if (t->map == MAP_FAILED) {
            t->map = NULL;
            r = err_set(e, VT_FAIL, "%s: cannot be mapped: %m", name);
        }
    }
    if (r) {
        template_close(t);
        return r;
    }
    *ret_made = made;
    *ret = t;
    return 0;
}

void template_close(struct template *t)
{
    if (!t)
        return;
    if (t->map)
        munmap(t->map, t->data_at);
    if (t->fd >= 0)
        close(t->fd);
    free(t);
}

int template_fd(const struct template *t, uint64_t *ret_at)
{
    *ret_at = t->data_at;
    return t->fd;
}

bool template_has(const struct template *t, uint64_t page)
{
    return page < t->pages && __atomic_load_n(t->map + HEADER + page / 8, __ATOMIC_ACQUIRE) >> page % 8 & 1;
}

/* Invariant 4 */
static bool has_room(const struct template *t)
{
    struct statfs fs;

    return fstatfs(t->fd, &fs) == 0 &&
           (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize > ROOM_LEFT + (uint64_t)fs.f_blocks / 20 * (uint64_t)fs.f_bsize;
}

int template_put(struct template *t, uint64_t page, uint32_t n, const void *data, struct err *e)
{
    int r;

    vt_assert(page <= t->pages && n <= t->pages - page);
    if (!has_room(t))
        return err_set(e, VT_IO, "no room for templates");
    r = io_pwrite_full(t->fd, data, (size_t)n * VT_PAGE_SIZE, t->data_at + page * VT_PAGE_SIZE, FOLDER, e);
    for (uint64_t p = page; p < page + n && !r; p++)
        __atomic_fetch_or(t->map + HEADER + p / 8, (uint8_t)(1u << p % 8), __ATOMIC_RELEASE);
    return r;
}

void template_order_name(int64_t snapshot, char *ret, size_t size)
{
    snprintf(ret, size, FOLDER "/%lld.order", (long long)snapshot);
}

void template_drop(struct store *s, int64_t snapshot)
{
    char name[48];

    file_name(snapshot, name, sizeof name);
    unlinkat(s->io.dirfd, name, 0);
    template_order_name(snapshot, name, sizeof name);
    unlinkat(s->io.dirfd, name, 0);
}
