/* Several captures of memory in flight, against a table with a full copy of each: every one has the pages as they were
 * when it began, in whatever order they are read and given up, and whatever is written meanwhile. */
#include "tests/unit/unit.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include "vmcore/mem.h"

#define PAGES 64
#define PAGE  VT_PAGE_SIZE
#define STEPS 60000

/* Page p holds 1000 + p where it was never written; 0 is all zero. */
static void page_fill(uint8_t *dst, uint64_t v)
{
    uint64_t *w = (uint64_t *)dst;

    memset(dst, 0, PAGE);
    for (unsigned k = 0; k < PAGE / 8 && v; k++)
        w[k] = v + k * 0x9e3779b97f4a7c15u;
}

static uint64_t page_value(const uint8_t *p)
{
    const uint64_t *w = (const uint64_t *)p;

    for (unsigned k = 1; k < PAGE / 8; k++)
        assert_int_equal(w[k], w[0] ? w[0] + k * 0x9e3779b97f4a7c15u : 0); /* else it was torn */
    return w[0];
}

struct shot { /* a capture in flight, and what it must have */
    uint64_t epoch, value[PAGES];
    bool read[PAGES];
};

struct rig {
    struct pagesrc src; /* what was stored last */
    struct mem *m;
    struct pagetrack *track;
    uint64_t now[PAGES], next;
    struct shot shot[PAGETRACK_CAPTURES];
    unsigned n;
    uint64_t base[PAGES], base_epoch; /* what was stored last; 0: nothing */
    unsigned long stored, lost, full, reverts, fills, undone, gone;
    uint64_t left[PAGES], left_base[PAGES]; /* what the last revert left, and what that stood on */
    bool has_left;
    uint64_t rng;
};

static int fill(struct pagesrc *s, uint64_t page, uint32_t n, void *dst, struct err *e)
{
    struct rig *g = (struct rig *)s;

    for (uint32_t k = 0; k < n; k++)
        page_fill((uint8_t *)dst + (size_t)k * PAGE, g->base[page + k]);
    g->fills++;
    return 0;
}

static bool is_zero(struct pagesrc *s, uint64_t page)
{
    return false;
}

static void drop(void *opaque, uint32_t bpn, bool writes_only)
{
}

static void code_write(void *opaque, uint32_t bpn, uint32_t off, uint32_t len)
{
}

static void flush_writes(void *opaque)
{
}

static int load(void *opaque, struct pagesrc *src, uint32_t page, uint8_t *dst)
{
    return dst ? src->fill(src, page, 1, dst, NULL) : -1;
}

static uint64_t below(struct rig *g, uint64_t n)
{
    g->rng ^= g->rng << 13;
    g->rng ^= g->rng >> 7;
    g->rng ^= g->rng << 17;
    return g->rng % n;
}

static void rig_make(struct rig *g, uint64_t seed)
{
    struct err err = {0};

    *g = (struct rig){.src = {.pages = PAGES, .fill = fill, .is_zero = is_zero}, .next = 1000000, .rng = seed};
    assert_int_equal(mem_new(PAGES * PAGE, 0, 0, &g->m, &err), 0);
    g->m->drop = drop;
    g->m->code_write = code_write;
    g->m->flush_writes = flush_writes;
    g->m->load = load;
    g->track = &g->m->image[MEM_IMAGE_RAM].track;
    mem_restore(&g->m->image[MEM_IMAGE_RAM], &g->src);
    for (uint64_t p = 0; p < PAGES; p++)
        g->now[p] = g->base[p] = 1000 + p;
}

static void rig_write(struct rig *g)
{
    uint64_t p = below(g, PAGES);

    g->now[p] = g->next += 7;
    page_fill(mem_write_ptr(g->m, (uint32_t)p), g->now[p]);
}

