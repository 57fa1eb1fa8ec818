/* What is kept of the past: reverts, deletes and removals taken back, and disks as they were at a time. */
#include "tests/store/fixture.h"

#include <sqlite3.h>
#include <stdio.h>
#include <unistd.h>
#include "src/base/units.h"
#include "snapshot/store.h"

static struct undo_info *last(struct fixture *f, size_t *ret_n)
{
    struct undo_info *list = NULL;

    ok(undo_list(f->s, f->machine, &list, ret_n, e));
    return list;
}

/* Takes back the newest entry, which must be of this verb. */
static void undo(struct fixture *f, const char *verb)
{
    size_t n;
    struct undo_info *list = last(f, &n);

    assert_true(n > 0);
    assert_string_equal(list[0].verb, verb);
    if (!strcmp(verb, "revert"))
        ok(head_undo(f->h, list[0].id, e));
    else
        ok(undo_apply(f->s, list[0].id, e));
    undo_list_free(list, n);
}

static size_t entries(struct fixture *f)
{
    size_t n;
    struct undo_info *list = last(f, &n);

    undo_list_free(list, n);
    return n;
}

static uint64_t past_tag(struct fixture *f, int64_t when, uint64_t page)
{
    struct image *i;
    uint64_t tag;

    ok(image_open_past(f->s, f->machine, "disk0", when, &i, e));
    tag = image_tag(i, page);
    image_close(i);
    return tag;
}

static void a_revert_is_taken_back(void **state)
{
    struct fixture *f = *state;
    int64_t a, b;

    disk_put(f->h, "disk0", 1, 10);
    a = take(f->h, "a", 0);
    disk_put(f->h, "disk0", 1, 20);
    b = take(f->h, "b", 0);
    disk_put(f->h, "disk0", 1, 30);
    disk_sync(f->h, "disk0");
    disk_put(f->h, "disk0", 2, 31); /* not flushed, yet written: it comes back as well */
    ok(head_reset(f->h, a, e));
    assert_int_equal(disk_tag(f->h, "disk0", 1), 10);
    disk_put(f->h, "disk0", 1, 40);
    ok(store_maintain(f->s, e));
    undo(f, "revert");
    assert_int_equal(disk_tag(f->h, "disk0", 1), 30);
    assert_int_equal(disk_tag(f->h, "disk0", 2), 31);
    assert_int_equal(head_parent(f->h), b);
    assert_int_equal(entries(f), 0);
    disk_put(f->h, "disk0", 3, 50); /* and can be written on */
    disk_sync(f->h, "disk0");
    fixture_reopen(f);
    assert_int_equal(disk_tag(f->h, "disk0", 1), 30);
    assert_int_equal(disk_tag(f->h, "disk0", 3), 50);
    take(f->h, "c", 0);
    ok(store_maintain(f->s, e));
    check_sound(f->s);
    assert_int_equal(disk_tag(f->h, "disk0", 2), 31);
}

/* A revert to where the machine stands, with nothing written, replaces nothing; many leave nothing behind. */
static void reverts_of_nothing_are_not_kept(void **state)
{
    struct fixture *f = *state;
    int64_t begin = clock_wall_ns(), a;

    disk_put(f->h, "disk0", 1, 10);
    a = take(f->h, "a", 0);
    for (int i = 0; i < 20; i++)
        ok(head_reset(f->h, a, e));
    assert_int_equal(entries(f), 0);
    assert_int_equal(past_tag(f, clock_wall_ns(), 1), 10);
    ok(store_maintain(f->s, e));
    assert_int_equal(past_tag(f, clock_wall_ns(), 1), 10);
    fails(VT_NOENT, "is not kept", image_open_past(f->s, f->machine, "disk0", begin - 1000000000, NULL, e));
}

/* However many there are, what is kept has an end. */
static void reverts_are_bounded(void **state)
{
    struct fixture *f = *state;
    int64_t a = take(f->h, "a", 0);
    size_t n;

    for (int i = 0; i < 300; i++) {
        disk_put(f->h, "disk0", 1, 100 + (uint64_t)i);
        ok(head_reset(f->h, a, e));
    }
    assert_int_equal(entries(f), 300);
    ok(store_maintain(f->s, e));
    n = entries(f);
    assert_true(n <= 256 && n > 200);
    f->s->undo_bytes = 64 << 10;
    ok(store_maintain(f->s, e));
    n = entries(f);
    assert_true(n > 0 && n < 17); /* the newest: each log has a page and its headers */
    undo(f, "revert");
    assert_int_equal(disk_tag(f->h, "disk0", 1), 399);
    check_sound(f->s);
}

