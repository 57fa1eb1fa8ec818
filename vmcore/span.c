/* Accesses that share a check. Where several of a block are off the same registers and near each other, the first asks
 * for all of them, and the others are one instruction each. That holds as long as nothing between them goes to C and
 * comes back: so all accesses from the first to the last of a span leave for good where their check fails, to a block
 * that begins at their instruction and has no spans (M_PLAIN). */
#include "vmcore/tb.h"

#include "vmcore/mem.h"

#define SPAN_MAX 248 /* bytes; more would cross pages too often, and a site's size has eight bits */

/* Bases beside the registers. */
enum { BASE_RIP = 16, BASE_ABS };

/* An instruction's one access. */
struct use {
    int base, index, scale;
    int32_t disp;
    unsigned size, rw;
    bool stack; /* off ESP, by the stack's page */
};

enum what { ENDS_SPANS, NO_USE, ONE_USE };

static bool natural(const struct tb *t, const struct ginsn *g)
{
    return g->z.operand_width == (t->m64 ? 64 : 32);
}

static enum what stack_use(const struct tb *t, const struct ginsn *g, struct use *u, bool write)
{
    int32_t size = t->m64 ? 8 : 4;

    if (!natural(t, g) || !stack32(t) || !seg_is_flat(t, S_SS))
        return ENDS_SPANS;
    *u = (struct use){H_RSP, H_NONE, 0, write ? -size : 0, (unsigned)size, write ? 2 : 1, true};
    return ONE_USE;
}

static enum what memory_use(const struct tb *t, const struct ginsn *g, const ZydisDecodedOperand *m, struct use *u)
{
    int64_t disp = m->mem.disp.has_displacement ? m->mem.disp.value : 0;

    u->size = m->size / 8u;
    u->rw =
        (m->actions & ZYDIS_OPERAND_ACTION_MASK_READ ? 1 : 0) | (m->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE ? 2 : 0);
    if (g->z.address_width != (t->m64 ? 64 : 32) || !seg_is_flat(t, seg_index(m->mem.segment)) || !u->rw || !u->size ||
        u->size > 32 || (u->size & (u->size - 1)) || g->x87_waits || g->mmx ||
        g->z.mnemonic == ZYDIS_MNEMONIC_CMPXCHG16B || g->z.mnemonic == ZYDIS_MNEMONIC_VCVTPS2PH ||
        g->z.mnemonic == ZYDIS_MNEMONIC_CLFLUSH)
        return ENDS_SPANS;
    u->base = m->mem.base == ZYDIS_REGISTER_NONE ? H_NONE : host_gpr(m->mem.base);
    u->index = m->mem.index == ZYDIS_REGISTER_NONE ? H_NONE : host_gpr(m->mem.index);
    u->scale = m->mem.scale == 8 ? 3 : m->mem.scale == 4 ? 2 : m->mem.scale == 2 ? 1 : 0;
    if (m->mem.base == ZYDIS_REGISTER_RIP) {
        u->base = BASE_RIP;
        disp += g->off + g->len;
    } else if (u->base == H_NONE && u->index == H_NONE)
        u->base = BASE_ABS;
    if (disp != (int32_t)disp || disp > INT32_MAX - 4096 || disp < INT32_MIN + 4096)
        return ENDS_SPANS;
    u->disp = (int32_t)disp;
    u->stack = u->base == H_RSP && u->index == H_NONE && m->mem.segment == ZYDIS_REGISTER_SS && stack32(t);
    return ONE_USE;
}

static bool only_plain_registers(const struct ginsn *g)
{
    for (unsigned i = 0; i < g->z.operand_count_visible; i++)
        if (g->op[i].type == ZYDIS_OPERAND_TYPE_REGISTER && host_gpr(g->op[i].reg.value) == H_NONE)
            return false;
    return true;
}

/* What an instruction does to spans. ENDS_SPANS wherever the emitter may come back from C, or makes two accesses. */
static enum what use_of(const struct tb *t, const struct ginsn *g, struct use *u)
{
    const ZydisDecodedOperand *o = &g->op[0], *m;
    void (*emit)(struct tb *) = g->row ? g->row->emit : NULL;

