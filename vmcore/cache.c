#include "vmcore/cache.h"

#include "src/base/util.h"
#include "vmcore/emit.h"
#include "vmcore/mem.h"
#include "vmcore/rt.h"

static uint32_t hash(uint32_t bpn, uint32_t off, uint32_t mode)
{
    uint64_t h = (((uint64_t)bpn << 12 | off) ^ (uint64_t)mode << 42) * 0x9e3779b97f4a7c15ull;
    return (uint32_t)(h >> (64 - CACHE_HASH_BITS));
}

/* The second page of a crossing block must be what bpn2_lin says: the caller has resolved it for its linear address. */
struct block *cache_find(struct cache *c, uint32_t bpn, uint32_t off, uint32_t mode, uint32_t bpn2)
{
    for (struct block *b = c->hash[hash(bpn, off, mode)]; b; b = b->hash_next)
        if (b->bpn == bpn && b->off == off && b->mode == mode && (b->bpn2 == MEM_NONE || b->bpn2 == bpn2))
            return b;
    return NULL;
}

struct block *cache_by_host(struct cache *c, const void *host)
{
    uint32_t o = (uint32_t)((const uint8_t *)host - c->x), lo = 0, hi = c->nblocks;
    bool cold = o >= c->hot_end;

    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        struct block *b = c->order[mid];
        uint32_t at = cold ? b->cold : b->hot, len = cold ? b->cold_len : b->hot_len;
        if (o < at)
            hi = mid;
        else if (o >= at + len)
            lo = mid + 1;
        else
            return b;
    }
    return NULL;
}

void *cache_alloc(struct cache *c, size_t n)
{
    n = ALIGN_UP(n, 8);
    if (c->arena_used + n > c->arena_size)
        return NULL;
    c->arena_used += n;
    return c->arena + c->arena_used - n;
}

/* The lines of a block's first page that a write to may concern it. */
static uint64_t block_lines(const struct block *b)
{
    uint64_t lines = mem_lines(b->off, b->glen);

    for (unsigned i = 0; i < b->nlook; i++)
        lines |= mem_lines(b->look[i].off, b->look[i].len);
    return lines;
}

void cache_add(struct cache *c, struct block *b)
{
    struct mem *m = c->cpu->mem;
    uint32_t h = hash(b->bpn, b->off, b->mode);
    struct code_page *p = &m->code[b->bpn];

    b->hash_next = c->hash[h];
    c->hash[h] = b;
    c->order[c->nblocks++] = b;
    if (!p->lines)
        m->drop(m->opaque, b->bpn, true);
    p->lines |= block_lines(b);
    cpu_forget_room(c->cpu, b->bpn);
    b->page_next = p->blocks;
    p->blocks = b;
    if (b->bpn2 != MEM_NONE) {
        p = &m->code[b->bpn2];
        cpu_forget_room(c->cpu, b->bpn2);
        if (!p->lines)
            m->drop(m->opaque, b->bpn2, true);
        p->lines |= mem_lines(0, (uint32_t)b->off + b->glen - 4096);
        b->page2_next = p->straddle;
        p->straddle = b;
    }
}

static void put32(struct cache *c, uint32_t at, uint32_t v)
{
    __atomic_store_n((uint32_t *)(c->w + at), v, __ATOMIC_RELAXED);
}

/* The way from a block of one plan into one of another: to `spilled`, the entry where its plan's registers are spilled,
 * if that may be taken (else NULL), or to `entry`. */
static void write_way(uint8_t *at, uint16_t from, uint16_t to, uint8_t *spilled, uint8_t *entry)
{
    struct em e = {at, at + PLAN_WAY, false};
    unsigned differ = 0;

    for (unsigned i = 0; i < 4; i++)
        differ += !plan_has(to, from >> (4 * i) & 15);
    if (differ > 2) /* as much work as the whole of it */
        spilled = NULL;
    for (unsigned i = 0; i < 4; i++)
        if (!spilled || !plan_has(to, from >> (4 * i) & 15))
            plan_move(&e, 0x8b, from >> (4 * i) & 15);
    for (unsigned i = 0; spilled && i < 4; i++)
        if (!plan_has(from, to >> (4 * i) & 15))
            plan_move(&e, 0x89, to >> (4 * i) & 15);
    uint8_t *jump = e_jmp32(&e);
    e_patch32(&e, jump, spilled ? spilled : entry);
    vt_assert(!e.full);
}

