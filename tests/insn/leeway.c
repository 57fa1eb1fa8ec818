#include "leeway.h"

bool is_system_address(const struct mode *m, uint64_t va)
{
    return va >= (m->mode == CPU_TEST_64 ? (1ull << 47) - INSN_PAGE : 0xffc00000u);
}

static bool stores_pointers(const struct dec *d, uint32_t *at, uint32_t *len)
{
    bool narrow = d->i.operand_width == 16;
    switch (d->i.mnemonic) {
    case ZYDIS_MNEMONIC_FNSTENV:
    case ZYDIS_MNEMONIC_FNSAVE:
        *at = narrow ? 6 : 12;
        *len = narrow ? 8 : 16;
        return true;
    case ZYDIS_MNEMONIC_FXSAVE:
    case ZYDIS_MNEMONIC_FXSAVE64:
        *at = 6;
        *len = 18;
        return true;
    default:
        return false;
    }
}

static bool pushes_selector(const struct dec *d)
{
    return d->i.mnemonic == ZYDIS_MNEMONIC_PUSH && d->i.operand_width >= 32 &&
           d->op[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
           ZydisRegisterGetClass(d->op[0].reg.value) == ZYDIS_REGCLASS_SEGMENT;
}

uint64_t stack_top(const struct mode *m, const struct cpu_test_regs *r)
{
    return (r->gpr[4] & (m->ss_base ? 0xffff : UINT64_MAX)) + m->ss_base;
}

static bool same_bytes(const struct unspecified *p, uint64_t va, uint32_t len)
{
    for (unsigned i = 0; i < p->n; i++)
        if (va - p->range[i].va < p->range[i].len || p->range[i].va - va < len)
            return true;
    return false;
}

/* Does it read what is found already, or from where it is not known? */
static bool reads_unspecified(const struct mode *m, const struct insn_case *c, const struct dec *d, unsigned k,
                              uint32_t written, const struct unspecified *p)
{
    for (unsigned i = 0; i < d->i.operand_count && p->n; i++) {
        const ZydisDecodedOperand *op = &d->op[i];
        int base = dec_gpr(op->mem.base), index = dec_gpr(op->mem.index);
        if (op->type != ZYDIS_OPERAND_TYPE_MEMORY || !(op->actions & ZYDIS_OPERAND_ACTION_MASK_READ))
            continue;
        if (dec_is_string(d) || op->mem.type == ZYDIS_MEMOP_TYPE_VSIB || (base >= 0 && written >> base & 1) ||
            (index >= 0 && written >> index & 1))
            return true;
        if (same_bytes(p, dec_operand_va(m, d, op, &c->in, c->in.rip + c->off[k + 1]), op->size / 8))
            return true;
    }
    return false;
}

void find_unspecified(const struct mode *m, const struct insn_case *c, const struct dec *d, unsigned n, bool pointers,
                      struct unspecified *p)
{
    uint32_t written = 0;
    *p = (struct unspecified){0};
    for (unsigned k = 0; k < n; k++) {
        uint32_t at, len;
        p->spread |= reads_unspecified(m, c, &d[k], k, written, p);
        if (pushes_selector(&d[k])) { /* some processors write two bytes, some four */
            p->everywhere |= written >> 4 & 1;
            p->range[p->n].va = stack_top(m, &c->in) - (d[k].i.operand_width / 8 - 2u);
            p->range[p->n++].len = d[k].i.operand_width / 8 - 2u;
        }
        if (!pointers && stores_pointers(&d[k], &at, &len)) {
            const ZydisDecodedOperandMem *mem = &d[k].op[0].mem;
            int base = dec_gpr(mem->base), index = dec_gpr(mem->index);
            if ((base >= 0 && written >> base & 1) || (index >= 0 && written >> index & 1))
                p->everywhere = true;
            p->range[p->n].va = dec_operand_va(m, &d[k], &d[k].op[0], &c->in, c->in.rip + c->off[k + 1]) + at;
            p->range[p->n++].len = len;
        }
        written |= dec_gprs_written(&d[k]) | (dec_is_string(&d[k]) ? 0xc2u : 0);
    }
}

bool is_unspecified(const struct unspecified *p, uint64_t va)
{
    for (unsigned i = 0; i < p->n; i++)
        if (va - p->range[i].va < p->range[i].len)
            return true;
    return p->everywhere;
}

bool many_accesses(const struct dec *d)
{
    if ((d->i.mnemonic == ZYDIS_MNEMONIC_FSTP || d->i.mnemonic == ZYDIS_MNEMONIC_FLD) && d->op[0].size == 80)
        return true;
    switch (d->i.mnemonic) {
    case ZYDIS_MNEMONIC_FXSAVE:
    case ZYDIS_MNEMONIC_FXRSTOR:
    case ZYDIS_MNEMONIC_FXSAVE64:
    case ZYDIS_MNEMONIC_FXRSTOR64:
    case ZYDIS_MNEMONIC_FNSAVE:
    case ZYDIS_MNEMONIC_FRSTOR:
    case ZYDIS_MNEMONIC_FNSTENV:
    case ZYDIS_MNEMONIC_FLDENV:
    case ZYDIS_MNEMONIC_PUSHA:
    case ZYDIS_MNEMONIC_PUSHAD:
    case ZYDIS_MNEMONIC_POPA:
    case ZYDIS_MNEMONIC_POPAD:
    case ZYDIS_MNEMONIC_ENTER:
    case ZYDIS_MNEMONIC_CMPSB:
    case ZYDIS_MNEMONIC_CMPSW:
    case ZYDIS_MNEMONIC_CMPSD:
    case ZYDIS_MNEMONIC_CMPSQ:
    case ZYDIS_MNEMONIC_FBSTP:
    case ZYDIS_MNEMONIC_FBLD:
    case ZYDIS_MNEMONIC_BOUND:
    case ZYDIS_MNEMONIC_MASKMOVQ:
    case ZYDIS_MNEMONIC_MASKMOVDQU:
    case ZYDIS_MNEMONIC_VMASKMOVDQU:
    case ZYDIS_MNEMONIC_VMASKMOVPS:
    case ZYDIS_MNEMONIC_VMASKMOVPD:
    case ZYDIS_MNEMONIC_VPMASKMOVD:
    case ZYDIS_MNEMONIC_VPMASKMOVQ:
        return true;
    default:
        return false;
    }
}

bool loads_x87(const struct dec *d)
{
    return d->i.mnemonic == ZYDIS_MNEMONIC_FRSTOR || d->i.mnemonic == ZYDIS_MNEMONIC_FLDENV ||
           d->i.mnemonic == ZYDIS_MNEMONIC_FXRSTOR || d->i.mnemonic == ZYDIS_MNEMONIC_FXRSTOR64;
}

bool uses_mmx(const struct dec *d)
{
    for (unsigned i = 0; i < d->i.operand_count_visible; i++)
        if (d->op[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
            ZydisRegisterGetClass(d->op[i].reg.value) == ZYDIS_REGCLASS_MMX)
            return true;
    return false;
}

bool store_withheld(const struct dec *at, const struct insn_result *native)
{
    return at && at->i.meta.category == ZYDIS_CATEGORY_X87_ALU && native->out.fx[2] & 0x80;
}

static bool wide_operand(const struct dec *d)
{
    for (unsigned i = 0; i < d->i.operand_count_visible; i++)
        if (d->op[i].type == ZYDIS_OPERAND_TYPE_MEMORY && d->op[i].size >= 128)
            return true;
    return false;
}

bool pops_part(const struct dec *at)
{
    return at && at->i.mnemonic == ZYDIS_MNEMONIC_POP && at->i.operand_width > 16 &&
           at->op[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
           ZydisRegisterGetClass(at->op[0].reg.value) == ZYDIS_REGCLASS_SEGMENT;
}

bool is_access_fault(int vector)
{
    return vector == 12 || vector == 13 || vector == 14;
}

bool takes_host_descriptor(const struct dec *guest_at, const struct cpu_test_fault *guest)
{
    if (!guest_at || guest->vector != 13 || guest->error != SEL_HOST_CPU)
        return false;
    for (unsigned i = 0; i < guest_at->i.operand_count; i++)
        if (guest_at->op[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
            ZydisRegisterGetClass(guest_at->op[i].reg.value) == ZYDIS_REGCLASS_SEGMENT &&
            guest_at->op[i].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
            return true;
    return false;
}

static bool loads_far_pointer(const struct dec *d)
{
    switch (d->i.mnemonic) {
    case ZYDIS_MNEMONIC_LDS:
    case ZYDIS_MNEMONIC_LES:
    case ZYDIS_MNEMONIC_LFS:
    case ZYDIS_MNEMONIC_LGS:
    case ZYDIS_MNEMONIC_LSS:
        return true;
    default:
        return false;
    }
}

bool may_choose(const struct mode *m, const struct dec *at, const struct cpu_test_fault *a,
                const struct cpu_test_fault *b)
{
    if (!at || !is_access_fault(a->vector) || !is_access_fault(b->vector))
        return false;
    if (many_accesses(at))
        return true;
    if (m->mode == CPU_TEST_64 && a->vector != 14 && b->vector == 14 && (b->cr2 + INSN_PAGE) >> 47 == 1)
        return true; /* across the end of user space, where no page is on this side either */
    if (loads_far_pointer(at) || pops_part(at))
        return true;
    switch (at->i.mnemonic) {
    case ZYDIS_MNEMONIC_MOVSB: /* which of its operands is checked first */
    case ZYDIS_MNEMONIC_MOVSW:
    case ZYDIS_MNEMONIC_MOVSD:
    case ZYDIS_MNEMONIC_MOVSQ:
        return dec_is_string(at);
    default: /* #GP for an address that is not aligned, #SS for one outside of the stack segment */
        return a->vector + b->vector == 12 + 13 && wide_operand(at);
    }
}

bool wraps_in_parts(const struct mode *m, const struct dec *at, const struct insn_result *native)
{
    return m->mode == CPU_TEST_64 && at && at->i.address_width == 32 && native->fault.vector == 14 &&
           native->fault.cr2 < INSN_PAGE && (many_accesses(at) || loads_far_pointer(at));
}

bool may_keep_upper(const struct mode *m, const struct insn_case *c, const struct dec *d, unsigned n, unsigned reg,
                    const struct insn_result *native, const struct insn_result *guest)
{
    uint64_t a = native->out.gpr[reg], b = guest->out.gpr[reg];
    bool repeats = false;
    for (unsigned k = 0; k < n; k++)
        repeats |= dec_is_rep_string(&d[k]) && dec_is_string(&d[k]) && d[k].i.address_width == 32;
    return m->mode == CPU_TEST_64 && repeats && (reg == 1 || reg == 6 || reg == 7) && (uint32_t)a == (uint32_t)b &&
           a >> 32 == 0 && b >> 32 == c->in.gpr[reg] >> 32;
}