static void rig_take(struct rig *g)
{
    struct shot *s = &g->shot[g->n];

    if (g->n == PAGETRACK_CAPTURES) {
        assert_false(g->track->room(g->track));
        g->full++;
        return;
    }
    assert_true(g->track->room(g->track) || g->n); /* a place is free once those before it are over, too */
    if (!g->track->room(g->track))
        return;
    s->epoch = g->track->capture(g->track);
    memcpy(s->value, g->now, sizeof s->value);
    memset(s->read, 0, sizeof s->read);
    g->n++;
}

static void rig_read(struct rig *g)
{
    struct shot *s = &g->shot[below(g, g->n)];
    uint64_t p = below(g, PAGES);
    uint8_t page[PAGE];

    /* what was read before may be gone: nobody asks twice */
    if (g->track->copy(g->track, s->epoch, p, page, NULL) == 0)
        assert_int_equal(page_value(page), s->value[p]);
    else
        assert_true(s->read[p]);
    s->read[p] = true;
}

static void drop_shot(struct rig *g, unsigned k, bool stored)
{
    (stored ? g->track->retain : g->track->done)(g->track, g->shot[k].epoch);
    memmove(&g->shot[k], &g->shot[k + 1], (g->n - k - 1) * sizeof g->shot[0]);
    g->n--;
}

/* The oldest: all that changed since what was stored last, upon that. Reads may end halfway, as a full disk ends them:
 * then it is lost, and the next one has what it would have had. */
static void rig_store(struct rig *g)
{
    struct shot *s = &g->shot[0];
    bool fails = below(g, 4) == 0;
    uint64_t got[PAGES], p = 0;
    uint8_t page[PAGE];

    memcpy(got, g->base, sizeof got);
    while (g->track->next_changed(g->track, g->base_epoch, s->epoch, &p)) {
        if (fails && below(g, PAGES / 4) == 0)
            break;
        assert_int_equal(g->track->copy(g->track, s->epoch, p, page, NULL), 0);
        got[p++] = page_value(page);
        if (below(g, 3) == 0) /* the guest does not stand still */
            rig_write(g);
    }
    if (!fails) {
        assert_memory_equal(got, s->value, sizeof got);
        memcpy(g->base, got, sizeof got);
        g->base_epoch = s->epoch;
        g->stored++;
    } else {
        g->lost++;
    }
    drop_shot(g, 0, !fails);
}

static size_t changed(struct rig *g, uint64_t list[PAGES])
{
    uint64_t p = 0, e = g->track->capture(g->track);
    size_t n = 0;

    for (; g->track->next_changed(g->track, g->base_epoch, e, &p); p++)
        list[n++] = p;
    g->track->done(g->track, e);
    return n;
}

/* To what was stored last. What that leaves can be had back, where few pages were written over since. */
static void rig_revert(struct rig *g, bool afresh)
{
    struct mem_image *i = &g->m->image[MEM_IMAGE_RAM];
    uint64_t list[PAGES], p;
    size_t n = changed(g, list);

    assert_true(mem_leave(i, list, n, PAGES / 8));
    memcpy(g->left, g->now, sizeof g->left);
    memcpy(g->left_base, g->base, sizeof g->left_base);
    g->has_left = true;
    if (afresh)
        mem_restore(i, &g->src);
    else
        mem_revert(i, &g->src, list, n);
    g->base_epoch = g->track->capture(g->track);
    g->track->done(g->track, g->base_epoch);
    memcpy(g->now, g->base, sizeof g->now);
    for (unsigned k = 0; k < PAGES / 4; k++) {
        p = below(g, PAGES);
        assert_int_equal(page_value(mem_read_ptr(g->m, (uint32_t)p)), g->now[p]);
    }
    g->reverts++;
}

