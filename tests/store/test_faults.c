/* A failing host: the Nth operation fails, for every N; the disk is full; syncs fail; bytes rot. Nothing that was
 * promised is lost, and what is wrong is said. */
#include "tests/store/world.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct fault {
    uint64_t seen, at; /* which operation fails, from 1; 0: none */
    int how;           /* -errno, or for a write n > 0: n - 1 bytes are written */
    int kind;          /* only operations of this kind count; -1: all */
    bool for_good;     /* all later ones, too */
};

static int inject(void *opaque, const struct sio_op *op)
{
    struct fault *f = opaque;

    if (f->kind >= 0 && (int)op->kind != f->kind)
        return 0;
    f->seen++;
    if (!f->at || f->seen < f->at || (f->seen > f->at && !f->for_good))
        return 0;
    return f->how > 0 && op->kind != SIO_WRITE ? -EIO : f->how;
}

/* Enough on one page that folding the log is worth while. */
static void overwrite(struct world *w)
{
    for (int i = 0; i < 24; i++) {
        world_write(w, 10, false);
        world_flush(w);
    }
}

static void script(struct world *w)
{
    struct rng r = {77};

    for (int i = 0; i < 6; i++)
        world_write(w, (uint32_t)rng_below(&r, W_PAGES), false);
    world_flush(w);
    world_snapshot(w, true, true, W_DISK0 + 5);
    for (int i = 0; i < 6; i++)
        world_write(w, (uint32_t)rng_below(&r, W_PAGES), i == 3);
    world_prepare(w);
    world_flush(w);
    world_snapshot(w, false, false, 0);
    world_write(w, 3, false);
    world_abort(w);
    overwrite(w);
    world_fold(w);
    world_write(w, 5, false);
    world_reset(w, 0);
    world_write(w, W_DISK0 + 4, false);
    world_flush(w);
    world_rename(w, 0, false);
    world_snapshot(w, true, false, 0);
    world_delete(w, 1, false);
    world_maintain(w, false);
    world_gc(w);
    world_write(w, 8, false);
    world_reopen(w);
    world_write(w, 9, false);
    world_flush(w);
}

static uint64_t run_with(struct fault *f)
{
    struct sio_hook hook = {inject, f};
    char *dir = tmpdir_new();
    struct world w;
    uint64_t retries;

    world_open(&w, dir, &hook, NULL);
    script(&w);
    world_compare(&w);
    f->at = 0;
    world_flush(&w);
    world_close(&w);
    retries = w.retries;
    w.hook.fn = NULL;
    ok(store_open(dir, 0, &w.s, e)); /* another process */
    ok(machine_lock(w.s, w.machine, &w.lock, e));
    ok(head_open(w.s, w.machine, 0, &w.h, e));
    world_compare(&w);
    ok(store_maintain(w.s, e));
    check_sound(w.s);
    world_compare(&w);
    world_close(&w);
    world_release(&w);
    rmtree(dir);
    free(dir);
    return retries;
}

static void every_nth(int how)
{
    struct fault f = {.kind = -1};
    uint64_t n, failed = 0;

    assert_int_equal(run_with(&f), 0);
    n = f.seen;
    assert_true(n > 100);
    for (uint64_t at = 1; at <= n; at++) {
        f = (struct fault){.at = at, .how = how, .kind = -1};
        failed += run_with(&f);
    }
    print_message("%llu operations failed one by one, %llu steps were made again\n", (unsigned long long)n,
                  (unsigned long long)failed);
    assert_true(failed > n / 4); /* others are survived without anybody's help */
}

static void the_nth_operation_fails(void **state)
{
    every_nth(-EIO);
}

static void the_nth_operation_finds_no_space(void **state)
{
    every_nth(-ENOSPC);
}

static void the_nth_write_is_torn(void **state)
{
    every_nth(1 + 700);
}