static void deletes_are_taken_back(void **state)
{
    struct fixture *f = *state;
    struct snapshot_info info;
    struct image *i;
    int64_t a, b, c, id;

    disk_put(f->h, "disk0", 1, 10);
    a = take(f->h, "a", 500);
    disk_put(f->h, "disk0", 1, 20);
    b = take(f->h, "b", 600);
    c = take(f->h, "c", 0);
    ok(head_close(steal(&f->h), e));
    close(steal_fd(&f->lock));
    ok(snapshot_delete(f->s, b, e));
    ok(snapshot_delete(f->s, a, e));
    ok(store_maintain(f->s, e));
    ok(store_gc(f->s, NULL, e)); /* leaves what is kept */
    fails(VT_NOENT, "no such snapshot", snapshot_find(f->s, f->machine, "a", true, &id, e));
    undo(f, "delete");
    undo(f, "delete");
    ok(snapshot_get(f->s, b, &info, e));
    assert_int_equal(info.parent, a);
    snapshot_info_release(&info);
    ok(snapshot_get(f->s, c, &info, e));
    assert_int_equal(info.parent, b);
    snapshot_info_release(&info);
    ok(image_open(f->s, a, "ram", ROOT_LIVE, &i, e));
    assert_int_equal(image_tag(i, 3), 503);
    image_close(i);
    check_sound(f->s);
    /* the other way round: b comes back first, and hangs on what is left */
    ok(snapshot_delete(f->s, a, e));
    ok(snapshot_delete(f->s, b, e));
    undo(f, "delete");
    ok(snapshot_get(f->s, b, &info, e));
    assert_int_equal(info.parent, 0);
    snapshot_info_release(&info);
    undo(f, "delete");
    ok(snapshot_get(f->s, b, &info, e));
    assert_int_equal(info.parent, a);
    snapshot_info_release(&info);
    ok(snapshot_delete(f->s, c, e));
    ok(undo_forget(f->s, f->machine, clock_wall_ns(), e)); /* it is older than that */
    assert_int_equal(entries(f), 1);
    ok(undo_forget(f->s, f->machine, 0, e));
    assert_int_equal(entries(f), 0);
    ok(machine_lock(f->s, f->machine, &f->lock, e));
    ok(head_open(f->s, f->machine, 0, &f->h, e));
    assert_int_equal(head_parent(f->h), b);
    assert_int_equal(disk_tag(f->h, "disk0", 1), 20);
}

static void a_machine_comes_back(void **state)
{
    struct fixture *f = *state;
    struct gc_stats st;
    int64_t a, id;

    disk_put(f->h, "disk0", 1, 10);
    a = take(f->h, "a", 500);
    disk_put(f->h, "disk0", 1, 20);
    ok(head_close(steal(&f->h), e));
    ok(machine_rm(f->s, f->machine, e));
    close(steal_fd(&f->lock));
    ok(store_maintain(f->s, e));
    ok(store_gc(f->s, &st, e));
    assert_int_equal(st.snapshots + st.packs, 0);
    fails(VT_NOENT, "no such machine", machine_find(f->s, "web", true, &id, e));
    ok(undo_find_removed(f->s, "web", &id, e));
    assert_int_equal(id, f->machine);
    undo(f, "rm");
    ok(machine_find(f->s, "web", true, &id, e));
    ok(machine_lock(f->s, f->machine, &f->lock, e));
    ok(head_open(f->s, f->machine, 0, &f->h, e));
    assert_int_equal(disk_tag(f->h, "disk0", 1), 20);
    assert_int_equal(head_parent(f->h), a);
    ok(head_reset(f->h, 0, e)); /* as it was made, too */
    assert_int_equal(disk_tag(f->h, "disk0", 1), 0);
    check_sound(f->s);
    /* and goes for good */
    ok(head_close(steal(&f->h), e));
    ok(machine_rm(f->s, f->machine, e));
    close(steal_fd(&f->lock));
    ok(undo_forget(f->s, f->machine, 0, e));
    fails(VT_NOENT, "kept no longer", undo_find_removed(f->s, "web", &id, e));
    ok(store_maintain(f->s, e));
    ok(store_gc(f->s, NULL, e));
    check_sound(f->s);
}

