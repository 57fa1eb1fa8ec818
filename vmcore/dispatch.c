/* From a place in translated code to the next block: what vcpu_stub calls. Each function returns the host address to
 * go on at, or 0 to leave vcpu_enter; guest flags are in r12 from here on. */
#include "vmcore/tlb.h"

#include "src/base/util.h"
#include "vmcore/cache.h"
#include "vmcore/debug.h"
#include "vmcore/hwbreak.h"
#include "vmcore/helpers.h"
#include "vmcore/mem.h"
#include "vmcore/rt.h"

const helper_fn helper_table[256] = {
#define HELPER(n) [HELPER_##n] = help_##n,
#include "vmcore/helpers.def"
#undef HELPER
};

static bool same_name(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}

int helper_index(const char *name)
{
    static const char *const names[] = {
#define HELPER(n) #n,
#include "vmcore/helpers.def"
#undef HELPER
    };
    for (unsigned i = 0; i < ARRAY_LEN(names); i++)
        if (same_name(names[i], name))
            return (int)i;
    vt_assert(!"a helper of that name");
    return -1;
}

/* The translator uses vector registers: the guest's are put aside. */
static struct block *translate(struct cpu *c, uint32_t bpn, uint32_t off)
{
    struct block *b;

    vector_save(c->model, &c->x_tmp);
    b = block_translate(c, bpn, off);
    vector_load(c->model, &c->x_tmp);
    return b;
}

static struct block *find(struct cpu *c, uint64_t lin, uint32_t bpn, uint32_t mode)
{
    uint32_t off = lin & 0xfff, bpn2;
    struct block *b;

    if (!(c->mem->code[bpn].lines & mem_lines(off, 1)))
        return NULL;
    b = cache_find(c->cache, bpn, off, mode, MEM_NONE);

    if (b || off <= 4096 - 15)
        return b;
    if (mmu_code_probe(c, cpu_lin_wrap(c, (lin & ~0xfffull) + 0x1000), &bpn2))
        return NULL;
    return cache_find(c->cache, bpn, off, mode, bpn2);
}

/* The block at eip, exceptions delivered; NULL: leave. */
static struct block *resume_block(struct cpu *c)
{
    for (;;) {
        uint32_t attn = __atomic_load_n(&c->attn, __ATOMIC_ACQUIRE), bpn, mode;
        uint64_t lin;
        struct block *b;

        if (c->exc_pending) {
            if (c->exc_vector == X_DB)
                c->debugctl &= ~(uint64_t)DEBUGCTL_BTF; /* SDM vol. 3, 18.4.4 */
            c->trap_after = c->dr_hit = 0;
            if (c->exc_hook) {
                c->exc_hook(c);
                return NULL;
            }
            cpu_deliver_exception(c);
            if (c->triple)
                return NULL;
            continue;
        }
        if (c->trap_after && c->inhibit == INHIBIT_SS && c->inhibit_eip == c->eip)
            c->trap_after = 0; /* after MOV SS it comes with the next instruction */
        if (c->trap_after && c->debugctl & DEBUGCTL_BTF && c->untaken == c->eip)
            c->trap_after = 0;
        if (c->trap_after || (c->dr_hit && !(c->inhibit == INHIBIT_SS && c->inhibit_eip == c->eip))) {
            hwbreak_status(c,
                           (c->trap_after ? 0x4000u : 0) | c->dr_hit); /* TF was set when the last instruction began */
            c->trap_after = c->dr_hit = 0;
            cpu_raise(c, X_DB, -1);
            continue;
        }
        lin = c->mode & M_CODE64 ? c->eip : (uint32_t)(c->eip + c->seg[S_CS].base);
        if (c->debug && debug_stop(c, lin))
            return NULL;
        if (attn) {
            if (attn != ATTN_INTR || !((c->inhibit && c->inhibit_eip == c->eip) || (c->debug && c->debug->step)))
                return NULL;
            c->single = 1; /* the instruction in the shadow of STI or MOV SS, or a debugger's step */
        }
        if (c->dr_active) {
            unsigned hit =
                (c->eflags & EF_RF) || c->rf_eip == c->eip || (c->inhibit == INHIBIT_SS && c->inhibit_eip == c->eip)
                    ? 0
                    : hwbreak_exec(c, lin);
            c->single = 1;
            c->eflags |= c->rf_eip == c->eip ? EF_RF : 0;
            if (hit) {
                hwbreak_status(c, hit);
                cpu_raise(c, X_DB, -1);
                continue;
            }
        }
        if (!(c->mode & M_CS_FLAT) && c->eip > c->seg[S_CS].limit) {
            cpu_raise(c, X_GP, 0);
            continue;
        }
        if (mmu_code_page(c, lin, &bpn))
            continue;
        if (c->eflags & EF_TF)
            c->single = c->trap_after = 1;
        mode = cpu_block_mode(c, lin);
        b = find(c, lin, bpn, mode);
        if (!b) {
            b = translate(c, bpn, lin & 0xfff);
            if (!b) {
                c->trap_after = 0;
                if (!c->exc_pending) {
                    vt_assert(c->cache->flush_wanted);
                    cpu_set_attn(c, ATTN_FLUSH);
                }
                continue;
            }
        }
        if (!(mode & M_CS_FLAT) && c->eip + b->glen - 1 > c->seg[S_CS].limit) { /* one at a time, up to the limit */
            if (mode & M_STEP) {
                c->trap_after = 0;
                cpu_raise(c, X_GP, 0);
            }
            c->single = 1;
            continue;
        }
        c->single = 0;
        if (c->trap_after && c->debugctl & DEBUGCTL_BTF) {
            c->trap_after = b->jump != JUMP_NONE;
            c->untaken = b->jump == JUMP_MAYBE ? cpu_wrap(c, c->eip + b->glen) : ~0ull;
        }
        if (c->dr_active) /* RF holds for the whole of an instruction, REP's turns too */
            c->rf_eip = c->eflags & EF_RF ? c->eip : ~0ull;
        c->eflags &= ~EF_RF;
        c->r15 = cpu_wrap(c, c->eip - (lin & 0xfff));
        if (c->debug)
            debug_enters(c, lin);
        if (!(mode & (M_STEP | M_PLAIN)) && (mode & M_CS_FLAT) && !(c->debug && debug_splits(c->debug, lin))) {
            struct jump_hash *j = &c->jh[jump_slot(bpn + 1, lin & 0xfff)];
            j->off = lin & 0xfff;
            j->mode = mode;
            j->backing = bpn + 1;
            j->code = c->cache->x + b->entry_saved;
            j->plan = b->entry_spilled && !b->live_in ? b->plan : UINT32_MAX;
            j->spilled = (int32_t)(b->entry_spilled - b->entry_saved);
        }
        return b;
    }
}

