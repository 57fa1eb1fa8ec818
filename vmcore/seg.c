/* Segment registers: loading, limits, types. Intel SDM vol. 3, chapters 3 and 5. */
#include "vmcore/cpu.h"

#include "vmcore/rt.h"

enum { A_P = 0x80, A_S = 0x10, A_CODE = 8, A_DC = 4, A_RW = 2, A_ACC = 1 };

void seg_update(struct cpu *c, unsigned seg)
{
    struct cpu_seg *s = &c->seg[seg];

    s->fast_lim = -1;
    if (!(c->cr0 & CR0_PE) || (c->eflags & EF_VM)) {
        s->fast_lim = s->limit;
        return;
    }
    if (s->valid && !(s->attr & A_CODE) && (s->attr & A_RW) && !(s->attr & A_DC))
        s->fast_lim = s->limit;
}

void seg_set_real(struct cpu *c, unsigned seg, uint16_t sel)
{
    struct cpu_seg *s = &c->seg[seg];

    s->sel = sel;
    s->base = (uint32_t)sel << 4;
    s->limit = 0xffff;
    s->attr = 0x93;
    s->valid = 1;
    s->raw[0] = s->raw[1] = 0;
    seg_update(c, seg);
}

void seg_set_flat(struct cpu *c, unsigned seg, uint16_t sel, unsigned attr)
{
    struct cpu_seg *s = &c->seg[seg];

    s->sel = sel;
    s->base = 0;
    s->limit = 0xffffffffu;
    s->attr = (uint16_t)attr;
    s->valid = 1;
    s->raw[0] = s->raw[1] = 0;
    seg_update(c, seg);
}

int seg_check(struct cpu *c, unsigned seg, uint64_t off, unsigned len, unsigned acc, uint64_t *ret_lin)
{
    const struct cpu_seg *s = &c->seg[seg];
    unsigned vector = seg == S_SS ? X_SS : X_GP;
    uint64_t last = off + len - 1;

    if (c->mode & M_CODE64) {
        *ret_lin = seg >= S_FS ? s->base + off : off;
        return cpu_canonical(*ret_lin) && cpu_canonical(*ret_lin + len - 1) ? 0 : cpu_raise(c, vector, 0);
    }
    if ((c->cr0 & CR0_PE) && !(c->eflags & EF_VM)) {
        if (!s->valid)
            return cpu_raise(c, X_GP, 0);
        if ((s->attr & A_CODE) ? (acc & ACC_WRITE) || !(s->attr & A_RW) : (acc & ACC_WRITE) && !(s->attr & A_RW))
            return cpu_raise(c, vector, 0);
        if (!(s->attr & A_CODE) && (s->attr & A_DC)) { /* expand-down */
            uint64_t top = (s->attr & 0x4000) ? 0xffffffffu : 0xffff;
            if (off <= s->limit || last > top)
                return cpu_raise(c, vector, 0);
            *ret_lin = (uint32_t)(s->base + off);
            return 0;
        }
    }
    if (last > s->limit && s->limit != 0xffffffffu)
        return cpu_raise(c, vector, 0);
    *ret_lin = (uint32_t)(s->base + off);
    return 0;
}

/* The descriptor's address; 1 with vector(sel) raised where it is outside of its table. */
int seg_descriptor(struct cpu *c, uint16_t sel, unsigned vector, uint32_t raw[2], uint64_t *ret_addr)
{
    uint64_t base = c->gdt.base;
    uint32_t limit = c->gdt.limit;

    if (sel & 4) {
        base = c->seg[S_LDTR].base;
        limit = c->seg[S_LDTR].limit;
        if (!c->seg[S_LDTR].valid)
            return cpu_raise(c, vector, sel & 0xfffc);
    }
    if ((sel | 7u) > limit)
        return cpu_raise(c, vector, sel & 0xfffc);
    *ret_addr = base + (sel & 0xfff8u);
    return mmu_read(c, *ret_addr, raw, 8, ACC_SUP);
}