static int full_disk_snapshot(struct world *w, struct err *e)
{
    struct snap_meta meta = {.name = "full"};
    struct head_pos live;
    struct snap *p;
    int64_t id;
    int r = head_seal(w->h, &live, e);

    if (!r)
        r = snap_begin(w->h, NULL, &live, &p, e);
    return r ? r : snap_commit(p, &meta, &id, NULL, e);
}

static void a_full_disk_loses_nothing(void **state)
{
    struct fault f = {.kind = SIO_WRITE};
    struct sio_hook hook = {inject, &f};
    char *dir = tmpdir_new();
    struct blockdev *b;
    struct world w;

    world_open(&w, dir, &hook, NULL);
    script(&w);
    f = (struct fault){.at = 1, .how = -ENOSPC, .kind = SIO_WRITE, .for_good = true};
    for (uint32_t i = 0; i < 300; i++) /* more than a batch: what cannot be written waits */
        world_write(&w, i, false);
    b = head_disk(w.h, "disk0");
    fails(VT_IO, "No space left", b->ops->flush(b, e));
    fails(VT_IO, "No space left", b->ops->flush(b, e));
    fails(VT_IO, "No space left", full_disk_snapshot(&w, e));
    assert_int_equal(w.retries, 0);
    for (uint32_t i = 0; i < W_PAGES; i++)
        assert_int_equal(world_tag(w.h, i), w.now.tag[i]);
    f = (struct fault){.kind = -1};
    world_flush(&w);
    world_snapshot(&w, true, false, 0);
    world_reopen(&w);
    world_compare(&w);
    check_sound(w.s);
    world_close(&w);
    world_release(&w);
    rmtree(dir);
    free(dir);
}

/* After a sync that failed, the data goes to another log, and the first is never trusted again. */
static void a_failed_sync_condemns_the_log(void **state)
{
    struct fault f = {.kind = SIO_SYNC};
    struct sio_hook hook = {inject, &f};
    char *dir = tmpdir_new();
    struct world w;

    world_open(&w, dir, &hook, NULL);
    for (uint32_t i = 0; i < 20; i++)
        world_write(&w, i, false);
    world_flush(&w);
    for (uint32_t i = 10; i < 30; i++)
        world_write(&w, i, false);
    f = (struct fault){.at = 1, .how = -EIO, .kind = SIO_SYNC};
    world_flush(&w);
    assert_true(f.seen > 1);        /* the log, another log, and what makes that one known */
    assert_int_equal(w.retries, 0); /* the guest saw nothing */
    for (uint32_t i = 20; i < 40; i++)
        world_write(&w, i, false);
    world_flush(&w);
    world_reopen(&w);
    world_compare(&w);
    world_snapshot(&w, false, false, 0);
    world_reopen(&w);
    world_compare(&w);
    check_sound(w.s);
    world_close(&w);
    world_release(&w);
    rmtree(dir);
    free(dir);
}

/* ---- rot ---- */

static void flip(const char *path, uint64_t off)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    uint8_t b;

    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &b, 1, (off_t)off), 1);
    b ^= 0x10;
    assert_int_equal(pwrite(fd, &b, 1, (off_t)off), 1);
    close(fd);
}

/* The path of the largest file in a folder of the store. */
static char *main_file(const char *dir, const char *folder)
{
    char *path = NULL, *sub;
    off_t most = -1;
    struct dirent *d;
    struct stat st;
    DIR *f;

    assert_true(asprintf(&sub, "%s/%s", dir, folder) > 0);
    f = opendir(sub);
    while ((d = readdir(f))) {
        if (d->d_name[0] == '.' || fstatat(dirfd(f), d->d_name, &st, 0) || st.st_size <= most)
            continue;
        most = st.st_size;
        free(path);
        assert_true(asprintf(&path, "%s/%s", sub, d->d_name) > 0);
    }
    closedir(f);
    free(sub);
    assert_non_null(path);
    return path;
}

