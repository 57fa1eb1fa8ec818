/* What captures in flight still need: see mem.h and pagesrc.h.
 *
 * Each capture has a set of versions: contents that were written over after it and that it, or one before it, may still
 * need. A content is put aside once, for the newest capture that has it; an older one finds it by looking forward
 * through the captures up to the newest: where none has a version, what it wants is what the page holds now.
 *
 * The last capture that was stored is retained: what is written over after it goes on to be put aside, up to a limit,
 * for a revert to it. It is the newest capture while none is in flight.
 *
 * What captures in flight hold is bounded: past that, a first write waits. Whoever stores the oldest one lets a version
 * go when it has copied it, so the guest goes on at the speed of the store.
 *
 * kept and order change only while the vCPU stands (capture) or for captures that are over (done), under `guard`. A
 * page's claim is held by whoever copies its content, so that it is neither written to nor put aside meanwhile. done
 * comes from any thread, so the vCPU may put a last version aside for a capture that is over: nobody reads it, and a
 * capture that uses its place afterwards begins with none. */
#include "vmcore/mem.h"

#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include "src/base/util.h"
#include "vmcore/rt.h"

#define WAIT_NS      1000000 /* between looks at whether the guest is to stop */
#define RETAINED_MAX 4096u   /* pages: what a guest writes to first, it wants first after a revert */

enum {
    STATE_NONE,   /* no version: look on */
    STATE_SAVED,  /* the capture has it, and the page still holds it */
    STATE_GONE,   /* the capture has it, or nobody needs it, and it was written over; so in what follows */
    STATE_KEPT,   /* here it is */
    STATE_COPIED, /* here it is, and the capture has it */
};

static void take(uint8_t *flag)
{
    while (__atomic_exchange_n(flag, 1, __ATOMIC_ACQUIRE))
        __builtin_ia32_pause();
}

static void let_go(uint8_t *flag)
{
    __atomic_store_n(flag, 0, __ATOMIC_RELEASE);
}

static struct mem_kept *nth(struct mem_image *i, uint32_t n)
{
    return &i->kept[i->order[n % PAGETRACK_CAPTURES]];
}

static uint8_t state_of(const struct mem_kept *k, uint64_t page)
{
    return __atomic_load_n(&k->state[page], __ATOMIC_ACQUIRE);
}

static void set_state(struct mem_kept *k, uint64_t page, uint8_t state)
{
    __atomic_store_n(&k->state[page], state, __ATOMIC_RELEASE);
}

static uint32_t retained_most(const struct mem_image *i)
{
    return MIN(RETAINED_MAX, i->pages / 8);
}

/* Pages that the captures in flight hold. */
static uint32_t held(struct mem_image *i)
{
    uint32_t sum = 0, taken = __atomic_load_n(&i->taken, __ATOMIC_ACQUIRE);

    for (uint32_t n = __atomic_load_n(&i->gone, __ATOMIC_ACQUIRE); n != taken; n++)
        sum += __atomic_load_n(&nth(i, n)->held, __ATOMIC_RELAXED);
    return sum;
}

/* Until they hold less than they may, or there is no time for that. */
static void wait_for_room(struct mem_image *i)
{
    struct timespec ts = {.tv_nsec = WAIT_NS};
    struct mem *m = i->m;

    if (held(i) < i->held_most || !m->hurried || m->hurried(m->opaque))
        return;
    m->stalls++;
    __atomic_store_n(&i->waits, 1, __ATOMIC_SEQ_CST);
    for (;;) {
        uint32_t seen = __atomic_load_n(&i->let_go, __ATOMIC_SEQ_CST);
        if (held(i) < i->held_most || m->hurried(m->opaque))
            break;
        rt_syscall6(SYS_futex, (long)&i->let_go, FUTEX_WAIT_PRIVATE, seen, (long)&ts, 0, 0);
    }
    __atomic_store_n(&i->waits, 0, __ATOMIC_RELAXED);
}

static void tell_room(struct mem_image *i)
{
    __atomic_fetch_add(&i->let_go, 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&i->waits, __ATOMIC_SEQ_CST))
        rt_syscall6(SYS_futex, (long)&i->let_go, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0);
}

