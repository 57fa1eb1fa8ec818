/* Files that rot or go: a wrong byte anywhere in each kind of file is said, with the file and where in it, or makes no
 * difference; it never makes wrong data, and all else can still be read. */
#include "tests/store/world.h"

#include <dirent.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

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
    char *pack;
    struct stat st;
    struct world w;
    uint64_t step;

    world_own(&w, NULL);
    for (uint32_t i = 0; i < 40; i++)
        world_write(&w, i * 3, false);
    world_snapshot(&w, false, false, 0);
    world_close(&w);
    pack = main_file(w.dir, "packs");
    assert_int_equal(stat(pack, &st), 0);
    step = (uint64_t)st.st_size / 150 | 1;
    for (uint64_t off = 0; off < (uint64_t)st.st_size; off += step) {
        struct store_report rep;
        struct err e1 = {0};
        int problems = 0, r;
        flip(pack, off);
        ok(store_open(w.dir, 0, &w.s, e));
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
    world_remove(&w);
}

/* Any byte of what was flushed to a log: opening or reading says so. */
static void a_wrong_byte_in_a_log_is_found(void **state)
{
    char *log;
    struct stat st;
    struct world w;
    uint64_t step;
    int found = 0;

    world_own(&w, NULL);
    for (uint32_t i = 0; i < 20; i++)
        world_write(&w, i * 3, false);
    world_flush(&w);
    for (uint32_t i = 0; i < 20; i++)
        world_write(&w, i * 5, false);
    world_close(&w);
    log = main_file(w.dir, "heads");
    assert_int_equal(stat(log, &st), 0);
    step = (uint64_t)st.st_size / 150 | 1;
    for (uint64_t off = 0; off < (uint64_t)st.st_size - 64;
         off += step) { /* the last batch says only that all is well */
        struct err e1 = {0};
        struct image *i = NULL;
        uint8_t page[PAGE];
        int r;
        flip(log, off);
        ok(store_open(w.dir, 0, &w.s, e));
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
    world_remove(&w);
}

static void a_missing_file_is_said(void **state)
{
    char *path;
    struct world w;

    world_own(&w, NULL);
    world_write(&w, 1, false);
    world_snapshot(&w, false, false, 0);
    world_write(&w, 2, false);
    world_flush(&w);
    world_close(&w);
    path = main_file(w.dir, "packs");
    assert_int_equal(unlink(path), 0);
    free(path);
    ok(store_open(w.dir, 0, &w.s, e));
    fails(VT_CORRUPT, "packs/", read_all(w.s, w.snaps[0].id, e));
    path = main_file(w.dir, "heads");
    assert_int_equal(unlink(path), 0);
    free(path);
    ok(machine_lock(w.s, w.machine, &w.lock, e));
    fails(VT_CORRUPT, "heads/", head_open(w.s, w.machine, 0, &w.h, e));
    close(w.lock);
    store_close(w.s);
    world_remove(&w);
}

/* ---- the database ---- */

/* Three snapshots, one with memory, and writes after them. */
static void fill(struct world *w)
{
    for (int k = 0; k < 3; k++) {
        for (uint32_t i = 0; i < 30; i++)
            world_write(w, (i * 7 + (uint32_t)k * 90) % W_PAGES, false);
        world_snapshot(w, k == 1, false, 0);
    }
    for (uint32_t i = 0; i < 10; i++)
        world_write(w, i, false);
    world_flush(w);
}

struct seen {
    unsigned refused, reported, missing, right;
};

/* Reads all that can be: right, or an error of these kinds that names a file. Gives the first that failed. */
static int read_snapshot(struct world *w, struct store *s, int index, uint64_t off, struct err *e)
{
    struct image *i = NULL;
    uint8_t page[PAGE], want[PAGE];
    int64_t id = 0;
    int r = snapshot_find(s, w->machine, w->snaps[index].name, true, &id, e);

    if (!r)
        r = image_open(s, id, "disk0", ROOT_LIVE, &i, e);
    for (uint32_t p = 0; !r && p < W_DISK0; p++) {
        r = image_read(i, p, 1, page, e);
        page_make(want, w->snaps[index].disk.tag[p]);
        if (!r && memcmp(page, want, PAGE) != 0)
            fail_msg("offset %llu: snapshot %d, page %u: wrong data, and nothing said", (unsigned long long)off, index,
                     p);
    }
    image_close(i);
    return r;
}

static bool names_a_file(const struct err *e, const char *dir)
{
    return strstr(e->msg, "store.db") || strstr(e->msg, "packs/") || strstr(e->msg, "heads/") || strstr(e->msg, dir);
}

/* How many snapshots are all there, from the first on; fails where one is after one that is not. */
static int look(struct world *w, uint64_t off, struct seen *seen)
{
    struct store_report rep = {0};
    struct err err = {0};
    struct store *s = NULL;
    int problems = 0, there = 0, r = store_open(w->dir, 0, &s, &err);

    for (int k = 0; !r && k < w->n_snaps; k++) {
        struct err mine = {0};
        int r1 = read_snapshot(w, s, k, off, &mine);
        if (r1 && r1 != VT_NOENT && !names_a_file(&mine, w->dir))
            fail_msg("offset %llu: %d: %s", (unsigned long long)off, r1, mine.msg);
        there += !r1;
    }
    if (!r)
        r = store_check(s, true, count_problem, &problems, &rep, &err);
    store_close(s);
    if (r && !names_a_file(&err, w->dir))
        fail_msg("offset %llu: %d: %s", (unsigned long long)off, r, err.msg);
    seen->refused += r != 0;
    seen->reported += !r && problems;
    seen->missing += !r && !problems && there < w->n_snaps;
    seen->right += !r && !problems && there == w->n_snaps;
    return there;
}

/* Runs `look` with a wrong byte at each of some offsets of the file; in places that were ever used, which are not zero.
 */
static struct seen flip_all(struct world *w, const char *file)
{
    struct seen seen = {0};
    uint64_t used = 0;
    char *path;
    int fd;
    uint8_t b;

    assert_true(asprintf(&path, "%s/%s", w->dir, file) > 0);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    for (uint64_t off = 0; pread(fd, &b, 1, (off_t)off) == 1; off++) {
        if (!b || used++ % 37)
            continue;
        flip(path, off);
        look(w, off, &seen);
        flip(path, off);
    }
    close(fd);
    print_message("%s: %u refused, %u reported by check, %u with a snapshot not found, %u all right\n", file,
                  seen.refused, seen.reported, seen.missing, seen.right);
    free(path);
    return seen;
}

static void a_wrong_byte_in_the_database_makes_no_wrong_data(void **state)
{
    struct seen seen;
    struct world w;

    world_own(&w, NULL);
    fill(&w);
    world_checkpoint(&w);
    world_close(&w);
    seen = flip_all(&w, "store.db");
    assert_true(seen.refused + seen.reported > 100); /* rows have no checksums of their own, map nodes do */
    world_open_again(&w);                            /* nothing of it stays behind */
    world_end(&w);
}

static void change(const struct world *w, const char *sql)
{
    char *path;
    sqlite3 *db;

    assert_true(asprintf(&path, "%s/store.db", w->dir) > 0);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_changes(db), 1);
    sqlite3_close(db);
    free(path);
}

