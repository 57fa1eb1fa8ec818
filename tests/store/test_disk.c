/* The head of a disk: reads what was written, over snapshots, marks, reverts, reopening. */
#include "tests/store/fixture.h"

#include <stdio.h>
#include <time.h>
#include "snapshot/store.h"

static void writes_read_back(void **state)
{
    struct fixture *f = *state;
    struct blockdev *b = head_disk(f->h, "disk0");
    uint8_t part[1000], page[PAGE], want[PAGE];

    assert_int_equal(b->size, DISK_PAGES * PAGE);
    assert_int_equal(disk_tag(f->h, "disk0", 7), 0);
    disk_put(f->h, "disk0", 7, 100);
    disk_put(f->h, "disk0", DISK_PAGES - 1, 101);
    disk_put(f->h, "disk0", 7, 102);
    assert_int_equal(disk_tag(f->h, "disk0", 7), 102);
    assert_int_equal(disk_tag(f->h, "disk0", DISK_PAGES - 1), 101);
    memset(part, 0xab, sizeof part); /* over the end of one page into the next */
    ok(b->ops->pwrite(b, part, sizeof part, 8 * PAGE - 512, e));
    page_make(want, 102);
    memset(want + PAGE - 512, 0xab, 512);
    ok(b->ops->pread(b, page, PAGE, 7 * PAGE, e));
    assert_memory_equal(page, want, PAGE);
    memset(want, 0, PAGE);
    memset(want, 0xab, sizeof part - 512);
    ok(b->ops->pread(b, page, PAGE, 8 * PAGE, e));
    assert_memory_equal(page, want, PAGE);
    fails(VT_USAGE, "past the disk's end", b->ops->pwrite(b, part, 512, DISK_PAGES * PAGE, e));
}

static void what_was_flushed_is_there_after_reopening(void **state)
{
    struct fixture *f = *state;

    for (uint64_t i = 0; i < 1000; i++) /* several batches */
        disk_put(f->h, "disk0", i * 3, 1000 + i);
    disk_sync(f->h, "disk0");
    disk_put(f->h, "disk0", 0, 5);
    fixture_reopen(f);
    assert_int_equal(disk_tag(f->h, "disk0", 0), 5);
    for (uint64_t i = 1; i < 1000; i++)
        assert_int_equal(disk_tag(f->h, "disk0", i * 3), 1000 + i);
    disk_put(f->h, "disk0", 3, 6);
    fixture_reopen(f);
    assert_int_equal(disk_tag(f->h, "disk0", 3), 6);
    assert_int_equal(disk_tag(f->h, "disk0", 6), 1002);
}

static void a_snapshot_keeps_what_the_head_overwrites(void **state)
{
    struct fixture *f = *state;
    struct image *i;
    int64_t a;

    disk_put(f->h, "disk0", 1, 11);
    disk_put(f->h, "disk0", 600, 12);
    a = take(f->h, "a", 500);
    assert_int_equal(head_parent(f->h), a);
    disk_put(f->h, "disk0", 1, 21);
    assert_int_equal(disk_tag(f->h, "disk0", 1), 21);
    assert_int_equal(disk_tag(f->h, "disk0", 600), 12);
    ok(image_open(f->s, a, "disk0", ROOT_LIVE, &i, e));
    assert_int_equal(image_tag(i, 1), 11);
    assert_int_equal(image_tag(i, 600), 12);
    assert_int_equal(image_tag(i, 2), 0);
    image_close(i);
    ok(image_open(f->s, a, "ram", ROOT_LIVE, &i, e));
    for (uint64_t p = 0; p < 16; p++)
        assert_int_equal(image_tag(i, p), 500 + p);
    assert_true(image_pagesrc(i)->is_zero(image_pagesrc(i), 16));
    assert_false(image_pagesrc(i)->is_zero(image_pagesrc(i), 15));
    image_close(i);
    ok(head_reset(f->h, a, e));
    assert_int_equal(disk_tag(f->h, "disk0", 1), 11);
    fixture_reopen(f);
    assert_int_equal(disk_tag(f->h, "disk0", 1), 11);
    assert_int_equal(disk_tag(f->h, "disk0", 600), 12);
    ok(head_reset(f->h, 0, e));
    assert_int_equal(disk_tag(f->h, "disk0", 600), 0);
}

