/* Where memory operands go: inside a page, at its end, across two pages, to read-only and unmapped pages, out of a
 * segment, out of user space; and how registers and displacements are made to lead there. */
#include "aim.h"

#include <string.h>

#include "state.h"

static uint64_t width_mask(unsigned bits)
{
    return bits < 64 ? (1ull << bits) - 1 : UINT64_MAX;
}

static bool usable(const struct setup *s, int reg)
{
    return reg >= 0 && reg != ESP && !((s->busy | s->written) & 1u << reg);
}

void want(struct setup *s, int reg, uint64_t value)
{
    if (!usable(s, reg))
        return;
    s->c->in.gpr[reg] = value & s->mode->mask;
    s->busy |= 1u << reg;
}

/* Sets only the bits of mask. */
static void want_part(struct setup *s, int reg, uint64_t value, uint64_t mask)
{
    if (reg >= 0)
        want(s, reg, (s->c->in.gpr[reg] & ~mask) | (value & mask));
}

bool touches_memory(const ZydisDecodedOperand *op)
{
    return op->type == ZYDIS_OPERAND_TYPE_MEMORY &&
           (op->mem.type == ZYDIS_MEMOP_TYPE_MEM || op->mem.type == ZYDIS_MEMOP_TYPE_VSIB);
}

/* An address for `size` bytes in `pages` pages from va (the page behind them is unmapped, or read-only). */
static uint64_t pick_target(struct rng *r, uint32_t size, uint64_t va, uint32_t pages, bool read_only_behind)
{
    uint32_t room = pages * INSN_PAGE > size ? pages * INSN_PAGE - size : 1;
    uint64_t end = va + pages * INSN_PAGE, t;
    switch (rng_below(r, 32)) {
    case 0:
    case 1: /* across the two pages */
        return va + INSN_PAGE - 1 - rng_below(r, size ? size : 1);
    case 2:
        return end - size;
    case 3: /* out at the upper end */
        return end - rng_below(r, size ? size : 1);
    case 4: /* in from below */
        return va - 1 - rng_below(r, size ? size : 1);
    case 5: /* unmapped */
        return rng_chance(r, 50) ? va - INSN_PAGE + rng_below(r, 1024) : va - 2 * INSN_PAGE + rng_below(r, 64);
    case 6:
    case 7:
        if (!read_only_behind)
            return va;
        t = end + rng_below(r, INSN_PAGE - (size < 4000 ? size : 4000));
        return rng_chance(r, 75) ? t & ~15ull : rng_chance(r, 30) ? end + INSN_PAGE - rng_below(r, size + 1) : t;
    case 8:
    case 9:
    case 10:
    case 11:
    case 12:
    case 13: /* any alignment */
        return va + rng_below(r, room);
    default:
        return va + (rng_below(r, room) & (size == 32 ? ~31u : ~15u));
    }
}

/* An address that 64-bit code alone can have: at the end of user space, not canonical, the kernel's. */
static uint64_t pick_far(const struct setup *s, uint32_t size)
{
    struct rng *r = s->r;
    switch (rng_below(r, 8)) {
    case 0:
        return (1ull << 47) - INSN_PAGE - rng_below(r, size + 1); /* no page is behind EDGE */
    case 1:
        return (1ull << 47) - rng_below(r, 2 * size + 1);
    case 2:
        return s->mode->data ^ 1ull << (48 + rng_below(r, 16));
    case 3:
        return (UINT64_MAX << 47) - rng_below(r, size + 1);
    case 4:
        return UINT64_MAX - rng_below(r, 64); /* may wrap */
    default:
        return s->mode->edge + rng_below(r, INSN_PAGE - (size < 4000 ? size : 4000));
    }
}

/* Does an offset of `bits` lead from the base to the target? */
static bool reachable(uint64_t target, uint64_t base, unsigned bits)
{
    return ((target - base) & ~width_mask(bits)) == 0;
}

