/* Far JMP, CALL and RET, call gates, IRET, SYSENTER. Intel SDM vol. 3, chapter 5.8; vol. 2. */
#include "vmcore/gate.h"

#include "vmcore/helpers.h"
#include "vmcore/rt.h"

static bool real_style(const struct cpu *c)
{
    return !(c->cr0 & CR0_PE) || (c->eflags & EF_VM);
}

/* ---- IRET */

void gate_outer_null(struct cpu *c)
{
    for (unsigned i = 0; i < 6; i++) {
        struct cpu_seg *s = &c->seg[i];
        if (i == S_CS || i == S_SS)
            continue;
        if (!s->valid) {
            s->sel = 0; /* a null selector loses its RPL, and FS and GS keep their base */
            continue;
        }
        bool conforming = (s->attr & 0xc) == 0xc;
        if (!conforming && ((s->attr >> 5) & 3u) < c->cpl) {
            s->valid = 0;
            s->sel = 0;
            seg_update(c, i);
        }
    }
}

int gate_pop(struct cpu *c, uint32_t off, uint64_t *ret, unsigned size)
{
    uint64_t lin;

    *ret = 0;
    if (seg_check(c, S_SS, (c->gpr[R_ESP] + off) & cpu_sp_mask(c), size, ACC_READ, &lin))
        return 1;
    return mmu_read(c, lin, ret, size, 0);
}

static void add_esp(struct cpu *c, uint32_t n)
{
    uint32_t mask = c->seg[S_SS].attr & 0x4000 ? 0xffffffffu : 0xffff, esp = (uint32_t)c->gpr[R_ESP];

    c->gpr[R_ESP] = (esp & ~mask) | ((esp + n) & mask);
}

/* Leaves to an outer or the same level: what RETF and IRET share. cs, eip and, if outer, ss and esp are popped. */
static int far_return(struct cpu *c, uint16_t cs, uint32_t eip, uint32_t popped, const uint32_t outer[2], uint32_t drop)
{
    uint32_t raw[2], ssraw[2];
    uint64_t addr, ssaddr;
    unsigned rpl = cs & 3, dpl;

    if (gate_code_descriptor(c, cs, 0, raw, &addr))
        return 1;
    dpl = (raw[1] >> 13) & 3;
    if (rpl < c->cpl || ((raw[1] & 0x400) ? dpl > rpl : dpl != rpl))
        return cpu_raise(c, X_GP, cs & 0xfffc);
    if (!(raw[1] & 0x8000))
        return cpu_raise(c, X_NP, cs & 0xfffc);
    if (gate_limit(c, raw, eip, 0))
        return 1;
    if (rpl == c->cpl) {
        add_esp(c, popped + drop);
        gate_load_cs(c, cs, raw, addr, rpl);
        c->next_eip = eip;
        return 0;
    }
    uint16_t ss = (uint16_t)outer[1];
    if (!(ss & 0xfffc))
        return cpu_raise(c, X_GP, 0);
    if (seg_descriptor(c, ss, X_GP, ssraw, &ssaddr))
        return 1;
    unsigned a = (ssraw[1] >> 8) & 0xff;
    if ((ss & 3) != rpl || ((a >> 5) & 3) != rpl || !(a & 0x10) || (a & 8) || !(a & 2))
        return cpu_raise(c, X_GP, ss & 0xfffc);
    if (!(a & 0x80))
        return cpu_raise(c, X_SS, ss & 0xfffc);
    if (seg_set_accessed(c, ssaddr, ssraw))
        return 1;
    gate_load_cs(c, cs, raw, addr, rpl);
    seg_from_raw(c, S_SS, ss, ssraw);
    if (c->seg[S_SS].attr & 0x4000)
        c->gpr[R_ESP] = outer[0];
    else
        c->gpr[R_ESP] = (c->gpr[R_ESP] & 0xffff0000u) | (outer[0] & 0xffff);
    add_esp(c, drop);
    gate_outer_null(c);
    c->next_eip = eip;
    return 0;
}