/* Who may still want a page's present content: the newest capture in flight, of so many, or the retained one. NULL:
 * nobody, since it is younger than those. */
static struct mem_kept *keeper(struct mem_image *i, uint32_t bpn, uint32_t *ret_flying)
{
    uint32_t gone = __atomic_load_n(&i->gone, __ATOMIC_ACQUIRE), taken = __atomic_load_n(&i->taken, __ATOMIC_ACQUIRE);
    struct mem_kept *k = taken == gone ? __atomic_load_n(&i->retained, __ATOMIC_ACQUIRE) : nth(i, taken - 1);

    *ret_flying = taken - gone;
    return k && i->m->born[bpn] <= k->epoch ? k : NULL;
}

/* Is it stored already, so that only a revert may want it? */
static bool is_stored(const struct mem_kept *k, uint32_t flying, uint32_t page)
{
    return !flying || (flying == 1 && state_of(k, page) == STATE_SAVED);
}

static void put_aside(struct mem_image *i, struct mem_kept *k, uint32_t page, const uint8_t *p)
{
    memcpy(k->shadow + ((size_t)page << VT_PAGE_SHIFT), p, VT_PAGE_SIZE);
    i->m->versions++;
    __atomic_store_n(&k->n, k->n + 1, __ATOMIC_RELAXED);
    set_state(k, page, STATE_KEPT);
}

void mem_keep(struct mem_image *i, uint32_t bpn, const uint8_t *p)
{
    uint32_t page = bpn - i->first, flying;
    struct mem_kept *k = keeper(i, bpn, &flying);
    struct mem *m = i->m;

    if (k && !is_stored(k, flying, page)) {
        wait_for_room(i);
        k = keeper(i, bpn, &flying);
    }
    if (!k)
        return;
    take(&m->claim[bpn]);
    k->born[page] = m->born[bpn];
    if (!is_stored(k, flying, page)) {
        __atomic_fetch_add(&k->held, 1, __ATOMIC_RELAXED);
        put_aside(i, k, page, p);
        m->held_peak = MAX(m->held_peak, held(i));
    } else if (k->n < retained_most(i)) {
        put_aside(i, k, page, p);
    } else {
        set_state(k, page, STATE_GONE);
    }
    let_go(&m->claim[bpn]);
}

/* What is retained is the image's source too, so that the page is as the source has it. */
bool mem_take_retained(struct mem_image *i, uint32_t bpn)
{
    uint32_t page = bpn - i->first;
    struct mem_kept *k;
    bool there;

    if (!__atomic_load_n(&i->retained, __ATOMIC_RELAXED))
        return false;
    take(&i->guard);
    k = i->retained;
    there = k && state_of(k, page) >= STATE_KEPT;
    if (there) {
        mem_overwrite(i, bpn);
        memcpy(i->m->ram + ((size_t)bpn << VT_PAGE_SHIFT), k->shadow + ((size_t)page << VT_PAGE_SHIFT), VT_PAGE_SIZE);
    }
    let_go(&i->guard);
    return there;
}

/* ---- pagetrack */

static size_t kept_bytes(const struct mem_image *i)
{
    return MAX((size_t)i->pages, 1) * (VT_PAGE_SIZE + sizeof(uint32_t) + 1);
}