static void the_quiesced_root_is_the_earlier_one(void **state)
{
    struct fixture *f = *state;
    struct snap_meta meta = {.name = "q"};
    struct head_pos q, live;
    struct image *i;
    struct snap *p;
    int64_t id;

    disk_put(f->h, "disk0", 1, 1);
    disk_put(f->h, "disk0", 2, 2);
    ok(head_mark(f->h, &q, e));
    disk_put(f->h, "disk0", 2, 22);
    disk_put(f->h, "disk0", 3, 3);
    ok(head_seal(f->h, &live, e));
    disk_put(f->h, "disk0", 3, 33);
    ok(snap_begin(f->h, &q, &live, &p, e));
    disk_put(f->h, "disk0", 1, 111); /* while it is written */
    ok(snap_commit(p, &meta, &id, NULL, e));
    ok(image_open(f->s, id, "disk0", ROOT_QUIESCED, &i, e));
    assert_int_equal(image_tag(i, 1), 1);
    assert_int_equal(image_tag(i, 2), 2);
    assert_int_equal(image_tag(i, 3), 0);
    image_close(i);
    ok(image_open(f->s, id, "disk0", ROOT_LIVE, &i, e));
    assert_int_equal(image_tag(i, 1), 1);
    assert_int_equal(image_tag(i, 2), 22);
    assert_int_equal(image_tag(i, 3), 3);
    image_close(i);
    assert_int_equal(disk_tag(f->h, "disk0", 1), 111);
    assert_int_equal(disk_tag(f->h, "disk0", 2), 22);
    assert_int_equal(disk_tag(f->h, "disk0", 3), 33);
}

static void a_given_up_snapshot_loses_nothing(void **state)
{
    struct fixture *f = *state;
    struct head_pos live;
    struct image *i;
    struct snap *p;
    int64_t id;

    disk_put(f->h, "disk0", 1, 1);
    ok(head_seal(f->h, &live, e));
    disk_put(f->h, "disk0", 2, 2);
    ok(snap_begin(f->h, NULL, &live, &p, e));
    snap_abort(p);
    assert_int_equal(disk_tag(f->h, "disk0", 1), 1);
    disk_put(f->h, "disk0", 1, 11);
    id = take(f->h, "next", 0);
    ok(image_open(f->s, id, "disk0", ROOT_LIVE, &i, e));
    assert_int_equal(image_tag(i, 1), 11);
    assert_int_equal(image_tag(i, 2), 2);
    image_close(i);
}

static void discard_reads_zero(void **state)
{
    struct fixture *f = *state;
    struct blockdev *b = head_disk(f->h, "disk0");
    uint8_t page[PAGE];

    for (uint64_t i = 0; i < 40; i++)
        disk_put(f->h, "disk0", 500 + i, 900 + i);
    take(f->h, "a", 0);
    for (uint64_t i = 0; i < 10; i++)
        disk_put(f->h, "disk0", 520 + i, 950 + i);
    ok(b->ops->discard(b, 20 * PAGE, 505 * PAGE, false, e));
    ok(b->ops->discard(b, 512, 500 * PAGE, true, e)); /* part of a page */
    for (uint64_t i = 1; i < 40; i++)
        assert_int_equal(disk_tag(f->h, "disk0", 500 + i), i >= 5 && i < 25    ? 0
                                                           : i >= 20 && i < 30 ? 930 + i
                                                                               : 900 + i);
    ok(b->ops->pread(b, page, PAGE, 500 * PAGE, e));
    for (unsigned i = 0; i < 512; i++)
        assert_int_equal(page[i], 0);
    assert_int_not_equal(page[600], 0);
    fixture_reopen(f);
    b = head_disk(f->h, "disk0");
    assert_int_equal(disk_tag(f->h, "disk0", 510), 0);
    assert_int_equal(disk_tag(f->h, "disk0", 529), 959);
    ok(b->ops->discard(b, DISK_PAGES * PAGE, 0, true, e));
    for (uint64_t i = 0; i < DISK_PAGES; i += 7)
        assert_int_equal(disk_tag(f->h, "disk0", i), 0);
}

