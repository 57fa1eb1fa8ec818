/* Instructions with an address or a shape of their own: stack, strings, LEA, MOV's odd forms, bit tests by register. */
#include "vmcore/tb.h"

static void load_reg(struct tb *t, struct em *e) /* acc_reg of acc_size bytes from the operand */
{
    if (t->acc_size == 2)
        e8(e, 0x66);
    e_mem(e, t->acc_size == 8, t->acc_size == 1 ? 0x8a : 0x8b, t->acc_reg, t->base, t->index, 0, t->disp);
}

static void store_reg(struct tb *t, struct em *e)
{
    if (t->acc_size == 2)
        e8(e, 0x66);
    e_mem(e, t->acc_size == 8, t->acc_size == 1 ? 0x88 : 0x89, t->acc_reg, t->base, t->index, 0, t->disp);
}

static void store_imm(struct tb *t, struct em *e)
{
    uint32_t v = (uint32_t)t->cur->op[0].imm.value.s;

    if (t->acc_size == 2)
        e8(e, 0x66);
    e_mem(e, t->acc_size == 8, 0xc7, 0, t->base, t->index, 0, t->disp);
    if (t->acc_size == 2)
        e16(e, v);
    else
        e32(e, v);
}

static void load_selector(struct tb *t, int host)
{
    e_gs(&t->hot, 0, 0x0fb7, host, H_NONE, 0,
         CPU_SEG + (int)seg_index(t->cur->op[t->acc_reg].reg.value) * CPU_SEG_SIZE +
             (int)offsetof(struct cpu_seg, sel));
}

static void set_sp(struct tb *t, int base, int32_t disp)
{
    if (stack32(t)) {
        t_lea(t, &t->hot, H_RSP, base, disp);
        return;
    }
    e_lea(&t->hot, t->rx, base, disp);
    e_mov_size(&t->hot, 2, H_RSP, t->rx);
}

static bool is_seg(const ZydisDecodedOperand *o)
{
    return o->type == ZYDIS_OPERAND_TYPE_REGISTER && o->reg.value >= ZYDIS_REGISTER_ES &&
           o->reg.value <= ZYDIS_REGISTER_GS;
}

void emit_PUSH(struct tb *t)
{
    const struct ginsn *g = t->cur;
    const ZydisDecodedOperand *o = &g->op[0];
    int size = g->z.operand_width / 8;

    t->acc_size = (unsigned)size;
    if (is_seg(o)) { /* a 32-bit push of a selector writes its 16 bits, as current CPUs do, a 64-bit one all */
        t->acc_reg = 0;
        load_selector(t, t->rv);
        t->acc_reg = t->rv;
        t->acc_size = size == 8 ? 8 : 2;
        stack_ea(t, H_RSP, -size);
        emit_access(t, S_SS, t->acc_size, 2, store_reg);
        set_sp(t, H_RSP, -size);
        return;
    }
    if (o->type == ZYDIS_OPERAND_TYPE_MEMORY) {
        t->acc_reg = t->rv;
        ea_for_access(t, o, 0);
        emit_access(t, seg_index(o->mem.segment), (unsigned)size, 1, load_reg);
    } else if (o->type == ZYDIS_OPERAND_TYPE_REGISTER)
        t->acc_reg = host_gpr(o->reg.value);
    stack_ea(t, H_RSP, -size);
    emit_access(t, S_SS, (unsigned)size, 2, o->type == ZYDIS_OPERAND_TYPE_IMMEDIATE ? store_imm : store_reg);
    set_sp(t, H_RSP, -size);
}

