/* Chooses the state of a case. Each instruction's memory operands get a target first (inside a page, at its end, across
 * two pages, read-only, unmapped), then the registers or the displacement that lead there. A register that an earlier
 * instruction of the case needs, or writes, is left as it is: what then happens is random but happens on both sides. */
#include "setup.h"

#include <string.h>

#include "aim.h"
#include "state.h"

static void poke(struct setup *s, uint64_t va, const void *bytes, unsigned len)
{
    struct insn_case *c = s->c;
    if (c->n_pokes == MAX_POKES)
        return;
    struct insn_poke *p = &c->poke[c->n_pokes++];
    p->va = va & s->mode->mask;
    p->len = (uint8_t)len;
    memcpy(p->bytes, bytes, len);
}

static void poke_u64(struct setup *s, uint64_t va, uint64_t v, unsigned len)
{
    poke(s, va, &v, len);
}

/* Where the stack's top is in memory. */
static uint64_t stack_top(const struct setup *s)
{
    return (s->c->in.gpr[ESP] & (s->mode->ss_base ? 0xffff : UINT64_MAX)) + s->mode->ss_base;
}

/* What an offset in the stack segment is for an address in the stack pages. */
static uint64_t stack_offset(const struct setup *s, uint32_t at)
{
    return s->mode->stack + at - s->mode->ss_base;
}

static unsigned slot_bytes(const struct setup *s)
{
    return s->mode->mode == CPU_TEST_64 ? 8 : 4;
}

static bool is_stack_operand(const ZydisDecodedOperand *op)
{
    return op->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN && dec_gpr(op->mem.base) == ESP;
}

/* Somewhere for control to go: the start of a later instruction, the bytes behind the case, or nowhere. */
static uint64_t branch_target(struct setup *s, unsigned k, bool indirect)
{
    const struct insn_case *c = s->c;
    if (s->mode->mode == CPU_TEST_64 && indirect && rng_chance(s->r, 3))
        return rng_chance(s->r, 50) ? c->in.rip ^ 1ull << (48 + rng_below(s->r, 16)) : 1ull << 47;
    if (s->mode->mode == CPU_TEST_16 && rng_chance(s->r, 3))
        return (rng_chance(s->r, 50) ? 0xfff0 : 0x10000) + rng_below(s->r, 16); /* at the segment's end, or outside */
    if (rng_chance(s->r, 4))
        return s->mode->code - s->mode->cs_base - INSN_PAGE + rng_below(s->r, 64);
    unsigned at = k + 1 + rng_below(s->r, c->n_insn - k);
    return c->in.rip + (at >= c->n_insn ? c->len + rng_below(s->r, 8) : c->off[at]);
}

static uint32_t random_selector(const struct setup *s)
{
    static const uint16_t sel[] = {0, 3, SEL_DATA, SEL_DATA, SEL_DATA, SEL_CODE32, 0xfffb, 0x0407, SEL_DATA & ~3};
    static const uint16_t local[] = {SEL_CODE16, SEL_STACK16, SEL_DATA16};
    if (s->mode->mode == CPU_TEST_16 && rng_chance(s->r, 40))
        return local[rng_below(s->r, sizeof(local) / sizeof(local[0]))];
    return sel[rng_below(s->r, sizeof(sel) / sizeof(sel[0]))];
}

/* A register that is taken may hold the one selector that only the host has a descriptor for. */
static void want_selector(struct setup *s, int reg)
{
    want(s, reg, random_selector(s) | (rng_u32(s->r) & 0xffff0000));
    if (reg >= 0 && (s->c->in.gpr[reg] & 0xfffc) == SEL_HOST_CPU)
        s->c->in.gpr[reg] ^= 0x80;
}