/* A log that is mostly overwritten shrinks to what it says; the head stays where it is in the tree. */
static void a_large_log_is_folded(void **state)
{
    struct fixture *f = *state;
    struct store_counts before, after;
    struct image *i;
    bool folded;
    int64_t a;

    ok(undo_keep_set(f->s, 0, e));
    disk_put(f->h, "disk0", 1, 1);
    a = take(f->h, "a", 300);
    for (uint64_t round = 0; round < 5; round++) {
        for (uint64_t p = 0; p < 300; p++)
            disk_put(f->h, "disk0", p, 5000 + 300 * round + p);
        disk_sync(f->h, "disk0");
    }
    ok(head_prepare(f->h, e));
    ok(head_fold(f->h, 8 << 20, &folded, e));
    assert_false(folded);
    store_counts(f->s, &before);
    ok(head_fold(f->h, 4 << 20, &folded, e));
    assert_true(folded);
    store_counts(f->s, &after);
    assert_int_equal(after.syncs - before.syncs, 3);
    ok(store_maintain(f->s, e));
    store_counts(f->s, &after);
    assert_true(after.unlinks - before.unlinks >= 1); /* the log that it stands in for */
    ok(head_fold(f->h, 0, &folded, e));
    assert_false(folded);
    assert_int_equal(head_parent(f->h), a);
    disk_put(f->h, "disk0", 2, 77);
    fixture_reopen(f);
    for (uint64_t p = 0; p < 300; p++)
        assert_int_equal(disk_tag(f->h, "disk0", p), p == 2 ? 77 : 6200 + p);
    ok(image_open(f->s, a, "disk0", ROOT_LIVE, &i, e));
    assert_int_equal(image_tag(i, 1), 1);
    assert_int_equal(image_tag(i, 2), 0);
    image_close(i);
    ok(head_image(f->h, "ram", &i, e)); /* memory still stands on the snapshot */
    assert_int_equal(image_tag(i, 3), 303);
    image_close(i);
    ok(head_reset(f->h, a, e));
    assert_int_equal(disk_tag(f->h, "disk0", 2), 0);
}

static void a_fork_is_private(void **state)
{
    struct fixture *f = *state;
    struct head *one, *two;
    int64_t a;

    disk_put(f->h, "disk0", 1, 1);
    a = take(f->h, "a", 0);
    ok(head_fork(f->s, a, &one, e));
    ok(head_fork(f->s, a, &two, e));
    disk_put(one, "disk0", 1, 2);
    disk_sync(one, "disk0");
    for (uint64_t i = 0; i < 700; i++) /* more than memory buffers */
        disk_put(one, "disk0", 100 + i, 3000 + i);
    assert_int_equal(disk_tag(one, "disk0", 1), 2);
    assert_int_equal(disk_tag(one, "disk0", 150), 3050);
    assert_int_equal(disk_tag(two, "disk0", 1), 1);
    assert_int_equal(disk_tag(f->h, "disk0", 150), 0);
    fails(VT_BUSY, "in use", snapshot_delete(f->s, a, e));
    ok(head_reset(one, a, e));
    assert_int_equal(disk_tag(one, "disk0", 1), 1);
    ok(head_close(one, e));
    ok(head_close(two, e));
    ok(snapshot_delete(f->s, a, e));
}

/* Three syncs for a snapshot, one for a flush, none for a revert: whatever they carry. */
static void syncs_are_as_promised(void **state)
{
    struct fixture *f = *state;
    struct store_counts before, after;
    int64_t ids[3];
    char name[8];

    for (int i = 0; i < 3; i++) {
        for (uint64_t p = 0; p < 300; p++)
            disk_put(f->h, "disk0", p * 5, 10000 * (uint64_t)(i + 1) + p);
        ok(head_prepare(f->h, e));
        store_counts(f->s, &before);
        snprintf(name, sizeof name, "s%d", i);
        ids[i] = take(f->h, name, 7000 + 100 * (uint64_t)i);
        store_counts(f->s, &after);
        assert_int_equal(after.syncs - before.syncs, 3);
    }
    store_counts(f->s, &before);
    ok(head_reset(f->h, ids[0], e));
    store_counts(f->s, &after);
    assert_int_equal(after.syncs - before.syncs, 0);
    disk_put(f->h, "disk0", 1, 1);
    disk_sync(f->h, "disk0"); /* the first on a new head makes its name and row durable, too */
    store_counts(f->s, &before);
    assert_int_equal(before.syncs - after.syncs, 3);
    for (int i = 0; i < 5; i++) {
        disk_put(f->h, "disk0", 2, 2 + (uint64_t)i);
        disk_sync(f->h, "disk0");
    }
    store_counts(f->s, &after);
    assert_int_equal(after.syncs - before.syncs, 5);
    disk_sync(f->h, "disk0"); /* nothing to do */
    store_counts(f->s, &before);
    assert_int_equal(after.syncs, before.syncs);
}