void emit_POP(struct tb *t)
{
    const struct ginsn *g = t->cur;
    const ZydisDecodedOperand *o = &g->op[0];
    int size = g->z.operand_width / 8;

    if (is_seg(o) && seg_load_inline(t, seg_index(o->reg.value))) {
        emit_pop_seg(t, seg_index(o->reg.value), (unsigned)size);
        return;
    }
    if (is_seg(o)) {
        emit_helper(t, (unsigned)helper_index("pop_seg"), NULL, seg_index(o->reg.value), (uint32_t)size, false);
        return;
    }
    t->acc_size = (unsigned)size;
    t->acc_reg = t->rv;
    stack_ea(t, H_RSP, 0);
    emit_access(t, S_SS, (unsigned)size, 1, load_reg);
    if (o->type == ZYDIS_OPERAND_TYPE_MEMORY) {
        /* an address from ESP is taken after the increment; ESP itself changes last */
        bool by_sp = o->mem.base == ZYDIS_REGISTER_ESP || o->mem.base == ZYDIS_REGISTER_RSP;
        ea_for_access(t, o, by_sp ? size : 0);
        emit_access(t, seg_index(o->mem.segment), (unsigned)size, 2, store_reg);
        set_sp(t, H_RSP, size);
        return;
    }
    set_sp(t, H_RSP, size);
    e_mov_size(&t->hot, (unsigned)size, host_gpr(o->reg.value), t->rv);
}

void emit_LEAVE(struct tb *t)
{
    int size = t->cur->z.operand_width / 8;

    t->acc_size = (unsigned)size;
    t->acc_reg = t->rv;
    stack_ea(t, H_RBP, 0);
    emit_access(t, S_SS, (unsigned)size, 1, load_reg);
    set_sp(t, H_RBP, size);
    e_mov_size(&t->hot, (unsigned)size, H_RBP, t->rv);
}

void emit_LEA(struct tb *t)
{
    const struct ginsn *g = t->cur;

    ea_to_ra(t, &g->op[1], 0);
    e_mov_size(&t->hot, g->z.operand_width / 8u, host_gpr(g->op[0].reg.value), t->ra);
}

void emit_NOP(struct tb *t)
{
    if (t->cur->z.mnemonic == ZYDIS_MNEMONIC_PAUSE) {
        e8(&t->hot, 0xf3);
        e8(&t->hot, 0x90);
    }
}

static void xlat_load(struct tb *t, struct em *e)
{
    e_mem(e, 0, 0x8a, H_RAX, t->base, t->index, 0, t->disp);
}