/* The row that has a map's root has no checksum of its own. */
static void the_root_of_another_map_is_found(void **state)
{
    struct store_report rep = {0};
    int problems = 0;
    struct world w;

    world_own(&w, NULL);
    fill(&w);
    world_close(&w);
    change(&w, "UPDATE image SET root = root & ~4095 WHERE slot = 'disk0' AND snapshot = 1"); /* as it was once */
    world_open_again(&w);
    world_compare(&w);
    world_close(&w);
    change(&w, "UPDATE image SET root = root & 4095 | (SELECT root & ~4095 FROM image WHERE slot = 'disk0' AND "
               "snapshot = 3) WHERE slot = 'disk0' AND snapshot = 2");
    ok(store_open(w.dir, 0, &w.s, e));
    fails(VT_CORRUPT, "store.db: map node", read_all(w.s, w.snaps[1].id, e));
    ok(read_all(w.s, w.snaps[2].id, e));
    ok(store_check(w.s, true, count_problem, &problems, &rep, e));
    assert_int_equal(problems, 2); /* its quiesced root is the same */
    store_close(w.s);
    world_remove(&w);
}

static void copy_file(const char *from, const char *to)
{
    char data[65536];
    int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ssize_t n;

    assert_true(in >= 0 && out >= 0);
    while ((n = read(in, data, sizeof data)) > 0)
        assert_int_equal(write(out, data, (size_t)n), n);
    close(in);
    close(out);
}

/* The store as it is without what the log lost: its first snapshots, and nothing wrong. */
static int give_up(struct world *w)
{
    struct store_report rep = {0};
    struct seen seen = {0};
    struct store *s;
    uint64_t done = 0;
    int problems = 0;

    ok(store_open(w->dir, STORE_DAMAGED, &s, e));
    ok(store_check(s, true, count_problem, &problems, &rep, e));
    assert_true(problems > 0);
    ok(store_repair(s, NULL, NULL, &done, e));
    assert_true(done > 0);
    store_close(s);
    return look(w, 0, &seen);
}

