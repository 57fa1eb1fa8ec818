/* Long mode's ways between privilege levels: interrupts through 16-byte gates, IRET, SYSCALL and SYSRET, SWAPGS. AMD
 * APM vol. 2, chapters 6 and 8; vol. 3. */
#include "vmcore/gate.h"

#include "vmcore/helpers.h"
#include "vmcore/rt.h"

enum { T_INT64 = 14, T_TRAP64 = 15 };

static int tss_word(struct cpu *c, unsigned at, uint64_t *ret)
{
    if (at + 7 > c->seg[S_TR].limit)
        return cpu_raise(c, X_TS, c->seg[S_TR].sel & 0xfffc);
    return mmu_read(c, c->seg[S_TR].base + at, ret, 8, ACC_SUP);
}

static void null_ss(struct cpu *c, unsigned cpl)
{
    struct cpu_seg *s = &c->seg[S_SS];

    *s = (struct cpu_seg){.sel = (uint16_t)cpl, .attr = (uint16_t)(cpl << 5)};
    seg_update(c, S_SS);
}

int gate64_interrupt(struct cpu *c, unsigned vector, bool soft, bool has_error, uint32_t error)
{
    uint32_t g[4], raw[2], ext = soft ? 0 : 1, eflags;
    unsigned type, dpl, cpl = c->cpl, old_cpl = c->cpl, n = 0;
    uint64_t addr, rsp = c->gpr[R_ESP], rip, frame[6];
    uint16_t sel;

    if (vector * 16 + 15 > c->idt.limit)
        return cpu_raise(c, X_GP, vector * 8 + 2 + ext);
    if (mmu_read(c, c->idt.base + vector * 16, g, 16, ACC_SUP))
        return 1;
    type = (g[1] >> 8) & 31;
    dpl = (g[1] >> 13) & 3;
    if ((type != T_INT64 && type != T_TRAP64) || (g[3] & 0x1f00))
        return cpu_raise(c, X_GP, vector * 8 + 2 + ext);
    if (soft && dpl < c->cpl)
        return cpu_raise(c, X_GP, vector * 8 + 2);
    if (!(g[1] & 0x8000))
        return cpu_raise(c, X_NP, vector * 8 + 2 + ext);
    sel = (uint16_t)(g[0] >> 16);
    if (gate_code_descriptor(c, sel, ext, raw, &addr))
        return 1;
    dpl = (raw[1] >> 13) & 3;
    if (dpl > c->cpl || (raw[1] & 0x600000) != 0x200000) /* 64-bit code only */
        return cpu_raise(c, X_GP, (sel & 0xfffc) | ext);
    if (!(raw[1] & 0x8000))
        return cpu_raise(c, X_NP, (sel & 0xfffc) | ext);
    if (!(raw[1] & 0x400))
        cpl = dpl;
    rip = (g[0] & 0xffff) | (g[1] & 0xffff0000u) | (uint64_t)g[2] << 32;
    if (g[1] & 7) {
        if (tss_word(c, 36 + ((g[1] & 7) - 1) * 8, &rsp))
            return 1;
    } else if (cpl < c->cpl && tss_word(c, 4 + cpl * 8, &rsp))
        return 1;
    if (!cpu_canonical(rip))
        return cpu_raise(c, X_GP, ext);
    eflags = cpu_get_eflags(c, FL_ALL);
    if (!soft && gate_fault_class(vector) && vector != X_DB)
        eflags |= EF_RF;
    rsp &= ~15ull;
    if (has_error)
        frame[n++] = error;
    frame[n++] = c->eip;
    frame[n++] = c->seg[S_CS].sel;
    frame[n++] = eflags;
    frame[n++] = c->gpr[R_ESP];
    frame[n++] = c->seg[S_SS].sel;
    if (!cpu_canonical(rsp - n * 8) || !cpu_canonical(rsp - 1))
        return cpu_raise(c, X_SS, ext);
    c->cpl = (uint8_t)cpl;
    /* pushes go downwards: the first that faults is the highest */
    if (mmu_probe(c, rsp - 8, 8, ACC_WRITE) || mmu_write(c, rsp - n * 8, frame, n * 8, 0)) {
        c->cpl = (uint8_t)old_cpl;
        return 1;
    }
    c->gpr[R_ESP] = rsp - n * 8;
    if (cpl != old_cpl)
        null_ss(c, cpl);
    gate_load_cs(c, sel, raw, addr, cpl);
    c->eip = rip;
    c->eflags &= ~(EF_TF | EF_NT | EF_VM | EF_RF);
    if (!(type & 1))
        c->eflags &= ~EF_IF;
    c->r12 = 0;
    cpu_update_mode(c);
    return 0;
}

