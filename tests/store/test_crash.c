/* Every state that a crash can leave behind: a scripted run is recorded, and replayed up to each operation, as a kill
 * leaves it, and as a power failure does: with all that was not synced lost, and with each such operation lost, torn in
 * two ways, or alone done. Each state must open; have every snapshot that was reported, with all its bytes, and none
 * that was reported as deleted; have a head with what was flushed; check clean; and be good for another snapshot.
 *
 * test_store_crash PART PARTS looks at every PARTSth state from PART on; each part says how many there are in all. */
#include "tests/store/crash.h"

#include <stdio.h>
#include <unistd.h>

#define STATES_LEAST 10500 /* half of them are looked at in each run */

static size_t part, parts = 1;

/* Enough on one page that folding the log is worth while. */
static void overwrite(struct world *w)
{
    for (int i = 0; i < 24; i++) {
        world_write(w, 10, false);
        world_flush(w);
    }
}

/* Snapshots of two disks, one over a raw file, with memory and without, quiesced and not; the head's log changes. */
static void snapshots(struct world *w)
{
    struct rng r = {4711};

    for (int i = 0; i < 4; i++)
        world_write(w, (uint32_t)rng_below(&r, W_PAGES), false);
    world_write(w, W_DISK0 + 3, false);
    world_flush(w);
    world_write(w, 1, false);
    world_snapshot(w, true, false, 0);
    world_write(w, 2, false);
    world_discard(w, W_DISK0 + 1, 5); /* zero over what the raw file has */
    world_flush(w);
    world_prepare(w);
    world_write(w, 1, false);
    world_write(w, 600, false);
    world_snapshot(w, false, true, W_DISK0 + 50);
    world_write(w, 2, true);
    world_flush(w);
    world_write(w, W_PAGES - 1, false);
    world_abort(w);
    world_write(w, 3, false);
    world_snapshot(w, true, true, 600);
}

/* Reverts, with and without a flush on the new head; deletion, rename, gc. */
static void tree(struct world *w)
{
    world_reset(w, 0);
    world_write(w, 4, false);
    world_write(w, W_DISK0 + 3, false);
    world_flush(w);
    world_flush(w);
    world_maintain(w, false);
    world_write(w, 4, false);
    world_snapshot(w, true, false, 0);
    world_rename(w, 0, false);
    world_delete(w, 1, false);
    world_checkpoint(w);
    world_gc(w);
    world_write(w, 6, false);
    world_gc_beside(w);
    world_reopen(w);
    world_write(w, 7, false);
    world_flush(w);
    world_reset(w, 2);
    world_maintain(w, true); /* the old head's logs go; the revert must not be undone after that */
    world_reset(w, -1);
    world_write(w, 8, false);
    world_snapshot(w, false, false, 0);
    world_delete(w, 2, true);
    world_rename(w, 0, true);
    world_maintain(w, false);
    world_flush(w);
}

/* Both disks at once, with more than one batch a flush; snapshots on a branch, and their deletion from its middle. */
static void branch(struct world *w)
{
    int from = w->n_snaps - 1;

    for (uint32_t p = 0; p < 300; p++)
        world_write(w, p, p % 5 == 0);
    world_write(w, W_DISK0 + 7, false);
    world_flush(w);
    world_snapshot(w, false, false, 0);
    world_reset(w, from);
    world_write(w, 5, false);
    world_snapshot(w, true, true, W_DISK0 + 7);
    world_undo_reset(w, from + 1, 99);
    world_reset(w, from + 1);
    world_discard(w, 2, 200);
    world_snapshot(w, true, false, 0);
    world_undo_delete(w, from + 1, true);
    world_delete(w, from + 1, false);
    world_rename(w, from + 2, true);
    world_checkpoint(w);
    world_write(w, 13, false);
    world_reopen(w);
    world_gc_beside(w);
}

/* Snapshots of a head whose logs are not durable, nor their names: their own three syncs must do. */
static void right_after_a_revert(struct world *w)
{
    int from = w->n_snaps - 1;

    world_reset(w, from);
    world_spare(w);
    world_write(w, 14, false);
    world_snapshot(w, true, false, 0);
    world_write(w, 15, false); /* into the spare log */
    world_maintain(w, false);
    world_reset(w, from + 1);
    world_write(w, W_DISK0 + 2, false);
    world_spare(w);
    world_snapshot(w, true, true, 16);
    world_write(w, 17, false);
    world_spare(w);
    world_snapshot(w, false, false, 0);
    world_write(w, 18, false);
    world_flush(w);
    world_write(w, 19, false);
    world_two_snapshots(w, 20);
    world_write(w, 19, false);
    world_maintain(w, false);
    world_flush(w);
}

