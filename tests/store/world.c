#include "tests/store/world.h"

#include <stdio.h>
#include <unistd.h>

/* Runs a call that may fail once because of the test, and must succeed the next time. */
#define twice(w, call)                                                \
    do {                                                              \
        struct err t_e = {0}, *e = &t_e;                              \
        int t_r = (call);                                             \
        if (t_r) {                                                    \
            assert_true(t_e.msg[0]);                                  \
            t_e = (struct err){0};                                    \
            (w)->retries++;                                           \
            t_r = (call);                                             \
        }                                                             \
        if (t_r)                                                      \
            fail_msg("%s: fails again: %d: %s", #call, t_r, t_e.msg); \
        (void)e;                                                      \
    } while (0)

static void event(struct world *w, enum event_kind kind, uint32_t page, uint32_t tag, int index)
{
    if (!w->ops)
        return;
    w->events = realloc(w->events, (w->n_events + 1) * sizeof *w->events);
    w->events[w->n_events++] = (struct event){*w->ops, kind, page, tag, index};
}

static void open_head(struct world *w)
{
    twice(w, store_open_hooked(w->dir, STORE_CREATE, w->hook.fn ? &w->hook : NULL, &w->s, e));
    ok(machine_lock(w->s, w->machine, &w->lock, e));
    twice(w, head_open(w->s, w->machine, 0, &w->h, e));
}

void world_open(struct world *w, char *dir, const struct sio_hook *hook, const size_t *ops)
{
    struct slot_spec disk = {.slot = "disk0", .bytes = W_PAGES * PAGE, .import_fd = -1};

    *w = (struct world){.dir = dir, .ops = ops, .next_tag = 1};
    if (hook)
        w->hook = *hook;
    twice(w, store_open_hooked(dir, STORE_CREATE, hook, &w->s, e));
    twice(w, machine_create(w->s, "m", "{}", &disk, 1, NULL, NULL, &w->machine, e));
    event(w, EV_MACHINE, 0, 0, 0);
    store_close(w->s);
    open_head(w);
}

void world_close(struct world *w)
{
    struct err e = {0};

    if (head_close(w->h, &e)) /* the last flush failed; the one before counts */
        w->retries++;
    close(w->lock);
    store_close(w->s);
}

void world_release(struct world *w)
{
    free(w->events);
}

void world_reopen(struct world *w)
{
    world_flush(w);
    world_close(w);
    open_head(w);
}

void world_write(struct world *w, uint32_t page, bool zero)
{
    uint32_t tag = zero ? 0 : w->next_tag++;
    struct blockdev *b = head_disk(w->h, "disk0");
    uint8_t data[PAGE];

    if (tag % 5 == 4 && tag > 40) /* some content comes again */
        tag -= 40;
    page_make(data, tag);
    event(w, EV_WRITE, page, tag, 0);
    twice(w, b->ops->pwrite(b, data, PAGE, (uint64_t)page * PAGE, e));
    w->now.tag[page] = tag;
}

void world_flush(struct world *w)
{
    struct blockdev *b = head_disk(w->h, "disk0");

    twice(w, b->ops->flush(b, e));
    event(w, EV_FLUSH, 0, 0, 0);
}

static int snapshot(struct world *w, struct model_snap *m, struct err *e)
{
    struct snap_meta meta = {.name = m->name, .power = m->ram ? POWER_RUNNING : POWER_OFF};
    struct head_pos live;
    uint8_t page[PAGE];
    struct snap *p;
    int r = head_seal(w->h, &live, e);

    if (r)
        return r;
    r = snap_begin(w->h, NULL, &live, &p, e);
    if (r) {
        head_unmark(w->h, &live);
        return r;
    }
    if (m->ram)
        r = snap_image(p, "ram", W_RAM, false, e);
    for (uint32_t i = 0; i < W_RAM && m->ram && !r; i++) {
        page_make(page, m->ram + i);
        r = snap_put_pages(p, "ram", i, 1, page, e);
    }
    if (!r && m->ram)
        r = snap_put_state(p, m->name, strlen(m->name), e);
    if (!r)
        return snap_commit(p, &meta, &m->id, NULL, e);
    snap_abort(p);
    return r;
}

void world_snapshot(struct world *w, bool with_ram)
{
    struct model_snap *m = &w->snaps[w->n_snaps];

    if (w->n_snaps == W_SNAPSHOTS)
        return;
    *m = (struct model_snap){.disk = w->now, .ram = with_ram ? 1000000 + 7 * (uint32_t)w->n_snaps : 0};
    snprintf(m->name, sizeof m->name, "s%d", w->n_snaps);
    event(w, EV_SNAP_BEGIN, 0, 0, w->n_snaps);
    w->n_snaps++;
    twice(w, snapshot(w, m, e));
    event(w, EV_SNAP, 0, 0, w->n_snaps - 1);
}

void world_abort(struct world *w)
{
    struct head_pos live;
    struct snap *p;

    twice(w, head_seal(w->h, &live, e));
    twice(w, snap_begin(w->h, NULL, &live, &p, e));
    snap_abort(p);
}

void world_reset(struct world *w, int index)
{
    int64_t id = index < 0 ? 0 : w->snaps[index].id;

    event(w, EV_RESET_BEGIN, 0, 0, index);
    twice(w, head_reset(w->h, id, e));
    event(w, EV_RESET, 0, 0, index);
    w->now = index < 0 ? (struct model_disk){0} : w->snaps[index].disk;
}

void world_delete(struct world *w, int index)
{
    event(w, EV_DELETE_BEGIN, 0, 0, index);
    twice(w, snapshot_delete(w->s, w->snaps[index].id, e));
    w->snaps[index].deleted = true;
}

void world_maintain(struct world *w)
{
    twice(w, store_maintain(w->s, e));
}

/* Nothing is taken back of a machine that runs, so it stands still meanwhile. */
void world_gc(struct world *w)
{
    world_flush(w);
    world_close(w);
    twice(w, store_open_hooked(w->dir, STORE_CREATE, w->hook.fn ? &w->hook : NULL, &w->s, e));
    twice(w, store_gc(w->s, NULL, e));
    store_close(w->s);
    open_head(w);
}

void world_fold(struct world *w)
{
    bool folded;

    twice(w, head_fold(w->h, 20 * PAGE, &folded, e));
}

void world_prepare(struct world *w)
{
    twice(w, head_prepare(w->h, e));
}

int world_pick(struct world *w, struct rng *r)
{
    int start = w->n_snaps ? (int)rng_below(r, (uint64_t)w->n_snaps) : 0;

    for (int i = 0; i < w->n_snaps; i++)
        if (!w->snaps[(start + i) % w->n_snaps].deleted)
            return (start + i) % w->n_snaps;
    return -1;
}

void world_step(struct world *w, struct rng *r)
{
    uint64_t dice = rng_below(r, 100);
    int i;

    if (dice < 55) {
        uint32_t page = (uint32_t)rng_below(r, W_PAGES), n = 1 + (uint32_t)rng_below(r, 12);
        for (uint32_t k = 0; k < n; k++)
            world_write(w, (page + k) % W_PAGES, !rng_below(r, 9));
    } else if (dice < 70) {
        world_flush(w);
    } else if (dice < 80) {
        world_snapshot(w, rng_below(r, 2));
    } else if (dice < 86) {
        i = world_pick(w, r);
        world_reset(w, rng_below(r, 8) ? i : -1);
    } else if (dice < 89) {
        i = world_pick(w, r);
        if (i >= 0)
            world_delete(w, i);
    } else if (dice < 90) {
        world_gc(w);
    } else if (dice < 92) {
        world_reopen(w);
    } else if (dice < 94) {
        world_abort(w);
    } else if (dice < 96) {
        world_fold(w);
    } else if (dice < 98) {
        world_prepare(w);
    } else {
        world_maintain(w);
    }
}

void world_compare_snap(struct world *w, struct store *s, int index, int64_t id)
{
    const struct model_snap *m = &w->snaps[index];
    struct image *i;
    size_t len = 0;
    void *state;

    ok(image_open(s, id, "disk0", ROOT_LIVE, &i, e));
    for (uint32_t p = 0; p < W_PAGES; p++)
        assert_int_equal(image_tag(i, p), m->disk.tag[p]);
    image_close(i);
    if (!m->ram) {
        fails(VT_NOENT, "no ram", image_open(s, id, "ram", ROOT_LIVE, &i, e));
        return;
    }
    ok(image_open(s, id, "ram", ROOT_LIVE, &i, e));
    for (uint32_t p = 0; p < W_RAM; p++)
        assert_int_equal(image_tag(i, p), m->ram + p);
    image_close(i);
    ok(snapshot_state(s, id, &state, &len, e));
    assert_int_equal(len, strlen(m->name));
    assert_memory_equal(state, m->name, len);
    free(state);
}

void world_compare(struct world *w)
{
    for (uint32_t p = 0; p < W_PAGES; p++)
        assert_int_equal(disk_tag(w->h, "disk0", p), w->now.tag[p]);
    for (int i = 0; i < w->n_snaps; i++)
        if (!w->snaps[i].deleted)
            world_compare_snap(w, w->s, i, w->snaps[i].id);
}
