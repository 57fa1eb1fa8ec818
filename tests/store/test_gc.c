/* Space: what is reached stays, what is not goes, also out of packs that are mostly dead, and on a full disk. */
#include "tests/store/fixture.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include "snapshot/store.h"

static void stop(struct fixture *f)
{
    ok(head_close(steal(&f->h), e));
    close(steal_fd(&f->lock));
}

static void go_on(struct fixture *f)
{
    ok(machine_lock(f->s, f->machine, &f->lock, e));
    ok(head_open(f->s, f->machine, 0, &f->h, e));
}

/* Pages of which every second one is `odd`'s. */
static int64_t filled(struct fixture *f, const char *name, uint64_t first, uint64_t n, uint64_t tag)
{
    for (uint64_t p = 0; p < n; p++)
        disk_put(f->h, "disk0", first + p, tag + p);
    ok(head_prepare(f->h, e)); /* so that each snapshot begins a log */
    return take(f->h, name, 0);
}

static void all_is(struct fixture *f, int64_t snapshot, uint64_t first, uint64_t n, uint64_t tag)
{
    struct image *i;

    ok(image_open(f->s, snapshot, "disk0", ROOT_LIVE, &i, e));
    for (uint64_t p = 0; p < n; p++)
        assert_int_equal(image_tag(i, first + p), tag + p);
    image_close(i);
}

static void what_is_left_of_a_pack_moves(void **state)
{
    struct fixture *f = *state;
    struct gc_stats st, plan;
    struct store *other;
    struct image *i;
    int64_t a, b;

    ok(undo_keep_set(f->s, 0, e));
    a = filled(f, "a", 0, 512, 1000);
    ok(image_open(f->s, a, "disk0", ROOT_LIVE, &i, e)); /* a reader that goes on meanwhile */
    assert_int_equal(image_tag(i, 0), 1000);
    b = filled(f, "b", 64, 448, 5000); /* keeps 64 pages of a's */
    stop(f);
    ok(store_gc(f->s, NULL, e)); /* logs that nothing needs */
    ok(store_open(f->dir, 0, &other, e));
    ok(snapshot_delete(other, a, e));
    ok(store_gc_plan(other, false, &plan, e));
    ok(store_gc(other, &st, e));
    assert_int_equal(st.snapshots, 1);
    assert_int_equal(st.packs, 0);
    assert_int_equal(st.repacked, 1);
    assert_true(st.bytes > 100 << 10);
    assert_int_equal(plan.snapshots, st.snapshots);
    assert_int_equal(plan.nodes, st.nodes);
    assert_int_equal(plan.repacked, st.repacked);
    assert_int_equal(plan.bytes, st.bytes);
    check_sound(other);
    all_is(f, b, 0, 64, 1000); /* f->s has the old pack in its cache */
    all_is(f, b, 64, 448, 5000);
    for (uint64_t p = 0; p < 64; p++)
        assert_int_equal(image_tag(i, p), 1000 + p);
    image_close(i);
    ok(store_gc(other, &st, e)); /* once is enough */
    assert_int_equal(st.repacked + st.packs + st.bytes, 0);
    store_close(other);
    go_on(f);
    filled(f, "c", 2000, 64, 1000); /* found in the new pack, by its trailer */
    check_sound(f->s);
    all_is(f, b, 0, 64, 1000);
}

/* Damage is not copied to where it would look sound, and nothing is lost with it. */
static void a_damaged_pack_stays(void **state)
{
    struct fixture *f = *state;
    struct gc_stats st;
    char path[300];
    int64_t a;
    FILE *file;

    ok(undo_keep_set(f->s, 0, e));
    a = filled(f, "a", 0, 512, 1000);
    filled(f, "b", 64, 448, 5000);
    ok(snapshot_delete(f->s, a, e));
    stop(f);
    store_close(f->s);
    snprintf(path, sizeof path, "%s/packs/1.pack", f->dir);
    file = fopen(path, "r+");
    assert_non_null(file);
    assert_int_equal(fseek(file, 200, SEEK_SET), 0);
    assert_int_equal(fputc(0x55, file), 0x55);
    assert_int_equal(fputc(0xaa, file), 0xaa);
    fclose(file);
    ok(store_open(f->dir, 0, &f->s, e));
    ok(store_gc(f->s, &st, e));
    assert_int_equal(st.repacked, 0);
    assert_int_equal(access(path, F_OK), 0);
    file = fopen(path, "r+");
    assert_non_null(file);
    fclose(file);
    ok(machine_rm(f->s, f->machine, e));
    ok(store_maintain(f->s, e));
    assert_int_equal(access(path, F_OK), -1);
    ok(machine_create(f->s, "web", "{}",
                      &(struct slot_spec){.slot = "disk0", .bytes = DISK_PAGES * PAGE, .import_fd = -1}, 1, NULL, NULL,
                      &f->machine, e));
    go_on(f);
}