static void script(struct world *w)
{
    snapshots(w);
    world_other(w);
    tree(w);
    branch(w);
    right_after_a_revert(w);
    overwrite(w);
    world_write(w, 7, false);
    world_fold(w);
    world_write(w, 6, false);
    world_flush(w);
    world_other_rm(w);
    world_gc(w);
    world_write(w, 9, false);
    world_fork(w, 0, false);
    world_snapshot(w, false, true, 11);
    world_flush(w);
    world_delete(w, 0, false);
    world_gc(w);
    world_write(w, 9, false);
    world_flush(w);
}

/* What is left is good to go on with. */
static void go_on(struct world *w, struct store *s, struct head *h, int64_t machine, const struct expect *x,
                  const struct crash *c)
{
    disk_put(h, "disk0", 11, 999999);
    disk_sync(h, "disk0");
    take(h, "last", 5);
    ok(store_maintain(s, e));
    check_sound(s);
    crash_look_at_snapshots(w, s, machine, x, c);
    assert_int_equal(disk_tag(h, "disk0", 11), 999999);
}

static void look(struct world *w, const struct record *rec, struct crash c)
{
    char *dir = tmpdir_new();
    struct expect *x = malloc(sizeof *x);
    struct model_disk now;
    struct store *s;
    struct head *h;
    struct err err = {0};
    int64_t machine = 0;
    int lock, r;

    expect_at(w, c.n, x);
    record_replay(rec, &c, dir);
    r = store_open(dir, STORE_CREATE, &s, &err);
    if (r) {
        print_message("%s\n", err.msg);
        crash_wrong(&c, "the store does not open");
    }
    check_sound(s);
    r = machine_find(s, "m", true, &machine, NULL);
    if (r && x->machine)
        crash_wrong(&c, "the machine is missing");
    if (!r) {
        crash_look_at_snapshots(w, s, machine, x, &c);
        crash_look_at_other(s, x, &c);
        ok(machine_lock(s, machine, &lock, e));
        r = head_open(s, machine, 0, &h, &err);
        if (r) {
            print_message("%s\n", err.msg);
            crash_wrong(&c, "the head does not open");
        }
        crash_look_at_head(h, x, &c, &now);
        go_on(w, s, h, machine, x, &c);
        ok(head_close(h, e));
        close(lock);
    }
    store_close(s);
    rmtree(dir);
    free(x);
    free(dir);
}

struct counts {
    size_t all, seen;
};

static void consider(struct world *w, const struct record *rec, struct crash c, struct counts *n)
{
    if (n->all++ % (parts * SLOW) != part)
        return;
    look(w, rec, c);
    n->seen++;
}

static bool tearable(const struct rec_op *o)
{
    return o->kind == SIO_WRITE && o->len > 512;
}

static void every_crash_state_is_sound(void **state)
{
    struct record rec = {0};
    struct sio_hook hook = {record_hook, &rec};
    char *dir = tmpdir_new();
    struct counts count = {0};
    struct world w;
    size_t *loose;

    world_open(&w, dir, &hook, &rec);
    script(&w);
    for (size_t n = 0; n <= rec.n; n++) {
        size_t k;
        consider(&w, &rec, (struct crash){.n = n, .kind = CRASH_KILL}, &count);
        /* A power failure: only where the set of what is not durable is at its largest, just before a sync. */
        if (n < rec.n && rec.v[n].kind != SIO_SYNC && rec.v[n].kind != SIO_DIRSYNC)
            continue;
        k = record_unsynced(&rec, n, &loose);
        consider(&w, &rec, (struct crash){.n = n, .kind = CRASH_POWER}, &count);
        for (size_t i = 0; i < k; i++)
            for (enum crash_kind kind = CRASH_LOST_ONE; kind < CRASH_KINDS; kind++)
                if (tearable(&rec.v[loose[i]]) || kind == CRASH_LOST_ONE || kind == CRASH_ONLY_ONE)
                    consider(&w, &rec, (struct crash){n, kind, loose[i]}, &count);
        free(loose);
    }
    print_message("%zu operations, %zu states, %zu of them looked at here\n", rec.n, count.all, count.seen);
    assert_true(count.all >= STATES_LEAST);
    assert_true(count.seen >= count.all / parts / SLOW);
    world_close(&w);
    world_release(&w);
    record_release(&rec);
    rmtree(dir);
    free(dir);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_crash_state_is_sound),
    };

    if (argc == 3) {
        part = strtoul(argv[1], NULL, 10);
        parts = strtoul(argv[2], NULL, 10);
    }
    if (part >= parts) {
        fprintf(stderr, "usage: %s [PART PARTS]\n", argv[0]);
        return 64;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
