/* The software TLB's slots, which emitted code reads. 32-bit code has a full table by linear page: {read tag, write
 * tag} and an addend (host address minus linear address) a page. 64-bit code has 4,096 slots of {tag, addend}, for
 * reads and for writes. One set each for supervisor and for user mode, and one for a supervisor under SMAP, with lists
 * of filled slots so that a flush costs what was filled. A tag is the page's linear address, or invalid. Negative
 * results are never cached; a write tag is given only once the dirty bit is set, the page's version is kept, and no
 * translated code is on it (mem.h). */
#include "vmcore/tlb.h"

#include "src/base/util.h"
#include "vmcore/debug.h"
#include "vmcore/hwbreak.h"
#include "vmcore/mem.h"
#include "vmcore/rt.h"

static void list_add(struct cpu *c, struct tlb_list *l, uint32_t page)
{
    if (l->n == TLB_LIST_MAX)
        mmu_flush_all(c);
    l->page[l->n++] = page;
}

static void list64_add(struct tlb64_list *l, uint64_t lin)
{
    uint32_t slot = (lin >> 12) & (TLB64_SIZE - 1);

    if (l->in[slot])
        return;
    l->in[slot] = 1;
    l->slot[l->n++] = (uint16_t)slot;
}

static void slot_clear(struct cpu *c, int user, uint32_t page)
{
    uint32_t *t = cpu_tags(c, user, page);

    t[0] = t[1] = tlb_invalid(page);
}

static void slot64_clear(struct cpu *c, int user, uint32_t slot)
{
    for (int w = 0; w < 2; w++)
        cpu_tlb64(c, user, w, (uint64_t)slot << 12)->tag = TLB64_INVALID;
}

/* The place of a piece of 2 MiB among those that are known to be large, or NULL: neither there, nor room for it. */
static uint64_t *large_place(struct cpu *c, uint64_t lin)
{
    uint64_t key = lin >> 21 | 1ull << 63;
    uint32_t at = (uint32_t)(key * 0x9e3779b97f4a7c15ull >> 40);

    for (uint32_t i = 0; i < 8; i++) {
        uint64_t *p = &c->large64[(at + i) % LARGE_SIZE];
        if (*p == key || !*p)
            return p;
    }
    return NULL;
}

static void note_large(struct cpu *c, uint64_t lin)
{
    uint64_t *p = large_place(c, lin);

    if (p)
        *p = lin >> 21 | 1ull << 63;
    else
        c->large_over = true;
}

static bool was_large(struct cpu *c, uint64_t lin)
{
    const uint64_t *p;

    if (c->large_over)
        return true;
    p = large_place(c, lin);
    return p && *p;
}

static bool was_huge(const struct cpu *c, uint64_t lin)
{
    for (uint32_t i = 0; i < MIN(c->nhuge, (uint32_t)ARRAY_LEN(c->huge)); i++)
        if (c->huge[i] == (uint32_t)(lin >> 30))
            return true;
    return c->nhuge > ARRAY_LEN(c->huge);
}

static void note_huge(struct cpu *c, uint64_t lin)
{
    if (was_huge(c, lin))
        return;
    if (c->nhuge < ARRAY_LEN(c->huge))
        c->huge[c->nhuge] = (uint32_t)(lin >> 30);
    c->nhuge++;
}

static void fill64(struct cpu *c, int user, uint64_t lin, uint8_t *host, bool write, uint32_t flags)
{
    uint64_t base = lin & ~0xfffull;

    list64_add(&c->list64[user][!!(flags & TR_GLOBAL)], lin);
    if (flags & TR_LARGE)
        note_large(c, lin);
    *cpu_tlb64(c, user, 0, lin) = (struct tlb64){base, (uint64_t)host - base};
    if (write)
        *cpu_tlb64(c, user, 1, lin) = (struct tlb64){base, (uint64_t)host - base};
}

void tlb_fill(struct cpu *c, int user, uint64_t lin, uint8_t *host, bool write, uint32_t flags)
{
    uint32_t page = (uint32_t)(lin >> 12), base = (uint32_t)lin & 0xfffff000u, *t;

    if ((c->debug && debug_watched(c->debug, lin & ~0xfffull, 4096)) ||
        (c->dr_active && hwbreak_watches(c, lin & ~0xfffull, 4096)))
        return;
    c->fills++;
    if (flags & TR_HUGE)
        note_huge(c, lin);
    if (c->mode & M_CODE64) {
        fill64(c, user, lin, host, write, flags);
        return;
    }
    if (lin >> 32) /* the system's own structures, from compatibility mode */
        return;
    t = cpu_tags(c, user, page);
    if (t[0] == tlb_invalid(page) && t[1] == tlb_invalid(page)) {
        list_add(c, &c->list[user][!!(flags & TR_GLOBAL)], page);
        if (flags & TR_LARGE)
            c->tlb_large[page >> 10] = 1;
    }
    t[0] = base;
    if (write)
        t[1] = base;
    *cpu_addend(c, user, page) = (uint64_t)host - base;
}

