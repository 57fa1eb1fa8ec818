#include "tests/store/world.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>
#include "src/base/units.h"
#include "tests/store/crash.h"

static void set_inside(struct world *w, bool inside)
{
    if (w->inside)
        *w->inside = inside;
}

/* Runs a call that may fail once because of the test, and must succeed the next time. */
#define twice(w, call)                                                \
    do {                                                              \
        struct err t_e = {0}, *e = &t_e;                              \
        int t_r;                                                      \
        set_inside(w, true);                                          \
        t_r = (call);                                                 \
        if (t_r) {                                                    \
            if (!t_e.msg[0])                                          \
                fail_msg("%s: %d without a message", #call, t_r);     \
            t_e = (struct err){0};                                    \
            (w)->retries++;                                           \
            t_r = (call);                                             \
        }                                                             \
        set_inside(w, false);                                         \
        if (t_r)                                                      \
            fail_msg("%s: fails again: %d: %s", #call, t_r, t_e.msg); \
        (void)e;                                                      \
    } while (0)

static void *get(struct world *w, size_t size)
{
    void *p = w->rec && w->rec->arena ? arena_get(w->rec->arena, size) : calloc(1, size);

    assert_non_null(p);
    return p;
}

static void event(struct world *w, enum event_kind kind, uint32_t page, uint32_t tag, int index)
{
    if (!w->rec)
        return;
    if (w->n_events == w->cap_events) {
        size_t cap = w->cap_events ? 2 * w->cap_events : 256;
        struct event *v = get(w, cap * sizeof *v);
        if (w->n_events)
            memcpy(v, w->events, w->n_events * sizeof *v);
        if (!w->rec->arena)
            free(w->events);
        w->events = v;
        w->cap_events = cap;
    }
    w->events[w->n_events] = (struct event){w->rec->n, kind, page, tag, index};
    atomic_signal_fence(memory_order_seq_cst); /* of one process that may be killed here */
    w->n_events++;
}

#define tell(w, ...)                    \
    do {                                \
        if ((w)->tell)                  \
            print_message(__VA_ARGS__); \
    } while (0)

static const struct sio_hook *hook_of(const struct world *w)
{
    return w->hook.fn ? &w->hook : NULL;
}

void world_open_again(struct world *w)
{
    twice(w, store_open_hooked(w->dir, STORE_CREATE, hook_of(w), &w->s, e));
    ok(machine_lock(w->s, w->machine, &w->lock, e));
    twice(w, head_open(w->s, w->machine, 0, &w->h, e));
}

/* Made by the same bytes each time, so that a record of one run fits another. */
static void make_base(struct world *w)
{
    uint8_t page[PAGE];
    int fd;

    assert_true(asprintf(&w->base, "%s.base", w->dir) > 0);
    fd = open(w->base, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    for (uint32_t i = 0; i < W_BASE; i++) {
        uint32_t tag = i % 3 ? 5000000 + i : 0;
        page_make(page, tag);
        w->origin.tag[W_DISK0 + i] = tag;
        assert_int_equal(write(fd, page, PAGE), PAGE);
    }
    close(fd);
}

void world_open(struct world *w, char *dir, const struct sio_hook *hook, struct record *rec)
{
    struct slot_spec disks[2] = {{.slot = "disk0", .bytes = W_DISK0 * PAGE, .import_fd = -1},
                                 {.slot = "disk1", .bytes = W_DISK1 * PAGE, .import_fd = -1}};

    *w = (struct world){.dir = dir, .rec = rec, .next_tag = 1, .parent = -1};
    w->snaps = get(w, W_SNAPSHOTS * sizeof *w->snaps);
    make_base(w);
    disks[1].base_path = w->base;
    w->start = w->now = w->origin;
    if (hook)
        w->hook = *hook;
    twice(w, store_open_hooked(dir, STORE_CREATE, hook, &w->s, e));
    twice(w, machine_create(w->s, "m", "{}", disks, 2, NULL, NULL, &w->machine, e));
    event(w, EV_MACHINE, 0, 0, 0);
    event(w, EV_START, 0, 0, 0);
    store_close(w->s);
    world_open_again(w);
    w->step_began = rec ? rec->n : 0;
}

void world_close(struct world *w)
{
    struct err e = {0};

    if (head_close(w->h, &e)) /* the last flush failed; the one before counts */
        w->retries++;
    close(w->lock);
    store_close(w->s);
    store_close(w->second);
    w->second = NULL;
}

void world_release(struct world *w)
{
    unlink(w->base);
    free(w->base);
    if (w->rec && w->rec->arena)
        return;
    free(w->snaps);
    free(w->events);
}

void world_own(struct world *w, const struct sio_hook *hook)
{
    world_open(w, tmpdir_new(), hook, NULL);
}

void world_remove(struct world *w)
{
    world_release(w);
    rmtree(w->dir);
    free(w->dir);
}

void world_end(struct world *w)
{
    check_sound(w->s);
    world_compare(w);
    world_close(w);
    world_remove(w);
}

void world_reopen(struct world *w)
{
    tell(w, "reopen\n");
    world_flush(w);
    world_close(w);
    world_open_again(w);
}

static struct store *handle(struct world *w, bool second)
{
    if (!second)
        return w->s;
    if (!w->second)
        twice(w, store_open_hooked(w->dir, 0, hook_of(w), &w->second, e));
    return w->second;
}

/* ---- the head ---- */

static struct blockdev *device(struct head *h, uint32_t *page)
{
    if (*page < W_DISK0)
        return head_disk(h, "disk0");
    *page -= W_DISK0;
    return head_disk(h, "disk1");
}

uint32_t world_tag(struct head *h, uint32_t page)
{
    return (uint32_t)(page < W_DISK0 ? disk_tag(h, "disk0", page) : disk_tag(h, "disk1", page - W_DISK0));
}

void world_write(struct world *w, uint32_t page, bool zero)
{
    uint32_t tag = zero ? 0 : w->next_tag++, at = page;
    struct blockdev *b = device(w->h, &at);
    uint8_t data[PAGE];

    if (tag % 5 == 4 && tag > 40) /* some content comes again */
        tag -= 40;
    tell(w, "write %u: %u\n", page, tag);
    page_make(data, tag);
    event(w, EV_WRITE, page, tag, 0);
    twice(w, b->ops->pwrite(b, data, PAGE, (uint64_t)at * PAGE, e));
    w->now.tag[page] = tag;
}

void world_discard(struct world *w, uint32_t page, uint32_t n)
{
    uint32_t at = page, end = page < W_DISK0 ? W_DISK0 : W_PAGES;
    struct blockdev *b = device(w->h, &at);

    n = MIN(n, end - page);
    tell(w, "discard %u to %u\n", page, page + n);
    for (uint32_t i = 0; i < n; i++)
        event(w, EV_WRITE, page + i, 0, 0);
    twice(w, b->ops->discard(b, n * PAGE, (uint64_t)at * PAGE, true, e));
    for (uint32_t i = 0; i < n; i++)
        w->now.tag[page + i] = 0;
}

void world_flush(struct world *w)
{
    tell(w, "flush\n");
    for (uint32_t p = 0; p < W_PAGES; p += W_DISK0) {
        uint32_t at = p;
        struct blockdev *b = device(w->h, &at);
        twice(w, b->ops->flush(b, e));
    }
    event(w, EV_FLUSH, 0, 0, 0);
    w->resets = 0;
}

void world_remember(struct world *w, uint32_t page)
{
    world_write(w, page % W_DISK0, false);
    world_write(w, W_DISK0 + page % W_DISK1, false);
    world_flush(w);
    w->past[w->n_past++ % W_PAST] = (struct model_past){clock_wall_ns(), w->rec ? w->rec->n : 0, w->now};
}

void world_look_back(struct world *w, unsigned which)
{
    const struct model_past *m = &w->past[which];

    tell(w, "look back at flush %u\n", which);
    for (uint32_t p = 0; p < W_PAGES; p += W_DISK0) {
        struct image *i;
        twice(w, image_open_past(w->s, w->machine, p ? "disk1" : "disk0", m->when, &i, e));
        for (uint32_t k = 0; k < (p ? W_DISK1 : W_DISK0); k++)
            assert_int_equal(image_tag(i, k), m->disk.tag[p + k]);
        image_close(i);
    }
}

void world_reset(struct world *w, int index)
{
    int64_t id = index < 0 ? 0 : w->snaps[index].id;

    tell(w, "reset to s%d\n", index);
    event(w, EV_RESET_BEGIN, 0, 0, index);
    twice(w, head_reset(w->h, id, e));
    event(w, EV_RESET, 0, 0, index);
    w->now = index < 0 ? w->origin : w->snaps[index].disk;
    w->parent = index;
    w->resets++;
}

void world_fold(struct world *w)
{
    bool folded;

    tell(w, "fold\n");
    twice(w, head_fold(w->h, 20 * PAGE, &folded, e));
}

void world_prepare(struct world *w)
{
    tell(w, "prepare\n");
    twice(w, head_prepare(w->h, e));
}

void world_spare(struct world *w)
{
    tell(w, "spare logs\n");
    twice(w, head_spare(w->h, e));
}

/* ---- snapshots ---- */

static int put_memory(struct snap *p, const struct model_snap *m, struct err *e)
{
    uint8_t page[PAGE];
    int r = snap_image(p, "ram", W_RAM, false, e);

    for (uint32_t i = 0; i < W_RAM && !r; i++) {
        page_make(page, m->ram + i);
        r = snap_put_pages(p, "ram", i, 1, page, e);
    }
    return r ? r : snap_put_state(p, m->name, strlen(m->name), e);
}

static int snapshot(struct world *w, struct model_snap *m, const uint32_t *between, struct err *e)
{
    struct snap_meta meta = {.name = m->name, .power = m->ram ? POWER_RUNNING : POWER_OFF};
    struct head_pos live, quiesced;
    struct snap *p;
    int r = between ? head_mark(w->h, &quiesced, e) : 0;

    if (r)
        return r;
    m->quiesced = w->now;
    if (between)
        world_write(w, *between, false);
    m->disk = w->now;
    if (!between)
        m->quiesced = w->now;
    r = head_seal(w->h, &live, e);
    if (!r) {
        r = snap_begin(w->h, between ? &quiesced : NULL, &live, &p, e);
        if (r)
            head_unmark(w->h, &live);
    }
    if (r) {
        if (between)
            head_unmark(w->h, &quiesced);
        return r;
    }
    if (m->ram)
        r = put_memory(p, m, e);
    if (!r)
        return snap_commit(p, &meta, &m->id, NULL, e);
    snap_abort(p);
    return r;
}

static struct model_snap *new_snapshot(struct world *w, bool with_ram)
{
    int index = w->n_snaps++;
    struct model_snap *m = &w->snaps[index];

    *m = (struct model_snap){.parent = w->parent, .ram = with_ram ? 1000000 + 7 * (uint32_t)index : 0};
    snprintf(m->name, sizeof m->name, "s%d", index);
    m->disk = m->quiesced = w->now;
    event(w, EV_SNAP_BEGIN, 0, 0, index);
    w->parent = index;
    return m;
}

static void reported(struct world *w, const struct model_snap *m)
{
    event(w, EV_SNAP, 0, 0, (int)(m - w->snaps));
    w->n_alive++;
    w->resets = 0;
}

void world_snapshot(struct world *w, bool with_ram, bool quiesced, uint32_t page)
{
    struct model_snap *m;

    if (w->n_snaps == W_SNAPSHOTS)
        return;
    tell(w, "snapshot s%d%s%s\n", w->n_snaps, with_ram ? " with memory" : "", quiesced ? ", quiesced" : "");
    m = new_snapshot(w, with_ram);
    twice(w, snapshot(w, m, quiesced ? &page : NULL, e));
    reported(w, m);
}

static void store_snapshot(struct world *w, struct model_snap *m, const struct head_pos *live)
{
    struct snap_meta meta = {.name = m->name, .power = m->ram ? POWER_RUNNING : POWER_OFF};
    struct snap *p;

    ok(snap_begin(w->h, NULL, live, &p, e));
    if (m->ram)
        ok(put_memory(p, m, e));
    ok(snap_commit(p, &meta, &m->id, NULL, e));
    reported(w, m);
}

void world_two_snapshots(struct world *w, uint32_t page)
{
    uint32_t after = (page + 1) % W_PAGES;
    struct model_snap *first, *second;
    struct head_pos at_first, at_second;

    if (w->n_snaps + 2 > W_SNAPSHOTS)
        return;
    tell(w, "snapshots s%d and s%d\n", w->n_snaps, w->n_snaps + 1);
    first = new_snapshot(w, true);
    ok(head_seal(w->h, &at_first, e));
    world_write(w, page, false);
    second = new_snapshot(w, false);
    ok(head_spare(w->h, e));
    ok(head_seal(w->h, &at_second, e));
    world_write(w, after, false);
    store_snapshot(w, first, &at_first);
    event(w, EV_WRITE, page, w->now.tag[page], 0); /* what came after it is as it was */
    event(w, EV_WRITE, after, w->now.tag[after], 0);
    world_flush(w);
    store_snapshot(w, second, &at_second);
    event(w, EV_WRITE, after, w->now.tag[after], 0);
    event(w, EV_FLUSH, 0, 0, 0);
}

void world_abort(struct world *w)
{
    struct head_pos live;
    struct snap *p;

    tell(w, "snapshot given up\n");
    twice(w, head_seal(w->h, &live, e));
    twice(w, snap_begin(w->h, NULL, &live, &p, e));
    snap_abort(p);
}

void world_delete(struct world *w, int index, bool second)
{
    tell(w, "delete s%d\n", index);
    event(w, EV_DELETE_BEGIN, 0, 0, index);
    twice(w, snapshot_delete(handle(w, second), w->snaps[index].id, e));
    event(w, EV_DELETE, 0, 0, index);
    w->snaps[index].deleted = true;
    w->n_alive--;
}

/* The last thing that can be taken back, 0: nothing. */
static int last_entry(struct world *w, struct store *s, int64_t *ret, struct err *e)
{
    struct undo_info *list;
    size_t n;
    int r = undo_list(s, w->machine, &list, &n, e);

    if (r)
        return r;
    *ret = n ? list[0].id : 0;
    undo_list_free(list, n);
    return 0;
}

void world_undo_delete(struct world *w, int index, bool second)
{
    int64_t entry = 0;

    world_delete(w, index, second);
    tell(w, "undo\n");
    twice(w, last_entry(w, handle(w, second), &entry, e));
    event(w, EV_UNDELETE, 0, 0, index);
    twice(w, undo_apply(handle(w, second), entry, e));
    event(w, EV_UNDELETED, 0, 0, index);
    w->snaps[index].deleted = false;
    w->n_alive++;
}

void world_undo_reset(struct world *w, int index, uint32_t page)
{
    struct model_disk before = w->now;
    int64_t old = 0, entry = 0;
    int parent = w->parent;

    world_flush(w);
    twice(w, last_entry(w, w->s, &old, e));
    world_reset(w, index);
    world_write(w, page, false);
    twice(w, last_entry(w, w->s, &entry, e));
    if (entry == old) /* nothing had been written to what it was moved away from */
        return;
    tell(w, "undo\n");
    event(w, EV_UNDO_BEGIN, 0, 0, 0);
    twice(w, head_undo(w->h, entry, e));
    event(w, EV_UNDO, 0, 0, 0);
    w->now = before;
    w->parent = parent;
    w->resets++;
}

void world_rename(struct world *w, int index, bool second)
{
    struct model_snap *m = &w->snaps[index];
    unsigned n = m->renames + 1;
    char name[sizeof m->name];

    snprintf(name, sizeof name, "s%d.%u", index, n);
    tell(w, "rename s%d: %s\n", index, name);
    event(w, EV_RENAME_BEGIN, 0, n, index);
    twice(w, snapshot_rename(handle(w, second), m->id, name, e));
    event(w, EV_RENAME, 0, n, index);
    memcpy(m->name, name, sizeof name);
    m->renames = n;
}

int world_parent(const struct world *w, int index)
{
    while (index >= 0 && w->snaps[index].deleted)
        index = w->snaps[index].parent;
    return index;
}

void world_fork(struct world *w, int index, bool second)
{
    const struct model_snap *m = &w->snaps[index];
    struct store *s = handle(w, second);
    struct head *h;

    tell(w, "fork of s%d\n", index);
    twice(w, head_fork(s, m->id, &h, e));
    for (uint32_t p = 0; p < W_PAGES; p += 41) {
        assert_int_equal(world_tag(h, p), m->disk.tag[p]);
        disk_put(h, "disk0", p % W_DISK0, 2000000 + p);
    }
    for (uint32_t p = 0; p < W_PAGES; p += 41)
        assert_int_equal(disk_tag(h, "disk0", p % W_DISK0), 2000000 + p);
    fails(VT_BUSY, "in use", snapshot_delete(w->s, m->id, e));
    ok(head_reset(h, m->id, e));
    for (uint32_t p = 0; p < W_PAGES; p += 37)
        assert_int_equal(world_tag(h, p), m->disk.tag[p]);
    ok(head_close(h, e));
}

/* ---- the store ---- */

void world_maintain(struct world *w, bool second)
{
    tell(w, "maintain\n");
    twice(w, store_maintain(handle(w, second), e));
}

void world_gc(struct world *w)
{
    tell(w, "gc, stopped\n");
    world_flush(w);
    world_close(w);
    twice(w, store_open_hooked(w->dir, STORE_CREATE, hook_of(w), &w->s, e));
    twice(w, undo_forget_all(w->s, e)); /* else what was deleted stays for a day */
    w->n_past = 0;
    twice(w, store_gc(w->s, NULL, e));
    store_close(w->s);
    world_open_again(w);
}

void world_gc_beside(struct world *w)
{
    tell(w, "gc\n");
    twice(w, undo_forget_all(handle(w, true), e));
    w->n_past = 0;
    twice(w, store_gc(handle(w, true), NULL, e));
}

static int checkpoint(struct store *s, struct err *e)
{
    struct db *db = NULL;
    int r = db_get(s, &db, e);

    if (!r)
        r = db_checkpoint(db, e);
    db_put(db);
    return r;
}

void world_checkpoint(struct world *w)
{
    tell(w, "checkpoint\n");
    twice(w, checkpoint(w->s, e));
}

uint32_t world_other_tag(uint32_t page)
{
    return page % 7 ? 1 + page : 3000000 + page; /* mostly what the first machine writes, too */
}

void world_other(struct world *w)
{
    struct slot_spec disk = {.slot = "disk0", .bytes = W_OTHER * PAGE, .import_fd = -1};
    struct head *h;
    int64_t id;
    int lock;

    ok(machine_create(w->s, "other", "{}", &disk, 1, NULL, NULL, &id, e));
    ok(machine_lock(w->s, id, &lock, e));
    ok(head_open(w->s, id, 0, &h, e));
    for (uint32_t p = 0; p < W_OTHER; p++)
        disk_put(h, "disk0", p, world_other_tag(p));
    take(h, "o", 0);
    event(w, EV_OTHER, 0, 0, 0);
    ok(head_close(h, e));
    close(lock);
}

void world_other_rm(struct world *w)
{
    int64_t id = 0;
    int lock;

    ok(machine_find(w->s, "other", true, &id, e));
    ok(machine_lock(w->s, id, &lock, e));
    event(w, EV_OTHER_RM_BEGIN, 0, 0, 0);
    ok(machine_rm(w->s, id, e));
    event(w, EV_OTHER_RM, 0, 0, 0);
    close(lock);
}

/* ---- random steps ---- */

int world_pick(struct world *w, struct rng *r)
{
    int start = w->n_snaps ? (int)rng_below(r, (uint64_t)w->n_snaps) : 0;

    for (int i = 0; i < w->n_snaps; i++)
        if (!w->snaps[(start + i) % w->n_snaps].deleted)
            return (start + i) % w->n_snaps;
    return -1;
}

void world_begin_anew(struct world *w)
{
    w->n_events = 0;
    event(w, EV_MACHINE, 0, 0, 0);
    for (int i = 0; i < w->n_snaps; i++) {
        event(w, EV_SNAP_BEGIN, 0, 0, i);
        event(w, EV_SNAP, 0, 0, i);
        if (w->snaps[i].renames)
            event(w, EV_RENAME, 0, w->snaps[i].renames, i);
        if (w->snaps[i].deleted)
            event(w, EV_DELETE, 0, 0, i);
    }
    w->start = w->now;
    event(w, EV_START, 0, 0, 0);
    w->resets = 0;
    w->step_began = w->rec->n;
}

/* Flushes that came after the crash did not happen. */
static void forget_after(struct world *w, size_t n)
{
    unsigned had = MIN(w->n_past, W_PAST);

    w->n_past = 0;
    for (unsigned i = 0; i < had; i++)
        if (w->past[i].at <= n) {
            w->past[w->n_past] = w->past[i];
            w->past[w->n_past++].at = 0;
        }
}

static void crash(struct world *w, struct rng *r)
{
    static const char *const how[] = {"kill",           "power failure",   "one operation lost",
                                      "one write torn", "one write begun", "one operation alone"};
    struct crash c = {.kind = (enum crash_kind)rng_below(r, CRASH_KINDS)};
    size_t *loose, n_loose;

    c.n = w->step_began + rng_below(r, w->rec->n - w->step_began + 1);
    n_loose = record_unsynced(w->rec, c.n, &loose);
    if (c.kind > CRASH_POWER && n_loose)
        c.which = loose[rng_below(r, n_loose)];
    else if (c.kind > CRASH_POWER)
        c.kind = CRASH_POWER;
    free(loose);
    tell(w, "crash: %s\n", how[c.kind]);
    forget_after(w, c.n);
    world_close(w); /* what it writes comes after the crash, and is not there any more */
    rmtree(w->dir);
    record_restart(w->rec, &c, w->dir);
    crash_resume(w, &c);
    world_begin_anew(w);
    w->crashes++;
    world_compare(w);
    check_sound(w->s);
}

static void snapshot_step(struct world *w, struct rng *r)
{
    bool ram = rng_below(r, 2), quiesced = !rng_below(r, 3);
    int i = world_pick(w, r);

    if (w->n_alive >= 10)
        world_delete(w, i, false);
    else if (!rng_below(r, 6))
        world_two_snapshots(w, (uint32_t)rng_below(r, W_PAGES));
    else
        world_snapshot(w, ram, quiesced, (uint32_t)rng_below(r, W_PAGES));
}

static void write_step(struct world *w, struct rng *r)
{
    uint32_t page = (uint32_t)rng_below(r, W_PAGES), n = 1 + (uint32_t)rng_below(r, 12);

    if (!rng_below(r, 10)) {
        world_discard(w, page, n);
        return;
    }
    for (uint32_t k = 0; k < n; k++)
        world_write(w, (page + k) % W_PAGES, !rng_below(r, 9));
}

static void tree_step(struct world *w, struct rng *r)
{
    uint64_t dice = rng_below(r, 20);
    int i = world_pick(w, r);
    bool second = rng_below(r, 2);

    if (dice < 11) {
        if (w->resets >= CRASH_LINEAGES - 2) /* more than the model of a crash can hold */
            world_flush(w);
        if (dice > 8)
            world_undo_reset(w, i, (uint32_t)rng_below(r, W_PAGES));
        else
            world_reset(w, dice ? i : -1);
    } else if (i < 0) {
        return;
    } else if (dice < 14) {
        world_delete(w, i, second);
    } else if (dice < 15) {
        world_undo_delete(w, i, second);
    } else if (dice < 17) {
        world_rename(w, i, second);
    } else if (dice < 19) {
        world_fork(w, i, second);
    } else {
        world_compare_snap(w, handle(w, second), i, w->snaps[i].id);
    }
}

static void store_step(struct world *w, struct rng *r)
{
    switch (rng_below(r, 12)) {
    case 6:
        world_checkpoint(w);
        break;
    case 9:
        world_remember(w, (uint32_t)rng_below(r, W_PAGES));
        break;
    case 10:
    case 11:
        if (w->n_past)
            world_look_back(w, (unsigned)rng_below(r, MIN(w->n_past, W_PAST)));
        break;
    case 0:
        world_gc(w);
        break;
    case 1:
        world_gc_beside(w);
        break;
    case 2:
        world_reopen(w);
        break;
    case 3:
        world_abort(w);
        break;
    case 4:
        world_fold(w);
        break;
    case 5:
        if (rng_below(r, 2))
            world_prepare(w);
        else
            world_spare(w);
        break;
    default:
        world_maintain(w, rng_below(r, 2));
        break;
    }
}

void world_step(struct world *w, struct rng *r)
{
    uint64_t dice = rng_below(r, 100);

    w->steps++;
    if (w->rec && !w->steady && dice >= 97) {
        crash(w, r);
        return;
    }
    if (w->rec)
        w->step_began = w->rec->n;
    if (dice < 52)
        write_step(w, r);
    else if (dice < 66)
        world_flush(w);
    else if (dice < 76)
        snapshot_step(w, r);
    else if (dice < 88)
        tree_step(w, r);
    else
        store_step(w, r);
}