static void captures_in_flight_have_what_was(void **state)
{
    struct rig *g = malloc(sizeof *g);

    rig_make(g, 88172645463325252u);
    for (unsigned i = 0; i < STEPS; i++) {
        uint64_t dice = below(g, 100);

        if (dice < 60)
            rig_write(g);
        else if (dice < 78)
            rig_take(g);
        else if (g->n && dice < 94)
            rig_store(g);
        else if (g->n == 0 && g->base_epoch)
            rig_revert(g, false);
        else if (g->n > 1 && dice < 97) /* given up before its turn */
            drop_shot(g, 1 + (unsigned)below(g, g->n - 1), false);
    }
    assert_true(g->stored > 1000 && g->lost > 100 && g->full > 10 && g->reverts > 100);
    mem_free(g->m);
    free(g);
}

/* Any page of any of them, at any time; the present stays what it is. */
static void captures_are_read_in_any_order(void **state)
{
    struct rig *g = malloc(sizeof *g);

    rig_make(g, 1181783497276652981u);
    for (unsigned i = 0; i < STEPS; i++) {
        uint64_t dice = below(g, 100), p = below(g, PAGES);

        if (dice < 50)
            rig_write(g);
        else if (dice < 60)
            rig_take(g);
        else if (g->n && dice < 95)
            rig_read(g);
        else if (g->n)
            drop_shot(g, (unsigned)below(g, g->n), false);
        assert_int_equal(page_value(mem_read_ptr(g->m, (uint32_t)p)), g->now[p]);
    }
    mem_free(g->m);
    free(g);
}

/* A content is put aside once, for however many captures have it. */
static void a_version_is_kept_once(void **state)
{
    struct rig *g = malloc(sizeof *g);
    uint8_t page[PAGE];

    rig_make(g, 1);
    for (unsigned k = 0; k < 4; k++)
        rig_take(g);
    page_fill(mem_write_ptr(g->m, 5), 1);
    assert_int_equal(g->m->versions, 1);
    rig_take(g);
    page_fill(mem_write_ptr(g->m, 5), 2);
    page_fill(mem_write_ptr(g->m, 5), 3);
    assert_int_equal(g->m->versions, 2);
    for (unsigned k = 0; k < 5; k++) {
        assert_int_equal(g->track->copy(g->track, g->shot[k].epoch, 5, page, NULL), 0);
        assert_int_equal(page_value(page), k < 4 ? 1005 : 1);
    }
    while (g->n)
        drop_shot(g, g->n - 1, false); /* newest first: the older ones look through them */
    page_fill(mem_write_ptr(g->m, 6), 2);
    assert_int_equal(g->m->versions, 2); /* nobody needs it */
    mem_free(g->m);
    free(g);
}

/* What is written over first comes back without the store, again and again; past a limit, from there. */
static void a_revert_is_from_memory(void **state)
{
    struct rig *g = malloc(sizeof *g);
    uint8_t page[PAGE];

    rig_make(g, 3);
    for (uint32_t p = 0; p < PAGES; p++)
        page_fill(mem_write_ptr(g->m, p), g->now[p] = 5000 + p);
    rig_take(g);
    for (uint64_t p = 0; p < PAGES; p++) {
        assert_int_equal(g->track->copy(g->track, g->shot[0].epoch, p, page, NULL), 0);
        g->base[p] = page_value(page);
    }
    g->base_epoch = g->shot[0].epoch;
    drop_shot(g, 0, true);
    for (unsigned round = 0; round < 3; round++) {
        for (uint32_t p = 0; p < PAGES / 16; p++)
            page_fill(mem_write_ptr(g->m, p), 1 + p);
        rig_revert(g, false);
        g->fills = 0;
        for (uint32_t p = 0; p < PAGES / 16; p++)
            assert_int_equal(page_value(mem_read_ptr(g->m, p)), g->base[p]);
        assert_int_equal(g->fills, 0);
    }
    for (uint32_t p = 0; p < PAGES; p++)
        page_fill(mem_write_ptr(g->m, p), 1 + p);
    g->fills = 0;
    rig_revert(g, false);
    for (uint32_t p = 0; p < PAGES; p++)
        assert_int_equal(page_value(mem_read_ptr(g->m, p)), g->base[p]);
    assert_true(g->fills >= PAGES / 2);
    mem_free(g->m);
    free(g);
}