/* What the jump hash has for eip, by the page that the code TLB has for it. */
static const void *hashed(struct cpu *c)
{
    const struct jump_hash *j;
    uint32_t backing = 0, off = c->eip & 0xfff, bpn;

    if (!(c->mode & M_CS_FLAT)) /* only flat code is in the hash */
        return NULL;
    backing = tlb_code(c, c->cpl == 3, c->eip);
    if (!backing) {
        if (mmu_code_page(c, c->eip, &bpn))
            return NULL;
        backing = bpn + 1;
    }
    j = &c->jh[jump_slot(backing, off)];
    if (j->backing != backing || j->off != off || j->mode != c->mode || !j->code)
        return NULL;
    c->r15 = c->eip - off;
    return j->code;
}

/* Is there anything to be done before the next block? */
static bool goes_slow(const struct cpu *c)
{
    return c->exc_pending || c->single || c->trap_after || c->dr_active || c->debug ||
           __atomic_load_n(&c->attn, __ATOMIC_ACQUIRE) || (c->eflags & (EF_TF | EF_RF));
}

uint64_t cpu_resume(struct cpu *c)
{
    struct block *b;

    if (!goes_slow(c)) {
        const void *code = hashed(c);
        if (code)
            return (uint64_t)code;
    }
    b = resume_block(c);
    return b ? (uint64_t)(c->cache->x + b->entry_saved) : 0;
}

/* Where a direct exit goes. */
static uint64_t site_target(const struct cpu *c, const struct site *s)
{
    return cpu_wrap(c, c->r15 + (uint64_t)(int64_t)(int32_t)s->arg);
}

/* The link as it is, where only the code TLB had forgotten its page. */
static const void *still_linked(struct cpu *c, const struct link *l)
{
    uint32_t bpn;

    if (!l->to || l->to->mode != c->mode || l->to->bpn2 != MEM_NONE || l->to->off != (c->eip & 0xfff) || goes_slow(c) ||
        mmu_code_page(c, c->eip, &bpn) || bpn != l->to->bpn)
        return NULL;
    c->r15 = c->eip & ~0xfffull;
    return c->cache->x + l->to->entry_saved;
}

static uint64_t link_and_go(struct cpu *c, const struct site *s, uint64_t eip, bool saved)
{
    struct link *l = s->arg2 == UINT32_MAX ? NULL : cache_link_of(c->cache, s->arg2);
    const struct block *own = l ? l->from : NULL;
    struct block *b;

    c->eip = eip;
    if (saved && l) {
        const void *code = still_linked(c, l);
        if (code)
            return (uint64_t)code;
    }
    c->from = l;
    b = resume_block(c);
    c->from = NULL;
    if (!b)
        return 0;
    if (c->debug && debug_splits(c->debug, c->eip + (c->mode & M_CODE64 ? 0 : c->seg[S_CS].base)))
        own = NULL;
    if (own && !own->dead && c->eip == eip && b->mode == (own->mode & ~(uint32_t)M_PLAIN) && !(b->mode & M_STEP) &&
        !((b->mode & M_CS_PAGE) && b->bpn2 != MEM_NONE) && /* the second page has to be asked each time */
        (saved || (b->bpn == own->bpn && b->off == s->arg)))
        cache_link(c->cache, l, b, saved);
    return (uint64_t)(c->cache->x + b->entry_saved);
}

