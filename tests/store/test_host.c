/* A host that fails where the store only reads, or asks for memory: the Nth allocation, the Nth read, for each N (or a
 * share of them); a file system that is read-only; files that may not grow. What fails says so, the
 * same call succeeds the next time, and nothing is lost.
 *
 * test_store_host EVERY looks at every EVERYth N, from a random one on; 1: all. The linker puts the calls here in the
 * place of the C library's (--wrap). */
#include "tests/store/world.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum what { NOTHING, ALLOC, READ };

static struct {
    bool inside;       /* the store is at work */
    bool read_only;    /* so is the file system */
    enum what what;    /* that fails */
    uint64_t seen, at; /* which one, from 1; 0: none */
} host;

static unsigned long every = 20 * SLOW;
static uint64_t on_failure; /* N, printed where the test fails */

static bool fails_now(enum what what)
{
    if (!host.inside || host.what != what)
        return false;
    if (++host.seen != host.at)
        return false;
    errno = what == ALLOC ? ENOMEM : EIO;
    return true;
}

/* ---- what the linker puts in the place of the C library's ---- */

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
char *__real_strdup(const char *s);
ssize_t __real_pread64(int fd, void *dst, size_t n, off_t off);
int __real_openat64(int dirfd, const char *path, int flags, mode_t mode);
int __real_unlinkat(int dirfd, const char *path, int flags);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
char *__wrap_strdup(const char *s);
ssize_t __wrap_pread64(int fd, void *dst, size_t n, off_t off);
int __wrap_openat64(int dirfd, const char *path, int flags, mode_t mode);
int __wrap_unlinkat(int dirfd, const char *path, int flags);

void *__wrap_malloc(size_t n)
{
    return fails_now(ALLOC) ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails_now(ALLOC) ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
    return fails_now(ALLOC) ? NULL : __real_realloc(p, n);
}

char *__wrap_strdup(const char *s)
{
    return fails_now(ALLOC) ? NULL : __real_strdup(s);
}

ssize_t __wrap_pread64(int fd, void *dst, size_t n, off_t off)
{
    return fails_now(READ) ? -1 : __real_pread64(fd, dst, n, off);
}

static bool refused(int flags)
{
    if (!host.read_only || !(flags & (O_WRONLY | O_RDWR | O_CREAT)))
        return false;
    errno = EROFS;
    return true;
}

int __wrap_openat64(int dirfd, const char *path, int flags, mode_t mode)
{
    return refused(flags) ? -1 : __real_openat64(dirfd, path, flags, mode);
}

int __wrap_unlinkat(int dirfd, const char *path, int flags)
{
    return refused(O_RDWR) ? -1 : __real_unlinkat(dirfd, path, flags);
}

/* ---- the same below SQLite ---- */

static int lite_open(const char *path, int flags, int mode)
{
    return refused(flags) ? -1 : open(path, flags, mode);
}

static sqlite3_mem_methods lite_memory;

static void *lite_malloc(int n)
{
    return fails_now(ALLOC) ? NULL : lite_memory.xMalloc(n);
}

static void *lite_realloc(void *p, int n)
{
    return fails_now(ALLOC) ? NULL : lite_memory.xRealloc(p, n);
}

static void hook_sqlite(void)
{
    sqlite3_mem_methods mine;
    sqlite3_vfs *vfs;

    assert_int_equal(sqlite3_config(SQLITE_CONFIG_GETMALLOC, &lite_memory), 0);
    if (!lite_memory.xMalloc) { /* chosen when it starts */
        sqlite3_initialize();
        sqlite3_shutdown();
        assert_int_equal(sqlite3_config(SQLITE_CONFIG_GETMALLOC, &lite_memory), 0);
    }
    mine = lite_memory;
    mine.xMalloc = lite_malloc;
    mine.xRealloc = lite_realloc;
    assert_int_equal(sqlite3_config(SQLITE_CONFIG_MALLOC, &mine), 0);
    sqlite3_initialize();
    vfs = sqlite3_vfs_find(NULL);
    vfs->xSetSystemCall(vfs, "pread", (sqlite3_syscall_ptr)__wrap_pread64); /* it has one of these two */
    vfs->xSetSystemCall(vfs, "pread64", (sqlite3_syscall_ptr)__wrap_pread64);
    assert_int_equal(vfs->xSetSystemCall(vfs, "open", (sqlite3_syscall_ptr)lite_open), 0);
}

/* ---- the Nth of them fails ---- */

