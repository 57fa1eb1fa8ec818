/* A thousand snapshots in one tree, each the child of the one before: listing, finding, reverting and reading cost the
 * same at its root and at its end. */
#include "tests/store/fixture.h"

#include <stdio.h>
#include <time.h>

#define SNAPSHOTS 1000
#define TIMES     21

static uint64_t now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static uint64_t median(uint64_t v[TIMES])
{
    qsort(v, TIMES, sizeof *v, by_value);
    return v[TIMES / 2];
}

static void grow(struct fixture *f, int64_t ids[SNAPSHOTS])
{
    for (int i = 0; i < SNAPSHOTS; i++) {
        char name[8];
        snprintf(name, sizeof name, "s%d", i);
        disk_put(f->h, "disk0", (uint64_t)i, 1 + (uint64_t)i);
        ids[i] = take(f->h, name, 0);
    }
}

static uint64_t time_listing(struct fixture *f)
{
    uint64_t v[TIMES];

    for (int i = 0; i < TIMES; i++) {
        struct snapshot_info *list;
        uint64_t begin = now_us();
        size_t n;
        ok(snapshot_list(f->s, f->machine, &list, &n, e));
        v[i] = now_us() - begin;
        assert_int_equal(n, SNAPSHOTS);
        snapshot_list_free(list, n);
    }
    return median(v);
}

/* Of a revert to one of the TIMES snapshots from `from` on, and of reading a page that is as old as the tree. */
static void time_reverts(struct fixture *f, const int64_t *ids, int from, uint64_t *ret_revert, uint64_t *ret_read)
{
    uint64_t revert[TIMES], reading[TIMES];

    for (int i = 0; i < TIMES; i++) {
        uint64_t begin = now_us(), between;
        ok(head_reset(f->h, ids[from + i], e));
        between = now_us();
        assert_int_equal(disk_tag(f->h, "disk0", 0), 1);
        reading[i] = now_us() - between;
        revert[i] = between - begin;
        assert_int_equal(disk_tag(f->h, "disk0", (uint64_t)(from + i)), 1 + (uint64_t)(from + i));
        assert_int_equal(disk_tag(f->h, "disk0", (uint64_t)(from + i) + 1), 0);
    }
    *ret_revert = median(revert);
    *ret_read = median(reading);
}

static void a_thousand_snapshots_cost_what_one_does(void **state)
{
    struct fixture *f = *state;
    static int64_t ids[SNAPSHOTS];
    uint64_t listing, early, late, early_read, late_read;
    int64_t id = 0;

    grow(f, ids);
    fixture_reopen(f);
    listing = time_listing(f);
    time_reverts(f, ids, 0, &early, &early_read);
    time_reverts(f, ids, SNAPSHOTS - 1 - TIMES, &late, &late_read);
    print_message("listing %u us; revert at the root %u us, at the end %u us; first read %u us, %u us\n",
                  (unsigned)listing, (unsigned)early, (unsigned)late, (unsigned)early_read, (unsigned)late_read);
    assert_true(listing < 50000 * SLOW);
    assert_true(late < 3 * early + 1000);
    assert_true(late_read < 3 * early_read + 1000);
    ok(snapshot_find(f->s, f->machine, "s999~999", false, &id, e));
    assert_int_equal(id, ids[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_thousand_snapshots_cost_what_one_does, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
