/* Chooses the state of a case. Each instruction's memory operands get a target first (inside a page, at its end, across
 * two pages, read-only, unmapped), then the registers or the displacement that lead there. A register that an earlier
 * instruction of the case needs, or writes, is left as it is: what then happens is random but happens on both sides. */
#include "setup.h"

#include <string.h>

#include "state.h"

struct setup {
    struct rng *r;
    struct insn_case *c;
    bool low;
    uint32_t busy;    /* registers whose value an instruction relies on */
    uint32_t written; /* registers that an earlier instruction writes */
};

enum { EAX, ECX, EDX, EBX, ESP, EBP, ESI, EDI };

static void poke(struct setup *s, uint32_t va, const void *bytes, unsigned len)
{
    struct insn_case *c = s->c;
    if (c->n_pokes == MAX_POKES)
        return;
    struct insn_poke *p = &c->poke[c->n_pokes++];
    p->va = va;
    p->len = (uint8_t)len;
    memcpy(p->bytes, bytes, len);
}

static void poke_u32(struct setup *s, uint32_t va, uint32_t v, unsigned len)
{
    poke(s, va, &v, len);
}

static bool usable(const struct setup *s, int reg)
{
    return reg >= 0 && reg != ESP && !((s->busy | s->written) & 1u << reg);
}

/* Gives a register a value if nothing relies on it. */
static void want(struct setup *s, int reg, uint32_t value)
{
    if (!usable(s, reg))
        return;
    s->c->in.gpr[reg] = value;
    s->busy |= 1u << reg;
}

/* Sets only the bits of mask. */
static void want_part(struct setup *s, int reg, uint32_t value, uint32_t mask)
{
    if (reg >= 0)
        want(s, reg, (s->c->in.gpr[reg] & ~mask) | (value & mask));
}

/* An address for `size` bytes between the pages first .. end-1 (the page at end is unmapped, or read-only in DATA). */
static uint32_t pick_target(struct rng *r, uint32_t size, uint32_t va, uint32_t pages, bool read_only_behind)
{
    uint32_t end = va + pages * INSN_PAGE, room = pages * INSN_PAGE > size ? pages * INSN_PAGE - size : 1;
    uint32_t t;
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
        return rng_chance(r, 75) ? t & ~15u : rng_chance(r, 30) ? end + INSN_PAGE - rng_below(r, size + 1) : t;
    case 8:
    case 9:
    case 10:
    case 11:
    case 12:
    case 13: /* any alignment */
        return va + rng_below(r, room);
    default:
        return va + (rng_below(r, room) & ~15u);
    }
}

static uint32_t target_for(struct setup *s, uint32_t size, bool narrow)
{
    if (narrow)
        return s->low ? pick_target(s->r, size, LOW_VA, 2, false) : rng_below(s->r, 0x10000);
    return pick_target(s->r, size, DATA_VA, 2, true);
}

/* The address a memory operand has with the registers as they are now chosen. */
static uint32_t address_of(const struct setup *s, const struct dec *d, const ZydisDecodedOperand *op)
{
    int base = dec_gpr(op->mem.base), index = dec_gpr(op->mem.index);
    uint32_t a = (uint32_t)op->mem.disp.value;
    if (base >= 0)
        a += s->c->in.gpr[base];
    if (index >= 0)
        a += s->c->in.gpr[index] * op->mem.scale;
    return d->i.address_width == 16 ? a & 0xffff : a;
}

/* Makes the operand's address `target`, by the base, the index or the displacement; returns what became of it. */
static uint32_t aim(struct setup *s, unsigned k, const struct dec *d, const ZydisDecodedOperand *op, uint32_t target)
{
    struct insn_case *c = s->c;
    uint32_t mask = d->i.address_width == 16 ? 0xffff : 0xffffffff;
    int base = dec_gpr(op->mem.base), index = dec_gpr(op->mem.index);
    uint32_t disp = (uint32_t)op->mem.disp.value;

    if (d->i.attributes & ZYDIS_ATTRIB_HAS_LOCK || d->i.mnemonic == ZYDIS_MNEMONIC_XCHG)
        target = rng_below(s->r, 64) ? target & ~7u : target; /* some hosts punish locked accesses across lines */
    if (base < 0 && index < 0) {
        if (c->shape == SHAPE_SMC && disp - SMC_VA < 2 * INSN_PAGE)
            return disp; /* the store into the code */
        if (d->i.raw.disp.size == 32 || d->i.raw.disp.size == 16) {
            memcpy(c->code + c->off[k] + d->i.raw.disp.offset, &target, d->i.raw.disp.size / 8);
            return target & (d->i.raw.disp.size == 16 ? 0xffff : 0xffffffff);
        }
        return disp;
    }
    if (index >= 0 && index != base && usable(s, index) && usable(s, base) && op->mem.scale)
        want_part(s, index, rng_chance(s->r, 70) ? rng_below(s->r, 64) : random_u32(s->r), mask);
    uint32_t rest = target - disp;
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
    return address_of(s, d, op);
}

