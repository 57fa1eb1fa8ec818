/* What captures in flight still need: see mem.h and pagesrc.h.
 *
 * Each capture has a set of versions: contents that were written over after it and that it, or one before it, may still
 * need. A content is put aside once, for the newest capture that has it; an older one finds it by looking forward
 * through the captures up to the newest: where none has a version, what it wants is what the page holds now.
 *
 * The last capture that was stored is retained: what is written over after it goes on to be put aside, up to a limit,
 * for a revert to it. It is the newest capture while none is in flight.
 *
 * kept and order change only while the vCPU stands (capture) or for captures that are over (done), under `guard`. A
 * page's claim is held by whoever copies its content, so that it is neither written to nor put aside meanwhile. done
 * comes from any thread, so the vCPU may put a last version aside for a capture that is over: nobody reads it, and a
 * capture that uses its place afterwards begins with none. */
#include "vmcore/mem.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include "src/base/util.h"
#include "vmcore/rt.h"

#define RETAINED_MAX 4096u /* pages: what a guest writes to first, it wants first after a revert */

enum {
    STATE_NONE,  /* no version: look on */
    STATE_KEPT,  /* here it is */
    STATE_SAVED, /* the capture has it, and the page still holds it */
    STATE_GONE,  /* the capture has it, or nobody needs it, and it was written over */
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

void mem_keep(struct mem_image *i, uint32_t bpn, const uint8_t *p)
{
    uint32_t gone = __atomic_load_n(&i->gone, __ATOMIC_ACQUIRE), taken = __atomic_load_n(&i->taken, __ATOMIC_ACQUIRE);
    uint32_t page = bpn - i->first;
    struct mem *m = i->m;
    struct mem_kept *k;
    bool stored; /* only a revert may want it */

    k = taken == gone ? __atomic_load_n(&i->retained, __ATOMIC_ACQUIRE) : nth(i, taken - 1);
    if (!k || m->born[bpn] > k->epoch) /* its content is younger than the newest capture */
        return;
    take(&m->claim[bpn]);
    stored = taken == gone || (taken - gone == 1 && state_of(k, page) == STATE_SAVED);
    k->born[page] = m->born[bpn];
    if (stored && k->n >= retained_most(i)) {
        set_state(k, page, STATE_GONE);
    } else {
        memcpy(k->shadow + ((size_t)page << VT_PAGE_SHIFT), p, VT_PAGE_SIZE);
        m->versions++;
        __atomic_store_n(&k->n, k->n + 1, __ATOMIC_RELAXED);
        set_state(k, page, STATE_KEPT);
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
    there = k && state_of(k, page) == STATE_KEPT;
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
    k->n = 0;
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
        if (s == STATE_KEPT || s == STATE_GONE)
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
        if (s == STATE_KEPT || s == STATE_GONE)
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
