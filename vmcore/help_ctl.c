/* Control and debug registers. Intel SDM vol. 3, chapters 2.5 and 17.2; AMD APM vol. 2, chapter 14 for long mode. */
#include "vmcore/cpu.h"

#include "vmcore/cpuid.h"
#include "vmcore/dev/dev.h"
#include "vmcore/helpers.h"
#include "vmcore/hwbreak.h"
#include "vmcore/rt.h"
#include "vmcore/tlb.h"

/* 0, or 1 with #GP raised for reserved bits in one that is present. */
static int load_pdptes(struct cpu *c, uint64_t cr3)
{
    uint64_t v[4] = {0}, reserved = 0x1e6 | ~((1ull << c->model->phys_bits) - 1);

    dma_read(c->mem, cr3 & 0xffffffe0u, v, sizeof v);
    for (unsigned i = 0; i < 4; i++)
        if ((v[i] & 1) && (v[i] & reserved))
            return cpu_raise(c, X_GP, 0);
    memcpy(c->pdpte, v, sizeof v);
    return 0;
}

static bool has_pdptes(const struct cpu *c)
{
    return (c->cr0 & CR0_PG) && (c->cr4 & CR4_PAE) && !cpu_long(c);
}

int cpu_load_cr3(struct cpu *c, uint64_t v)
{
    if (has_pdptes(c) && load_pdptes(c, v))
        return 1;
    c->cr3 = v;
    c->cr3_writes++;
    tlb_forget_pcids(c);
    mmu_flush_nonglobal(c);
    return 0;
}

int cpu_write_cr0(struct cpu *c, uint64_t v)
{
    uint32_t old = c->cr0;
    uint64_t efer = c->efer;

    if (v >> 32 || ((v & CR0_PG) && !(v & CR0_PE)) || ((v & CR0_NW) && !(v & CR0_CD)) ||
        (!(v & CR0_PG) && ((c->mode & M_CODE64) || (c->cr4 & CR4_PCIDE))))
        return cpu_raise(c, X_GP, 0);
    if ((v & CR0_PG) && !(old & CR0_PG) && (c->efer & EFER_LME)) {
        if (!(c->cr4 & CR4_PAE) || (c->seg[S_CS].attr & 0x2000))
            return cpu_raise(c, X_GP, 0);
        c->efer |= EFER_LMA;
    } else if (!(v & CR0_PG)) {
        for (unsigned i = 0; i < 8 && cpu_long(c); i++) /* undefined from here on (APM vol. 1, 3.1) */
            c->gpr[i] = (uint32_t)c->gpr[i];
        c->efer &= ~(uint64_t)EFER_LMA;
    }
    v = (v & 0xe005003fu) | CR0_ET;
    c->cr0 = (uint32_t)v;
    if ((v ^ old) & (CR0_PG | CR0_WP | CR0_PE)) {
        if (((v ^ old) & CR0_PG) && has_pdptes(c) && load_pdptes(c, c->cr3)) {
            c->cr0 = old;
            c->efer = efer;
            return 1;
        }
        mmu_flush_all(c);
    }
    if ((v ^ old) & CR0_PE)
        for (unsigned i = 0; i < 6; i++)
            seg_update(c, i);
    cpu_update_mode(c);
    return 0;
}

static int write_cr4(struct cpu *c, uint64_t v)
{
    uint32_t old = c->cr4;

    if (v & ~(uint64_t)cpuid_cr4(c->model) || (cpu_long(c) && !(v & CR4_PAE)))
        return cpu_raise(c, X_GP, 0);
    if ((v & ~old & CR4_PCIDE) && (!cpu_long(c) || (c->cr3 & CR3_PCID)))
        return cpu_raise(c, X_GP, 0);
    c->cr4 = (uint32_t)v;
    if ((v ^ old) & (CR4_PSE | CR4_PAE | CR4_PGE | CR4_SMEP | CR4_SMAP | CR4_PCIDE)) {
        if (has_pdptes(c) && load_pdptes(c, c->cr3)) {
            c->cr4 = old;
            return 1;
        }
        mmu_flush_all(c);
    }
    cpu_update_mode(c);
    return 0;
}

int help_mov_to_cr(struct cpu *c, const struct site *s, uint64_t addr)
{
    uint64_t v = c->gpr[s->arg2 & 15];

    if (c->cpl)
        return cpu_raise(c, X_GP, 0);
    switch (s->arg & 15) {
    case 0:
        return cpu_write_cr0(c, v);
    case 2:
        c->cr2 = v;
        return 0;
    case 3:
        if (c->cr4 & CR4_PCIDE)
            v &= ~CR3_NOFLUSH;
        if (cpu_long(c) && v >> c->model->phys_bits)
            return cpu_raise(c, X_GP, 0);
        if (!(c->cr4 & CR4_PCIDE) || !(c->mode & M_CODE64))
            return cpu_load_cr3(c, v);
        mmu_switch_pcid(c, v, c->gpr[s->arg2 & 15] & CR3_NOFLUSH);
        return 0;
    case 4:
        return write_cr4(c, v);
    case 8:
        if (v >> 4)
            return cpu_raise(c, X_GP, 0);
        c->cr8 = v;
        if (c->tpr_hook)
            c->tpr_hook(c->board, (int)v);
        return 0;
    default:
        return cpu_raise(c, X_UD, -1);
    }
}