/* SQLite takes it for the end of what was committed; the mark beside it knows better. */
static void a_wrong_byte_in_the_log_of_the_database_is_found(void **state)
{
    char *wal, *kept;
    struct seen seen = {0};
    struct world w;
    struct stat st;
    off_t off;

    world_own(&w, NULL);
    world_checkpoint(&w);
    fill(&w);
    world_close(&w);
    assert_true(asprintf(&wal, "%s/store.db-wal", w.dir) > 0);
    assert_true(asprintf(&kept, "%s.wal", w.dir) > 0);
    copy_file(wal, kept);
    assert_int_equal(stat(wal, &st), 0);
    for (off = 0; off < st.st_size; off += st.st_size / 200 | 1) {
        unsigned refused = seen.refused;
        int there;
        copy_file(kept, wal);
        flip(wal, (uint64_t)off);
        there = look(&w, (uint64_t)off, &seen);
        assert_true(there == 3 || seen.refused > refused);
    }
    assert_true(seen.refused > 150); /* what was committed last need not be durable */
    assert_int_equal(seen.missing, 0);
    copy_file(kept, wal);
    assert_int_equal(look(&w, 0, &seen), 3);
    flip(wal, (uint64_t)st.st_size / 2);
    assert_in_range(give_up(&w), 1, 2);
    unlink(kept);
    free(kept);
    free(wal);
    world_remove(&w);
}

/* After a power failure the log may lack a commit that was never synced, and yet have what followed. Whatever is
 * committed then, and however often the log is read again, that is over. */
static void what_a_crash_cut_off_stays_away(void **state)
{
    char *wal, *kept, *mark;
    struct model_disk was;
    struct world w;

    world_own(&w, NULL);
    world_snapshot(&w, false, false, 0);
    world_write(&w, 5, false);
    world_write(&w, W_DISK0 + 5, false);
    world_flush(&w);
    was = w.now;
    world_checkpoint(&w); /* a commit that writes one page begins the log anew */
    world_reset(&w, 0);
    assert_true(asprintf(&wal, "%s/store.db-wal", w.dir) > 0);
    assert_true(asprintf(&mark, "%s/store.db-mark", w.dir) > 0);
    assert_true(asprintf(&kept, "%s.wal", w.dir) > 0);
    copy_file(wal, kept);
    world_close(&w);
    copy_file(kept, wal);
    unlink(mark); /* closing has made durable what this crash is before */
    flip(wal, 32 + 24 + 100);
    w.now = was;
    for (int k = 0; k < 4; k++) {
        world_open_again(&w);
        world_compare(&w);
        world_flush(&w); /* the same commit as the one that was lost */
        world_close(&w);
    }
    unlink(kept);
    free(kept);
    free(mark);
    free(wal);
    world_remove(&w);
}

/* ---- the others ---- */

static void the_lock_file_holds_nothing(void **state)
{
    static const char text[] = "some bytes that nobody looks at";
    char *path;
    struct world w;
    int fd;

    world_own(&w, NULL);
    fill(&w);
    world_close(&w);
    assert_true(asprintf(&path, "%s/lock", w.dir) > 0);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_int_equal(write(fd, text, sizeof text), sizeof text);
    close(fd);
    free(path);
    world_open_again(&w);
    world_end(&w);
}

static void refuse_base(struct world *w)
{
    int lock;

    ok(store_open(w->dir, 0, &w->s, e));
    ok(machine_lock(w->s, w->machine, &lock, e));
    fails(VT_CORRUPT, w->base, head_open(w->s, w->machine, 0, &w->h, e));
    fails(VT_CORRUPT, "changed since", head_open(w->s, w->machine, 0, &w->h, e));
    close(lock);
    store_close(w->s);
}

static void a_wrong_byte_in_a_base_file_is_found(void **state)
{
    struct timespec times[2];
    struct world w;
    struct stat st;

    world_own(&w, NULL);
    fill(&w);
    world_close(&w);
    assert_int_equal(stat(w.base, &st), 0);
    times[0] = st.st_atim;
    times[1] = st.st_mtim;
    for (uint64_t page = 0; page < W_BASE; page++) { /* fewer than 64: each is sampled */
        flip(w.base, page * PAGE + 100);
        if (page % 2) /* by its time alone, or by its bytes alone */
            assert_int_equal(utimensat(AT_FDCWD, w.base, times, 0), 0);
        refuse_base(&w);
        flip(w.base, page * PAGE + 100);
    }
    assert_int_equal(utimensat(AT_FDCWD, w.base, times, 0), 0);
    world_open_again(&w);
    world_compare(&w);
    world_close(&w);
    world_remove(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wrong_byte_in_a_pack_is_found),
        cmocka_unit_test(a_wrong_byte_in_a_log_is_found),
        cmocka_unit_test(a_missing_file_is_said),
        cmocka_unit_test(a_wrong_byte_in_the_database_makes_no_wrong_data),
        cmocka_unit_test(a_wrong_byte_in_the_log_of_the_database_is_found),
        cmocka_unit_test(the_root_of_another_map_is_found),
        cmocka_unit_test(what_a_crash_cut_off_stays_away),
        cmocka_unit_test(the_lock_file_holds_nothing),
        cmocka_unit_test(a_wrong_byte_in_a_base_file_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