static void aim_branch(struct setup *s, unsigned k, const struct dec *d)
{
    struct insn_case *c = s->c;
    const ZydisDecodedOperand *op = &d->op[0];
    bool relative = op->type == ZYDIS_OPERAND_TYPE_IMMEDIATE && op->imm.is_relative;
    uint64_t target = branch_target(s, k, !relative);
    if (d->i.mnemonic == ZYDIS_MNEMONIC_RET) {
        if (!(s->written & 1u << ESP))
            poke_u64(s, stack_top(s), target, slot_bytes(s));
        if (d->i.raw.imm[0].size) {
            uint16_t release = rng_chance(s->r, 80) ? (uint16_t)rng_below(s->r, 64) : (uint16_t)rng_u32(s->r);
            memcpy(c->code + c->off[k] + d->i.raw.imm[0].offset, &release, 2);
        }
        return;
    }
    if (relative) {
        uint64_t dist = target - (c->in.rip + c->off[k + 1]);
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
        poke_u64(s, aim(s, k, d, op, target_for(s, op->size / 8, d, op)), target, slot_bytes(s));
}

/* What particular instructions need to get past their checks; addr: of the memory operand, where one was aimed. */
static void special(struct setup *s, unsigned k, const struct dec *d, uint64_t addr)
{
    struct rng *r = s->r;
    struct insn_case *c = s->c;
    uint8_t *imm = c->code + c->off[k] + d->i.raw.imm[0].offset;
    bool mem = d->i.operand_count_visible && touches_memory(&d->op[0]);
    switch (d->i.mnemonic) {
    case ZYDIS_MNEMONIC_DIV:
    case ZYDIS_MNEMONIC_IDIV:
        if (rng_chance(r, 75) && d->op[0].size == 8)
            want(s, EAX, (c->in.gpr[EAX] & ~0xffffull) | rng_below(r, 0x400));
        else if (rng_chance(r, 80))
            want(s, EDX, rng_chance(r, 70) ? rng_below(r, 4) : UINT64_MAX);
        break;
    case ZYDIS_MNEMONIC_BOUND:
        poke_u64(s, addr, rng_below(r, 8), d->i.operand_width / 8);
        poke_u64(s, addr + d->i.operand_width / 8, 64 + rng_below(r, 8), d->i.operand_width / 8);
        want(s, dec_gpr(d->op[0].reg.value), rng_below(r, 80));
        break;
    case ZYDIS_MNEMONIC_ENTER: {
        uint16_t size = rng_chance(r, 85) ? (uint16_t)rng_below(r, 256) : (uint16_t)rng_u32(r);
        memcpy(imm, &size, 2);
        c->code[c->off[k] + d->i.raw.imm[1].offset] = (uint8_t)(rng_chance(r, 50) ? 0 : rng_u32(r));
        want(s, EBP, stack_offset(s, 0x400 + (rng_below(r, 0x1800) & ~3u)));
        break;
    }
    case ZYDIS_MNEMONIC_LEAVE:
        want(s, EBP, rng_chance(r, 90) ? stack_offset(s, rng_below(r, 2 * INSN_PAGE)) : rng_next(r));
        break;
    case ZYDIS_MNEMONIC_POPF:
    case ZYDIS_MNEMONIC_POPFD:
    case ZYDIS_MNEMONIC_POPFQ:
        if (!(s->written & 1u << ESP)) /* no TF and AC; the rest is as it comes */
            poke_u64(s, stack_top(s), rng_u32(r) & ~(uint32_t)(ZYDIS_CPUFLAG_TF | ZYDIS_CPUFLAG_AC | ZYDIS_CPUFLAG_NT),
                     slot_bytes(s));
        break;
    case ZYDIS_MNEMONIC_POP:
        if (d->op[0].type == ZYDIS_OPERAND_TYPE_REGISTER && dec_gpr(d->op[0].reg.value) < 0 &&
            !(s->written & 1u << ESP))
            poke_u64(s, stack_top(s), random_selector(s), 4);
        break;
    case ZYDIS_MNEMONIC_MOV:
        if (ZydisRegisterGetClass(d->op[0].reg.value) != ZYDIS_REGCLASS_SEGMENT || mem)
            break;
        if (d->op[1].type == ZYDIS_OPERAND_TYPE_REGISTER)
            want(s, dec_gpr(d->op[1].reg.value), random_selector(s) | (rng_u32(r) & 0xffff0000));
        else
            poke_u64(s, addr, random_selector(s), 2);
        break;
    case ZYDIS_MNEMONIC_LDS:
    case ZYDIS_MNEMONIC_LES:
    case ZYDIS_MNEMONIC_LFS:
    case ZYDIS_MNEMONIC_LGS:
    case ZYDIS_MNEMONIC_LSS:
        poke_u64(s, addr + d->i.operand_width / 8, random_selector(s), 2);
        break;
    case ZYDIS_MNEMONIC_LAR:
    case ZYDIS_MNEMONIC_LSL:
    case ZYDIS_MNEMONIC_VERR:
    case ZYDIS_MNEMONIC_VERW: { /* only selectors that mean the same in both descriptor tables */
        const ZydisDecodedOperand *sel = &d->op[d->i.operand_count_visible - 1];
        if (sel->type == ZYDIS_OPERAND_TYPE_MEMORY)
            poke_u64(s, addr, random_selector(s), 2);
        else
            want_selector(s, dec_gpr(sel->reg.value));
        break;
    }
    case ZYDIS_MNEMONIC_LDMXCSR:
        poke_u64(s, addr, rng_chance(r, 92) ? random_mxcsr(r) : random_u32(r), 4);
        break;
    case ZYDIS_MNEMONIC_FXRSTOR:
    case ZYDIS_MNEMONIC_FXRSTOR64:
        poke_u64(s, addr, random_fcw(r), 2);
        poke_u64(s, addr + 24, rng_chance(r, 92) ? random_mxcsr(r) : random_u32(r), 4);
        break;
    case ZYDIS_MNEMONIC_FLDCW:
    case ZYDIS_MNEMONIC_FLDENV:
    case ZYDIS_MNEMONIC_FRSTOR:
        poke_u64(s, addr, random_fcw(r), 2);
        break;
    case ZYDIS_MNEMONIC_CMPXCHG8B:
        if (rng_chance(r, 50)) {
            poke_u64(s, addr, c->in.gpr[EAX], 4);
            poke_u64(s, addr + 4, c->in.gpr[EDX], 4);
        }
        break;
    case ZYDIS_MNEMONIC_CMPXCHG16B:
        if (rng_chance(r, 50)) {
            poke_u64(s, addr, c->in.gpr[EAX], 8);
            poke_u64(s, addr + 8, c->in.gpr[EDX], 8);
        }
        break;
    case ZYDIS_MNEMONIC_CMPXCHG:
        if (!rng_chance(r, 50))
            break;
        if (mem)
            poke_u64(s, addr, c->in.gpr[EAX], d->op[0].size / 8);
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
    uint64_t addr = 0;
    if (dec_is_branch(d)) {
        if (s->c->shape == SHAPE_LINE)
            aim_branch(s, k, d);
    } else if (dec_is_string(d)) {
        aim_string(s, d);
    } else {
        if (is_bit_test(d) && rng_chance(s->r, 90))
            want(s, dec_gpr(d->op[1].reg.value), (uint64_t)rng_below(s->r, 32000) - 16000);
        for (unsigned i = 0; i < d->i.operand_count; i++) {
            const ZydisDecodedOperand *op = &d->op[i];
            if (touches_memory(op) && !is_stack_operand(op))
                addr = aim(s, k, d, op, target_for(s, op->size / 8, d, op));
        }
    }
    special(s, k, d, addr);
    s->written |= dec_gprs_written(d);
}

static uint64_t random_sp(struct setup *s)
{
    struct rng *r = s->r;
    switch (rng_below(r, 24)) {
    case 0:
        return stack_offset(s, rng_below(r, 32)); /* pushes leave the stack */
    case 1:
        return stack_offset(s, 2 * INSN_PAGE - rng_below(r, 32));
    case 2:
        return stack_offset(s, INSN_PAGE - 16 + rng_below(r, 32));
    case 3:
        return stack_offset(s, 0x400 + rng_below(r, 0x1800));
    case 4:
        if (rng_chance(r, 70))
            return s->mode->data + rng_below(r, 0x2000);
        /* as a selector it must not name a descriptor of the host kernel's own */
        return (s->mode->mode == CPU_TEST_64 ? random_u64(r) : random_u32(r) & 0x7fffffff) | 0x100;
    case 5: /* wraps, where the stack ends with its segment */
        return stack_offset(s, s->mode->ss_base ? 2 * INSN_PAGE : 0x400 + rng_below(r, 8));
    default:
        return stack_offset(s, 0x400 + (rng_below(r, 0x1800) & ~(slot_bytes(s) - 1)));
    }
}

/* FS and GS of 64-bit code: canonical, often near memory that there is. */
static uint64_t random_base(struct setup *s)
{
    switch (rng_below(s->r, 8)) {
    case 0:
    case 1:
        return 0;
    case 2:
    case 3:
        return s->mode->data - rng_below(s->r, 0x10000);
    case 4:
        return s->mode->low - rng_below(s->r, 0x10000);
    case 5:
        return 0 - (uint64_t)rng_below(s->r, 0x10000);
    default:
        return rng_next(s->r) >> 17;
    }
}

static void random_registers(struct setup *s)
{
    const struct mode *m = s->mode;
    struct insn_case *c = s->c;
    memset(&c->in, 0, sizeof(c->in));
    for (unsigned i = 0; i < m->gprs; i++)
        c->in.gpr[i] = random_gpr(s->r, m->mask);
    c->in.gpr[ESP] = random_sp(s) & m->mask;
    if (m->ss_base && rng_chance(s->r, 50)) /* only the lower half counts */
        c->in.gpr[ESP] = (c->in.gpr[ESP] & 0xffff) | (uint64_t)(rng_u32(s->r) >> 16) << 16;
    c->in.rip = c->code_va - m->cs_base;
    c->in.rflags = random_eflags(s->r);
    if (m->mode == CPU_TEST_64) {
        c->in.fs_base = random_base(s);
        c->in.gs_base = random_base(s);
    }
    random_fx(s->r, m->gprs, c->in.fx);
    random_ymm(s->r, m->gprs, c->in.ymmh);
}

void setup_case(const struct decoder *dec, struct rng *r, struct insn_case *c, const struct dec *d,
                const struct optional_pages *pages)
{
    struct setup s = {.mode = dec->mode, .pages = pages, .r = r, .c = c};
    c->n_pokes = 0;
    c->int3_end = c->n_insn == 0 || c->shape == SHAPE_SMC;
    random_registers(&s);
    if (c->shape == SHAPE_LOOP || c->shape == SHAPE_SMC) {
        c->in.gpr[ECX] = 1 + rng_below(r, 6);
        s.busy = 1u << ECX;
    }
    for (unsigned k = 0; k < c->n_insn; k++) {
        setup_insn(&s, k, &d[k]);
        if (dec_is_branch(&d[k]) || dec_pops_flags(&d[k]))
            c->int3_end = true; /* may go elsewhere, or step */
    }
    memcpy(c->native, c->code, c->len);
    for (unsigned k = 0; k < c->n_insn; k++)
        decode_native_form(dec, &d[k], c->code + c->off[k], c->native + c->off[k]);
}
