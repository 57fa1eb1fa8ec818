/* Scratch registers of 64-bit code, which has none to spare: each block takes four that none of its instructions names
 * and spills them to their places in struct cpu at its entry. They stay there, unchanged, until an exit loads them
 * again: so a helper, which reads and writes struct cpu, sees all of the guest's registers. A block takes over the plan
 * of the one that led to it where it can; a jump between two of one plan then goes behind the spills. */
#include "vmcore/tb.h"

/* What compilers use least comes first. RSP, RAX (flags) and RDI (borrowed for AH to BH) are never taken. */
static const uint8_t candidates[] = {11, 10, 9, 8, 15, 14, 13, 12, 3, 5, 6, 1, 2};

static uint32_t bit(ZydisRegister r)
{
    int n = r == ZYDIS_REGISTER_NONE ? H_NONE : host_gpr(r);

    return n == H_NONE ? 0 : r >= ZYDIS_REGISTER_AH && r <= ZYDIS_REGISTER_BH ? 1u << (n - 4) : 1u << n;
}

void plan_note(struct ginsn *g)
{
    g->names = g->sets = 0;
    for (unsigned i = 0; i < g->z.operand_count; i++) {
        const ZydisDecodedOperand *o = &g->op[i];
        if (o->type == ZYDIS_OPERAND_TYPE_REGISTER) {
            uint32_t m = bit(o->reg.value);
            g->names |= m;
            if (o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
                g->sets |= m;
        } else if (o->type == ZYDIS_OPERAND_TYPE_MEMORY)
            g->names |= bit(o->mem.base) | bit(o->mem.index);
    }
}

/* How many instructions of the block leave four candidates free. */
unsigned plan_longest(const struct tb *t)
{
    uint32_t used = 0;

    for (unsigned i = 0; i < t->n; i++) {
        unsigned n = 0;
        used |= t->in[i].names;
        for (unsigned k = 0; k < sizeof candidates; k++)
            n += !(used >> candidates[k] & 1);
        if (n < 4)
            return i;
    }
    return t->n;
}

static void take(struct tb *t, uint16_t plan)
{
    t->plan = plan;
    t->ra = plan & 15;
    t->rb = plan >> 4 & 15;
    t->rx = plan >> 8 & 15;
    t->rv = plan >> 12;
}

bool plan_make(struct tb *t, uint16_t hint)
{
    uint32_t used = 0;
    uint16_t plan = 0;
    unsigned n = 0;

    if (!t->m64) {
        take(t, H_R8 | H_R9 << 4 | H_R10 << 8 | H_R11 << 12);
        t->plan = 0;
        return true;
    }
    for (unsigned i = 0; i < t->n; i++)
        used |= t->in[i].names;
    if (hint && !(used & (1u << (hint & 15) | 1u << (hint >> 4 & 15) | 1u << (hint >> 8 & 15) | 1u << (hint >> 12)))) {
        take(t, hint);
        return true;
    }
    for (unsigned i = 0; hint && i < 4; i++)
        if (!(used >> (hint >> (4 * i) & 15) & 1))
            plan |= (uint16_t)((hint >> (4 * i) & 15) << (4 * n++));
    for (unsigned i = 0; i < sizeof candidates && n < 4; i++)
        if (!(used >> candidates[i] & 1) && !(hint && plan_has(hint, candidates[i])))
            plan |= (uint16_t)(candidates[i] << (4 * n++));
    if (n < 4)
        return false;
    take(t, plan);
    return true;
}

static void each(struct tb *t, struct em *e, unsigned op)
{
    for (unsigned i = 0; t->m64 && i < 4; i++)
        plan_move(e, op, t->plan >> (4 * i) & 15);
}

void plan_spill(struct tb *t, struct em *e)
{
    each(t, e, 0x89);
}

void plan_restore(struct tb *t, struct em *e)
{
    each(t, e, 0x8b);
}

uint8_t *plan_leave(struct tb *t)
{
    struct em *c = &t->cold;
    uint64_t key = SHARED_LEAVE | t->plan;
    uint32_t at = cache_shared(t->cache, key);
    uint8_t *start = c->p, *over;

    if (at)
        return t->cache->w + at;
    over = e_jmp32(c); /* it may stand in the way of cold code that goes on */
    start = c->p;
    e_gs(c, 1, 0x89, t->ra, H_NONE, 0, CPU_R8);
    e_gs(c, 1, 0x89, t->rx, H_NONE, 0, CPU_R10);
    e_gs(c, 1, 0x89, t->rv, H_NONE, 0, CPU_R11);
    plan_restore(t, c);
    e_gs(c, 0, 0xff, 4, H_NONE, 0, CPU_STUB64);
    e_patch32(c, over, c->p);
    if (!c->full)
        cache_share(t->cache, key, (uint32_t)(start - t->cache->w));
    return start;
}