/* The near tables may come to know targets in this page. */
static void note_near(struct cpu *c, uint64_t lin, bool global)
{
    unsigned at = near_page(lin);

    c->near_pages[global][at / 64] |= 1ull << at % 64;
}

void tlb_fill_code(struct cpu *c, int user, uint64_t lin, uint32_t bpn, uint32_t flags)
{
    if (flags & TR_HUGE)
        note_huge(c, lin);
    note_near(c, flags & TR_LARGE ? lin >> 9 : lin, flags & TR_GLOBAL);
    if (!user && !(flags & TR_GLOBAL))
        c->near_local = 1;
    if (c->mode & M_CODE64) {
        list64_add(&c->code_list64[user][!!(flags & TR_GLOBAL)], lin);
        if (flags & TR_LARGE)
            note_large(c, lin);
        *cpu_code64(c, user, lin) = (struct tlb64){lin & ~0xfffull, bpn + 1};
        return;
    }
    list_add(c, &c->code_list[user][!!(flags & TR_GLOBAL)], (uint32_t)lin >> 12);
    if (flags & TR_LARGE)
        c->tlb_large[(uint32_t)lin >> 22] = 1;
    *cpu_code_tab(c, user, (uint32_t)lin >> 12) = bpn + 1;
}

void tlb_again(struct cpu *c, int user, uint64_t lin, uint64_t addend, bool write)
{
    list64_add(&c->list64[user][0], lin);
    *cpu_tlb64(c, user, write, lin) = (struct tlb64){lin, addend};
}

void tlb_again_code(struct cpu *c, int user, uint64_t lin, uint32_t backing)
{
    note_near(c, lin, false);
    note_near(c, lin >> 9, false); /* should it be of a large page */
    if (!user)
        c->near_local = 1;
    list64_add(&c->code_list64[user][0], lin);
    *cpu_code64(c, user, lin) = (struct tlb64){lin, backing};
}

/* ---- forgetting */

static void stack_cache_drop(struct cpu *c)
{
    c->drops++;
    c->r13 = CPU_NO_STACK;
    c->r14 = (uint64_t)c->no_stack + CPU_NO_STACK;
    cpu_forget_mixed(c);
}

static void flush_data(struct cpu *c, int user, int global)
{
    struct tlb_list *l = &c->list[user][global];
    struct tlb64_list *m = &c->list64[user][global];

    for (uint32_t i = 0; i < l->n; i++)
        slot_clear(c, user, l->page[i]);
    l->n = 0;
    for (uint32_t i = 0; i < m->n; i++) {
        slot64_clear(c, user, m->slot[i]);
        m->in[m->slot[i]] = 0;
    }
    m->n = 0;
}

static void flush_code(struct cpu *c, int user, int global)
{
    struct tlb_list *l = &c->code_list[user][global];
    struct tlb64_list *m = &c->code_list64[user][global];

    for (uint32_t i = 0; i < l->n; i++)
        *cpu_code_tab(c, user, l->page[i]) = 0;
    l->n = 0;
    for (uint32_t i = 0; i < m->n; i++) {
        cpu_code64(c, user, (uint64_t)m->slot[i] << 12)->tag = TLB64_INVALID;
        m->in[m->slot[i]] = 0;
    }
    m->n = 0;
}

static void flush_lists(struct cpu *c, int global)
{
    for (int u = 0; u < TLB_SETS; u++)
        flush_data(c, u, global);
    for (int u = 0; u < 2; u++)
        flush_code(c, u, global);
}

void mmu_flush_all(struct cpu *c)
{
    flush_lists(c, 0);
    flush_lists(c, 1);
    memset(c->tlb_large, 0, sizeof c->tlb_large);
    memset(c->large64, 0, sizeof c->large64);
    c->large_over = false;
    c->nhuge = 0;
    tlb_forget_pcids(c);
    stack_cache_drop(c);
    cpu_forget_near(c);
    memset(c->near_pages, 0, sizeof c->near_pages);
    c->near_local = 0;
}

void mmu_flush_nonglobal(struct cpu *c)
{
    flush_lists(c, 0);
    stack_cache_drop(c);
    cpu_forget_near_local(c);
    memset(c->near_pages[0], 0, sizeof c->near_pages[0]);
    c->near_local = 0;
}