static uint64_t target_in(struct setup *s, uint32_t size, ZydisRegister segment, unsigned bits)
{
    const struct mode *m = s->mode;
    uint64_t base = dec_segment_base(m, segment, &s->c->in);
    if (bits == 64 && rng_chance(s->r, 4))
        return pick_far(s, size);
    if (m->mode == CPU_TEST_16 && segment == ZYDIS_REGISTER_SS)
        return pick_target(s->r, size, m->stack, 2, false);
    if (m->mode == CPU_TEST_16 && segment == ZYDIS_REGISTER_DS && rng_chance(s->r, 3))
        return base + m->ds_limit - rng_below(s->r, 2 * size + 1);
    if (m->wrap && s->pages->wrap && bits == 32 && reachable(m->wrap, base, bits) && rng_chance(s->r, 25))
        return rng_chance(s->r, 50) ? m->wrap + INSN_PAGE - rng_below(s->r, size + 1)
                                    : pick_target(s->r, size, m->wrap, 1, false);
    bool low = s->pages->low && reachable(m->low, base, bits);
    if (reachable(m->data, base, bits) && !(low && rng_chance(s->r, 10)))
        return pick_target(s->r, size, m->data, 2, true);
    if (low)
        return pick_target(s->r, size, m->low, 2, false);
    return base + (rng_next(s->r) & width_mask(bits));
}

uint64_t target_for(struct setup *s, uint32_t size, const struct dec *d, const ZydisDecodedOperand *op)
{
    unsigned bits = d->i.address_width;
    if (bits == 64 && op->mem.base == ZYDIS_REGISTER_NONE && dec_gpr(op->mem.index) < 0 && d->i.raw.disp.size == 32)
        bits = 31; /* the displacement is all there is, and it is signed */
    if (bits == 64 && ZydisRegisterGetClass(op->mem.base) == ZYDIS_REGCLASS_IP && s->mode->code2 &&
        s->c->code_va >= s->mode->code2)
        return s->pages->edge ? pick_target(s->r, size, s->mode->edge, 1, false) : s->mode->edge;
    return target_in(s, size, op->mem.segment, bits);
}

/* Offsets for the elements of a gather, near its base. */
static void aim_elements(struct setup *s, const struct dec *d, const ZydisDecodedOperand *op)
{
    int v = dec_vector(op->mem.index);
    bool wide = d->i.opcode & 1; /* VGATHERQ*: 64-bit indices */
    for (unsigned i = 0; v >= 0 && i < 32; i += wide ? 8 : 4) {
        uint8_t *at = i < 16 ? s->c->in.fx + 160 + 16 * v + i : s->c->in.ymmh[v] + (i - 16);
        uint64_t x = rng_chance(s->r, 97) ? (uint64_t)rng_below(s->r, 64) - 16 : random_u64(s->r);
        memcpy(at, &x, wide ? 8 : 4);
    }
}

/* Makes the displacement of instruction k the offset ea; false: it cannot be. */
static bool set_displacement(struct setup *s, unsigned k, const struct dec *d, uint64_t ea)
{
    unsigned size = d->i.raw.disp.size;
    uint64_t mask = width_mask(d->i.address_width);
    if (size < 16)
        return false;
    uint64_t low = ea & width_mask(size), sign = 1ull << (size - 1);
    if ((((low ^ sign) - sign) & mask) != (ea & mask))
        return false;
    memcpy(s->c->code + s->c->off[k] + d->i.raw.disp.offset, &low, size / 8);
    return true;
}