int help_mov_from_cr(struct cpu *c, const struct site *s, uint64_t addr)
{
    uint64_t v;

    if (c->cpl)
        return cpu_raise(c, X_GP, 0);
    switch (s->arg & 15) {
    case 0:
        v = c->cr0;
        break;
    case 2:
        v = c->cr2;
        break;
    case 3:
        v = c->cr3;
        break;
    case 4:
        v = c->cr4;
        break;
    case 8:
        v = c->tpr_hook ? (uint64_t)c->tpr_hook(c->board, -1) : c->cr8;
        break;
    default:
        return cpu_raise(c, X_UD, -1);
    }
    c->gpr[s->arg2 & 15] = c->mode & M_CODE64 ? v : (uint32_t)v;
    return 0;
}

/* INVPCID. SDM 4.10.4.1, vol. 2. */
int help_invpcid(struct cpu *c, const struct site *s, uint64_t addr)
{
    enum { ADDRESS, CONTEXT, ALL, ALL_NONGLOBAL };
    uint64_t type = c->gpr[help_reg(s)], d[2], lin;
    bool pcide = c->cr4 & CR4_PCIDE;

    if (c->cpl)
        return cpu_raise(c, X_GP, 0);
    if (seg_check(c, help_seg(s), addr, sizeof d, ACC_READ, &lin) || mmu_read(c, lin, d, sizeof d, 0))
        return 1;
    if (!(c->mode & M_CODE64))
        type = (uint32_t)type;
    if (type > ALL_NONGLOBAL || d[0] >> 12 || (type == ADDRESS && !cpu_canonical(d[1])) ||
        (type <= CONTEXT && d[0] && !pcide))
        return cpu_raise(c, X_GP, 0);
    if (type <= CONTEXT && pcide && d[0] != (c->cr3 & CR3_PCID)) {
        tlb_forget_pcid(c, (unsigned)d[0]);
        return 0;
    }
    if (type == ALL_NONGLOBAL)
        tlb_forget_pcids(c);
    if (type == ALL)
        mmu_flush_all(c);
    else if (type == ADDRESS)
        mmu_invlpg(c, cpu_lin_wrap(c, d[1]));
    else
        mmu_flush_nonglobal(c);
    return 0;
}

/* STAC and CLAC: EFLAGS.AC, which under SMAP opens users' pages. SDM vol. 2. */
static int set_ac(struct cpu *c, bool on)
{
    if (c->cpl)
        return cpu_raise(c, X_UD, -1);
    c->eflags = (c->eflags & ~EF_AC) | (on ? EF_AC : 0);
    cpu_update_mode(c);
    return 0;
}

int help_stac(struct cpu *c, const struct site *s, uint64_t addr)
{
    return set_ac(c, true);
}

int help_clac(struct cpu *c, const struct site *s, uint64_t addr)
{
    return set_ac(c, false);
}

int help_clts(struct cpu *c, const struct site *s, uint64_t addr)
{
    if (c->cpl)
        return cpu_raise(c, X_GP, 0);
    c->cr0 &= ~CR0_TS;
    cpu_update_mode(c);
    return 0;
}

static unsigned dr_number(struct cpu *c, unsigned n)
{
    return (n == 4 || n == 5) && !(c->cr4 & CR4_DE) ? n + 2 : n;
}

/* DR7.GD: the debug registers themselves are watched. */
static int general_detect(struct cpu *c)
{
    if (!(c->dr[7] & 0x2000))
        return 0;
    c->dr[7] &= ~0x2000ull;
    hwbreak_status(c, 0x2000);
    return cpu_raise(c, X_DB, -1);
}

int help_mov_to_dr(struct cpu *c, const struct site *s, uint64_t addr)
{
    unsigned n = dr_number(c, s->arg & 7);
    uint64_t v = c->gpr[s->arg2 & 15];

    if (n == 4 || n == 5)
        return cpu_raise(c, X_UD, -1);
    if (c->cpl)
        return cpu_raise(c, X_GP, 0);
    if (general_detect(c))
        return 1;
    if (n >= 6 && v >> 32)
        return cpu_raise(c, X_GP, 0);
    if (n == 6)
        v = (v & 0x1e00fu) | 0xffff0ff0u;
    else if (n == 7)
        v = (v & 0xffff2fffu & ~0xd000u) | (v & 0x2000) | 0x400;
    c->dr[n] = v;
    cpu_debug_changed(c);
    return 0;
}

int help_mov_from_dr(struct cpu *c, const struct site *s, uint64_t addr)
{
    unsigned n = dr_number(c, s->arg & 7);

    if (n == 4 || n == 5)
        return cpu_raise(c, X_UD, -1);
    if (c->cpl)
        return cpu_raise(c, X_GP, 0);
    if (general_detect(c))
        return 1;
    c->gpr[s->arg2 & 15] = c->mode & M_CODE64 ? c->dr[n] : (uint32_t)c->dr[n];
    return 0;
}