/* Address space alone: what nobody touches is not there. */
static bool map(struct mem_image *i, struct mem_kept *k)
{
    long p = rt_syscall6(SYS_mmap, 0, (long)kept_bytes(i), PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if ((unsigned long)p > -4096ul) /* an error */
        return false;
    k->shadow = (uint8_t *)p;
    k->born = (uint32_t *)(k->shadow + ((size_t)i->pages << VT_PAGE_SHIFT));
    k->state = (uint8_t *)(k->born + i->pages);
    return true;
}

/* A place that no capture has, mapped if need be. */
static struct mem_kept *free_place(struct mem_image *i)
{
    for (unsigned n = 0; n < PAGETRACK_CAPTURES; n++)
        if (!__atomic_load_n(&i->kept[n].used, __ATOMIC_ACQUIRE))
            return i->kept[n].shadow || map(i, &i->kept[n]) ? &i->kept[n] : NULL;
    return NULL;
}

static void give_back(struct mem_image *i, struct mem_kept *k)
{
    rt_syscall3(SYS_madvise, (long)k->shadow, (long)i->pages << VT_PAGE_SHIFT, MADV_DONTNEED);
    __atomic_store_n(&k->used, false, __ATOMIC_RELEASE);
}

/* Retains k, or nothing, in place of what was. */
static void retain(struct mem_image *i, struct mem_kept *k)
{
    struct mem_kept *old;

    take(&i->guard);
    old = __atomic_exchange_n(&i->retained, k, __ATOMIC_ACQ_REL);
    let_go(&i->guard);
    if (old)
        give_back(i, old);
}

static void track_forget(struct pagetrack *t)
{
    retain((struct mem_image *)t, NULL);
}

static bool track_room(struct pagetrack *t)
{
    track_forget(t);
    return free_place((struct mem_image *)t);
}

static uint64_t track_capture(struct pagetrack *t)
{
    struct mem_image *i = (struct mem_image *)t;
    struct mem_kept *k = free_place(i);
    uint32_t e = i->epoch;

    if (!k) { /* no address space for another: there is one */
        track_forget(t);
        k = free_place(i);
    }
    vt_assert(k);
    take(&i->guard);
    memset(k->state, STATE_NONE, i->pages);
    k->epoch = e;
    k->over = false;
    k->used = true;
    k->n = k->held = 0;
    i->order[i->taken % PAGETRACK_CAPTURES] = (uint8_t)(k - i->kept);
    i->epoch++;
    __atomic_store_n(&i->taken, i->taken + 1, __ATOMIC_RELEASE);
    let_go(&i->guard);
    i->m->flush_writes(i->m->opaque);
    return e;
}

/* The capture of epoch e, which is in flight. */
static uint32_t number(struct mem_image *i, uint64_t e)
{
    uint32_t n = __atomic_load_n(&i->gone, __ATOMIC_ACQUIRE), taken = __atomic_load_n(&i->taken, __ATOMIC_ACQUIRE);

    while (n != taken && nth(i, n)->epoch != e)
        n++;
    vt_assert(n != taken);
    return n;
}

/* The epoch in which the content that capture e, the nth, owns was born. */
static uint32_t born_at(struct mem_image *i, uint32_t n, uint64_t e, uint64_t page)
{
    uint32_t b = __atomic_load_n(&i->m->born[i->first + page], __ATOMIC_ACQUIRE);
    uint32_t taken = __atomic_load_n(&i->taken, __ATOMIC_ACQUIRE);

    for (; b > e && n != taken; n++) {
        uint8_t s = state_of(nth(i, n), page);
        if (s >= STATE_GONE)
            b = nth(i, n)->born[page];
    }
    return b;
}

static bool track_next(struct pagetrack *t, uint64_t since, uint64_t e, uint64_t *page)
{
    struct mem_image *i = (struct mem_image *)t;
    const uint32_t *born = &i->m->born[i->first];
    uint32_t n = number(i, e);

    for (uint64_t p = *page; p < i->pages; p++) { /* most were not written since, and are passed over fast */
        if (born[p] > since && born_at(i, n, e, p) > since) {
            *page = p;
            return true;
        }
    }
    return false;
}

/* The page as it is now. */
static int copy_present(struct mem_image *i, uint64_t page, void *dst, struct err *err)
{
    const uint8_t *p = __atomic_load_n(&i->m->host[i->first + page], __ATOMIC_ACQUIRE);

    if (p)
        memcpy(dst, p, VT_PAGE_SIZE);
    else if (i->src)
        return i->src->fill(i->src, page, 1, dst, err);
    else
        memset(dst, 0, VT_PAGE_SIZE);
    return 0;
}

/* The oldest capture in flight has copied its own version: nobody else looks at it, but for a revert, which wants the
 * first few. Where there is room, all go at once in the end, which is cheaper. */
static void let_version_go(struct mem_image *i, struct mem_kept *k, uint64_t page)
{
    if (__atomic_load_n(&k->n, __ATOMIC_RELAXED) > retained_most(i)) {
        if (held(i) < i->held_most / 2)
            return;
        set_state(k, page, STATE_GONE);
        rt_syscall3(SYS_madvise, (long)(k->shadow + ((size_t)page << VT_PAGE_SHIFT)), VT_PAGE_SIZE, MADV_DONTNEED);
    } else {
        set_state(k, page, STATE_COPIED);
    }
    __atomic_fetch_sub(&k->held, 1, __ATOMIC_RELAXED);
    tell_room(i);
}

static int track_copy(struct pagetrack *t, uint64_t e, uint64_t page, void *dst, struct err *err)
{
    struct mem_image *i = (struct mem_image *)t;
    uint32_t first = number(i, e), n = first, taken;
    struct mem *m = i->m;
    struct mem_kept *k;
    uint8_t s = STATE_NONE;
    int r = 0;

    vt_assert(page < i->pages);
    take(&m->claim[i->first + page]);
    taken = __atomic_load_n(&i->taken, __ATOMIC_ACQUIRE);
    for (; n != taken; n++) {
        s = state_of(nth(i, n), page);
        if (s >= STATE_GONE)
            break;
    }
    k = nth(i, n == taken ? first : n);
    if (n == taken) {
        r = copy_present(i, page, dst, err);
        if (r == 0)
            set_state(k, page, STATE_SAVED);
    }
    let_go(&m->claim[i->first + page]);
    if (n == taken)
        return r;
    if (s == STATE_GONE)
        return err_set(err, VT_FAIL, "page %llu of %s was captured twice", (unsigned long long)page,
                       i->first ? "video RAM" : "RAM");
    memcpy(dst, k->shadow + ((size_t)page << VT_PAGE_SHIFT), VT_PAGE_SIZE);
    if (s == STATE_KEPT && n == first && first == __atomic_load_n(&i->gone, __ATOMIC_ACQUIRE))
        let_version_go(i, k, page);
    return 0;
}

/* The oldest ones that are over go, up to one that is not: it looks through those after it. */
static unsigned pop(struct mem_image *i, uint64_t e, struct mem_kept *ret[PAGETRACK_CAPTURES])
{
    unsigned n = 0;

    take(&i->guard);
    for (uint32_t k = i->gone; k != i->taken; k++)
        nth(i, k)->over |= nth(i, k)->epoch == e;
    while (i->gone != i->taken && nth(i, i->gone)->over) {
        ret[n++] = nth(i, i->gone);
        __atomic_store_n(&i->gone, i->gone + 1, __ATOMIC_RELEASE);
    }
    let_go(&i->guard);
    return n;
}

static void finish(struct mem_image *i, uint64_t e, bool stays)
{
    struct mem_kept *over[PAGETRACK_CAPTURES];
    unsigned n = pop(i, e, over);

    for (unsigned k = 0; k < n; k++) {
        bool last = stays && over[k]->epoch == e;
        bool worth = last && __atomic_load_n(&over[k]->n, __ATOMIC_RELAXED) <= retained_most(i);
        if (last)
            retain(i, worth ? over[k] : NULL);
        if (!worth)
            give_back(i, over[k]);
    }
    if (n)
        tell_room(i);
}

static void track_done(struct pagetrack *t, uint64_t e)
{
    finish((struct mem_image *)t, e, false);
}

static void track_retain(struct pagetrack *t, uint64_t e)
{
    finish((struct mem_image *)t, e, true);
}

bool mem_track_init(struct mem *m)
{
    bool good = true;

    for (unsigned n = 0; n < MEM_IMAGES; n++) {
        struct mem_image *i = &m->image[n];
        i->m = m;
        i->epoch = 1;
        i->held_most = UINT32_MAX;
        i->track = (struct pagetrack){i->pages,   track_room, track_capture, track_next,
                                      track_copy, track_done, track_retain,  track_forget};
        good = good && map(i, &i->kept[0]);
    }
    return good;
}

void mem_track_release(struct mem *m)
{
    for (unsigned n = 0; n < MEM_IMAGES; n++) {
        for (unsigned k = 0; k < PAGETRACK_CAPTURES; k++)
            if (m->image[n].kept[k].shadow)
                rt_syscall3(SYS_munmap, (long)m->image[n].kept[k].shadow, (long)kept_bytes(&m->image[n]), 0);
        mem_left_release(&m->image[n]);
    }
}