void emit_XLAT(struct tb *t)
{
    const struct ginsn *g = t->cur;
    unsigned seg = S_DS;

    for (unsigned i = 0; i < g->z.operand_count; i++)
        if (g->op[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
            seg = seg_index(g->op[i].mem.segment);
    e_rr(&t->hot, 0, 0x0fb6, t->ra, H_RAX);
    e_mem(&t->hot, g->z.address_width == 64, 0x8d, t->ra, H_RBX, t->ra, 0, 0);
    if (g->z.address_width == 16)
        e_movzx16(&t->hot, t->ra, t->ra);
    emit_access(t, seg, 1, 1, xlat_load);
}

/* BT and friends with a register offset address a bit string: the byte address moves by the offset's upper part. */
static void bit_op(struct tb *t, struct em *e)
{
    const struct ginsn *g = t->cur;

    if (g->reads || (g->after & ~g->kills))
        fl_restore(t, e);
    if (g->z.attributes & ZYDIS_ATTRIB_HAS_LOCK)
        e8(e, 0xf0);
    if (t->acc_size == 2)
        e8(e, 0x66);
    e_mem(e, t->acc_size == 8, 0x0f00u | g->z.opcode, t->rv, t->base, t->index, 0, t->disp);
    t->loc = LOC_HOST;
}

void emit_BT(struct tb *t)
{
    const struct ginsn *g = t->cur;
    const ZydisDecodedOperand *o = &g->op[0];
    struct em *h = &t->hot;

    if (o->type != ZYDIS_OPERAND_TYPE_MEMORY || g->op[1].type != ZYDIS_OPERAND_TYPE_REGISTER) {
        emit_copy(t);
        return;
    }
    int reg = host_gpr(g->op[1].reg.value);
    int log = g->z.operand_width == 16 ? 4 : g->z.operand_width == 32 ? 5 : 6;
    t->acc_size = g->z.operand_width / 8u;
    if (g->before)
        fl_save(t);
    ea_to_ra(t, o, 0);
    if (t->acc_size == 2)
        e_rr(h, t->m64, 0x0fbf, t->rx, reg);
    else if (t->acc_size == 4 && t->m64)
        e_rr(h, 1, 0x63, t->rx, reg); /* movsxd */
    else
        t_mov(t, h, t->rx, reg);
    t_mov(t, h, t->rv, t->rx);
    e_rr(h, t->m64, 0xc1, 7, t->rx); /* sar */
    e8(h, (unsigned)log);
    e_mem(h, g->z.address_width == 64, 0x8d, t->ra, t->ra, t->rx, log - 3, 0);
    if (g->z.address_width == 16)
        e_movzx16(h, t->ra, t->ra);
    e_alu_i8(h, 4, t->rv, (1 << log) - 1);
    if (g->before)
        t->loc = LOC_SAVED;
    emit_access(t, seg_index(o->mem.segment), t->acc_size, g->z.mnemonic == ZYDIS_MNEMONIC_BT ? 1 : 3, bit_op);
}

static void maskmov_op(struct tb *t, struct em *e)
{
    const struct ginsn *g = t->cur;

    e_mov64(e, t->rx, H_RDI);
    e_mem(e, 1, 0x8d, H_RDI, t->base, t->index, 0, t->disp);
    fault_here(t, e, FIX_RDI);
    if (is_vex(g)) {
        vex_head(t, e, false);
    } else {
        if (g->z.mnemonic == ZYDIS_MNEMONIC_MASKMOVDQU)
            e8(e, 0x66);
        if (g->z.raw.rex.R || g->z.raw.rex.B)
            e8(e, 0x40u | g->z.raw.rex.R << 2 | g->z.raw.rex.B);
        e8(e, 0x0f);
        e8(e, 0xf7);
    }
    e8(e, g->bytes[g->z.raw.modrm.offset]);
    e_mov64(e, H_RDI, t->rx);
}

void emit_MASKMOV(struct tb *t)
{
    const struct ginsn *g = t->cur;
    unsigned seg = S_DS;

    for (unsigned i = 0; i < g->z.operand_count; i++)
        if (g->op[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
            seg = seg_index(g->op[i].mem.segment);
    e_rr(&t->hot, g->z.address_width == 64, 0x89, H_RDI, t->ra);
    if (g->z.address_width == 16)
        e_movzx16(&t->hot, t->ra, t->ra);
    emit_access(t, seg, g->z.mnemonic == ZYDIS_MNEMONIC_MASKMOVQ ? 8 : 16, 3, maskmov_op);
}

static void store_rvw(struct tb *t, struct em *e)
{
    e8(e, 0x66);
    e_mem(e, 0, 0x89, t->rv, t->base, t->index, 0, t->disp);
}

static uint32_t control_number(const struct ginsn *g)
{
    return g->z.raw.modrm.reg | (g->z.attributes & ZYDIS_ATTRIB_HAS_REX ? (uint32_t)g->z.raw.rex.R << 3 : 0u);
}

static uint32_t modrm_rm(const struct ginsn *g)
{
    return g->z.raw.modrm.rm | (g->z.attributes & ZYDIS_ATTRIB_HAS_REX ? (uint32_t)g->z.raw.rex.B << 3 : 0u);
}

void emit_MOV(struct tb *t)
{
    const struct ginsn *g = t->cur;
    const ZydisDecodedOperand *d = &g->op[0], *s = &g->op[1];
    ZydisRegisterClass dc = d->type == ZYDIS_OPERAND_TYPE_REGISTER ? ZydisRegisterGetClass(d->reg.value) : 0;
    ZydisRegisterClass sc = s->type == ZYDIS_OPERAND_TYPE_REGISTER ? ZydisRegisterGetClass(s->reg.value) : 0;

    if (dc == ZYDIS_REGCLASS_CONTROL || sc == ZYDIS_REGCLASS_CONTROL) {
        bool to = dc == ZYDIS_REGCLASS_CONTROL;
        emit_helper(t, (unsigned)helper_index(to ? "mov_to_cr" : "mov_from_cr"), NULL, control_number(g), modrm_rm(g),
                    to);
    } else if (dc == ZYDIS_REGCLASS_DEBUG || sc == ZYDIS_REGCLASS_DEBUG) {
        bool to = dc == ZYDIS_REGCLASS_DEBUG;
        emit_helper(t, (unsigned)helper_index(to ? "mov_to_dr" : "mov_from_dr"), NULL, control_number(g), modrm_rm(g),
                    to);
    } else if (dc == ZYDIS_REGCLASS_TEST || sc == ZYDIS_REGCLASS_TEST) {
        emit_raise(t, X_UD);
    } else if (is_seg(d)) {
        if (d->reg.value == ZYDIS_REGISTER_CS) {
            emit_raise(t, X_UD);
        } else if (s->type == ZYDIS_OPERAND_TYPE_MEMORY && seg_load_inline(t, seg_index(d->reg.value))) {
            emit_load_seg(t, seg_index(d->reg.value), s);
        } else if (s->type == ZYDIS_OPERAND_TYPE_MEMORY) {
            emit_helper(t, (unsigned)helper_index("mov_to_seg"), s, seg_index(d->reg.value) | 0x100,
                        seg_index(s->mem.segment), false);
        } else if (seg_load_inline(t, seg_index(d->reg.value)))
            emit_mov_to_seg(t, seg_index(d->reg.value), host_gpr(s->reg.value));
        else
            emit_helper(t, (unsigned)helper_index("mov_to_seg"), NULL, seg_index(d->reg.value),
                        (uint32_t)host_gpr(s->reg.value), false);
    } else if (is_seg(s)) {
        t->acc_reg = 1;
        if (d->type == ZYDIS_OPERAND_TYPE_MEMORY) {
            ea_to_ra(t, d, 0);
            load_selector(t, t->rv);
            emit_access(t, seg_index(d->mem.segment), 2, 2, store_rvw);
        } else if (g->z.operand_width == 16) {
            load_selector(t, t->rv);
            e_mov_size(&t->hot, 2, host_gpr(d->reg.value), t->rv);
        } else
            load_selector(t, host_gpr(d->reg.value));
    } else
        emit_copy(t);
}

/* ---- strings: without REP and with 32-bit addresses inline; else one helper that runs natively page by page */

static unsigned string_size(const struct ginsn *g)
{
    return g->z.operand_width / 8u;
}

static bool string_helper(struct tb *t, unsigned what)
{
    const struct ginsn *g = t->cur;
    bool rep = g->z.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE);
    uint32_t seg = S_DS;

    if (!rep && g->z.address_width != 16)
        return false;
    for (unsigned i = 0; i < g->z.raw.prefix_count; i++)
        switch (g->z.raw.prefixes[i].value) {
        case 0x26:
            seg = S_ES;
            break;
        case 0x2e:
            seg = S_CS;
            break;
        case 0x36:
            seg = S_SS;
            break;
        case 0x3e:
            seg = S_DS;
            break;
        case 0x64:
            seg = S_FS;
            break;
        case 0x65:
            seg = S_GS;
            break;
        default:
            break;
        }
    if (t->m64 && seg < S_FS) /* the others' overrides mean nothing there */
        seg = S_DS;
    uint32_t arg = what | string_size(g) << 8 | seg << 16;
    uint32_t arg2 = (rep ? 1u : 0) | (g->z.attributes & ZYDIS_ATTRIB_HAS_REPNE ? 2u : 0) |
                    (g->z.address_width == 16   ? 4u
                     : g->z.address_width == 64 ? 8u
                                                : 0);
    if (!rep || what > 1 || !emit_rep_inline(t, seg, arg, arg2))
        emit_helper(t, HELPER_string, NULL, arg, arg2, false);
    return true;
}

static unsigned source_seg(const struct ginsn *g)
{
    for (unsigned i = 0; i < g->z.operand_count; i++)
        if (g->op[i].type == ZYDIS_OPERAND_TYPE_MEMORY &&
            (g->op[i].mem.base == ZYDIS_REGISTER_ESI || g->op[i].mem.base == ZYDIS_REGISTER_RSI))
            return g->z.address_width == 64 && g->op[i].mem.segment == ZYDIS_REGISTER_SS
                       ? (unsigned)S_DS
                       : seg_index(g->op[i].mem.segment);
    return S_DS;
}

static void advance(struct tb *t, int reg)
{
    int n = (int)string_size(t->cur);

    e_mem(&t->hot, t->cur->z.address_width == 64, 0x8d, reg, reg, H_NONE, 0, t->mode & M_DF ? -n : n);
}

static void string_access(struct tb *t, int reg, unsigned seg, unsigned rw, access_op op)
{
    e_rr(&t->hot, t->cur->z.address_width == 64, 0x89, reg, t->ra);
    emit_access(t, seg, t->acc_size, rw, op);
}

void emit_LODS(struct tb *t)
{
    if (string_helper(t, 2))
        return;
    t->acc_size = string_size(t->cur);
    t->acc_reg = H_RAX;
    string_access(t, H_RSI, source_seg(t->cur), 1, load_reg);
    advance(t, H_RSI);
}

void emit_STOS(struct tb *t)
{
    if (string_helper(t, 1))
        return;
    t->acc_size = string_size(t->cur);
    t->acc_reg = H_RAX;
    string_access(t, H_RDI, S_ES, 2, store_reg);
    advance(t, H_RDI);
}

void emit_MOVS(struct tb *t)
{
    if (t->cur->row->sse2) {
        emit_copy(t);
        return;
    }
    if (string_helper(t, 0))
        return;
    t->acc_size = string_size(t->cur);
    t->acc_reg = t->rv;
    string_access(t, H_RSI, source_seg(t->cur), 1, load_reg);
    string_access(t, H_RDI, S_ES, 2, store_reg);
    advance(t, H_RSI);
    advance(t, H_RDI);
}

static void compare_rev_op(struct tb *t, struct em *e) /* memory - acc_reg */
{
    if (t->cur->after & ~t->cur->kills)
        fl_restore(t, e);
    if (t->acc_size == 2)
        e8(e, 0x66);
    e_mem(e, t->acc_size == 8, t->acc_size == 1 ? 0x38 : 0x39, t->acc_reg, t->base, t->index, 0, t->disp);
    t->loc = LOC_HOST;
}

static void compare_op(struct tb *t, struct em *e)
{
    if (t->cur->after & ~t->cur->kills)
        fl_restore(t, e);
    if (t->acc_size == 2)
        e8(e, 0x66);
    e_mem(e, t->acc_size == 8, t->acc_size == 1 ? 0x3a : 0x3b, t->acc_reg, t->base, t->index, 0, t->disp);
    t->loc = LOC_HOST;
}

void emit_SCAS(struct tb *t)
{
    if (string_helper(t, 4))
        return;
    t->acc_size = string_size(t->cur);
    t->acc_reg = H_RAX;
    string_access(t, H_RDI, S_ES, 1, compare_op);
    advance(t, H_RDI);
}

void emit_CMPS(struct tb *t)
{
    if (string_helper(t, 3))
        return;
    t->acc_size = string_size(t->cur);
    t->acc_reg = t->rv;
    string_access(t, H_RDI, S_ES, 1, load_reg); /* the order in which CPUs fault */
    string_access(t, H_RSI, source_seg(t->cur), 1, compare_rev_op);
    advance(t, H_RSI);
    advance(t, H_RDI);
}
