/* Which arithmetic flags each guest instruction reads and surely writes, and what is live at a place. Only an
 * unconditional write kills: not a shift by CL, not REP CMPS; an "undefined" result kills only AF after logic. */
#include "vmcore/debug.h"
#include "vmcore/mem.h"
#include "vmcore/tb.h"

static uint8_t from_zydis(uint32_t f)
{
    return (uint8_t)((f & ZYDIS_CPUFLAG_CF ? FL_CF : 0) | (f & ZYDIS_CPUFLAG_PF ? FL_PF : 0) |
                     (f & ZYDIS_CPUFLAG_AF ? FL_AF : 0) | (f & ZYDIS_CPUFLAG_ZF ? FL_ZF : 0) |
                     (f & ZYDIS_CPUFLAG_SF ? FL_SF : 0) | (f & ZYDIS_CPUFLAG_OF ? FL_OF : 0));
}

static bool counted_shift(ZydisMnemonic m)
{
    switch (m) {
    case ZYDIS_MNEMONIC_SHL:
    case ZYDIS_MNEMONIC_SHR:
    case ZYDIS_MNEMONIC_SAR:
    case ZYDIS_MNEMONIC_ROL:
    case ZYDIS_MNEMONIC_ROR:
    case ZYDIS_MNEMONIC_RCL:
    case ZYDIS_MNEMONIC_RCR:
    case ZYDIS_MNEMONIC_SHLD:
    case ZYDIS_MNEMONIC_SHRD:
        return true;
    default:
        return false;
    }
}

void live_decode(struct ginsn *g)
{
    const ZydisAccessedFlags *f = g->z.cpu_flags;

    g->reads = g->kills = g->writes = 0;
    if (!g->row || g->row->kind == ROW_END) {
        g->reads = FL_ALL;
        return;
    }
    if (g->row->kind == ROW_HELP) { /* exact flags in and out, whatever the helper does */
        g->reads = FL_ALL;
        g->writes = FL_ALL;
        return;
    }
    if (g->row->emit == emit_PUSHF || g->row->emit == emit_POPF || g->row->emit == emit_STI) {
        g->reads = g->row->emit == emit_POPF ? 0 : g->row->emit == emit_PUSHF ? FL_ALL : 0;
        g->kills = g->writes = g->row->emit == emit_POPF ? FL_ALL : 0;
        return;
    }
    if (!f)
        return;
    g->reads = from_zydis(f->tested);
    g->kills = from_zydis(f->modified | f->set_0 | f->set_1);
    g->writes = g->kills | from_zydis(f->undefined);
    if (counted_shift(g->z.mnemonic)) {
        unsigned last = g->z.operand_count_visible - 1u;
        const ZydisDecodedOperand *o = &g->op[last];
        unsigned mask = g->z.operand_width == 64 ? 63 : 31;
        if (o->type != ZYDIS_OPERAND_TYPE_IMMEDIATE || (o->imm.value.u & mask) < 2) {
            bool one = o->type == ZYDIS_OPERAND_TYPE_IMMEDIATE && (o->imm.value.u & mask) == 1;
            if (!one)
                g->kills = 0;
        }
        if (o->type == ZYDIS_OPERAND_TYPE_IMMEDIATE && (o->imm.value.u & mask) >= g->z.operand_width)
            g->kills = 0; /* narrow operands: counts past the width leave results undefined */
    }
    if (g->z.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE))
        g->kills = 0;
    switch (g->z.mnemonic) {
    case ZYDIS_MNEMONIC_AND:
    case ZYDIS_MNEMONIC_OR:
    case ZYDIS_MNEMONIC_XOR:
    case ZYDIS_MNEMONIC_TEST:
        g->kills |= FL_AF;
        break;
    default:
        break;
    }
}

static bool note_look(struct tb *t, uint32_t off, uint32_t len)
{
    for (unsigned i = 0; i < t->nlook; i++)
        if (t->look[i].off <= off && off + len <= (uint32_t)t->look[i].off + t->look[i].len)
            return true;
    if (t->nlook == TB_MAX_LOOKS)
        return false;
    t->look[t->nlook++] = (struct look){(uint16_t)off, (uint16_t)len};
    return true;
}

/* What a block of the page needs, with all that this rests on. */
static uint8_t live_into(struct tb *t, const struct block *b)
{
    bool noted = note_look(t, b->off, b->off + b->glen > 4096 ? 4096u - b->off : b->glen);

    for (unsigned i = 0; i < b->nlook && noted; i++)
        noted = note_look(t, b->look[i].off, b->look[i].len);
    return noted ? b->live_in : FL_ALL;
}

/* A short look along the straight line from off: enough to see most flags die. A write to what was seen ends the block
 * that is being made. */
uint8_t live_ahead(struct tb *t, uint32_t off)
{
    struct ginsn g;
    uint8_t need = 0, open = FL_ALL;
    uint32_t begin = off;
    const struct debug *d = t->cpu->debug; /* whoever stops at a breakpoint sees all flags */
    bool code = t->cpu->mem->code[t->bpn].lines & mem_lines(off, 1);
    struct block *b =
        !code || (d && debug_splits(d, off)) ? NULL : cache_find(t->cache, t->bpn, off, t->mode, UINT32_MAX);

    if (b)
        return live_into(t, b);
    for (unsigned i = 0; i < 8 && open; i++) {
        if (off >= 4096 || (d && debug_splits(d, off)) || !tb_decode(t, off, &g))
            break;
        off += g.len;
        need |= g.reads & open;
        open &= (uint8_t) ~(g.kills | g.reads);
        if (insn_ends_block(&g) || g.z.raw.imm[0].is_relative)
            break;
    }
    if ((need | open) == FL_ALL)
        return FL_ALL;
    return note_look(t, begin, off > 4096 ? 4096 - begin : off - begin) ? need | open : FL_ALL;
}
