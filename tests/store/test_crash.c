/* Every state that a crash can leave behind: a scripted run is recorded, and replayed up to each operation, as a kill
 * leaves it, and as a power failure does: with all that was not synced lost, and with each such operation lost, torn,
 * or alone done. Each state must open; have every snapshot that was reported, with all its bytes; have a head with what
 * was flushed; check clean; and be good for another snapshot. */
#include "tests/store/record.h"
#include "tests/store/world.h"

#include <stdio.h>
#include <unistd.h>

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
    struct rng r = {4711};

    for (int i = 0; i < 4; i++)
        world_write(w, (uint32_t)rng_below(&r, W_PAGES), false);
    world_flush(w);
    world_write(w, 1, false);
    world_snapshot(w, true);
    world_write(w, 2, false);
    world_flush(w);
    world_prepare(w);
    world_write(w, 1, false);
    world_write(w, 600, false);
    world_snapshot(w, false);
    world_write(w, 2, true);
    world_flush(w);
    world_write(w, 3, false);
    world_reset(w, 0);
    world_write(w, 4, false);
    world_write(w, 5, false);
    world_flush(w);
    world_flush(w);
    world_maintain(w);
    world_write(w, 4, false);
    world_snapshot(w, true);
    world_delete(w, 1);
    world_gc(w);
    world_write(w, 6, false);
    world_reopen(w);
    world_write(w, 7, false);
    world_flush(w);
    overwrite(w);
    world_write(w, 7, false);
    world_fold(w);
    world_write(w, 6, false);
    world_flush(w);
    world_reset(w, 2);
    world_maintain(w); /* the old head's logs go; the revert must not be undone after that */
    world_reset(w, -1);
    world_write(w, 8, false);
    world_snapshot(w, false);
    world_maintain(w);
    world_flush(w);
    world_write(w, 9, false);
    world_flush(w);
}

/* What may be in the head: for each lineage (a revert that was not yet flushed upon may be undone by a power failure)
 * the flushed pages, and what was written to each since. */
struct lineage {
    struct model_disk base; /* as flushed */
    uint32_t wrote[64][2];  /* page, tag */
    int n_wrote;
};
struct expect {
    bool machine;
    int n_snaps_begun;
    bool reported[W_SNAPSHOTS], deleting[W_SNAPSHOTS];
    struct lineage of[8];
    int n;        /* lineages; the last is the newest */
    bool between; /* a reset has begun, but was not reported */
};

static void expect_at(const struct world *w, size_t n, struct expect *x)
{
    struct lineage *l = &x->of[0];

    memset(x, 0, sizeof *x);
    x->n = 1;
    for (size_t i = 0; i < w->n_events && w->events[i].at <= n; i++) {
        const struct event *ev = &w->events[i];
        l = &x->of[x->n - 1];
        switch (ev->kind) {
        case EV_MACHINE:
            x->machine = true;
            break;
        case EV_WRITE:
            assert_true(l->n_wrote < 64);
            l->wrote[l->n_wrote][0] = ev->page;
            l->wrote[l->n_wrote++][1] = ev->tag;
            break;
        case EV_FLUSH:
            for (int k = 0; k < l->n_wrote; k++)
                l->base.tag[l->wrote[k][0]] = l->wrote[k][1];
            l->n_wrote = 0;
            x->of[0] = *l;
            x->n = 1;
            break;
        case EV_SNAP_BEGIN:
            x->n_snaps_begun = ev->index + 1;
            break;
        case EV_SNAP: /* its commit made everything durable, the head's place too: the disks are as it has them */
            x->reported[ev->index] = true;
            l->base = w->snaps[ev->index].disk;
            l->n_wrote = 0;
            x->of[0] = *l;
            x->n = 1;
            break;
        case EV_DELETE_BEGIN:
            x->deleting[ev->index] = true;
            break;
        case EV_RESET_BEGIN:
            assert_true(x->n < 8);
            x->between = true;
            x->of[x->n] = (struct lineage){.n_wrote = 0};
            if (ev->index >= 0)
                x->of[x->n].base = w->snaps[ev->index].disk;
            x->n++;
            break;
        case EV_RESET:
            x->between = false;
            break;
        }
    }
}

static bool fits(const struct lineage *l, const uint32_t tags[W_PAGES])
{
    for (uint32_t p = 0; p < W_PAGES; p++) {
        bool good = tags[p] == l->base.tag[p];
        for (int k = 0; k < l->n_wrote && !good; k++)
            good = l->wrote[k][0] == p && l->wrote[k][1] == tags[p];
        if (!good)
            return false;
    }
    return true;
}