void cache_link(struct cache *c, struct link *l, struct block *to, bool saved)
{
    bool spilled = to->entry_spilled && (!saved || !to->live_in || (to->mode & M_PLAIN));
    uint32_t at;

    if (l->to) { /* relinking: take it off the old target's list */
        for (struct link **p = &l->to->in; *p; p = &(*p)->next_in)
            if (*p == l) {
                *p = l->next_in;
                break;
            }
    }
    l->to = to;
    l->next_in = to->in;
    to->in = l;
    if (l->way && l->from->plan == to->plan && spilled)
        at = to->entry_spilled;
    else {
        at = saved ? to->entry_saved : to->entry_host;
        if (l->way) {
            write_way(c->w + l->way, l->from->plan, to->plan, spilled ? c->w + to->entry_spilled : NULL, c->w + at);
            at = l->way;
        }
    }
    put32(c, l->jump, at - (l->jump + 4));
    if (l->check)
        put32(c, l->check, to->bpn + 1);
}

static void unlink_into(struct cache *c, struct block *b)
{
    for (struct link *l = b->in; l; l = l->next_in) {
        if (l->check)
            put32(c, l->check, 0xffffffffu);
        put32(c, l->jump, l->cold - (l->jump + 4));
        l->to = NULL;
    }
    b->in = NULL;
}

uint32_t cache_shared(const struct cache *c, uint64_t key)
{
    uint32_t h = (uint32_t)((key * 0x9e3779b97f4a7c15ull) >> 54) & (CACHE_SHARED - 1);

    return c->shared[h].key == key ? c->shared[h].at : 0;
}

void cache_share(struct cache *c, uint64_t key, uint32_t at)
{
    uint32_t h = (uint32_t)((key * 0x9e3779b97f4a7c15ull) >> 54) & (CACHE_SHARED - 1);

    c->nshared++;
    c->shared[h].key = key;
    c->shared[h].at = at;
}

void cache_unshare(struct cache *c, uint32_t from)
{
    for (unsigned i = 0; i < CACHE_SHARED; i++)
        if (c->shared[i].at >= from)
            c->shared[i].key = 0;
}

/* Entries become jumps to thunks that look the instruction up again: the jump hash may still lead here. */
static void patch_entry(struct cache *c, uint32_t at, uint32_t to)
{
    c->w[at] = 0xe9;
    put32(c, at + 1, to - (at + 5));
}

void cache_kill(struct cache *c, struct block *b)
{
    struct block **p;

    vt_assert(!b->dead);
    b->dead = 1;
    for (p = &c->hash[hash(b->bpn, b->off, b->mode)]; *p != b; p = &(*p)->hash_next)
        ;
    *p = b->hash_next;
    unlink_into(c, b);
    for (unsigned i = 0; i < b->nlinks; i++)
        if (b->links[i].to) { /* nothing jumps through them again */
            struct link **q = &b->links[i].to->in;
            while (*q != &b->links[i])
                q = &(*q)->next_in;
            *q = b->links[i].next_in;
            b->links[i].to = NULL;
        }
    patch_entry(c, b->entry_saved, b->thunk_saved);
    if (b->entry_host != b->entry_saved)
        patch_entry(c, b->entry_host, b->thunk_host);
    if (b->entry_spilled)
        patch_entry(c, b->entry_spilled, b->thunk_spilled);
    c->cpu->invalidations++;
}

static bool overlaps(const struct block *b, bool second, uint32_t off, uint32_t len)
{
    uint32_t start = second ? 0 : b->off;
    uint32_t end = second ? (uint32_t)b->off + b->glen - 4096 : MIN((uint32_t)b->off + b->glen, 4096u);

    if (off < end && off + len > start)
        return true;
    for (unsigned i = 0; i < b->nlook && !second; i++)
        if (off < (uint32_t)b->look[i].off + b->look[i].len && off + len > b->look[i].off)
            return true;
    return false;
}

bool cache_overlaps(const struct cache *c, uint32_t bpn, uint32_t off, uint32_t len)
{
    const struct code_page *p = &c->cpu->mem->code[bpn];

    if (!(p->lines & mem_lines(off, len)))
        return false;
    for (const struct block *b = p->blocks; b; b = b->page_next)
        if (overlaps(b, false, off, len))
            return true;
    for (const struct block *b = p->straddle; b; b = b->page2_next)
        if (overlaps(b, true, off, len))
            return true;
    return false;
}