/* IRET where CS is a paragraph: in virtual-8086 mode without IOPL 3 only with VME, on the virtual IF. */
static int real_iret(struct cpu *c, const uint32_t v[3], unsigned size)
{
    uint32_t mask = EF_ARITH | EF_DF | EF_TF | EF_NT | (size == 4 ? EF_AC | EF_ID | EF_RF : 0), f = v[2];

    if (c->eflags & EF_VM) {
        if ((c->eflags & EF_IOPL) == EF_IOPL)
            mask |= EF_IF;
        else {
            if (size == 4 || !(c->cr4 & CR4_VME) || (f & EF_TF) || ((f & EF_IF) && (c->eflags & EF_VIP)))
                return cpu_raise(c, X_GP, 0);
            mask |= EF_VIF;
            f = (f & ~EF_VIF) | (f & EF_IF ? EF_VIF : 0);
        }
    } else
        mask |= EF_IF | EF_IOPL;
    if (v[0] > 0xffff)
        return cpu_raise(c, X_GP, 0);
    add_esp(c, 3 * size);
    seg_set_real(c, S_CS, (uint16_t)v[1]);
    c->next_eip = v[0];
    cpu_unmask_nmi(c);
    cpu_set_eflags(c, f, mask);
    return 0;
}

/* To virtual-8086 mode: nine words are popped. */
static int iret_to_v86(struct cpu *c, const uint32_t v[3])
{
    static const uint8_t order[5] = {S_SS, S_ES, S_DS, S_FS, S_GS};
    uint64_t w[6];

    for (unsigned i = 0; i < 6; i++)
        if (gate_pop(c, 12 + 4 * i, &w[i], 4))
            return 1;
    if (v[0] > 0xffff)
        return cpu_raise(c, X_GP, 0);
    c->cpl = 3;
    cpu_set_eflags(c, v[2], ~0u);
    seg_set_real(c, S_CS, (uint16_t)v[1]);
    for (unsigned i = 0; i < 5; i++)
        seg_set_real(c, order[i], (uint16_t)w[i + 1]);
    for (unsigned i = 0; i < 6; i++)
        c->seg[i].attr = 0xf3;
    c->gpr[R_ESP] = (uint32_t)w[0];
    c->next_eip = v[0];
    cpu_unmask_nmi(c);
    cpu_update_mode(c);
    cpu_update_intr(c);
    return 0;
}

static int iret_task(struct cpu *c)
{
    uint64_t eip = c->eip;
    uint16_t link;

    if (mmu_read(c, c->seg[S_TR].base, &link, 2, ACC_SUP))
        return 1;
    c->eip = c->next_eip;
    if (task_switch(c, link, TASK_IRET, false, 0)) {
        if (!c->task_entered)
            c->eip = eip;
        return 1;
    }
    c->next_eip = c->eip;
    cpu_unmask_nmi(c);
    return 0;
}

int help_iret(struct cpu *c, const struct site *s, uint64_t addr)
{
    unsigned size = help_size(s), old_cpl = c->cpl;
    uint32_t v[3], outer[2] = {0, 0}, mask;
    uint64_t w;

    if (cpu_long(c))
        return gate64_iret(c, size);
    if ((c->eflags & EF_NT) && !real_style(c))
        return iret_task(c);
    if ((c->eflags & EF_VM) && (c->eflags & EF_IOPL) != EF_IOPL && !(c->cr4 & CR4_VME))
        return cpu_raise(c, X_GP, 0);
    for (unsigned i = 0; i < 3; i++) {
        if (gate_pop(c, i * size, &w, size))
            return 1;
        v[i] = (uint32_t)w;
    }
    if (real_style(c))
        return real_iret(c, v, size);
    if (size == 4 && (v[2] & EF_VM) && c->cpl == 0)
        return iret_to_v86(c, v);
    for (unsigned i = 0; i < 2 && (v[1] & 3) > c->cpl; i++) {
        if (gate_pop(c, (3 + i) * size, &w, size))
            return 1;
        outer[i] = (uint32_t)w;
    }
    mask = EF_ARITH | EF_DF | EF_TF | EF_NT;
    if (size == 4)
        mask |= EF_RF | EF_AC | EF_ID;
    if (old_cpl == 0)
        mask |= EF_IOPL | (size == 4 ? EF_VIF | EF_VIP : 0);
    if (old_cpl <= ((c->eflags & EF_IOPL) >> 12))
        mask |= EF_IF;
    if (far_return(c, (uint16_t)v[1], v[0], 3 * size, outer, 0))
        return 1;
    cpu_unmask_nmi(c);
    cpu_set_eflags(c, v[2], mask);
    return 0;
}