/* SS for a return to level rpl: a null one is good for 64-bit code inside of ring 3. */
static int return_ss(struct cpu *c, uint16_t ss, unsigned rpl, bool to64)
{
    uint32_t raw[2];
    uint64_t addr;
    unsigned a;

    if (!(ss & 0xfffc)) {
        if (!to64 || rpl == 3 || (ss & 3) != rpl)
            return cpu_raise(c, X_GP, 0);
        null_ss(c, rpl);
        return 0;
    }
    if (seg_descriptor(c, ss, X_GP, raw, &addr))
        return 1;
    a = (raw[1] >> 8) & 0xff;
    if ((ss & 3) != rpl || ((a >> 5) & 3) != rpl || !(a & 0x10) || (a & 8) || !(a & 2))
        return cpu_raise(c, X_GP, ss & 0xfffc);
    if (!(a & 0x80))
        return cpu_raise(c, X_SS, ss & 0xfffc);
    if (seg_set_accessed(c, addr, raw))
        return 1;
    seg_from_raw(c, S_SS, ss, raw);
    return 0;
}

int gate64_return(struct cpu *c, const struct far_frame *f)
{
    uint32_t raw[2];
    uint64_t addr;
    unsigned rpl = f->cs & 3, dpl;
    bool to64, outer = rpl != c->cpl;

    if (gate_code_descriptor(c, f->cs, 0, raw, &addr))
        return 1;
    dpl = (raw[1] >> 13) & 3;
    to64 = raw[1] & 0x200000;
    if (rpl < c->cpl || ((raw[1] & 0x400) ? dpl > rpl : dpl != rpl) || (to64 && (raw[1] & 0x400000)))
        return cpu_raise(c, X_GP, f->cs & 0xfffc);
    if (!(raw[1] & 0x8000))
        return cpu_raise(c, X_NP, f->cs & 0xfffc);
    if (to64 ? !cpu_canonical(f->eip) : f->eip >> 32)
        return cpu_raise(c, X_GP, 0);
    if ((outer || f->has_ss) && return_ss(c, f->ss, rpl, to64))
        return 1;
    gate_load_cs(c, f->cs, raw, addr, rpl);
    cpu_update_mode(c);
    if (outer || f->has_ss) {
        c->gpr[R_ESP] = to64                         ? f->esp
                        : c->seg[S_SS].attr & 0x4000 ? (uint32_t)f->esp
                                                     : (c->gpr[R_ESP] & ~0xffffull) | (f->esp & 0xffff);
    } else
        cpu_set_sp(c, c->gpr[R_ESP] + f->popped);
    if (f->drop)
        cpu_set_sp(c, c->gpr[R_ESP] + f->drop);
    if (outer)
        gate_outer_null(c);
    c->next_eip = to64 ? f->eip : (uint32_t)f->eip;
    return 0;
}

int gate64_iret(struct cpu *c, unsigned size)
{
    struct far_frame f = {.has_ss = c->mode & M_CODE64};
    uint64_t v[5] = {0};
    uint32_t mask = EF_ARITH | EF_DF | EF_TF | EF_NT;
    unsigned old_cpl = c->cpl;

    if (c->eflags & EF_NT)
        return cpu_raise(c, X_GP, 0);
    for (unsigned i = 0; i < 5; i++) {
        if (i == 3 && !f.has_ss && (v[1] & 3) <= c->cpl)
            break;
        if (gate_pop(c, i * size, &v[i], size))
            return 1;
        f.popped = (i + 1) * size;
    }
    f.eip = v[0];
    f.cs = (uint16_t)v[1];
    f.esp = v[3];
    f.ss = (uint16_t)v[4];
    if (size >= 4)
        mask |= EF_RF | EF_AC | EF_ID;
    if (old_cpl == 0)
        mask |= EF_IOPL | (size >= 4 ? EF_VIF | EF_VIP : 0);
    if (old_cpl <= ((c->eflags & EF_IOPL) >> 12))
        mask |= EF_IF;
    if (gate64_return(c, &f))
        return 1;
    cpu_unmask_nmi(c);
    cpu_set_eflags(c, (uint32_t)v[2], mask);
    return 0;
}

