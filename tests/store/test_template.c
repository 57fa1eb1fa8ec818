/* Templates: what one process unpacked of a snapshot's memory, another reads; nothing of another snapshot, and nothing
 * that was not verified. On a file system with a disk under it: there are none in memory. */
#include "tests/store/fixture.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

static int on_disk(void **state)
{
    setenv("TMPDIR", "/var/tmp", 1);
    return fixture_setup(state);
}

struct shared {
    struct image *i;
    struct pagesrc *src;
    const uint8_t *at;
};

static struct shared share(struct fixture *f, int64_t snapshot)
{
    struct snapshot_info info;
    struct shared s = {0};

    ok(snapshot_get(f->s, snapshot, &info, e));
    ok(image_open(f->s, snapshot, "ram", ROOT_LIVE, &s.i, e));
    ok(image_share(s.i, &info, e));
    snapshot_info_release(&info);
    s.src = image_pagesrc(s.i);
    s.at = mmap(NULL, RAM_PAGES * PAGE, PROT_READ, MAP_SHARED, s.src->template_fd, (off_t)s.src->template_at);
    assert_true(s.at != MAP_FAILED);
    return s;
}

static void give_back(struct shared *s)
{
    munmap((void *)s->at, RAM_PAGES * PAGE);
    image_close(s->i);
}

static void assert_page(const struct shared *s, uint64_t page, uint64_t tag)
{
    uint8_t want[PAGE];

    assert_true(s->src->share(s->src, page));
    page_make(want, tag);
    assert_memory_equal(s->at + page * PAGE, want, PAGE);
}

static void pages_are_as_the_snapshot_has_them(void **state)
{
    struct fixture *f = *state;
    int64_t a = take(f->h, "a", 500), b = take(f->h, "b", 900);
    struct shared sa = share(f, a), sb = share(f, b);

    for (uint64_t p = 0; p < 16; p++) {
        assert_page(&sa, p, 500 + p);
        assert_page(&sb, p, 900 + p);
    }
    assert_false(sa.src->share(sa.src, 16)); /* zeros are had for nothing */
    assert_false(sb.src->share(sb.src, RAM_PAGES - 1));
    assert_false(sa.src->share(sa.src, RAM_PAGES));
    give_back(&sa);
    give_back(&sb);
    check_sound(f->s);
}

/* The second one reads what the first one unpacked, and would not notice that the packs are gone. */
static void a_second_process_needs_no_pack(void **state)
{
    struct fixture *f = *state;
    int64_t a = take(f->h, "a", 500);
    struct shared first = share(f, a), second;
    char *packs, *hidden;

    assert_page(&first, 3, 503); /* one frame: all sixteen */
    give_back(&first);
    fixture_reopen(f);
    assert_true(asprintf(&packs, "%s/packs", f->dir) > 0);
    assert_true(asprintf(&hidden, "%s/hidden", f->dir) > 0);
    assert_int_equal(rename(packs, hidden), 0);
    second = share(f, a);
    for (uint64_t p = 0; p < 16; p++)
        assert_page(&second, p, 500 + p);
    assert_int_equal(rename(hidden, packs), 0);
    give_back(&second);
    free(packs);
    free(hidden);
}

static char *template_path(struct fixture *f, int64_t snapshot)
{
    char *path;

    assert_true(asprintf(&path, "%s/templates/%lld", f->dir, (long long)snapshot) > 0);
    return path;
}

/* A header that differs in anything, here the boot's identity, is another's. */
static void a_file_of_another_boot_is_not_used(void **state)
{
    struct fixture *f = *state;
    int64_t a = take(f->h, "a", 500);
    struct shared s = share(f, a);
    char *path = template_path(f, a);
    uint8_t junk[PAGE];
    struct stat before, after;
    int fd;

    assert_page(&s, 0, 500);
    assert_int_equal(stat(path, &before), 0);
    fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    memset(junk, 0x5a, sizeof junk);
    assert_int_equal(pwrite(fd, junk, PAGE, (off_t)s.src->template_at), PAGE);
    assert_int_equal(pwrite(fd, "0", 1, 56), 1);
    assert_int_equal(pwrite(fd, "x", 1, 60), 1);
    close(fd);
    give_back(&s);
    s = share(f, a);
    assert_page(&s, 0, 500);
    assert_int_equal(stat(path, &after), 0);
    assert_true(before.st_ino != after.st_ino);
    give_back(&s);
    free(path);
}