static int long_ret_far(struct cpu *c, unsigned size, uint32_t drop)
{
    struct far_frame f = {.popped = 2 * size, .drop = drop};
    uint64_t cs, ss = 0;

    if (gate_pop(c, 0, &f.eip, size) || gate_pop(c, size, &cs, size))
        return 1;
    if ((cs & 3) > c->cpl && (gate_pop(c, 2 * size + drop, &f.esp, size) || gate_pop(c, 3 * size + drop, &ss, size)))
        return 1;
    f.cs = (uint16_t)cs;
    f.ss = (uint16_t)ss;
    if (gate64_return(c, &f))
        return 1;
    cpu_update_mode(c);
    return 0;
}

int help_ret_far(struct cpu *c, const struct site *s, uint64_t addr)
{
    unsigned size = help_size(s);
    uint32_t v[2], outer[2] = {0, 0}, drop = s->arg2 & 0xffff;
    uint64_t w;

    if (cpu_long(c))
        return long_ret_far(c, size, drop);
    for (unsigned i = 0; i < 2; i++) {
        if (gate_pop(c, i * size, &w, size))
            return 1;
        v[i] = (uint32_t)w;
    }
    if (real_style(c)) {
        if (v[0] > 0xffff)
            return cpu_raise(c, X_GP, 0);
        add_esp(c, 2 * size + drop);
        seg_set_real(c, S_CS, (uint16_t)v[1]);
        c->next_eip = v[0];
        cpu_update_mode(c);
        return 0;
    }
    for (unsigned i = 0; i < 2 && (v[1] & 3) > c->cpl; i++) {
        if (gate_pop(c, (2 + i) * size + drop, &w, size))
            return 1;
        outer[i] = (uint32_t)w;
    }
    if (far_return(c, (uint16_t)v[1], v[0], 2 * size, outer, drop))
        return 1;
    cpu_update_mode(c);
    return 0;
}

/* ---- far JMP and CALL */

static int far_target(struct cpu *c, const struct site *s, uint64_t addr, uint16_t *ret_sel, uint64_t *ret_off)
{
    unsigned size = s->arg & 0xff;
    uint8_t b[10] = {0};
    uint64_t lin;

    if (!(s->arg & 0x100)) {
        *ret_sel = (uint16_t)(s->arg >> 16);
        *ret_off = s->arg2;
        return 0;
    }
    if (seg_check(c, (s->arg >> 16) & 7, addr, size + 2, ACC_READ, &lin) || mmu_read(c, lin, b, size + 2, 0))
        return 1;
    *ret_off = 0;
    memcpy(ret_off, b, size);
    memcpy(ret_sel, b + size, 2);
    return 0;
}