static void no_room(uint8_t room[4096], uint32_t off, uint32_t len)
{
    memset(room + off, 0, MIN(len, 4096 - off));
}

void cache_room(const struct cache *c, uint32_t bpn, uint8_t room[4096])
{
    const struct code_page *p = &c->cpu->mem->code[bpn];
    unsigned n = 255;

    memset(room, 1, 4096);
    for (const struct block *b = p->blocks; b; b = b->page_next) {
        no_room(room, b->off, b->glen);
        for (unsigned i = 0; i < b->nlook; i++)
            no_room(room, b->look[i].off, b->look[i].len);
    }
    for (const struct block *b = p->straddle; b; b = b->page2_next)
        no_room(room, 0, (uint32_t)b->off + b->glen - 4096);
    for (unsigned i = 4096; i-- > 0;) {
        n = room[i] ? n + (n < 255) : 0;
        room[i] = (uint8_t)n;
    }
}

static void list_remove(struct block **list, struct block *b, bool second)
{
    while (*list != b)
        list = second ? &(*list)->page2_next : &(*list)->page_next;
    *list = second ? b->page2_next : b->page_next;
}

static void recount_lines(struct code_page *p)
{
    p->lines = 0;
    for (struct block *b = p->blocks; b; b = b->page_next)
        p->lines |= block_lines(b);
    for (struct block *b = p->straddle; b; b = b->page2_next)
        p->lines |= mem_lines(0, (uint32_t)b->off + b->glen - 4096);
}

void cache_write(struct cache *c, uint32_t bpn, uint32_t off, uint32_t len)
{
    struct mem *m = c->cpu->mem;
    struct code_page *p = &m->code[bpn];
    bool hit = false;

    c->cpu->code_writes++;
    if (!(p->lines & mem_lines(off, len)))
        return;
    for (struct block *b = p->blocks, *next; b; b = next) {
        next = b->page_next;
        if (!overlaps(b, false, off, len))
            continue;
        hit = true;
        cache_kill(c, b);
        list_remove(&p->blocks, b, false);
        if (b->bpn2 != MEM_NONE) {
            list_remove(&m->code[b->bpn2].straddle, b, true);
            recount_lines(&m->code[b->bpn2]);
        }
    }
    for (struct block *b = p->straddle, *next; b; b = next) {
        next = b->page2_next;
        if (!overlaps(b, true, off, len))
            continue;
        hit = true;
        cache_kill(c, b);
        list_remove(&p->straddle, b, true);
        list_remove(&m->code[b->bpn].blocks, b, false);
        recount_lines(&m->code[b->bpn]);
    }
    if (hit)
        recount_lines(p);
}

bool cache_hits_own_block(struct cache *c, const struct site *s, uint64_t pa0, unsigned n0, uint64_t pa1, unsigned n1)
{
    struct mem *m = c->cpu->mem;
    struct block *b;
    uint32_t p0 = mem_wbpn(m, pa0), p1 = n1 ? mem_wbpn(m, pa1) : MEM_NONE;

    if ((p0 == MEM_NONE || !m->code[p0].lines) && (p1 == MEM_NONE || !m->code[p1].lines))
        return false;
    b = cache_by_host(c, s);
    if (!b || b->ninsn <= 1)
        return false;
    for (int i = 0; i < 2; i++) {
        uint32_t p = i ? p1 : p0, off = i ? 0 : pa0 & 0xfff, n = i ? n1 : n0;
        if (p != MEM_NONE && ((p == b->bpn && overlaps(b, false, off, n)) ||
                              (p == b->bpn2 && b->bpn2 != MEM_NONE && overlaps(b, true, off, n))))
            return true;
    }
    return false;
}

void cache_flush(struct cache *c)
{
    struct mem *m = c->cpu->mem;

    for (uint32_t i = 0; i < c->nblocks; i++) {
        struct block *b = c->order[i];
        memset(&m->code[b->bpn], 0, sizeof m->code[0]);
        if (b->bpn2 != MEM_NONE)
            memset(&m->code[b->bpn2], 0, sizeof m->code[0]);
    }
    c->nblocks = 0;
    c->arena_used = 0;
    memset(c->hash, 0, sizeof *c->hash << CACHE_HASH_BITS);
    memset(c->cpu->jh, 0, sizeof c->cpu->jh);
    cpu_forget_near(c->cpu);
    c->hot = c->base_hot;
    c->cold = c->base_cold;
    cache_unshare(c, 0);
    c->flush_wanted = false;
    c->cpu->flushes++;
}