static int read_all(struct store *s, int64_t snapshot, struct err *e)
{
    uint8_t page[PAGE];
    struct image *i = NULL;
    int r = image_open(s, snapshot, "disk0", ROOT_LIVE, &i, e);

    for (uint64_t p = 0; !r && p < image_pages(i); p++)
        r = image_read(i, p, 1, page, e);
    image_close(i);
    return r;
}

static void count_problem(void *opaque, const char *line)
{
    ++*(int *)opaque;
}

/* Any byte of a pack: reading or at least check says so, and names the file. */
static void a_wrong_byte_in_a_pack_is_found(void **state)
{
    char *dir = tmpdir_new(), *pack;
    struct stat st;
    struct world w;
    uint64_t step;

    world_open(&w, dir, NULL, NULL);
    for (uint32_t i = 0; i < 40; i++)
        world_write(&w, i * 3, false);
    world_snapshot(&w, false, false, 0);
    world_close(&w);
    pack = main_file(dir, "packs");
    assert_int_equal(stat(pack, &st), 0);
    step = (uint64_t)st.st_size / 150 | 1;
    for (uint64_t off = 0; off < (uint64_t)st.st_size; off += step) {
        struct store_report rep;
        struct err e1 = {0};
        int problems = 0, r;
        flip(pack, off);
        ok(store_open(dir, 0, &w.s, e));
        r = read_all(w.s, w.snaps[0].id, &e1);
        if (r && (r != VT_CORRUPT || !strstr(e1.msg, "packs/") || !strstr(e1.msg, "offset")))
            fail_msg("offset %llu: %d: %s", (unsigned long long)off, r, e1.msg);
        ok(store_check(w.s, true, count_problem, &problems, &rep, e));
        if (!problems && off >= 40 && off < 56) { /* not used yet, but under the header's checksum */
            fail_msg("offset %llu: not found", (unsigned long long)off);
        }
        if (!problems) {
            uint8_t zero = 1;
            int fd = open(pack, O_RDONLY | O_CLOEXEC);
            assert_int_equal(pread(fd, &zero, 1, (off_t)off), 1);
            close(fd);
            assert_int_equal(zero, 0x10); /* nothing but the padding between frames may go unnoticed */
        }
        store_close(w.s);
        flip(pack, off);
    }
    free(pack);
    rmtree(dir);
    free(dir);
}

/* Any byte of what was flushed to a log: opening or reading says so. */
static void a_wrong_byte_in_a_log_is_found(void **state)
{
    char *dir = tmpdir_new(), *log;
    struct stat st;
    struct world w;
    uint64_t step;
    int found = 0;

    world_open(&w, dir, NULL, NULL);
    for (uint32_t i = 0; i < 20; i++)
        world_write(&w, i * 3, false);
    world_flush(&w);
    for (uint32_t i = 0; i < 20; i++)
        world_write(&w, i * 5, false);
    world_close(&w);
    log = main_file(dir, "heads");
    assert_int_equal(stat(log, &st), 0);
    step = (uint64_t)st.st_size / 150 | 1;
    for (uint64_t off = 0; off < (uint64_t)st.st_size - 64;
         off += step) { /* the last batch says only that all is well */
        struct err e1 = {0};
        struct image *i = NULL;
        uint8_t page[PAGE];
        int r;
        flip(log, off);
        ok(store_open(dir, 0, &w.s, e));
        r = image_open_flushed(w.s, w.machine, "disk0", &i, &e1);
        for (uint32_t p = 0; p < W_DISK0 && !r; p++) {
            uint8_t want[PAGE];
            r = image_read(i, p, 1, page, &e1);
            page_make(want, w.now.tag[p]);
            if (!r)
                assert_memory_equal(page, want, PAGE); /* never wrong data */
        }
        if (r && (r != VT_CORRUPT || !strstr(e1.msg, "heads/") || !strstr(e1.msg, "offset")))
            fail_msg("offset %llu: %d: %s", (unsigned long long)off, r, e1.msg);
        found += r != 0;
        image_close(i);
        store_close(w.s);
        flip(log, off);
    }
    assert_true(found > 60); /* pages that were written again are not read */
    free(log);
    rmtree(dir);
    free(dir);
}