/* Its logs, whose names are not durable, it does not wait for; the next flush does. */
static void a_snapshot_after_a_revert_makes_three_syncs(void **state)
{
    struct fixture *f = *state;
    struct store_counts before, after;
    int64_t a, b;

    disk_put(f->h, "disk0", 1, 1);
    a = take(f->h, "a", 0);
    ok(head_reset(f->h, a, e));
    disk_put(f->h, "disk0", 1, 2);
    store_counts(f->s, &before);
    ok(head_spare(f->h, e));
    b = take(f->h, "b", 0);
    store_counts(f->s, &after);
    assert_int_equal(after.syncs - before.syncs, 3);
    disk_put(f->h, "disk0", 1, 3);
    disk_sync(f->h, "disk0");
    store_counts(f->s, &before);
    assert_in_range(before.syncs - after.syncs, 3, 4); /* heads/, the log that it wrote to, the row; an unused one */
    ok(head_reset(f->h, b, e));
    assert_int_equal(disk_tag(f->h, "disk0", 1), 2);
}

static void upkeep_without_work_makes_no_sync(void **state)
{
    struct fixture *f = *state;
    struct store_counts before, after;

    disk_put(f->h, "disk0", 1, 1);
    take(f->h, "a", 0);
    ok(store_maintain(f->s, e)); /* sets the ballast aside */
    take(f->h, "b", 0);
    store_counts(f->s, &before);
    ok(store_maintain(f->s, e));
    store_counts(f->s, &after);
    assert_int_equal(after.syncs, before.syncs);
    assert_int_equal(after.unlinks, before.unlinks);
}

static int slow_sync(void *opaque, const struct sio_op *op)
{
    const struct timespec t = {.tv_nsec = 10000000};

    if (op->kind == SIO_SYNC || op->kind == SIO_DIRSYNC)
        nanosleep(&t, NULL); /* a user's disk */
    return 0;
}

static uint64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

#define TIMES 9

/* With 10 ms in each sync, a snapshot takes 30 ms more than without and a revert none: nothing waits for one that was
 * not promised. Medians, since the host does other things, too. */
static void slow_syncs_cost_what_was_promised(void **state)
{
    struct fixture *f = *state;
    struct sio_hook hook = {slow_sync, NULL};
    uint64_t snapshot[TIMES], revert[TIMES], flush[TIMES];

    ok(head_close(f->h, e));
    store_close(f->s);
    ok(store_open_hooked(f->dir, 0, &hook, &f->s, e));
    ok(head_open(f->s, f->machine, 0, &f->h, e));
    for (int i = 0; i < TIMES; i++) {
        uint64_t t0, t1, t2, t3;
        char name[8];
        int64_t id;
        snprintf(name, sizeof name, "s%d", i);
        disk_put(f->h, "disk0", 1, 1 + (uint64_t)i);
        ok(head_prepare(f->h, e));
        t0 = now_ms();
        id = take(f->h, name, 500 + 20 * (uint64_t)i);
        t1 = now_ms();
        disk_put(f->h, "disk0", 2, 1 + (uint64_t)i);
        disk_sync(f->h, "disk0");
        t2 = now_ms();
        ok(head_reset(f->h, id, e));
        t3 = now_ms();
        snapshot[i] = t1 - t0;
        flush[i] = t2 - t1;
        revert[i] = t3 - t2;
    }
    qsort(snapshot, TIMES, sizeof *snapshot, by_value);
    qsort(flush, TIMES, sizeof *flush, by_value);
    qsort(revert, TIMES, sizeof *revert, by_value);
    print_message("snapshot %u ms, flush %u ms, revert %u ms\n", (unsigned)snapshot[TIMES / 2],
                  (unsigned)flush[TIMES / 2], (unsigned)revert[TIMES / 2]);
    assert_in_range(snapshot[TIMES / 2], 30, 30 + 20 * SLOW);
    assert_in_range(flush[TIMES / 2], 10, 10 + 10 * SLOW);
    assert_in_range(revert[TIMES / 2], 0, 9 * SLOW);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(writes_read_back, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(what_was_flushed_is_there_after_reopening, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(a_snapshot_keeps_what_the_head_overwrites, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(the_quiesced_root_is_the_earlier_one, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(a_given_up_snapshot_loses_nothing, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(discard_reads_zero, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(a_large_log_is_folded, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(a_fork_is_private, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(syncs_are_as_promised, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(a_snapshot_after_a_revert_makes_three_syncs, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(upkeep_without_work_makes_no_sync, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(slow_syncs_cost_what_was_promised, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