void seg_from_raw(struct cpu *c, unsigned seg, uint16_t sel, const uint32_t raw[2])
{
    struct cpu_seg *s = &c->seg[seg];

    s->sel = sel;
    s->raw[0] = raw[0];
    s->raw[1] = raw[1];
    s->base = raw[0] >> 16 | (raw[1] & 0xff) << 16 | (raw[1] & 0xff000000u);
    s->limit = (raw[0] & 0xffff) | (raw[1] & 0xf0000);
    s->attr = (uint16_t)(((raw[1] >> 8) & 0xff) | ((raw[1] >> 8) & 0xf000));
    if (s->attr & 0x8000)
        s->limit = s->limit << 12 | 0xfff;
    s->valid = 1;
    seg_update(c, seg);
}

int seg_set_accessed(struct cpu *c, uint64_t addr, uint32_t raw[2])
{
    if ((raw[1] >> 8) & A_ACC)
        return 0;
    raw[1] |= A_ACC << 8;
    return mmu_write(c, addr + 4, &raw[1], 4, ACC_SUP);
}

static int load_null(struct cpu *c, unsigned seg, uint16_t sel, unsigned vector)
{
    struct cpu_seg *s = &c->seg[seg];

    if (seg == S_SS && (!(c->mode & M_CODE64) || c->cpl == 3 || (sel & 3) != c->cpl))
        return cpu_raise(c, vector, 0);
    s->sel = sel;
    s->valid = 0;
    s->base = 0;
    s->limit = 0;
    s->attr = seg == S_SS ? (uint16_t)(c->cpl << 5) : 0;
    s->raw[0] = s->raw[1] = 0;
    seg_update(c, seg);
    cpu_update_mode(c);
    return 0;
}

/* For rewrite_seg.c, when FS or GS is about to become another. */
static void keep_before(struct cpu *c, unsigned seg, uint16_t sel)
{
    if (c->seg[seg].sel != sel)
        c->seg_before[seg - S_FS] = c->seg[seg];
}

/* MOV, POP and LxS to DS, ES, FS, GS or SS. `vector`: X_GP, or X_TS inside a stack switch. */
int seg_load(struct cpu *c, unsigned seg, uint16_t sel, unsigned vector)
{
    uint32_t raw[2];
    uint64_t addr;
    unsigned attr, dpl, rpl = sel & 3;
    struct cpu_seg *s = &c->seg[seg];

    if (!(c->cr0 & CR0_PE) || (c->eflags & EF_VM)) {
        uint32_t limit = s->limit; /* "unreal" mode keeps it */
        seg_set_real(c, seg, sel);
        if (!(c->eflags & EF_VM))
            s->limit = limit;
        seg_update(c, seg);
        cpu_update_mode(c);
        return 0;
    }
    if (seg >= S_FS && seg <= S_GS)
        keep_before(c, seg, sel);
    if (!(sel & 0xfffc))
        return load_null(c, seg, sel, vector);
    if (seg_descriptor(c, sel, vector, raw, &addr))
        return 1;
    if (s->valid && s->sel == sel && s->raw[0] == raw[0] && s->raw[1] == raw[1] &&
        (seg < S_FS || s->base == (raw[0] >> 16 | (raw[1] & 0xff) << 16 | (raw[1] & 0xff000000u)))) /* or set by MSR */
        return 0;
    attr = (raw[1] >> 8) & 0xff;
    dpl = (attr >> 5) & 3;
    if (seg == S_SS) {
        if (rpl != c->cpl || dpl != c->cpl || !(attr & A_S) || (attr & A_CODE) || !(attr & A_RW))
            return cpu_raise(c, vector, sel & 0xfffc);
        if (!(attr & A_P))
            return cpu_raise(c, X_SS, sel & 0xfffc);
    } else {
        if (!(attr & A_S) || ((attr & A_CODE) && !(attr & A_RW)))
            return cpu_raise(c, vector, sel & 0xfffc);
        if (!((attr & A_CODE) && (attr & A_DC)) && (rpl > dpl || c->cpl > dpl))
            return cpu_raise(c, vector, sel & 0xfffc);
        if (!(attr & A_P))
            return cpu_raise(c, X_NP, sel & 0xfffc);
    }
    if (seg_set_accessed(c, addr, raw))
        return 1;
    seg_from_raw(c, seg, sel, raw);
    cpu_update_mode(c);
    return 0;
}