    if (emit == emit_NOP || emit == emit_LEA)
        return NO_USE;
    if (emit == emit_JCC)
        return g->z.operand_width == 16 ? ENDS_SPANS : NO_USE;
    if (emit == emit_PUSH)
        return o->type == ZYDIS_OPERAND_TYPE_IMMEDIATE ||
                       (o->type == ZYDIS_OPERAND_TYPE_REGISTER && host_gpr(o->reg.value) != H_NONE)
                   ? stack_use(t, g, u, true)
                   : ENDS_SPANS;
    if (emit == emit_POP)
        return o->type == ZYDIS_OPERAND_TYPE_REGISTER && host_gpr(o->reg.value) != H_NONE &&
                       host_gpr(o->reg.value) != H_RSP
                   ? stack_use(t, g, u, false)
                   : ENDS_SPANS;
    if (g->z.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
        return ENDS_SPANS;
    if (emit == emit_CALL)
        return o->type == ZYDIS_OPERAND_TYPE_MEMORY || o->type == ZYDIS_OPERAND_TYPE_POINTER ? ENDS_SPANS
                                                                                             : stack_use(t, g, u, true);
    if (emit == emit_RET)
        return stack_use(t, g, u, false);
    if ((emit != emit_copy && emit != emit_MOV && emit != emit_BT) || (emit == emit_MOV && !only_plain_registers(g)))
        return ENDS_SPANS;
    m = mem_operand(g);
    if (!m || m->mem.type == ZYDIS_MEMOP_TYPE_AGEN)
        return NO_USE;
    if (emit == emit_BT && g->op[1].type == ZYDIS_OPERAND_TYPE_REGISTER) /* a bit string */
        return ENDS_SPANS;
    return memory_use(t, g, m, u);
}

/* How far an instruction moves RSP, where that is known: the stack's spans go on then. */
static bool stack_moves(const struct tb *t, const struct ginsn *g, int32_t *ret)
{
    const ZydisDecodedOperand *d = &g->op[0], *s = &g->op[1];
    void (*emit)(struct tb *) = g->row->emit;

    if (emit == emit_PUSH || emit == emit_CALL)
        *ret = t->m64 ? -8 : -4;
    else if (emit == emit_POP)
        *ret = t->m64 ? 8 : 4;
    else if (d->type != ZYDIS_OPERAND_TYPE_REGISTER || host_gpr(d->reg.value) != H_RSP || !natural(t, g))
        return false;
    else if ((g->z.mnemonic == ZYDIS_MNEMONIC_ADD || g->z.mnemonic == ZYDIS_MNEMONIC_SUB) &&
             s->type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
        *ret = (int32_t)(g->z.mnemonic == ZYDIS_MNEMONIC_ADD ? s->imm.value.s : -s->imm.value.s);
    else if (emit == emit_LEA && s->mem.index == ZYDIS_REGISTER_NONE && g->z.address_width == g->z.operand_width &&
             host_gpr(s->mem.base) == H_RSP && s->mem.disp.has_displacement)
        *ret = (int32_t)s->mem.disp.value;
    else
        return false;
    return *ret > -4096 && *ret < 4096;
}

static void close_written(struct tb *t, uint32_t regs, bool moved)
{
    for (unsigned k = 0; k < t->nspans; k++) {
        struct span *p = &t->spans[k];
        uint32_t on = (p->base >= 0 && p->base < 16 ? 1u << p->base : 0) | (p->index >= 0 ? 1u << p->index : 0);
        if (p->open && (on & regs) && !(p->stack && moved))
            p->open = false;
    }
}

/* The span that an access belongs to, an open one or a new one. sp: what RSP has moved since the block's entry. */
static int span_for(struct tb *t, unsigned i, const struct use *u, int32_t sp)
{
    int32_t lo = u->disp + (u->stack ? sp : 0), hi = lo + (int32_t)u->size;

    for (unsigned k = 0; k < t->nspans; k++) {
        struct span *p = &t->spans[k];
        int32_t l = p->lo < lo ? p->lo : lo, h = p->hi > hi ? p->hi : hi;
        if (!p->open || p->stack != u->stack || p->base != u->base || p->index != u->index || p->scale != u->scale)
            continue;
        if ((int64_t)h - l > SPAN_MAX || ((u->rw & 2) && !(p->rw & 2) && p->branched)) {
            p->open = false;
            continue;
        }
        p->lo = l;
        p->hi = h;
        p->rw |= (uint8_t)u->rw;
        p->last = (uint8_t)i;
        p->n++;
        return (int)k;
    }
    for (unsigned k = 0; u->stack && k < t->nspans; k++) /* there is one page of the stack's at a time */
        if (t->spans[k].stack)
            t->spans[k].open = false;
    t->spans[t->nspans] = (struct span){.base = (int8_t)u->base,
                                        .index = (int8_t)u->index,
                                        .scale = (uint8_t)u->scale,
                                        .rw = (uint8_t)u->rw,
                                        .first = (uint8_t)i,
                                        .last = (uint8_t)i,
                                        .n = 1,
                                        .stack = u->stack,
                                        .open = true,
                                        .lo = lo,
                                        .hi = hi,
                                        .moved = sp};
    return (int)t->nspans++;
}

static void find(struct tb *t)
{
    int32_t sp = 0, moves;

    for (unsigned i = 0; i < t->n; i++) {
        struct ginsn *g = &t->in[i];
        struct use u;
        enum what what = use_of(t, g, &u);
        if (what == ENDS_SPANS) {
            for (unsigned k = 0; k < t->nspans; k++)
                t->spans[k].open = false;
            continue;
        }
        if (what == ONE_USE)
            g->span = (int8_t)span_for(t, i, &u, sp);
        bool moved = stack_moves(t, g, &moves);
        if (t->nspans && g->sets)
            close_written(t, g->sets, moved);
        sp += moved ? moves : 0;
        if (g->row->emit == emit_JCC)
            for (unsigned k = 0; k < t->nspans; k++)
                t->spans[k].branched = true;
    }
}

/* Leaves spans of two accesses or more, and what lies between their first and last; and sees which addends have to be
 * kept because others come between. */
static void choose(struct tb *t)
{
    bool within[TB_MAX_INSN] = {false};

    for (unsigned k = 0; k < t->nspans; k++)
        for (unsigned i = t->spans[k].first; t->spans[k].n > 1 && i <= t->spans[k].last; i++)
            within[i] = true;
    for (unsigned i = 0; i < t->n; i++)
        if (!within[i])
            t->in[i].span = -1;
    for (unsigned k = 0; k < t->nspans; k++)
        for (unsigned i = t->spans[k].first; i < t->spans[k].last; i++)
            t->spans[k].kept |= t->in[i].span >= 0 && t->in[i].span != (int)k;
}

void span_find(struct tb *t)
{
    t->nspans = 0;
    t->rb_span = t->ra_span = -1;
    for (unsigned i = 0; i < t->n; i++)
        t->in[i].span = -1;
    if (!exit_chained(t) || t->plain || t->mixed || (t->mode & M_AC) || t->bpn2 != MEM_NONE || t->cpu->debug)
        return;
    find(t);
    choose(t);
}

/* ---- emission */

static int addend_at(int span)
{
    return (int)offsetof(struct cpu, span_addend) + 8 * span;
}

/* base + index << scale + disp into ra. Flags stay. */
static void address(struct tb *t, const struct span *p, int32_t disp)
{
    struct em *h = &t->hot;

    if (p->base == BASE_RIP)
        t_vbase(t, h, t->ra, disp);
    else if (p->base == BASE_ABS && t->m64)
        e_mov_imm64(h, t->ra, (uint64_t)(int64_t)disp);
    else if (p->base == BASE_ABS)
        e_mov_imm(h, t->ra, (uint32_t)disp);
    else
        e_mem(h, t->m64, 0x8d, t->ra, p->base, p->index, p->scale, disp);
}

/* Out of the way: the TLB may only want an entry; else the block's way ends here. */
static void check_fails(struct tb *t, const struct span *p, uint8_t *miss, uint8_t *retry)
{
    struct em *c = &t->cold;
    uint8_t *refill = p->stack ? stack_routine(t) : NULL, *again = way_back(t, c, retry), *cold = c->p, *at, *site;
    struct site s;

    e_patch32(&t->hot, miss, cold);
    if (p->stack)
        t_lea(t, c, t->ra, H_RSP, p->lo - p->moved);
    at = p->stack ? e_stub_to(c, t->rx, refill) : e_stub_at(t, c);
    site = c->p;
    e_patch32(c, at, site);
    site_init(t, &s, K_SPAN);
    s.size = (uint8_t)(p->hi - p->lo);
    s.rw = p->stack ? 2 : p->rw;
    s.arg = p->stack;
    s.retry = (int32_t)(again - site);
    put_site(c, &s);
    tb_link(t, miss, cold, site, NULL);
}

static void check(struct tb *t, int at)
{
    struct span *p = &t->spans[at];
    unsigned size = (unsigned)(p->hi - p->lo);
    uint8_t *retry = t->hot.p, *miss;

    if (p->stack) {
        miss = stack_check(t, &t->hot, size, p->lo - p->moved);
        t->ra_span = -1; /* its miss comes back with another address in ra */
    } else {
        address(t, p, p->lo);
        retry = t->hot.p;
        miss = tlb_check_as(t, &t->hot, size, p->rw, tlb_set(t->mode));
        t->ra_span = (int8_t)at;
        if (p->kept)
            e_gs(&t->hot, 1, 0x89, t->rb, H_NONE, 0, addend_at(at));
    }
    check_fails(t, p, miss, retry);
    p->ready = true;
}

void span_access(struct tb *t, access_op op)
{
    struct em *h = &t->hot;
    int at = t->cur->span;
    struct span *p = &t->spans[at];
    bool first = !p->ready;
    struct use u;

    use_of(t, t->cur, &u);
    if ((first || CHECKED) && t->cur->before)
        fl_save(t);
    if (first)
        check(t, at);
    else if (t->rb_span != at && !p->stack)
        e_gs(h, 1, 0x8b, t->rb, H_NONE, 0, addend_at(at));
    else if (t->rb_span != at && t->m64)
        e_gs(h, 1, 0x8b, t->rb, H_NONE, 0, CPU_R14);
    t->rb_span = (int8_t)at;
    if (p->stack) {
        t->base = H_RSP;
        t->index = t->m64 ? t->rb : H_R14;
        t->disp = u.disp;
    } else {
        bool direct = t->m64 && p->base < BASE_RIP && p->base >= 0 && p->index < 0;
        if (!direct && t->ra_span != at) {
            address(t, p, p->lo);
            t->ra_span = (int8_t)at;
        }
        t->base = direct ? p->base : t->ra;
        t->index = t->rb;
        t->disp = direct ? u.disp : u.disp - p->lo;
    }
    if (CHECKED)
        range_check(t, h);
    if ((first || CHECKED) && (t->loc == LOC_BOTH || !t->cur->before))
        t->loc = LOC_SAVED; /* or dead */
    op(t, h);
}