static bool touches_memory(const ZydisDecodedOperand *op)
{
    return op->type == ZYDIS_OPERAND_TYPE_MEMORY && op->mem.type == ZYDIS_MEMOP_TYPE_MEM;
}

static bool is_stack_operand(const ZydisDecodedOperand *op)
{
    return op->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN && dec_gpr(op->mem.base) == ESP;
}

/* Somewhere for control to go: the start of a later instruction, the bytes behind the case, or nowhere. */
static uint32_t branch_target(struct setup *s, unsigned k)
{
    const struct insn_case *c = s->c;
    if (rng_chance(s->r, 4))
        return CODE_VA - INSN_PAGE + rng_below(s->r, 64);
    unsigned at = k + 1 + rng_below(s->r, c->n_insn - k);
    return c->code_va + (at >= c->n_insn ? c->len + rng_below(s->r, 8) : c->off[at]);
}

static uint32_t random_selector(struct rng *r)
{
    static const uint16_t sel[] = {0, 3, SEL_DATA, SEL_DATA, SEL_DATA, SEL_CODE32, 0xfffb, 0x07, SEL_DATA & ~3};
    return sel[rng_below(r, sizeof(sel) / sizeof(sel[0]))];
}

static void aim_branch(struct setup *s, unsigned k, const struct dec *d)
{
    struct insn_case *c = s->c;
    const ZydisDecodedOperand *op = &d->op[0];
    uint32_t target = branch_target(s, k);
    if (d->i.mnemonic == ZYDIS_MNEMONIC_RET) {
        if (!(s->written & 1u << ESP))
            poke_u32(s, c->in.gpr[ESP], target, 4);
        if (d->i.raw.imm[0].size) {
            uint16_t release = rng_chance(s->r, 80) ? (uint16_t)rng_below(s->r, 64) : (uint16_t)rng_u32(s->r);
            memcpy(c->code + c->off[k] + d->i.raw.imm[0].offset, &release, 2);
        }
        return;
    }
    if (op->type == ZYDIS_OPERAND_TYPE_IMMEDIATE && op->imm.is_relative) {
        uint32_t dist = target - (c->code_va + c->off[k + 1]);
        memcpy(c->code + c->off[k] + d->i.raw.imm[0].offset, &dist, d->i.raw.imm[0].size / 8);
        if (d->i.raw.imm[0].size == 8 && dist + 128 > 255) /* too far: straight on */
            c->code[c->off[k] + d->i.raw.imm[0].offset] = 0;
        if (rng_chance(s->r, 50))
            want(s, ECX, rng_below(s->r, 3)); /* LOOP, JECXZ */
        return;
    }
    if (op->type == ZYDIS_OPERAND_TYPE_REGISTER)
        want(s, dec_gpr(op->reg.value), target);
    else if (touches_memory(op))
        poke_u32(s, aim(s, k, d, op, target_for(s, op->size / 8, d->i.address_width == 16)), target, 4);
}

static void aim_string(struct setup *s, const struct dec *d)
{
    struct rng *r = s->r;
    struct insn_case *c = s->c;
    bool narrow = d->i.address_width == 16;
    uint32_t mask = narrow ? 0xffff : 0xffffffff, width = d->i.operand_width / 8;
    if (d->i.opcode == 0x6e || (d->i.opcode & 1) == 0)
        width = 1;
    uint32_t count = rng_chance(r, 10) ? 0 : rng_chance(r, 50) ? rng_below(r, 8) : rng_below(r, 301);
    uint32_t size = dec_is_rep_string(d) ? count * width : width;
    uint32_t lead = c->in.rflags & ZYDIS_CPUFLAG_DF ? (size ? size - width : 0) : 0;
    uint32_t from = target_for(s, size, narrow) + lead, to = target_for(s, size, narrow) + lead;
    if (rng_chance(r, 25))
        to = from + rng_below(r, 2 * size + 1) - size; /* overlapping */
    want_part(s, ESI, from, mask);
    want_part(s, EDI, to, mask);
    if (dec_is_rep_string(d))
        want_part(s, ECX, count, mask);
    int at = mem_offset(c->in.gpr[EDI] & mask);
    if ((d->i.mnemonic == ZYDIS_MNEMONIC_SCASB || d->i.mnemonic == ZYDIS_MNEMONIC_SCASD) && at >= 0 &&
        rng_chance(r, 30))
        want(s, EAX, 0);
}