static uint64_t run_with(enum what what, uint64_t at)
{
    struct world w;
    uint64_t retries;

    host.what = what;
    host.at = at;
    host.seen = 0;
    world_own(&w, NULL);
    w.inside = &host.inside;
    world_tour(&w);
    w.inside = NULL;
    host.what = NOTHING;
    world_compare(&w);
    retries = w.retries;
    world_close(&w);
    world_open_again(&w); /* as another process has it */
    world_compare(&w);
    world_maintain(&w, false);
    world_end(&w);
    return retries;
}

static void every_nth(enum what what)
{
    uint64_t failed = 0, tried = 0, n;
    struct rng r = {(uint64_t)time(NULL)};
    uint64_t step = what == READ ? (every + 9) / 10 : every; /* there are few reads */

    assert_int_equal(run_with(what, 0), 0);
    n = host.seen;
    assert_true(n > 100);
    for (uint64_t at = 1 + rng_below(&r, step); at <= n; at += step, tried++) {
        on_failure = at;
        failed += run_with(what, at);
    }
    print_message("%llu of %llu failed one by one, %llu steps were made again\n", (unsigned long long)tried,
                  (unsigned long long)n, (unsigned long long)failed);
    assert_true(failed > tried / 8); /* others are survived without anybody's help */
}

static void the_nth_allocation_fails(void **state)
{
    every_nth(ALLOC);
}

static void the_nth_read_fails(void **state)
{
    every_nth(READ);
}

/* ---- a read-only file system, before and after it is opened ---- */

static void a_read_only_file_system_is_said(void **state)
{
    struct blockdev *b;
    struct world w;
    struct store *s;

    world_own(&w, NULL);
    world_write(&w, 1, false);
    world_flush(&w);
    world_snapshot(&w, true, false, 0);
    host.read_only = true;
    fails(VT_IO, "Read-only file system", store_open(w.dir, 0, &s, e));
    fails(VT_IO, "Read-only file system", store_open(w.dir, STORE_CREATE, &s, e));
    fails(VT_IO, "Read-only file system", head_prepare(w.h, e));
    fails(VT_IO, "heads/", head_prepare(w.h, e));
    world_compare_snap(&w, w.s, 0, w.snaps[0].id); /* what can be had is had */
    host.read_only = false;
    world_write(&w, 2, false);
    b = head_disk(w.h, "disk0");
    ok(b->ops->flush(b, e));
    world_reopen(&w);
    world_end(&w);
}

/* ---- files that may not grow: what fails here is the system's own write ---- */

static int write_much(struct head *h, struct err *e)
{
    struct blockdev *b = head_disk(h, "disk0");
    uint8_t page[PAGE];
    int r = 0;

    for (uint32_t i = 0; i < 600 && !r; i++) {
        page_make(page, 800000 + i);
        r = b->ops->pwrite(b, page, PAGE, (uint64_t)i * PAGE, e);
    }
    return r ? r : b->ops->flush(b, e);
}

static void files_that_may_not_grow(struct world *w)
{
    struct rlimit old, tight = {1 << 20, RLIM_INFINITY};

    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    tight.rlim_max = old.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    fails(VT_IO, "heads/", write_much(w->h, e));
    fails(VT_IO, "File too large", write_much(w->h, e));
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    ok(write_much(w->h, e));
    for (uint32_t i = 0; i < 600; i++)
        w->now.tag[i] = 800000 + i;
}

static void a_write_that_the_system_refuses_loses_nothing(void **state)
{
    struct world w;

    world_own(&w, NULL);
    world_write(&w, 650, false);
    world_snapshot(&w, true, false, 0);
    world_write(&w, 651, false);
    files_that_may_not_grow(&w);
    world_compare(&w);
    world_snapshot(&w, false, false, 0);
    world_reopen(&w);
    world_end(&w);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_nth_allocation_fails),
        cmocka_unit_test(the_nth_read_fails),
        cmocka_unit_test(a_read_only_file_system_is_said),
        cmocka_unit_test(a_write_that_the_system_refuses_loses_nothing),
    };
    int r;

    if (argc == 2)
        every = strtoul(argv[1], NULL, 10);
    if (argc > 2 || !every) {
        fprintf(stderr, "usage: %s [EVERY]\n", argv[0]);
        return 64;
    }
    hook_sqlite();
    r = cmocka_run_group_tests(tests, NULL, NULL);
    if (r && on_failure)
        print_message("the last that failed: number %llu\n", (unsigned long long)on_failure);
    return r;
}