/* What is kept for undo is no garbage; a plan can tell what it would be. */
static void what_is_kept_stays(void **state)
{
    struct fixture *f = *state;
    struct gc_stats st, plan;
    struct undo_info *list;
    int64_t a;
    size_t n;

    a = filled(f, "a", 0, 512, 1000);
    filled(f, "b", 0, 512, 5000);
    stop(f);
    ok(snapshot_delete(f->s, a, e));
    ok(store_gc_plan(f->s, false, &plan, e));
    assert_int_equal(plan.snapshots + plan.packs + plan.logs + plan.bytes, 0);
    ok(store_gc_plan(f->s, true, &plan, e));
    assert_int_equal(plan.snapshots, 1);
    assert_int_equal(plan.packs, 1);
    assert_int_equal(plan.logs, 2); /* of the states before a and b */
    assert_true(plan.bytes > 500 << 10);
    ok(store_maintain(f->s, e));
    ok(store_gc(f->s, &st, e));
    assert_int_equal(st.snapshots + st.packs + st.bytes, 0);
    ok(undo_list(f->s, f->machine, &list, &n, e));
    assert_int_equal(n, 1);
    ok(undo_apply(f->s, list[0].id, e));
    undo_list_free(list, n);
    all_is(f, a, 0, 512, 1000);
    ok(snapshot_delete(f->s, a, e));
    ok(undo_forget_all(f->s, e));
    ok(store_maintain(f->s, e));
    fails(VT_NOENT, "no such snapshot", snapshot_get(f->s, a, NULL, e));
    check_sound(f->s);
    go_on(f);
}

/* A disk that is full for as long as the ballast is there. */
static int full(void *opaque, const struct sio_op *op)
{
    const char *ballast = opaque;

    return (op->kind == SIO_WRITE || op->kind == SIO_CREATE) && !access(ballast, F_OK) ? -ENOSPC : 0;
}

static void a_full_disk_can_be_emptied(void **state)
{
    struct fixture *f = *state;
    struct sio_hook hook;
    struct gc_stats st;
    struct store *s;
    struct stat file;
    char *ballast;
    int64_t a, b;

    assert_true(asprintf(&ballast, "%s/ballast", f->dir) > 0);
    hook = (struct sio_hook){full, ballast};
    a = filled(f, "a", 0, 512, 1000);
    b = filled(f, "b", 0, 512, 5000);
    stop(f);
    ok(store_maintain(f->s, e));
    assert_int_equal(stat(ballast, &file), 0);
    assert_int_equal(file.st_size, 8 << 20);
    ok(store_open_hooked(f->dir, 0, &hook, &s, e));
    fails(VT_IO, "", snapshot_rename(s, a, "x", e)); /* it is full, and this makes no room */
    ok(snapshot_delete(s, a, e));
    assert_int_equal(access(ballast, F_OK), -1);
    ok(undo_forget_all(s, e));
    ok(store_gc(s, &st, e));
    assert_int_equal(st.packs, 1);
    assert_int_equal(access(ballast, F_OK), 0); /* there is room again */
    ok(machine_rm(s, f->machine, e));
    store_close(s);
    ok(undo_find_removed(f->s, "web", &b, e));
    check_sound(f->s);
    free(ballast);
    ok(machine_create(f->s, "web", "{}",
                      &(struct slot_spec){.slot = "disk0", .bytes = DISK_PAGES * PAGE, .import_fd = -1}, 1, NULL, NULL,
                      &f->machine, e));
    go_on(f);
}

/* What a snapshot is said to cost is what its deletion gives back. */
static void costs_are_what_would_be_free(void **state)
{
    struct fixture *f = *state;
    struct snapshot_info *list;
    uint64_t cost[3], again[3];
    struct gc_stats st;
    int64_t a;
    size_t n;

    ok(undo_keep_set(f->s, 0, e));
    a = filled(f, "a", 0, 512, 1000);
    filled(f, "b", 64, 448, 5000); /* needs 64 of a's pages */
    take(f->h, "c", 0);            /* all that b has */
    stop(f);
    ok(store_gc(f->s, NULL, e));
    ok(snapshot_list(f->s, f->machine, &list, &n, e));
    assert_int_equal(n, 3);
    ok(snapshot_costs(f->s, list, n, cost, e));
    assert_true(cost[0] > 400 << 10);
    assert_int_equal(cost[1], 0);
    assert_int_equal(cost[2], 0);
    ok(snapshot_delete(f->s, a, e));
    ok(store_gc(f->s, &st, e));
    assert_true(st.bytes > cost[0] * 95 / 100 && st.bytes < cost[0] * 105 / 100);
    snapshot_list_free(list, n);
    ok(snapshot_list(f->s, f->machine, &list, &n, e));
    ok(snapshot_delete(f->s, list[0].id, e)); /* b */
    ok(snapshot_costs(f->s, &list[1], 1, again, e));
    assert_true(again[0] > 500 << 10); /* now c pays for it all */
    snapshot_list_free(list, n);
    go_on(f);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        T(what_is_left_of_a_pack_moves), T(a_damaged_pack_stays),         T(what_is_kept_stays),
        T(a_full_disk_can_be_emptied),   T(costs_are_what_would_be_free),
    };
#undef T
    return cmocka_run_group_tests(tests, NULL, NULL);
}