static void what_is_damaged_is_not_shared(void **state)
{
    struct fixture *f = *state;
    int64_t a = take(f->h, "a", 500);
    struct shared s = share(f, a);
    uint8_t page[PAGE], was[6];
    char *pack;
    int fd;

    assert_true(asprintf(&pack, "%s/packs/1.pack", f->dir) > 0);
    fd = open(pack, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, was, 6, 64 + 200), 6);
    assert_int_equal(pwrite(fd, "damage", 6, 64 + 200), 6);
    assert_false(s.src->share(s.src, 0));
    fails(VT_CORRUPT, "pack", s.src->fill(s.src, 0, 1, page, e));
    assert_int_equal(pwrite(fd, was, 6, 64 + 200), 6);
    assert_page(&s, 0, 500);
    close(fd);
    free(pack);
    give_back(&s);
}

/* Where the template is to be filled anew, what was asked for the last time is there before it is asked for. */
static void the_order_is_read_ahead(void **state)
{
    struct fixture *f = *state;
    int64_t a;
    struct shared s;
    char *path = NULL, *order = NULL;
    const uint8_t *bits;

    for (uint64_t p = 0; p < 16; p++) /* a pack with more than one frame of memory */
        disk_put(f->h, "disk0", p, 30 + p);
    a = take(f->h, "a", 500);
    path = template_path(f, a);
    assert_true(asprintf(&order, "%s.order", path) > 0);
    s = share(f, a);
    assert_page(&s, 7, 507);
    assert_int_equal(access(order, F_OK), -1);
    give_back(&s);
    assert_int_equal(access(order, F_OK), 0);
    assert_int_equal(unlink(path), 0);
    s = share(f, a);
    bits = mmap(NULL, 2 * PAGE, PROT_READ, MAP_SHARED, s.src->template_fd, 0);
    assert_true(bits != MAP_FAILED);
    while (!(__atomic_load_n(&bits[PAGE], __ATOMIC_ACQUIRE) >> 7 & 1)) /* the thread's; the test's time-out ends it */
        sched_yield();
    munmap((void *)bits, 2 * PAGE);
    assert_page(&s, 7, 507);
    give_back(&s);
    /* an order that is none, or names no page */
    assert_int_equal(unlink(path), 0);
    assert_int_equal(truncate(order, 39), 0);
    s = share(f, a);
    assert_page(&s, 3, 503);
    give_back(&s);
    free(path);
    free(order);
}

static void deletion_takes_it_along(void **state)
{
    struct fixture *f = *state;
    int64_t a = take(f->h, "a", 500), b = take(f->h, "b", 600);
    struct shared s = share(f, a);
    char *path = template_path(f, a);
    struct gc_stats stats;

    assert_page(&s, 1, 501);
    ok(undo_keep_set(f->s, 0, e));
    ok(snapshot_delete(f->s, a, e));
    ok(head_close(steal(&f->h), e));
    close(steal_fd(&f->lock));
    ok(store_gc(f->s, &stats, e));
    assert_int_equal(stats.snapshots, 1);
    assert_int_equal(access(path, F_OK), -1);
    assert_page(&s, 2, 502); /* who has it mapped goes on */
    give_back(&s);
    free(path);
    ok(machine_lock(f->s, f->machine, &f->lock, e));
    ok(head_open(f->s, f->machine, 0, &f->h, e));
    assert_int_equal(head_parent(f->h), b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(pages_are_as_the_snapshot_has_them, on_disk, fixture_teardown),
        cmocka_unit_test_setup_teardown(a_second_process_needs_no_pack, on_disk, fixture_teardown),
        cmocka_unit_test_setup_teardown(a_file_of_another_boot_is_not_used, on_disk, fixture_teardown),
        cmocka_unit_test_setup_teardown(what_is_damaged_is_not_shared, on_disk, fixture_teardown),
        cmocka_unit_test_setup_teardown(the_order_is_read_ahead, on_disk, fixture_teardown),
        cmocka_unit_test_setup_teardown(deletion_takes_it_along, on_disk, fixture_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