static void a_missing_file_is_said(void **state)
{
    char *dir = tmpdir_new(), *path;
    struct world w;

    world_open(&w, dir, NULL, NULL);
    world_write(&w, 1, false);
    world_snapshot(&w, false, false, 0);
    world_write(&w, 2, false);
    world_flush(&w);
    world_close(&w);
    path = main_file(dir, "packs");
    assert_int_equal(unlink(path), 0);
    free(path);
    ok(store_open(dir, 0, &w.s, e));
    fails(VT_CORRUPT, "packs/", read_all(w.s, w.snaps[0].id, e));
    path = main_file(dir, "heads");
    assert_int_equal(unlink(path), 0);
    free(path);
    ok(machine_lock(w.s, w.machine, &w.lock, e));
    fails(VT_CORRUPT, "heads/", head_open(w.s, w.machine, 0, &w.h, e));
    close(w.lock);
    store_close(w.s);
    rmtree(dir);
    free(dir);
}

/* ---- two at once ---- */

static void child(const char *dir, int number)
{
    struct slot_spec disk = {.slot = "disk0", .bytes = 64 * PAGE, .import_fd = -1};
    struct store *s;
    char name[16];
    int64_t id;
    int lock;

    snprintf(name, sizeof name, "m%d", number);
    ok(store_open(dir, STORE_CREATE, &s, e)); /* both may find no store, and make it */
    ok(machine_create(s, name, "{}", &disk, 1, NULL, NULL, &id, e));
    for (int round = 0; round < 10; round++) {
        struct head *h;
        int64_t snap;
        ok(machine_lock(s, id, &lock, e));
        ok(head_open(s, id, 0, &h, e));
        for (uint64_t p = 0; p < 20; p++)
            disk_put(h, "disk0", p, (uint64_t)(round * 100) + p + 1); /* the same in all: shared pages */
        disk_sync(h, "disk0");
        snprintf(name, sizeof name, "s%d", round);
        snap = take(h, name, 0);
        for (uint64_t p = 0; p < 20; p++)
            assert_int_equal(disk_tag(h, "disk0", p), (uint64_t)(round * 100) + p + 1);
        ok(head_close(h, e));
        close(lock);
        if (round % 2)
            ok(snapshot_delete(s, snap, e));
        ok(store_maintain(s, e)); /* takes back what others deleted, too */
    }
    store_close(s);
}

static void processes_share_a_store(void **state)
{
    char *dir = tmpdir_new();
    struct machine_info *list;
    struct store *s;
    pid_t pids[3];
    size_t n;

    for (int i = 0; i < 3; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (!pids[i]) {
            child(dir, i);
            _exit(0);
        }
    }
    for (int i = 0; i < 3; i++) {
        int status;
        waitpid(pids[i], &status, 0);
        assert_int_equal(status, 0);
    }
    ok(store_open(dir, 0, &s, e));
    check_sound(s);
    ok(machine_list(s, &list, &n, e));
    assert_int_equal(n, 3);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(list[i].snapshots, 5);
    machine_list_free(list, n);
    store_close(s);
    rmtree(dir);
    free(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_nth_operation_fails),        cmocka_unit_test(the_nth_operation_finds_no_space),
        cmocka_unit_test(the_nth_write_is_torn),          cmocka_unit_test(a_full_disk_loses_nothing),
        cmocka_unit_test(a_failed_sync_condemns_the_log), cmocka_unit_test(a_wrong_byte_in_a_pack_is_found),
        cmocka_unit_test(a_wrong_byte_in_a_log_is_found), cmocka_unit_test(a_missing_file_is_said),
        cmocka_unit_test(processes_share_a_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