/* A far transfer's code descriptor, by itself or behind a gate (then a call may go inwards). */
static int far_check(struct cpu *c, uint16_t sel, const uint32_t raw[2], bool gate, bool call)
{
    unsigned dpl = (raw[1] >> 13) & 3;
    bool conforming = raw[1] & 0x400, ok = conforming ? dpl <= c->cpl : gate && call ? dpl <= c->cpl : dpl == c->cpl;

    if (!(raw[1] & 0x1000) || !(raw[1] & 0x800) || !ok || (!gate && !conforming && (sel & 3u) > c->cpl))
        return cpu_raise(c, X_GP, sel & 0xfffc);
    if (!(raw[1] & 0x8000))
        return cpu_raise(c, X_NP, sel & 0xfffc);
    if (cpu_long(c) && (raw[1] & 0x600000) == 0x600000)
        return cpu_raise(c, X_GP, sel & 0xfffc);
    return 0;
}

/* The target of a far transfer in the mode that CS gives. */
static uint64_t far_eip(const struct cpu *c, uint64_t off)
{
    return c->mode & M_CODE64 ? off : (uint32_t)off;
}

static bool to64(const struct cpu *c, const uint32_t raw[2])
{
    return cpu_long(c) && (raw[1] & 0x200000);
}

/* Pushes CS and EIP on the present stack. */
static int push_return(struct cpu *c, unsigned size)
{
    struct frame f = {.wide = size == 4};
    uint64_t wide[2] = {c->next_eip, c->seg[S_CS].sel}, lin;
    uint32_t esp;

    if (c->mode & M_CODE64) {
        for (unsigned i = 0; i < 2; i++)
            if (seg_check(c, S_SS, c->gpr[R_ESP] - (2 - i) * size, size, ACC_WRITE, &lin) ||
                mmu_write(c, lin, &wide[i], size, 0))
                return 1;
        c->gpr[R_ESP] -= 2 * size;
        return 0;
    }
    frame_put(&f, c->seg[S_CS].sel);
    frame_put(&f, (uint32_t)c->next_eip);
    if (frame_write(c, &f, &c->seg[S_SS], (uint32_t)c->gpr[R_ESP], 0, &esp))
        return 1;
    c->gpr[R_ESP] = esp;
    return 0;
}

/* A call through a gate to an inner level: stack from the TSS, parameters copied. */
static int call_inner(struct cpu *c, const uint32_t g[2], uint16_t sel, uint32_t raw[2], uint64_t addr, uint32_t eip)
{
    unsigned cpl = (raw[1] >> 13) & 3, old_cpl = c->cpl, count = g[1] & 31, size;
    struct frame f = {.wide = ((g[1] >> 8) & 31) == T_CALL32};
    struct cpu_seg ss;
    uint16_t ss_sel = 0;
    uint32_t esp = 0;
    uint64_t w;

    size = f.wide ? 4 : 2;
    if (gate_tss_stack(c, cpl, 0, &ss_sel, &esp) || gate_check_stack(c, ss_sel, cpl, 0, &ss))
        return 1;
    frame_put(&f, c->seg[S_SS].sel);
    frame_put(&f, (uint32_t)c->gpr[R_ESP]);
    for (unsigned i = count; i-- > 0;) {
        if (gate_pop(c, i * size, &w, size))
            return 1;
        frame_put(&f, (uint32_t)w);
    }
    frame_put(&f, c->seg[S_CS].sel);
    frame_put(&f, (uint32_t)c->next_eip);
    c->cpl = (uint8_t)cpl;
    if (gate_limit(c, raw, eip, 0) || frame_write(c, &f, &ss, esp, ss_sel & 0xfffc, &esp)) {
        c->cpl = (uint8_t)old_cpl;
        return 1;
    }
    c->seg[S_SS] = ss;
    c->gpr[R_ESP] = esp;
    gate_load_cs(c, sel, raw, addr, cpl);
    c->next_eip = eip;
    cpu_update_mode(c);
    return 0;
}