/* What particular instructions need to get past their checks; addr: of the memory operand, where one was aimed. */
static void special(struct setup *s, unsigned k, const struct dec *d, uint32_t addr)
{
    struct rng *r = s->r;
    struct insn_case *c = s->c;
    uint8_t *imm = c->code + c->off[k] + d->i.raw.imm[0].offset;
    bool mem = d->i.operand_count_visible && touches_memory(&d->op[0]);
    switch (d->i.mnemonic) {
    case ZYDIS_MNEMONIC_DIV:
    case ZYDIS_MNEMONIC_IDIV:
        if (rng_chance(r, 75) && d->op[0].size == 8)
            want_part(s, EAX, rng_below(r, 0x400), 0xffff);
        else if (rng_chance(r, 80))
            want(s, EDX, rng_chance(r, 70) ? rng_below(r, 4) : 0xffffffff);
        break;
    case ZYDIS_MNEMONIC_BOUND:
        poke_u32(s, addr, rng_below(r, 8), d->i.operand_width / 8);
        poke_u32(s, addr + d->i.operand_width / 8, 64 + rng_below(r, 8), d->i.operand_width / 8);
        want(s, dec_gpr(d->op[0].reg.value), rng_below(r, 80));
        break;
    case ZYDIS_MNEMONIC_ENTER: {
        uint16_t size = rng_chance(r, 85) ? (uint16_t)rng_below(r, 256) : (uint16_t)rng_u32(r);
        memcpy(imm, &size, 2);
        c->code[c->off[k] + d->i.raw.imm[1].offset] = (uint8_t)(rng_chance(r, 50) ? 0 : rng_u32(r));
        want(s, EBP, STACK_VA + 0x400 + (rng_below(r, 0x1800) & ~3u));
        break;
    }
    case ZYDIS_MNEMONIC_LEAVE:
        want(s, EBP, rng_chance(r, 90) ? STACK_VA + rng_below(r, 2 * INSN_PAGE) : rng_u32(r));
        break;
    case ZYDIS_MNEMONIC_POPF:
    case ZYDIS_MNEMONIC_POPFD:
        if (!(s->written & 1u << ESP)) /* no TF and AC; the rest is as it comes */
            poke_u32(s, c->in.gpr[ESP],
                     rng_u32(r) & ~(uint32_t)(ZYDIS_CPUFLAG_TF | ZYDIS_CPUFLAG_AC | ZYDIS_CPUFLAG_NT), 4);
        break;
    case ZYDIS_MNEMONIC_POP:
        if (d->op[0].type == ZYDIS_OPERAND_TYPE_REGISTER && dec_gpr(d->op[0].reg.value) < 0 &&
            !(s->written & 1u << ESP))
            poke_u32(s, c->in.gpr[ESP], random_selector(r), 4);
        break;
    case ZYDIS_MNEMONIC_MOV:
        if (ZydisRegisterGetClass(d->op[0].reg.value) != ZYDIS_REGCLASS_SEGMENT || mem)
            break;
        if (d->op[1].type == ZYDIS_OPERAND_TYPE_REGISTER)
            want(s, dec_gpr(d->op[1].reg.value), random_selector(r) | (rng_u32(r) & 0xffff0000));
        else
            poke_u32(s, addr, random_selector(r), 2);
        break;
    case ZYDIS_MNEMONIC_LDS:
    case ZYDIS_MNEMONIC_LES:
    case ZYDIS_MNEMONIC_LFS:
    case ZYDIS_MNEMONIC_LGS:
    case ZYDIS_MNEMONIC_LSS:
        poke_u32(s, addr + d->i.operand_width / 8, random_selector(r), 2);
        break;
    case ZYDIS_MNEMONIC_LAR:
    case ZYDIS_MNEMONIC_LSL:
    case ZYDIS_MNEMONIC_VERR:
    case ZYDIS_MNEMONIC_VERW: { /* only selectors that mean the same in both descriptor tables */
        const ZydisDecodedOperand *sel = &d->op[d->i.operand_count_visible - 1];
        if (sel->type == ZYDIS_OPERAND_TYPE_MEMORY)
            poke_u32(s, addr, random_selector(r), 2);
        else
            want(s, dec_gpr(sel->reg.value), random_selector(r) | (rng_u32(r) & 0xffff0000));
        break;
    }
    case ZYDIS_MNEMONIC_LDMXCSR:
        poke_u32(s, addr, rng_chance(r, 92) ? random_mxcsr(r) : random_u32(r), 4);
        break;
    case ZYDIS_MNEMONIC_FXRSTOR:
        poke_u32(s, addr, random_fcw(r), 2);
        poke_u32(s, addr + 24, rng_chance(r, 92) ? random_mxcsr(r) : random_u32(r), 4);
        break;
    case ZYDIS_MNEMONIC_FLDCW:
    case ZYDIS_MNEMONIC_FLDENV:
    case ZYDIS_MNEMONIC_FRSTOR:
        poke_u32(s, addr, random_fcw(r), 2);
        break;
    case ZYDIS_MNEMONIC_CMPXCHG8B:
        if (rng_chance(r, 50)) {
            poke_u32(s, addr, c->in.gpr[EAX], 4);
            poke_u32(s, addr + 4, c->in.gpr[EDX], 4);
        }
        break;
    case ZYDIS_MNEMONIC_CMPXCHG:
        if (!rng_chance(r, 50))
            break;
        if (mem)
            poke_u32(s, addr, c->in.gpr[EAX], 4);
        else
            want(s, dec_gpr(d->op[0].reg.value), c->in.gpr[EAX]);
        break;
    default:
        break;
    }
}