/* Each flush is a point to go back to, across snapshots, folds and reverts. */
static void look_at_the_past(struct fixture *f, bool prepared)
{
    enum { STEPS = 12 };
    int64_t at[STEPS], a = 0;
    uint64_t want[STEPS];
    bool folded;

    for (int i = 0; i < STEPS; i++) {
        want[i] = 100 + (uint64_t)i;
        disk_put(f->h, "disk0", 7, want[i]);
        for (uint64_t p = 1000; p < 1300 && i == 4; p++) /* more than a batch */
            disk_put(f->h, "disk0", p, p);
        disk_sync(f->h, "disk0");
        at[i] = clock_wall_ns();
        disk_put(f->h, "disk0", 8, 9000 + (uint64_t)i); /* what is not flushed is no such point */
        if (prepared) /* each snapshot begins a log, and drops what was never written */
            ok(head_prepare(f->h, e));
        if (i == 2)
            a = take(f->h, "a", 0);
        if (i == 5)
            ok(head_fold(f->h, 0, &folded, e));
        if (i == 7)
            ok(head_reset(f->h, a, e));
        if (i == 9) {
            take(f->h, "b", 0);
            ok(store_maintain(f->s, e));
        }
    }
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < STEPS; i++) {
            assert_int_equal(past_tag(f, at[i], 7), want[i]);
            assert_int_equal(past_tag(f, at[i], 1299), i >= 4 && i <= 7 ? 1299 : 0);
        }
        fixture_reopen(f);
    }
    ok(head_reset_past(f->h, at[6], e));
    assert_int_equal(disk_tag(f->h, "disk0", 7), want[6]);
    assert_int_equal(disk_tag(f->h, "disk0", 1100), 1100);
    assert_int_equal(head_parent(f->h), a);
    disk_put(f->h, "disk0", 7, 55);
    fixture_reopen(f);
    assert_int_equal(disk_tag(f->h, "disk0", 7), 55);
    undo(f, "revert");
    assert_int_equal(disk_tag(f->h, "disk0", 7), want[STEPS - 1]);
    check_sound(f->s);
    ok(undo_forget_all(f->s, e));
    ok(store_maintain(f->s, e));
    fails(VT_NOENT, "is not kept", image_open_past(f->s, f->machine, "disk0", at[3], NULL, e));
    check_sound(f->s);
}

static void disks_have_a_past(void **state)
{
    look_at_the_past(*state, false);
}

static void disks_have_a_past_in_many_logs(void **state)
{
    look_at_the_past(*state, true);
}

/* ---- anything, and all of it taken back */

#define PAGES 6

struct was {
    bool revert;
    uint64_t tags[PAGES]; /* of the head, before a revert */
    int64_t head_parent, snapshot, parent;
};

static void remember_head(struct fixture *f, struct was *w)
{
    w->head_parent = head_parent(f->h);
    for (uint64_t p = 0; p < PAGES; p++)
        w->tags[p] = disk_tag(f->h, "disk0", p);
}

/* A snapshot of the machine, or 0; *ret_parent is what it hangs on. */
static int64_t any_snapshot(struct fixture *f, struct rng *r, int64_t *ret_parent)
{
    struct snapshot_info *list;
    int64_t id = 0;
    size_t n, i;

    ok(snapshot_list(f->s, f->machine, &list, &n, e));
    if (n) {
        i = rng_below(r, n);
        id = list[i].id;
        *ret_parent = list[i].parent;
    }
    snapshot_list_free(list, n);
    return id;
}