/* Long mode's call gates have 16 bytes and lead to 64-bit code only. */
static int gate_64(struct cpu *c, uint16_t gate, const uint32_t g[2], bool call)
{
    uint32_t more[2], raw[2];
    uint64_t addr, at, rip, rsp = c->gpr[R_ESP], frame[4];
    uint16_t sel = (uint16_t)(g[0] >> 16);
    unsigned cpl, old_cpl = c->cpl, n = 0;

    if (seg_descriptor(c, gate, X_GP, more, &at) || mmu_read(c, at + 8, more, 8, ACC_SUP))
        return 1;
    if (more[1] & 0x1f00)
        return cpu_raise(c, X_GP, gate & 0xfffc);
    if (gate_code_descriptor(c, sel, 0, raw, &addr) || far_check(c, sel, raw, true, call))
        return 1;
    rip = (g[0] & 0xffff) | (g[1] & 0xffff0000u) | (uint64_t)more[0] << 32;
    if ((raw[1] & 0x600000) != 0x200000)
        return cpu_raise(c, X_GP, sel & 0xfffc);
    if (!cpu_canonical(rip))
        return cpu_raise(c, X_GP, 0);
    cpl = raw[1] & 0x400 ? c->cpl : (raw[1] >> 13) & 3u;
    if (call) {
        frame[n++] = c->next_eip;
        frame[n++] = c->seg[S_CS].sel;
        if (cpl < c->cpl) {
            frame[n++] = c->gpr[R_ESP];
            frame[n++] = c->seg[S_SS].sel;
            if (4 + cpl * 8 + 7 > c->seg[S_TR].limit)
                return cpu_raise(c, X_TS, c->seg[S_TR].sel & 0xfffc);
            if (mmu_read(c, c->seg[S_TR].base + 4 + cpl * 8, &rsp, 8, ACC_SUP))
                return 1;
        }
        if (!cpu_canonical(rsp - n * 8) || !cpu_canonical(rsp - 1))
            return cpu_raise(c, X_SS, 0);
        c->cpl = (uint8_t)cpl;
        if (mmu_write(c, rsp - n * 8, frame, n * 8, 0)) {
            c->cpl = (uint8_t)old_cpl;
            return 1;
        }
        c->gpr[R_ESP] = rsp - n * 8;
        if (cpl != old_cpl) {
            c->seg[S_SS] = (struct cpu_seg){.sel = (uint16_t)cpl, .attr = (uint16_t)(cpl << 5)};
            seg_update(c, S_SS);
        }
    }
    gate_load_cs(c, sel, raw, addr, cpl);
    cpu_update_mode(c);
    c->next_eip = rip;
    return 0;
}

/* JMP or CALL to a system descriptor: a call gate, a task gate, a TSS. */
static int through_system(struct cpu *c, uint16_t sel, const uint32_t g[2], bool call)
{
    unsigned type = (g[1] >> 8) & 31, dpl = (g[1] >> 13) & 3;
    uint16_t target = (uint16_t)(g[0] >> 16);
    uint32_t raw[2], eip;
    uint64_t addr;
    int r;

    if ((type != T_CALL16 && type != T_CALL32 && type != T_TASK && type != T_TSS16 && type != T_TSS32) ||
        (cpu_long(c) && type != T_CALL32) || dpl < c->cpl || dpl < (sel & 3u))
        return cpu_raise(c, X_GP, sel & 0xfffc);
    if (!(g[1] & 0x8000))
        return cpu_raise(c, X_NP, sel & 0xfffc);
    if (cpu_long(c))
        return gate_64(c, sel, g, call);
    if (type != T_CALL16 && type != T_CALL32) {
        uint64_t old = c->eip;
        c->eip = c->next_eip;
        r = task_switch(c, type == T_TASK ? target : sel, call ? TASK_CALL : TASK_JMP, false, 0);
        if (r && !c->task_entered)
            c->eip = old;
        c->next_eip = c->eip;
        return r;
    }
    if (gate_code_descriptor(c, target, 0, raw, &addr) || far_check(c, target, raw, true, call))
        return 1;
    eip = type == T_CALL32 ? (g[0] & 0xffff) | (g[1] & 0xffff0000u) : g[0] & 0xffff;
    if (call && !(raw[1] & 0x400) && ((raw[1] >> 13) & 3) < c->cpl)
        return call_inner(c, g, target, raw, addr, eip);
    if (gate_limit(c, raw, eip, 0) || (call && push_return(c, type == T_CALL32 ? 4 : 2)))
        return 1;
    gate_load_cs(c, target, raw, addr, c->cpl);
    c->next_eip = eip;
    cpu_update_mode(c);
    return 0;
}