uint64_t aim(struct setup *s, unsigned k, const struct dec *d, const ZydisDecodedOperand *op, uint64_t target)
{
    struct insn_case *c = s->c;
    uint64_t mask = width_mask(d->i.address_width), next = c->in.rip + c->off[k + 1];
    uint64_t segment = dec_segment_base(s->mode, op->mem.segment, &c->in);
    int base = dec_gpr(op->mem.base), index = dec_gpr(op->mem.index);
    bool relative = ZydisRegisterGetClass(op->mem.base) == ZYDIS_REGCLASS_IP;
    uint64_t disp = (uint64_t)op->mem.disp.value;

    if (d->i.attributes & ZYDIS_ATTRIB_HAS_LOCK || d->i.mnemonic == ZYDIS_MNEMONIC_XCHG)
        target = rng_below(s->r, 64) ? target & ~7ull : target; /* some hosts punish locked accesses across lines */
    if (d->i.mnemonic == ZYDIS_MNEMONIC_CMPXCHG16B && rng_chance(s->r, 90))
        target &= ~15ull;
    if (op->mem.type == ZYDIS_MEMOP_TYPE_VSIB)
        aim_elements(s, d, op);
    uint64_t rest = target - segment;
    if (base < 0 && index < 0) {
        if (c->shape == SHAPE_SMC &&
            mode_offset(s->mode, dec_operand_va(s->mode, d, op, &c->in, next)) >= (int)(PAGE_SMC * INSN_PAGE))
            return dec_operand_va(s->mode, d, op, &c->in, next); /* the store into the code */
        if (set_displacement(s, k, d, relative ? rest - next : rest))
            return (segment + (rest & mask)) & s->mode->mask;
        return dec_operand_va(s->mode, d, op, &c->in, next);
    }
    if (index >= 0 && index != base && usable(s, index) && usable(s, base) && op->mem.scale)
        want_part(s, index, rng_chance(s->r, 70) ? rng_below(s->r, 64) : random_gpr(s->r, mask), mask);
    rest -= disp;
    if (index >= 0 && index == base) {
        if (op->mem.scale == 1 && (rest & 1) == 0)
            want_part(s, base, rest / 2, mask);
        else if (op->mem.scale != 1 && rest % (op->mem.scale + 1u) == 0)
            want_part(s, base, rest / (op->mem.scale + 1u), mask);
    } else if (usable(s, base)) {
        want_part(s, base, rest - (index >= 0 ? c->in.gpr[index] * op->mem.scale : 0), mask);
    } else if (usable(s, index)) {
        want_part(s, index, (rest - (base >= 0 ? c->in.gpr[base] : 0)) / (op->mem.scale ? op->mem.scale : 1u), mask);
    }
    return dec_operand_va(s->mode, d, op, &c->in, next);
}

/* Segment of the operand at (E)SI: the one that a prefix can change. */
static ZydisRegister source_segment(const struct dec *d)
{
    for (unsigned i = 0; i < d->i.operand_count; i++)
        if (touches_memory(&d->op[i]) && dec_gpr(d->op[i].mem.base) == ESI)
            return d->op[i].mem.segment;
    return ZYDIS_REGISTER_DS;
}

void aim_string(struct setup *s, const struct dec *d)
{
    struct rng *r = s->r;
    struct insn_case *c = s->c;
    ZydisRegister segment = source_segment(d);
    unsigned bits = d->i.address_width;
    uint64_t mask = width_mask(bits);
    uint32_t width = d->i.operand_width / 8;
    if (d->i.opcode == 0x6e || (d->i.opcode & 1) == 0)
        width = 1;
    uint32_t count = rng_chance(r, 10) ? 0 : rng_chance(r, 50) ? rng_below(r, 8) : rng_below(r, 301);
    uint32_t size = dec_is_rep_string(d) ? count * width : width;
    uint32_t lead = c->in.rflags & ZYDIS_CPUFLAG_DF ? (size ? size - width : 0) : 0;
    uint64_t from = target_in(s, size, segment, bits) + lead, to = target_in(s, size, ZYDIS_REGISTER_ES, bits) + lead;
    if (rng_chance(r, 25) && reachable(from, 0, bits))
        to = from + rng_below(r, 2 * size + 1) - size; /* overlapping */
    want_part(s, ESI, from - dec_segment_base(s->mode, segment, &c->in), mask);
    want_part(s, EDI, to, mask);
    if (dec_is_rep_string(d))
        want_part(s, ECX, count, mask);
    int at = mode_offset(s->mode, c->in.gpr[EDI] & mask);
    bool scan = d->i.mnemonic == ZYDIS_MNEMONIC_SCASB || d->i.mnemonic == ZYDIS_MNEMONIC_SCASD ||
                d->i.mnemonic == ZYDIS_MNEMONIC_SCASQ;
    if (scan && at >= 0 && rng_chance(r, 30))
        want(s, EAX, 0);
}
