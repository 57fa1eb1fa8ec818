/* What a revert left: the bytes of the pages that it took back, for as long as it can be taken back itself. See mem.h.
 *
 * A page that was taken back lies in the template, or is loaded when it is touched: until it is written to, its place
 * in the memfd still holds what was left, which is kept there at no cost. Only who is about to put other bytes there
 * has it copied, into a pool. When that is full, what was left is lost as a whole: it is of use only whole.
 *
 * Invariant: a page that is LEFT_SLOT has its present content elsewhere than in its place. */
#include "vmcore/mem.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include "src/base/util.h"
#include "vmcore/rt.h"

#define POOL_STAYS 1024u /* pages of an empty pool that stay the process's in any case */

enum {
    LEFT_NONE, /* as what it was reverted from, or loaded anew from what the machine stood on */
    LEFT_SLOT, /* in its place */
    LEFT_ZERO,
    LEFT_POOL, /* and after it: at such a place in the pool */
};

/* Address space alone: what nobody touches is not there. */
static size_t left_bytes(const struct mem_image *i)
{
    return MAX((size_t)i->pages, 1) * (VT_PAGE_SIZE + 2 * sizeof(uint32_t));
}

static bool map(struct mem_image *i)
{
    struct mem_left *l = &i->left;
    long p = rt_syscall6(SYS_mmap, 0, (long)left_bytes(i), PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if ((unsigned long)p > -4096ul) /* an error */
        return false;
    l->pool = (uint8_t *)p;
    l->at = (uint32_t *)(l->pool + ((size_t)i->pages << VT_PAGE_SHIFT));
    l->list = l->at + i->pages;
    return true;
}

static uint8_t *place(const struct mem_image *i, uint32_t page)
{
    return i->m->ram + ((size_t)(i->first + page) << VT_PAGE_SHIFT);
}

/* In its place, and not in the template, or the zero page, or nowhere? */
static bool is_own(const struct mem_image *i, uint32_t page)
{
    return i->m->host[i->first + page] == place(i, page);
}

bool mem_leave(struct mem_image *i, const uint64_t *list, size_t n, uint32_t most)
{
    struct mem_left *l = &i->left;

    mem_left_drop(i);
    if (!l->at && !map(i))
        return false;
    l->on = true;
    l->most = MIN(most, i->pages);
    for (size_t k = 0; k < n; k++) {
        bool own = list[k] < i->pages && is_own(i, (uint32_t)list[k]);
        if (!own && (list[k] >= i->pages || i->m->host[i->first + list[k]] != i->m->zero))
            continue;
        l->at[list[k]] = own ? LEFT_SLOT : LEFT_ZERO;
        l->list[l->n++] = (uint32_t)list[k];
    }
    return true;
}

/* Runs of pages whose places hold nothing that is the machine's. */
static void punch_all(struct mem_image *i)
{
    for (uint32_t p = 0, from; p < i->pages;) {
        for (from = p; p < i->pages && !is_own(i, p); p++)
            ;
        mem_punch(i, i->first + from, p - from);
        for (; p < i->pages && is_own(i, p); p++)
            ;
    }
}

/* As much as was in use just now is soon again, where reverts are alike: what is far more is given back. */
static void trim(struct mem_left *l)
{
    uint32_t stays = MAX(l->used, POOL_STAYS);

    l->touched = MAX(l->touched, l->used);
    if (l->touched / 2 < stays)
        return;
    rt_syscall3(SYS_madvise, (long)(l->pool + ((size_t)stays << VT_PAGE_SHIFT)),
                (long)(l->touched - stays) << VT_PAGE_SHIFT, MADV_DONTNEED);
    l->touched = stays;
}

void mem_left_drop(struct mem_image *i)
{
    struct mem_left *l = &i->left;

    if (!l->on)
        return;
    for (uint32_t k = 0; k < l->n; k++)
        l->at[l->list[k]] = LEFT_NONE;
    trim(l);
    l->on = false;
    l->n = l->used = 0;
    if (l->afresh)
        punch_all(i);
    l->afresh = false;
}

bool mem_left_is(const struct mem_image *i, uint32_t bpn)
{
    return i->left.on && i->left.at[bpn - i->first] == LEFT_SLOT;
}

void mem_left_keep(struct mem_image *i, uint32_t bpn)
{
    struct mem_left *l = &i->left;
    uint32_t page = bpn - i->first;

    if (l->at[page] != LEFT_SLOT)
        return;
    if (l->used == l->most) {
        mem_left_drop(i);
        return;
    }
    memcpy(l->pool + ((size_t)l->used << VT_PAGE_SHIFT), place(i, page), VT_PAGE_SIZE);
    l->at[page] = LEFT_POOL + l->used++;
    i->m->left_copies++;
}

void mem_left_back(struct mem_image *i)
{
    struct mem_left *l = &i->left;
    struct mem *m = i->m;

    for (uint32_t k = 0; k < l->n; k++) {
        uint32_t page = l->list[k], bpn = i->first + page, at = l->at[page];
        if (m->code[bpn].lines)
            m->code_write(m->opaque, bpn, 0, VT_PAGE_SIZE);
        if (at >= LEFT_POOL)
            memcpy(place(i, page), l->pool + ((size_t)(at - LEFT_POOL) << VT_PAGE_SHIFT), VT_PAGE_SIZE);
        m->host[bpn] = at == LEFT_ZERO ? (uint8_t *)m->zero : place(i, page);
        m->born[bpn] = i->epoch;
    }
    i->used = true;
    m->drop(m->opaque, MEM_NONE, false);
    mem_left_drop(i);
}

void mem_left_release(struct mem_image *i)
{
    if (i->left.pool)
        rt_syscall3(SYS_munmap, (long)i->left.pool, (long)left_bytes(i), 0);
}