static int far_go(struct cpu *c, const struct site *s, uint64_t operand, bool call)
{
    uint32_t raw[2];
    uint64_t at, off;
    uint16_t sel;

    if (far_target(c, s, operand, &sel, &off))
        return 1;
    if (real_style(c)) {
        if (off > 0xffff && !(c->seg[S_CS].limit > 0xffff && off <= c->seg[S_CS].limit))
            return cpu_raise(c, X_GP, 0);
        if (call && push_return(c, s->arg & 0xff))
            return 1;
        seg_set_real(c, S_CS, sel);
    } else {
        if (!(sel & 0xfffc))
            return cpu_raise(c, X_GP, 0);
        if (seg_descriptor(c, sel, X_GP, raw, &at))
            return 1;
        if (!(raw[1] & 0x1000))
            return through_system(c, sel, raw, call);
        if (far_check(c, sel, raw, false, call))
            return 1;
        if (to64(c, raw) ? !cpu_canonical(off) : gate_limit(c, raw, (uint32_t)off, 0))
            return c->exc_pending ? 1 : cpu_raise(c, X_GP, 0);
        if (call && push_return(c, s->arg & 0xff))
            return 1;
        gate_load_cs(c, sel, raw, at, c->cpl);
    }
    cpu_update_mode(c);
    c->next_eip = far_eip(c, off);
    return 0;
}

int help_jmp_far(struct cpu *c, const struct site *s, uint64_t addr)
{
    return far_go(c, s, addr, false);
}

int help_call_far(struct cpu *c, const struct site *s, uint64_t addr)
{
    return far_go(c, s, addr, true);
}

/* ---- SYSENTER, SYSEXIT: flat segments by definition */

int help_sysenter(struct cpu *c, const struct site *s, uint64_t addr)
{
    uint16_t cs = c->sysenter_cs & 0xfffc;

    if (cpu_long(c)) /* AMD's processors have it in legacy mode only */
        return cpu_raise(c, X_UD, -1);
    if (!(c->cr0 & CR0_PE) || !cs)
        return cpu_raise(c, X_GP, 0);
    c->eflags &= ~(EF_VM | EF_IF | EF_RF);
    seg_set_flat(c, S_CS, cs, 0xc09b);
    seg_set_flat(c, S_SS, (uint16_t)(cs + 8), 0xc093);
    c->cpl = 0;
    c->gpr[R_ESP] = (uint32_t)c->sysenter_esp;
    c->next_eip = (uint32_t)c->sysenter_eip;
    cpu_update_mode(c);
    return 0;
}

int help_sysexit(struct cpu *c, const struct site *s, uint64_t addr)
{
    uint16_t cs = c->sysenter_cs & 0xfffc;

    if (cpu_long(c))
        return cpu_raise(c, X_UD, -1);
    if (!(c->cr0 & CR0_PE) || !cs || c->cpl)
        return cpu_raise(c, X_GP, 0);
    seg_set_flat(c, S_CS, (uint16_t)((cs + 16) | 3), 0xc0fb);
    seg_set_flat(c, S_SS, (uint16_t)((cs + 24) | 3), 0xc0f3);
    c->cpl = 3;
    c->gpr[R_ESP] = (uint32_t)c->gpr[R_ECX];
    c->next_eip = (uint32_t)c->gpr[R_EDX];
    cpu_update_mode(c);
    cpu_update_intr(c);
    return 0;
}