/* To the same instruction in a block without spans. */
static uint64_t on_span(struct cpu *c, const struct site *s, uint64_t lin)
{
    struct link *l = cache_link_of(c->cache, s->arg2);
    uint64_t go, eip = site_eip(c, s);
    struct block *b;

    c->exits[K_SPAN]++;
    go = mmu_span(c, s, lin);
    if (go)
        return go;
    c->r12 = cpu_mask_flags(c->r12, s->live);
    c->eip = eip;
    c->from = l;
    c->plain = 1;
    b = resume_block(c);
    c->plain = 0;
    c->from = NULL;
    if (!b)
        return 0;
    if (!l->from->dead && c->eip == eip && b->mode == (l->from->mode | M_PLAIN) && b->bpn == l->from->bpn)
        cache_link(c->cache, l, b, true);
    return (uint64_t)(c->cache->x + b->entry_saved);
}

/* Is EIP a target at which a near branch itself faults? */
static bool out_of_bounds(const struct cpu *c)
{
    return c->mode & M_CODE64 ? !cpu_canonical(c->eip) : !(c->mode & M_CS_FLAT) && c->eip > c->seg[S_CS].limit;
}

static uint64_t on_chain(struct cpu *c, const struct site *s, uint64_t unused)
{
    c->exits[K_CHAIN]++;
    c->r12 = cpu_mask_flags(c->hfl, s->live);
    return link_and_go(c, s, site_target(c, s), false);
}

static uint64_t on_xpage(struct cpu *c, const struct site *s, uint64_t unused)
{
    c->exits[K_XPAGE]++;
    c->r12 = cpu_mask_flags(c->r12, s->live);
    c->eip = site_target(c, s);
    if (s->rw && out_of_bounds(c)) { /* a branch */
        c->r15 -= (uint64_t)(int64_t)s->retry;
        c->eip = site_eip(c, s);
        cpu_set_sp(c, c->gpr[R_ESP] - (uint64_t)(int64_t)s->cont);
        cpu_raise(c, X_GP, 0);
        return cpu_resume(c);
    }
    return link_and_go(c, s, c->eip, true);
}

static uint64_t on_indirect(struct cpu *c, const struct site *s, uint64_t unused)
{
    c->exits[K_INDIRECT]++;
    c->r12 = cpu_mask_flags(c->r12, FL_ALL);
    c->eip = cpu_wrap(c, c->r11);
    if (out_of_bounds(c)) {
        c->eip = site_eip(c, s);
        cpu_set_sp(c, c->gpr[R_ESP] - (uint64_t)(int64_t)(int32_t)s->arg2);
        cpu_raise(c, X_GP, 0);
    }
    return cpu_resume(c);
}

static uint64_t on_next(struct cpu *c, const struct site *s, uint64_t unused)
{
    c->exits[s->kind]++;
    c->r12 = cpu_mask_flags(c->r12, s->live);
    c->eip = site_target(c, s);
    if (s->rw && out_of_bounds(c)) { /* a branch */
        c->eip = site_eip(c, s);
        cpu_set_sp(c, c->gpr[R_ESP] - (uint64_t)(int64_t)(int32_t)s->arg2);
        cpu_raise(c, X_GP, 0);
        return cpu_resume(c);
    }
    if (s->arg2 == UINT32_MAX) { /* the thunk of a dead block: what led here must not lead here again */
        struct block *b;
        cpu_forget_target(c, c->eip);
        b = resume_block(c);
        return b ? (uint64_t)(c->cache->x + b->entry_saved) : 0;
    }
    return cpu_resume(c);
}

/* A helper runs with eip at its instruction and next_eip after it; exceptions leave with eip as it is. Where mode, or
 * the attention word, changed, or the row ends the block, the way goes on by lookup. */
static uint64_t on_helper(struct cpu *c, const struct site *s, uint64_t addr)
{
    uint32_t mode = c->mode;
    uint64_t killed = c->invalidations;

    c->helper_calls[s->helper]++;
    c->r12 = cpu_mask_flags(c->r12, s->live);
    c->eip = site_eip(c, s);
    c->next_eip = cpu_wrap(c, c->eip + s->len);
    if (helper_table[s->helper](c, s, addr))
        return cpu_resume(c);
    if (!s->rw && mode == c->mode && killed == c->invalidations && c->next_eip == cpu_wrap(c, c->eip + s->len) &&
        !(c->eflags & EF_TF) && !__atomic_load_n(&c->attn, __ATOMIC_ACQUIRE))
        return (uint64_t)((const char *)s + s->cont);
    c->eip = c->next_eip;
    return cpu_resume(c);
}

static uint64_t on_slow(struct cpu *c, const struct site *s, uint64_t lin)
{
    c->exits[K_MEM]++;
    return mmu_slow(c, s, lin);
}

const void *const site_kind_table[K_COUNT] = {
    [K_SPAN] = on_span,   [K_MEM] = on_slow,    [K_SEG] = mmu_seg_slow,     [K_POST] = mmu_post, [K_HELPER] = on_helper,
    [K_CHAIN] = on_chain, [K_XPAGE] = on_xpage, [K_INDIRECT] = on_indirect, [K_POLL] = on_next,  [K_NEXT] = on_next,
};
