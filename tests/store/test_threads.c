/* The threads of a monitor: the disk worker writes and flushes while captures are marked, written and read by others.
 */
#include "tests/store/fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#define WRITES    6000u
#define SPREAD    500u /* pages that the worker writes to, in turn */
#define SNAPSHOTS 12

struct worker {
    struct head *h;
    pthread_mutex_t order; /* a write is on one side of a mark or the other */
    atomic_uint written;
};

/* Write number n puts tag n into page n % SPREAD: any moment's pages hold the last SPREAD numbers. */
static void *work(void *opaque)
{
    struct worker *w = opaque;

    for (unsigned n = 1; n <= WRITES; n++) {
        pthread_mutex_lock(&w->order);
        disk_put(w->h, "disk0", n % SPREAD, n);
        w->written = n;
        pthread_mutex_unlock(&w->order);
        if (n % 97 == 0)
            disk_sync(w->h, "disk0");
        if (n % 50 == 0)
            assert_int_equal(disk_tag(w->h, "disk0", (n - 40) % SPREAD), n - 40);
    }
    return NULL;
}

static void expect_moment(struct image *i, unsigned n)
{
    for (unsigned p = 0; p < SPREAD; p++) {
        unsigned last = n < p ? 0 : n - (n - p) % SPREAD; /* the last number up to n that went to p */
        assert_int_equal(image_tag(i, p), last);
    }
}

static int64_t capture(struct worker *w, int number, unsigned *ret_n)
{
    struct snap_meta meta = {.name = NULL};
    struct head_pos live;
    struct image *i;
    struct snap *p;
    char name[16];
    int64_t id;

    snprintf(name, sizeof name, "s%d", number);
    meta.name = name;
    ok(head_prepare(w->h, e));
    pthread_mutex_lock(&w->order);
    ok(head_seal(w->h, &live, e));
    ok(head_image(w->h, "disk0", &i, e));
    *ret_n = w->written;
    pthread_mutex_unlock(&w->order);
    ok(snap_begin(w->h, NULL, &live, &p, e));
    if (number % 3 == 2) {
        snap_abort(p);
        id = 0;
    } else {
        ok(snap_commit(p, &meta, &id, NULL, e));
    }
    expect_moment(i, *ret_n);
    image_close(i);
    return id;
}

static void captures_run_beside_the_worker(void **state)
{
    struct fixture *f = *state;
    struct worker w = {.h = f->h, .order = PTHREAD_MUTEX_INITIALIZER};
    int64_t ids[SNAPSHOTS];
    unsigned at[SNAPSHOTS];
    pthread_t t;

    assert_int_equal(pthread_create(&t, NULL, work, &w), 0);
    for (int i = 0; i < SNAPSHOTS; i++)
        ids[i] = capture(&w, i, &at[i]);
    pthread_join(t, NULL);
    for (int i = 0; i < SNAPSHOTS; i++) {
        struct image *image;
        if (!ids[i])
            continue;
        ok(image_open(f->s, ids[i], "disk0", ROOT_LIVE, &image, e));
        expect_moment(image, at[i]);
        image_close(image);
    }
    fixture_reopen(f);
    for (unsigned p = 0; p < SPREAD; p++)
        assert_int_equal(disk_tag(f->h, "disk0", p), WRITES - (WRITES - p) % SPREAD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(captures_run_beside_the_worker, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
