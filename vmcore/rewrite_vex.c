/* VEX: copies whose prefix is written anew, and instructions whose accesses depend on a mask. Outside of 64-bit code
 * several bits mean nothing that mean something to the host: registers have three bits then, and W is no size. */
#include "vmcore/tb.h"

bool vex_aligned(const struct ginsn *g)
{
    switch (g->z.mnemonic) {
    case ZYDIS_MNEMONIC_VMOVAPS:
    case ZYDIS_MNEMONIC_VMOVAPD:
    case ZYDIS_MNEMONIC_VMOVDQA:
    case ZYDIS_MNEMONIC_VMOVNTPS:
    case ZYDIS_MNEMONIC_VMOVNTPD:
    case ZYDIS_MNEMONIC_VMOVNTDQ:
    case ZYDIS_MNEMONIC_VMOVNTDQA:
        return true;
    default:
        return false;
    }
}

/* Does VEX.W choose between 32 and 64 bits of a general register? 32-bit modes ignore it then, the host does not. */
static bool w_is_size(const struct ginsn *g)
{
    for (unsigned i = 0; i < g->z.operand_count_visible; i++)
        if (g->op[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
            (ZydisRegisterGetClass(g->op[i].reg.value) == ZYDIS_REGCLASS_GPR32 ||
             ZydisRegisterGetClass(g->op[i].reg.value) == ZYDIS_REGCLASS_GPR64))
            return true;
    switch (g->z.mnemonic) {
    case ZYDIS_MNEMONIC_VMOVD:
    case ZYDIS_MNEMONIC_VCVTSI2SD:
    case ZYDIS_MNEMONIC_VCVTSI2SS:
    case ZYDIS_MNEMONIC_VPINSRD:
    case ZYDIS_MNEMONIC_VPEXTRD:
    case ZYDIS_MNEMONIC_VPCMPESTRI: /* of the implied lengths */
    case ZYDIS_MNEMONIC_VPCMPESTRM:
        return true;
    default:
        return false;
    }
}

void vex_head(const struct tb *t, struct em *e, bool mem)
{
    const struct ginsn *g = t->cur;
    const uint8_t *v = g->bytes + g->z.raw.vex.offset;
    bool wide = v[0] == 0xc4;
    unsigned rxb = (wide ? v[1] : (v[1] & 0x80) | 0x60) & 0xe0, map = wide ? v[1] & 0x1f : 1, last = v[wide ? 2 : 1];
    unsigned w = wide ? last & 0x80 : 0, rex = e_rex_mem(0, 0, t->base, t->index);

    last &= 0x7f;
    if (!t->m64) {
        rxb = 0xe0;
        last |= 0x40;
        if (w_is_size(g))
            w = 0;
    }
    if (mem)
        rxb = (rxb & 0x80) | (rex & 2 ? 0 : 0x40) | (rex & 1 ? 0 : 0x20);
    e8(e, 0xc4);
    e8(e, rxb | map);
    e8(e, w | last);
    e8(e, g->z.opcode);
}

/* The register in an immediate's upper half has three bits outside of 64-bit code. */
static void immediate(const struct tb *t, struct em *e)
{
    const struct ginsn *g = t->cur;
    bool is4 = false;

    for (unsigned i = 0; i < g->z.operand_count; i++)
        is4 |= g->op[i].encoding == ZYDIS_OPERAND_ENCODING_IS4;
    if (is4 && !t->m64)
        e8(e, g->bytes[g->len - 1u] & 0x7f);
    else
        imm_bytes(e, g);
}

void vex_op(struct tb *t, struct em *e)
{
    const struct ginsn *g = t->cur;
    bool mem = mem_operand(g);

    flags_before(t, e);
    fault_here(t, e, FIX_NONE);
    vex_head(t, e, mem);
    if (mem)
        e_modrm_mem(e, (int)(g->z.raw.modrm.reg & 7), t->base, t->index, 0, t->disp);
    else if (g->z.attributes & ZYDIS_ATTRIB_HAS_MODRM)
        e8(e, g->bytes[g->z.raw.modrm.offset]);
    immediate(t, e);
    flags_after(t);
}

/* Both leave registers 8 to 15 alone outside of 64-bit code, where the host's would not. */
void emit_VZERO(struct tb *t)
{
    bool all = t->cur->z.mnemonic == ZYDIS_MNEMONIC_VZEROALL;

    if (t->m64) {
        copy_op(t, &t->hot);
        return;
    }
    for (unsigned i = 0; i < 8; i++) { /* vpxor xmm, xmm, xmm; or vmovdqa xmm, xmm */
        e8(&t->hot, 0xc5);
        e8(&t->hot, all ? 0x81 | (15 - i) << 3 : 0xf9);
        e8(&t->hot, all ? 0xef : 0x6f);
        e8(&t->hot, 0xc0 | i << 3 | i);
    }
}

/* ---- by a mask: see help_vex.c */

static uint32_t number(const ZydisDecodedOperand *o, unsigned shift)
{
    return (uint32_t)ZydisRegisterGetId(o->reg.value) << shift;
}

static uint32_t common_arg(const struct ginsn *g, const ZydisDecodedOperand *mem)
{
    return seg_index(mem->mem.segment) << 16 | (g->z.raw.vex.L ? VEX_256 : 0) |
           (g->z.address_width == 64 ? VEX_A64 : 0);
}

void emit_VGATHER(struct tb *t)
{
    const struct ginsn *g = t->cur;
    const ZydisDecodedOperand *mem = &g->op[1];
    unsigned scale = mem->mem.scale == 8 ? 3 : mem->mem.scale == 4 ? 2 : mem->mem.scale == 2 ? 1 : 0;
    uint32_t arg = common_arg(g, mem) | number(&g->op[0], VEX_DST) | number(&g->op[2], VEX_MASK) | scale << VEX_SCALE |
                   (uint32_t)ZydisRegisterGetId(mem->mem.index) << VEX_INDEX;

    arg |= (g->z.opcode & 1 ? VEX_WIDE_INDEX : 0) | (g->z.raw.vex.W ? VEX_WIDE : 0);
    emit_helper(t, HELPER_vgather, mem, arg, 0, false);
}

void emit_VMASKMOV(struct tb *t)
{
    const struct ginsn *g = t->cur;
    bool store = g->op[0].type == ZYDIS_OPERAND_TYPE_MEMORY;
    const ZydisDecodedOperand *mem = &g->op[store ? 0 : 2], *reg = &g->op[store ? 2 : 0];
    bool wide = g->z.mnemonic == ZYDIS_MNEMONIC_VMASKMOVPD || g->z.mnemonic == ZYDIS_MNEMONIC_VPMASKMOVQ;
    uint32_t arg = common_arg(g, mem) | number(reg, VEX_DST) | number(&g->op[1], VEX_MASK);

    emit_helper(t, HELPER_vmaskmov, mem, arg | (store ? VEX_STORE : 0) | (wide ? VEX_WIDE : 0), 0, false);
}