/* Takes the last revert back: to what it was from, and what had changed upon that. */
static void rig_undo(struct rig *g)
{
    struct mem_image *i = &g->m->image[MEM_IMAGE_RAM];
    uint64_t list[PAGES];
    size_t n;

    g->has_left = false;
    if (!i->left.on) {
        g->gone++;
        return;
    }
    n = changed(g, list);
    for (uint64_t p = 0; p < PAGES; p++)
        if (g->base[p] != g->left_base[p])
            list[n++ % PAGES] = p; /* some twice; too many: below */
    g->track->forget(g->track);
    memcpy(g->base, g->left_base, sizeof g->base);
    if (n <= PAGES)
        mem_revert(i, &g->src, list, n);
    else
        mem_restore(i, &g->src);
    g->base_epoch = g->track->capture(g->track);
    g->track->done(g->track, g->base_epoch);
    mem_left_back(i);
    memcpy(g->now, g->left, sizeof g->now);
    for (uint64_t p = 0; p < PAGES; p++)
        if (below(g, 2))
            assert_int_equal(page_value(mem_read_ptr(g->m, (uint32_t)p)), g->now[p]);
    g->undone++;
}

/* A page that was asked for is zero then. */
static void rig_discard(struct rig *g)
{
    uint64_t p = below(g, PAGES);

    mem_read_ptr(g->m, (uint32_t)p);
    mem_discard(g->m, (uint32_t)p, 1);
    g->now[p] = 0;
}

/* Its bytes are in the pages' own places, or copied, or lost as a whole; snapshots and reverts go on meanwhile. */
static void a_revert_is_taken_back(void **state)
{
    struct rig *g = malloc(sizeof *g);

    rig_make(g, 362436069);
    for (unsigned i = 0; i < STEPS; i++) {
        uint64_t dice = below(g, 100), p = below(g, PAGES);

        if (dice < 50)
            rig_write(g);
        else if (dice < 60)
            rig_discard(g);
        else if (dice < 75)
            assert_int_equal(page_value(mem_read_ptr(g->m, (uint32_t)p)), g->now[p]);
        else if (dice < 80)
            rig_take(g);
        else if (g->n)
            rig_store(g);
        else if (g->has_left && dice < 90)
            rig_undo(g);
        else if (g->base_epoch && dice > 96)
            rig_revert(g, dice == 97);
    }
    assert_true(g->reverts > 500 && g->undone > 200 && g->gone > 20 && g->m->left_copies > 1000);
    mem_free(g->m);
    free(g);
}

/* A machine that was booted stands on nothing: what it did not write is zero again. */
static void a_revert_of_what_was_booted_is_taken_back(void **state)
{
    struct rig *g = malloc(sizeof *g);
    struct mem_image *i;
    struct mem *m;

    rig_make(g, 1);
    mem_free(g->m);
    assert_int_equal(mem_new(PAGES * PAGE, 0, 0, &m, NULL), 0);
    m->drop = drop;
    m->code_write = code_write;
    m->flush_writes = flush_writes;
    m->load = load;
    i = &m->image[MEM_IMAGE_RAM];
    page_fill(mem_write_ptr(m, 3), 33);
    page_fill(mem_write_ptr(m, 4), 44);
    page_fill(mem_write_ptr(m, 5), 55);
    mem_read_ptr(m, 6);
    mem_discard(m, 5, 1);
    assert_true(mem_leave(i, (const uint64_t[]){3, 4, 5}, 3, PAGES));
    mem_restore(i, &g->src);
    for (uint32_t p = 0; p < PAGES / 2; p++)
        assert_int_equal(page_value(mem_read_ptr(m, p)), 1000 + p);
    page_fill(mem_write_ptr(m, 4), 1);
    page_fill(mem_write_ptr(m, 20), 1);
    mem_restore(i, NULL);
    mem_left_back(i);
    for (uint32_t p = 0; p < PAGES; p++) {
        if (p == 3 || p == 4)
            assert_int_equal(page_value(mem_read_ptr(m, p)), p * 11);
        else
            assert_memory_equal(mem_read_ptr(m, p), m->zero, PAGE);
    }
    mem_free(m);
    free(g);
}