struct state {
    size_t n, which;
    enum crash_kind kind;
};

static void wrong(const struct state *st, const char *what)
{
    fail_msg("%s after operation %zu (crash kind %d, operation %zu)", what, st->n, (int)st->kind, st->which);
}

static void look_at_snapshots(struct world *w, struct store *s, int64_t machine, const struct expect *x,
                              const struct state *st)
{
    for (int i = 0; i < x->n_snaps_begun; i++) {
        int64_t id;
        int r = snapshot_find(s, machine, w->snaps[i].name, true, &id, NULL);
        if (r && x->reported[i] && !x->deleting[i])
            wrong(st, "a reported snapshot is missing");
        if (!r)
            world_compare_snap(w, s, i, id);
    }
}

static void look_at_head(struct head *h, const struct expect *x, const struct state *st)
{
    uint32_t tags[W_PAGES];
    /* A kill undoes no reported revert. */
    int from = st->kind == CRASH_KILL ? x->n - 1 - x->between : 0;
    bool good = false;

    for (uint32_t p = 0; p < W_PAGES; p++)
        tags[p] = (uint32_t)disk_tag(h, "disk0", p);
    for (int i = MAX(from, 0); i < x->n; i++)
        good |= fits(&x->of[i], tags);
    if (!good)
        wrong(st, "the head has not what was flushed");
}

static void look(struct world *w, const struct record *rec, struct state st)
{
    char *dir = tmpdir_new();
    struct expect x;
    struct store *s;
    struct head *h;
    struct err err = {0};
    int64_t machine = 0;
    int lock, r;

    expect_at(w, st.n, &x);
    record_replay(rec, st.n, st.kind, st.which, dir);
    r = store_open(dir, STORE_CREATE, &s, &err);
    if (r) {
        print_message("%s\n", err.msg);
        wrong(&st, "the store does not open");
    }
    check_sound(s);
    r = machine_find(s, "m", true, &machine, NULL);
    if (r && x.machine)
        wrong(&st, "the machine is missing");
    if (!r) {
        look_at_snapshots(w, s, machine, &x, &st);
        ok(machine_lock(s, machine, &lock, e));
        r = head_open(s, machine, 0, &h, &err);
        if (r) {
            print_message("%s\n", err.msg);
            wrong(&st, "the head does not open");
        }
        look_at_head(h, &x, &st);
        disk_put(h, "disk0", 11, 999999);
        disk_sync(h, "disk0");
        take(h, "last", 5);
        ok(store_maintain(s, e));
        check_sound(s);
        look_at_snapshots(w, s, machine, &x, &st);
        assert_int_equal(disk_tag(h, "disk0", 11), 999999);
        ok(head_close(h, e));
        close(lock);
    }
    store_close(s);
    rmtree(dir);
    free(dir);
}

static void every_crash_state_is_sound(void **state)
{
    struct record rec = {0};
    struct sio_hook hook = {record_hook, &rec};
    char *dir = tmpdir_new();
    size_t states = 0, *loose;
    struct world w;

    world_open(&w, dir, &hook, &rec.n);
    script(&w);
    for (size_t n = 0; n <= rec.n; n++) {
        size_t k = record_unsynced(&rec, n, &loose);
        look(&w, &rec, (struct state){n, 0, CRASH_KILL});
        states++;
        /* A power failure: only where the set of what is not durable is at its largest, just before a sync. */
        if (n == rec.n || rec.v[n].kind == SIO_SYNC || rec.v[n].kind == SIO_DIRSYNC) {
            look(&w, &rec, (struct state){n, 0, CRASH_POWER});
            states++;
            for (size_t i = 0; i < k; i++) {
                look(&w, &rec, (struct state){n, loose[i], CRASH_LOST_ONE});
                look(&w, &rec, (struct state){n, loose[i], CRASH_ONLY_ONE});
                if (rec.v[loose[i]].kind == SIO_WRITE) {
                    look(&w, &rec, (struct state){n, loose[i], CRASH_TORN_ONE});
                    states++;
                }
                states += 2;
            }
        }
        free(loose);
    }
    print_message("%zu operations, %zu states\n", rec.n, states);
    assert_true(states >= 1000);
    world_close(&w);
    world_release(&w);
    record_release(&rec);
    rmtree(dir);
    free(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_crash_state_is_sound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