void mmu_switch_pcid(struct cpu *c, uint64_t v, bool keep)
{
    unsigned from = c->cr3 & CR3_PCID, to = v & CR3_PCID;

    c->cr3_writes++;
    if (!keep)
        tlb_forget_pcid(c, to);
    if (from == to && keep && c->cr3 == v)
        return;
    if (from != to)
        tlb_put_aside(c, from);
    c->cr3 = v;
    mmu_flush_nonglobal(c);
    if (from != to && keep)
        tlb_bring_back(c, to);
}

/* Might a jump target of the near tables be in this page, small or large? */
static bool near_may_know(const struct cpu *c, uint64_t lin)
{
    unsigned at = near_page(lin), large = near_page(lin >> 9);

    return !(c->mode & M_CODE64) || ((c->near_pages[0][at / 64] | c->near_pages[1][at / 64]) >> at % 64 & 1) ||
           ((c->near_pages[0][large / 64] | c->near_pages[1][large / 64]) >> large % 64 & 1);
}

void mmu_invlpg(struct cpu *c, uint64_t lin)
{
    uint64_t at = lin;
    unsigned pages = 1;

    if (c->nhuge && was_huge(c, lin)) {
        mmu_flush_all(c);
        return;
    }
    if (was_large(c, lin)) { /* any page of the 2 MiB may have been filled from a large one */
        at = lin & ~0x1fffffull;
        pages = 512;
    }
    for (; pages--; at += 4096) {
        for (int u = 0; u < TLB_SETS; u++)
            slot64_clear(c, u, (at >> 12) & (TLB64_SIZE - 1));
        for (int u = 0; u < 2; u++)
            cpu_code64(c, u, at)->tag = TLB64_INVALID;
    }
    stack_cache_drop(c);
    if (near_may_know(c, lin))
        cpu_forget_near(c);
    if (lin >> 32)
        return;

    uint32_t first = (uint32_t)lin >> 12, n = 1;
    if (c->tlb_large[first >> 10]) {
        c->tlb_large[first >> 10] = 0;
        first &= ~1023u;
        n = 1024;
    }
    for (uint32_t p = first; p < first + n; p++) {
        for (int u = 0; u < TLB_SETS; u++)
            slot_clear(c, u, p);
        for (int u = 0; u < 2; u++)
            *cpu_code_tab(c, u, p) = 0;
    }
}

void mmu_flush_writes(struct cpu *c)
{
    for (int u = 0; u < TLB_SETS; u++)
        for (int g = 0; g < 2; g++) {
            const struct tlb_list *l = &c->list[u][g];
            const struct tlb64_list *m = &c->list64[u][g];
            for (uint32_t i = 0; i < l->n; i++)
                cpu_tags(c, u, l->page[i])[1] = tlb_invalid(l->page[i]);
            for (uint32_t i = 0; i < m->n; i++)
                cpu_tlb64(c, u, 1, (uint64_t)m->slot[i] << 12)->tag = TLB64_INVALID;
        }
    stack_cache_drop(c);
}

void mmu_drop_host_page(struct cpu *c, uint32_t bpn, bool writes_only)
{
    if (bpn == MEM_NONE) {
        if (writes_only)
            mmu_flush_writes(c);
        else
            mmu_flush_all(c);
        return;
    }
    uint64_t host = (uint64_t)c->mem->host[bpn];
    for (int u = 0; u < TLB_SETS; u++)
        for (int g = 0; g < 2; g++) {
            const struct tlb_list *l = &c->list[u][g];
            const struct tlb64_list *m = &c->list64[u][g];
            for (uint32_t i = 0; i < l->n; i++) {
                uint32_t p = l->page[i];
                if (*cpu_addend(c, u, p) + ((uint64_t)p << 12) != host)
                    continue;
                if (writes_only)
                    cpu_tags(c, u, p)[1] = tlb_invalid(p);
                else
                    slot_clear(c, u, p);
            }
            for (uint32_t i = 0; i < m->n; i++)
                for (int w = writes_only; w < 2; w++) {
                    struct tlb64 *t = cpu_tlb64(c, u, w, (uint64_t)m->slot[i] << 12);
                    if (t->tag + t->addend == host)
                        t->tag = TLB64_INVALID;
                }
        }
    stack_cache_drop(c);
}

/* All slots as nothing has filled them. */
void tlb_init(struct cpu *c)
{
    for (int u = 0; u < TLB_SETS; u++) {
        for (uint32_t p = 0; p <= 0xfffff; p += 0xfffff) /* the two that zeroes do not make invalid */
            slot_clear(c, u, p);
        for (uint32_t i = 0; i < TLB64_SIZE; i++)
            slot64_clear(c, u, i);
    }
    for (int u = 0; u < 2; u++)
        for (uint32_t i = 0; i < TLB64_SIZE; i++)
            cpu_code64(c, u, (uint64_t)i << 12)->tag = TLB64_INVALID;
}