static bool is_bit_test(const struct dec *d)
{
    switch (d->i.mnemonic) {
    case ZYDIS_MNEMONIC_BT:
    case ZYDIS_MNEMONIC_BTS:
    case ZYDIS_MNEMONIC_BTR:
    case ZYDIS_MNEMONIC_BTC:
        return touches_memory(&d->op[0]) && d->op[1].type == ZYDIS_OPERAND_TYPE_REGISTER;
    default:
        return false;
    }
}

static void setup_insn(struct setup *s, unsigned k, const struct dec *d)
{
    uint32_t addr = 0;
    if (dec_is_branch(d)) {
        if (s->c->shape == SHAPE_LINE)
            aim_branch(s, k, d);
    } else if (dec_is_string(d)) {
        aim_string(s, d);
    } else {
        if (is_bit_test(d) && rng_chance(s->r, 90))
            want(s, dec_gpr(d->op[1].reg.value), rng_below(s->r, 32000) - 16000);
        for (unsigned i = 0; i < d->i.operand_count; i++) {
            const ZydisDecodedOperand *op = &d->op[i];
            if (touches_memory(op) && !is_stack_operand(op))
                addr = aim(s, k, d, op, target_for(s, op->size / 8, d->i.address_width == 16));
        }
    }
    special(s, k, d, addr);
    s->written |= dec_gprs_written(d);
}

static uint32_t random_esp(struct rng *r)
{
    switch (rng_below(r, 24)) {
    case 0:
        return STACK_VA + rng_below(r, 32); /* pushes leave the stack */
    case 1:
        return STACK_VA + 2 * INSN_PAGE - rng_below(r, 32);
    case 2:
        return STACK_VA + INSN_PAGE - 16 + rng_below(r, 32);
    case 3:
        return STACK_VA + 0x400 + rng_below(r, 0x1800);
    case 4:
        return rng_chance(r, 30) ? random_u32(r) & 0x7fffffff : DATA_VA + rng_below(r, 0x2000);
    default:
        return STACK_VA + 0x400 + (rng_below(r, 0x1800) & ~3u);
    }
}

void setup_case(const struct decoder *dec, struct rng *r, struct insn_case *c, const struct dec *d, bool low)
{
    struct setup s = {.r = r, .c = c, .low = low};
    c->n_pokes = 0;
    c->int3_end = c->n_insn == 0 || c->shape == SHAPE_SMC;
    for (unsigned i = 0; i < 8; i++)
        c->in.gpr[i] = random_u32(r);
    c->in.gpr[ESP] = random_esp(r);
    c->in.rip = c->code_va;
    c->in.rflags = random_eflags(r);
    random_fx(r, c->in.fx);
    if (c->shape == SHAPE_LOOP || c->shape == SHAPE_SMC) {
        c->in.gpr[ECX] = 1 + rng_below(r, 6);
        s.busy = 1u << ECX;
    }
    for (unsigned k = 0; k < c->n_insn; k++) {
        setup_insn(&s, k, &d[k]);
        if (dec_is_branch(&d[k]) || d[k].i.mnemonic == ZYDIS_MNEMONIC_POPF || d[k].i.mnemonic == ZYDIS_MNEMONIC_POPFD)
            c->int3_end = true; /* may go elsewhere, or step */
    }
    memcpy(c->native, c->code, c->len);
    for (unsigned k = 0; k < c->n_insn; k++)
        decode_native_form(dec, &d[k], c->code + c->off[k], c->native + c->off[k]);
}