/* ---- SYSCALL and SYSRET: flat segments by definition */

/* Other instructions trap by the TF that they began with, these by the one that they leave: a step over a system call
 * is not seen by the kernel, and the trap of SYSRET that sets TF comes at its target. */
static void step_by_new_flags(struct cpu *c)
{
    c->trap_after = (c->eflags & EF_TF) != 0;
}

int help_syscall(struct cpu *c, const struct site *s, uint64_t addr)
{
    uint16_t cs = (uint16_t)(c->star >> 32) & 0xfffc;
    uint32_t ef = cpu_get_eflags(c, FL_ALL) & ~EF_RF;
    bool lng = cpu_long(c), from64 = c->mode & M_CODE64;

    if (!(c->efer & EFER_SCE) || !(c->cr0 & CR0_PE))
        return cpu_raise(c, X_UD, -1);
    c->gpr[R_ECX] = c->next_eip;
    c->cpl = 0;
    if (lng) {
        c->gpr[11] = ef;
        seg_set_flat(c, S_CS, cs, 0xa09b);
        c->next_eip = from64 ? c->lstar : c->cstar;
        ef &= ~(uint32_t)c->sfmask;
    } else {
        seg_set_flat(c, S_CS, cs, 0xc09b);
        c->next_eip = (uint32_t)c->star;
        ef &= ~(EF_VM | EF_IF);
    }
    seg_set_flat(c, S_SS, (uint16_t)(cs + 8), 0xc093);
    cpu_set_eflags(c, ef, ~0u);
    if (lng)
        step_by_new_flags(c);
    return 0;
}

int help_sysret(struct cpu *c, const struct site *s, uint64_t addr)
{
    uint16_t base = (uint16_t)(c->star >> 48) & 0xfffc;
    bool lng = cpu_long(c), to64 = lng && help_size(s) == 8;

    if (!(c->efer & EFER_SCE) || !(c->cr0 & CR0_PE))
        return cpu_raise(c, X_UD, -1);
    if (c->cpl || (to64 && !cpu_canonical(c->gpr[R_ECX])))
        return cpu_raise(c, X_GP, 0);
    c->cpl = 3;
    seg_set_flat(c, S_CS, (uint16_t)((base + (to64 ? 16 : 0)) | 3), to64 ? 0xa0fb : 0xc0fb);
    seg_set_flat(c, S_SS, (uint16_t)((base + 8) | 3), 0xc0f3);
    c->next_eip = to64 ? c->gpr[R_ECX] : (uint32_t)c->gpr[R_ECX];
    if (lng) {
        cpu_set_eflags(c, (uint32_t)c->gpr[11] & ~(EF_RF | EF_VM), ~0u);
        step_by_new_flags(c);
    } else {
        c->eflags |= EF_IF;
        cpu_update_mode(c);
        cpu_update_intr(c);
    }
    return 0;
}

/* ---- FS and GS */

int help_swapgs(struct cpu *c, const struct site *s, uint64_t addr)
{
    uint64_t v = c->seg[S_GS].base;

    if (c->cpl)
        return cpu_raise(c, X_GP, 0);
    c->seg[S_GS].base = c->kernel_gs_base;
    c->seg[S_GS].raw[1] = 0;
    c->kernel_gs_base = v;
    return 0;
}

/* RD and WR FS and GS BASE: arg2's bit 0 GS, bit 1 write. */
int help_fsgsbase(struct cpu *c, const struct site *s, uint64_t addr)
{
    struct cpu_seg *seg = &c->seg[s->arg2 & 1 ? S_GS : S_FS];
    bool wide = help_size(s) == 8;
    uint64_t *r = &c->gpr[help_rm(s)];

    if (!(c->cr4 & CR4_FSGSBASE))
        return cpu_raise(c, X_UD, -1);
    if (!(s->arg2 & 2)) {
        *r = wide ? seg->base : (uint32_t)seg->base;
        return 0;
    }
    if (wide && !cpu_canonical(*r))
        return cpu_raise(c, X_GP, 0);
    seg->base = wide ? *r : (uint32_t)*r;
    seg->raw[1] = 0;
    return 0;
}
