/* A failing host: the Nth operation fails, for every N; the disk is full; syncs fail. Nothing that was promised is
 * lost, and what is wrong is said. */
#include "tests/store/world.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>
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

static uint64_t run_with(struct fault *f)
{
    struct sio_hook hook = {inject, f};
    struct world w;
    uint64_t retries;

    world_own(&w, &hook);
    world_tour(&w);
    world_compare(&w);
    f->at = 0;
    world_flush(&w);
    world_close(&w);
    retries = w.retries;
    w.hook.fn = NULL;
    ok(store_open(w.dir, 0, &w.s, e)); /* another process */
    ok(machine_lock(w.s, w.machine, &w.lock, e));
    ok(head_open(w.s, w.machine, 0, &w.h, e));
    world_compare(&w);
    ok(store_maintain(w.s, e));
    world_end(&w);
    return retries;
}

static void every_nth(int how)
{
    struct fault f = {.kind = -1};
    uint64_t n, failed = 0;

    assert_int_equal(run_with(&f), 0);
    n = f.seen;
    assert_true(n > 100);
    for (uint64_t at = 1 + (uint64_t)time(NULL) % SLOW; at <= n; at += SLOW) {
        f = (struct fault){.at = at, .how = how, .kind = -1};
        failed += run_with(&f);
    }
    print_message("%llu operations, failed one by one: %llu steps were made again\n", (unsigned long long)n,
                  (unsigned long long)failed);
    assert_true(failed > n / 4 / SLOW); /* others are survived without anybody's help */
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
    struct blockdev *b;
    struct world w;

    world_own(&w, &hook);
    world_tour(&w);
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
    world_end(&w);
}

/* After a sync that failed, the data goes to another log, and the first is never trusted again. */
static void a_failed_sync_condemns_the_log(void **state)
{
    struct fault f = {.kind = SIO_SYNC};
    struct sio_hook hook = {inject, &f};
    struct world w;

    world_own(&w, &hook);
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
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_nth_operation_fails),        cmocka_unit_test(the_nth_operation_finds_no_space),
        cmocka_unit_test(the_nth_write_is_torn),          cmocka_unit_test(a_full_disk_loses_nothing),
        cmocka_unit_test(a_failed_sync_condemns_the_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