/* One step; true where it can be taken back, as *ret says. */
static bool random_step(struct fixture *f, struct rng *r, int i, struct was *ret)
{
    uint64_t dice = rng_below(r, 10);
    struct undo_info *list;
    size_t before, after;
    char name[16];

    *ret = (struct was){0};
    if (dice < 4) {
        disk_put(f->h, "disk0", rng_below(r, PAGES), 1 + rng_below(r, 5000));
        if (dice < 2)
            disk_sync(f->h, "disk0");
    } else if (dice < 6) {
        snprintf(name, sizeof name, "s%d", i);
        take(f->h, name, 0);
    } else if (dice < 8 && (ret->snapshot = any_snapshot(f, r, &ret->parent))) {
        ret->revert = true;
        remember_head(f, ret);
        list = last(f, &before);
        undo_list_free(list, before);
        ok(head_reset(f->h, ret->snapshot, e));
        list = last(f, &after);
        undo_list_free(list, after);
        return after > before; /* not where nothing was replaced */
    } else if (dice == 8 && (ret->snapshot = any_snapshot(f, r, &ret->parent))) {
        ok(snapshot_delete(f->s, ret->snapshot, e));
        return true;
    } else if (dice == 9) {
        ok(store_maintain(f->s, e));
        if (rng_below(r, 2))
            fixture_reopen(f);
    }
    return false;
}

static void all_is_taken_back(struct fixture *f, uint64_t seed)
{
    enum { STEPS = 120 };
    struct was *done = calloc(STEPS, sizeof *done);
    struct rng r = {seed};
    size_t n = 0;

    print_message("seed %llu\n", (unsigned long long)seed);
    for (int i = 0; i < STEPS; i++)
        n += random_step(f, &r, i, &done[n]);
    assert_int_equal(entries(f), n);
    while (n--) {
        struct snapshot_info info;
        undo(f, done[n].revert ? "revert" : "delete");
        if (done[n].revert) {
            assert_int_equal(head_parent(f->h), done[n].head_parent);
            for (uint64_t p = 0; p < PAGES; p++)
                assert_int_equal(disk_tag(f->h, "disk0", p), done[n].tags[p]);
        } else {
            ok(snapshot_get(f->s, done[n].snapshot, &info, e));
            assert_int_equal(info.parent, done[n].parent);
            snapshot_info_release(&info);
        }
        if (n % 4 == 0)
            check_sound(f->s);
    }
    free(done);
}

static void anything_is_taken_back(void **state)
{
    const char *seed = getenv("VMTEST_SEED");

    all_is_taken_back(*state, seed ? strtoull(seed, NULL, 0) : (uint64_t)clock_wall_ns());
}

static void run_sql(const char *dir, const char *sql)
{
    char *path;
    sqlite3 *h;

    assert_true(asprintf(&path, "%s/store.db", dir) > 0);
    assert_int_equal(sqlite3_open(path, &h), SQLITE_OK);
    assert_int_equal(sqlite3_exec(h, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(h);
    free(path);
}

/* Version 1 knew no times: all of it is from before any. */
static void an_older_store_is_brought_up_to_date(void **state)
{
    static const char back[] = "ALTER TABLE head DROP COLUMN since; ALTER TABLE head DROP COLUMN ended; "
                               "PRAGMA user_version = 1";
    struct fixture *f = *state;
    struct store *second;
    int64_t before = clock_wall_ns();
    char *copy;

    disk_put(f->h, "disk0", 1, 10);
    take(f->h, "a", 0);
    ok(head_close(steal(&f->h), e));
    close(steal_fd(&f->lock));
    store_close(f->s);
    run_sql(f->dir, back);
    ok(store_open(f->dir, 0, &f->s, e));
    assert_true(asprintf(&copy, "%s/store.db.1", f->dir) > 0);
    assert_int_equal(access(copy, F_OK), 0);
    run_sql(f->dir, back);
    fails(VT_BUSY, "older version", store_open(f->dir, 0, &second, e)); /* f->s has it open */
    store_close(f->s);
    ok(store_open(f->dir, 0, &f->s, e));
    ok(machine_lock(f->s, f->machine, &f->lock, e));
    ok(head_open(f->s, f->machine, 0, &f->h, e));
    assert_int_equal(disk_tag(f->h, "disk0", 1), 10);
    assert_int_equal(past_tag(f, before, 1), 10);
    free(copy);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        T(a_revert_is_taken_back),
        T(reverts_of_nothing_are_not_kept),
        T(reverts_are_bounded),
        T(deletes_are_taken_back),
        T(a_machine_comes_back),
        T(disks_have_a_past),
        T(disks_have_a_past_in_many_logs),
        T(anything_is_taken_back),
        T(an_older_store_is_brought_up_to_date),
    };
#undef T
    return cmocka_run_group_tests(tests, NULL, NULL);
}