/* ---- with a guest that runs */

struct race {
    struct rig *g;
    atomic_bool pause, paused, stop;
};

/* A guest that is to stand does not wait for the store. */
static bool hurried(void *opaque)
{
    struct race *r = opaque;

    return atomic_load(&r->pause) || atomic_load(&r->stop);
}

static void *guest(void *opaque)
{
    struct race *r = opaque;

    while (!atomic_load(&r->stop)) {
        if (atomic_load(&r->pause)) {
            atomic_store(&r->paused, true);
            while (atomic_load(&r->pause))
                sched_yield();
            atomic_store(&r->paused, false);
        }
        rig_write(r->g);
    }
    return NULL;
}

static void take_paused(struct race *r)
{
    atomic_store(&r->pause, true);
    while (!atomic_load(&r->paused))
        sched_yield();
    rig_take(r->g);
    atomic_store(&r->pause, false);
    while (atomic_load(&r->paused))
        sched_yield();
}

/* most: pages that captures may hold. Fills *ret_peak with how many they held. */
static void store_meanwhile(uint32_t most, uint32_t *ret_peak, uint64_t *ret_stalls)
{
    struct rig *g = malloc(sizeof *g);
    struct race r = {.g = g};
    uint64_t base_epoch = 0, base[PAGES];
    pthread_t thread;

    rig_make(g, 7);
    memcpy(base, g->base, sizeof base);
    g->m->opaque = &r;
    g->m->hurried = hurried;
    g->m->image[MEM_IMAGE_RAM].held_most = most;
    assert_int_equal(pthread_create(&thread, NULL, guest, &r), 0);
    for (unsigned round = 0; round < 300; round++) {
        for (unsigned k = 0; k < 1 + round % 5; k++)
            take_paused(&r);
        while (g->n > round % 3) {
            struct shot *s = &g->shot[0];
            uint64_t p = 0;
            uint8_t page[PAGE];

            while (g->track->next_changed(g->track, base_epoch, s->epoch, &p)) {
                assert_int_equal(g->track->copy(g->track, s->epoch, p, page, NULL), 0);
                base[p++] = page_value(page);
            }
            assert_memory_equal(base, s->value, sizeof base);
            base_epoch = s->epoch;
            drop_shot(g, 0, round % 2);
        }
    }
    atomic_store(&r.stop, true);
    pthread_join(thread, NULL);
    *ret_peak = g->m->held_peak;
    *ret_stalls = g->m->stalls;
    mem_free(g->m);
    free(g);
}

static void a_guest_runs_meanwhile(void **state)
{
    uint64_t stalls;
    uint32_t peak;

    store_meanwhile(UINT32_MAX, &peak, &stalls);
    assert_int_equal(stalls, 0);
}

/* A guest that changes more than captures may hold waits for the store; each time that it is stopped, one page more is
 * the most that it may cost. */
static void what_captures_hold_is_bounded(void **state)
{
    const uint32_t most = 6;
    uint64_t stalls;
    uint32_t peak;

    store_meanwhile(UINT32_MAX, &peak, &stalls);
    assert_true(peak > most + PAGETRACK_CAPTURES);
    store_meanwhile(most, &peak, &stalls);
    assert_in_range(peak, most, most + PAGETRACK_CAPTURES);
    assert_true(stalls > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(captures_in_flight_have_what_was), cmocka_unit_test(captures_are_read_in_any_order),
        cmocka_unit_test(a_version_is_kept_once),           cmocka_unit_test(a_revert_is_from_memory),
        cmocka_unit_test(a_revert_is_taken_back),           cmocka_unit_test(a_revert_of_what_was_booted_is_taken_back),
        cmocka_unit_test(a_guest_runs_meanwhile),           cmocka_unit_test(what_captures_hold_is_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
