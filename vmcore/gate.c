/* Interrupts and exceptions through the IDT, far transfers, IRET, SYSENTER. Intel SDM vol. 3, chapter 6; vol. 2. */
#include "vmcore/gate.h"

#include "vmcore/helpers.h"
#include "vmcore/rt.h"

enum {
    T_TSS16 = 1,
    T_LDT,
    T_TSS16_BUSY,
    T_CALL16,
    T_TASK,
    T_INT16,
    T_TRAP16,
    T_TSS32 = 9,
    T_TSS32_BUSY = 11,
    T_CALL32,
    T_INT32 = 14,
    T_TRAP32
};

/* A frame in the making: pushed to a buffer, then written in one go so that nothing changes where it faults. */
struct frame {
    uint8_t bytes[64];
    unsigned n;
    bool wide; /* 32-bit slots */
};

static void put(struct frame *f, uint32_t v)
{
    unsigned size = f->wide ? 4 : 2;

    f->n += size;
    memcpy(f->bytes + sizeof f->bytes - f->n, &v, size);
}

static int write_frame(struct cpu *c, const struct frame *f, const struct cpu_seg *ss, uint32_t esp, uint32_t *ret_esp)
{
    bool wide = ss->attr & 0x4000;
    uint32_t mask = wide ? 0xffffffffu : 0xffff, new_esp = (esp & ~mask) | ((esp - f->n) & mask);

    if (mmu_write(c, ss->base + (new_esp & mask), f->bytes + sizeof f->bytes - f->n, f->n, 0))
        return 1;
    *ret_esp = new_esp;
    return 0;
}

int gate_code_descriptor(struct cpu *c, uint16_t sel, unsigned ext, uint32_t raw[2], uint64_t *addr)
{
    if (!(sel & 0xfffc))
        return cpu_raise(c, X_GP, ext);
    if (seg_descriptor(c, sel, X_GP, raw, addr))
        return 1;
    if (!(raw[1] & 0x1000) || !(raw[1] & 0x800))
        return cpu_raise(c, X_GP, (sel & 0xfffc) | ext);
    return 0;
}

void gate_load_cs(struct cpu *c, uint16_t sel, uint32_t raw[2], uint64_t addr, unsigned cpl)
{
    seg_set_accessed(c, addr, raw);
    seg_from_raw(c, S_CS, (uint16_t)((sel & ~3u) | cpl), raw);
    c->cpl = (uint8_t)cpl;
}

/* SS and ESP for an inner level, from the TSS. */
static int tss_stack(struct cpu *c, unsigned level, uint16_t *ret_ss, uint32_t *ret_esp)
{
    bool wide = (c->seg[S_TR].attr & 15) >= T_TSS32;
    uint32_t at = wide ? 4 + level * 8 : 2 + level * 4;
    uint8_t b[8];

    if (at + (wide ? 5 : 3) > c->seg[S_TR].limit)
        return cpu_raise(c, X_TS, c->seg[S_TR].sel & 0xfffc);
    if (mmu_read(c, c->seg[S_TR].base + at, b, wide ? 8 : 4, ACC_SUP))
        return 1;
    *ret_esp = wide ? *(uint32_t *)b : *(uint16_t *)b;
    *ret_ss = *(uint16_t *)(b + (wide ? 4 : 2));
    return 0;
}

static int check_stack(struct cpu *c, uint16_t sel, unsigned cpl, unsigned ext, struct cpu_seg *ret)
{
    uint32_t raw[2];
    uint64_t addr;
    unsigned attr;
    struct cpu_seg keep = c->seg[S_SS];

    if (!(sel & 0xfffc))
        return cpu_raise(c, X_TS, ext);
    if (seg_descriptor(c, sel, X_TS, raw, &addr))
        return 1;
    attr = (raw[1] >> 8) & 0xff;
    if ((sel & 3) != cpl || ((attr >> 5) & 3) != cpl || !(attr & 0x10) || (attr & 8) || !(attr & 2))
        return cpu_raise(c, X_TS, (sel & 0xfffc) | ext);
    if (!(attr & 0x80))
        return cpu_raise(c, X_SS, (sel & 0xfffc) | ext);
    if (seg_set_accessed(c, addr, raw))
        return 1;
    seg_from_raw(c, S_SS, sel, raw);
    *ret = c->seg[S_SS];
    c->seg[S_SS] = keep;
    return 0;
}

static int real_interrupt(struct cpu *c, unsigned vector)
{
    uint8_t ivt[4];
    struct frame f = {.wide = false};
    uint32_t esp;

    if (vector * 4 + 3 > c->idt.limit)
        return cpu_raise(c, X_GP, -1);
    if (mmu_read(c, c->idt.base + vector * 4, ivt, 4, ACC_SUP))
        return 1;
    put(&f, cpu_get_eflags(c, FL_ALL));
    put(&f, c->seg[S_CS].sel);
    put(&f, (uint32_t)c->eip);
    if (write_frame(c, &f, &c->seg[S_SS], (uint32_t)c->gpr[R_ESP], &esp))
        return 1;
    c->gpr[R_ESP] = esp;
    c->eflags &= ~(EF_IF | EF_TF | EF_AC | EF_RF);
    seg_set_real(c, S_CS, *(uint16_t *)(ivt + 2));
    c->eip = *(uint16_t *)ivt;
    cpu_update_mode(c);
    return 0;
}

bool gate_fault_class(unsigned vector)
{
    return vector != X_BP && vector != X_OF && vector != X_NMI && vector != X_DF && vector < 32;
}

/* 0, or 1 with an exception raised and nothing changed. eip is what is pushed. */
int gate_interrupt(struct cpu *c, unsigned vector, bool soft, bool has_error, uint32_t error)
{
    uint32_t g[2], raw[2], esp, eflags, ext = soft ? 0 : 1;
    uint64_t addr;
    unsigned type, dpl, cpl = c->cpl, old_cpl = c->cpl;
    uint16_t sel;
    struct cpu_seg ss = c->seg[S_SS];
    struct frame f = {.n = 0};
    bool switched = false;

    if (cpu_long(c))
        return gate64_interrupt(c, vector, soft, has_error, error);
    if (!(c->cr0 & CR0_PE))
        return real_interrupt(c, vector);
    if (vector * 8 + 7 > c->idt.limit)
        return cpu_raise(c, X_GP, vector * 8 + 2 + ext);
    if (mmu_read(c, c->idt.base + vector * 8, g, 8, ACC_SUP))
        return 1;
    type = (g[1] >> 8) & 31;
    dpl = (g[1] >> 13) & 3;
    if (type != T_INT16 && type != T_TRAP16 && type != T_INT32 && type != T_TRAP32) {
        if (type == T_TASK)
            rt_log(c->vm, "interrupt %x through a task gate, which this version does not have", vector);
        return cpu_raise(c, X_GP, vector * 8 + 2 + ext);
    }
    if (soft && dpl < c->cpl)
        return cpu_raise(c, X_GP, vector * 8 + 2);
    if (!(g[1] & 0x8000))
        return cpu_raise(c, X_NP, vector * 8 + 2 + ext);
    sel = (uint16_t)(g[0] >> 16);
    if (gate_code_descriptor(c, sel, ext, raw, &addr))
        return 1;
    dpl = (raw[1] >> 13) & 3;
    if (dpl > c->cpl)
        return cpu_raise(c, X_GP, (sel & 0xfffc) | ext);
    if (!(raw[1] & 0x8000))
        return cpu_raise(c, X_NP, (sel & 0xfffc) | ext);
    if (!(raw[1] & 0x400))
        cpl = dpl;
    f.wide = type & 8;
    esp = (uint32_t)c->gpr[R_ESP];
    if (cpl < c->cpl) {
        uint16_t ss_sel = 0;
        uint32_t inner = 0;
        if (tss_stack(c, cpl, &ss_sel, &inner) || check_stack(c, ss_sel, cpl, ext, &ss))
            return 1;
        switched = true;
        put(&f, c->seg[S_SS].sel);
        put(&f, esp);
        esp = inner;
    }
    eflags = cpu_get_eflags(c, FL_ALL);
    if (!soft && gate_fault_class(vector) && !(vector == X_DB))
        eflags |= EF_RF;
    put(&f, eflags);
    put(&f, c->seg[S_CS].sel);
    put(&f, (uint32_t)c->eip);
    if (has_error)
        put(&f, error);
    c->cpl = (uint8_t)cpl;
    if (write_frame(c, &f, &ss, esp, &esp)) {
        c->cpl = (uint8_t)old_cpl;
        return 1;
    }
    if (switched)
        c->seg[S_SS] = ss;
    c->gpr[R_ESP] = esp;
    gate_load_cs(c, sel, raw, addr, cpl);
    c->eip = f.wide ? (g[0] & 0xffff) | (g[1] & 0xffff0000u) : g[0] & 0xffff;
    c->eflags &= ~(EF_TF | EF_NT | EF_VM | EF_RF);
    if (!(type & 1))
        c->eflags &= ~EF_IF;
    c->r12 = 0;
    cpu_update_mode(c);
    c->interrupts++;
    return 0;
}

static bool contributory(unsigned v)
{
    return v == X_DE || (v >= X_TS && v <= X_GP);
}

void cpu_deliver_exception(struct cpu *c)
{
    unsigned vector = c->exc_vector;
    bool has_error = c->exc_has_error, soft = c->exc_soft;
    uint32_t error = c->exc_error;

    for (;;) {
        c->exc_pending = 0;
        if (vector == X_PF)
            c->cr2 = c->exc_cr2;
        if (!gate_interrupt(c, vector, soft, has_error, error))
            return;
        if (vector == X_DF) {
            rt_log(c->vm, "triple fault: exception %x at eip %llx, cr0 %x cr2 %llx cr3 %llx cr4 %x esp %llx",
                   c->exc_vector, c->eip, c->cr0, c->cr2, c->cr3, c->cr4, c->gpr[R_ESP]);
            c->triple = 1;
            c->exc_pending = 0;
            return;
        }
        if ((contributory(vector) && contributory(c->exc_vector)) ||
            (vector == X_PF && (contributory(c->exc_vector) || c->exc_vector == X_PF))) {
            vector = X_DF;
            has_error = true;
            error = 0;
        } else {
            vector = c->exc_vector;
            has_error = c->exc_has_error;
            error = c->exc_error;
        }
        soft = false;
    }
}

/* ---- software interrupts: eip is pushed after the instruction */

static int soft_interrupt(struct cpu *c, unsigned vector)
{
    uint64_t eip = c->eip;

    c->eip = c->next_eip;
    if (c->exc_hook) { /* tests see them as exceptions at the next instruction */
        cpu_raise(c, vector, -1);
        return 1;
    }
    if (gate_interrupt(c, vector, true, false, 0)) {
        c->eip = eip;
        return 1;
    }
    c->next_eip = c->eip;
    return 0;
}

int help_int(struct cpu *c, const struct site *s, uint64_t addr)
{
    return soft_interrupt(c, s->arg2 & 0xff);
}

int help_int3(struct cpu *c, const struct site *s, uint64_t addr)
{
    return soft_interrupt(c, X_BP);
}

int help_into(struct cpu *c, const struct site *s, uint64_t addr)
{
    return c->r12 & 1 ? soft_interrupt(c, X_OF) : 0;
}

int help_int1(struct cpu *c, const struct site *s, uint64_t addr)
{
    c->eip = c->next_eip;
    return cpu_raise(c, X_DB, -1);
}

/* ---- IRET */

void gate_outer_null(struct cpu *c)
{
    for (unsigned i = 0; i < 6; i++) {
        struct cpu_seg *s = &c->seg[i];
        if (i == S_CS || i == S_SS || !s->valid)
            continue;
        bool conforming = (s->attr & 0xc) == 0xc;
        if (!conforming && ((s->attr >> 5) & 3u) < c->cpl) {
            s->valid = 0;
            s->sel = 0;
            seg_update(c, i);
        }
    }
}

static int pop_stack(struct cpu *c, uint32_t off, void *dst, unsigned n)
{
    bool wide = c->seg[S_SS].attr & 0x4000;
    uint32_t esp = (uint32_t)c->gpr[R_ESP] + off;
    uint64_t lin;

    if (!wide)
        esp &= 0xffff;
    if (seg_check(c, S_SS, esp, n, ACC_READ, &lin))
        return 1;
    return mmu_read(c, lin, dst, n, 0);
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

static void words(const uint8_t *b, unsigned size, unsigned n, uint32_t *out)
{
    for (unsigned i = 0; i < n; i++)
        out[i] = size == 4 ? ((const uint32_t *)b)[i] : ((const uint16_t *)b)[i];
}

int help_iret(struct cpu *c, const struct site *s, uint64_t addr)
{
    unsigned size = help_size(s), old_cpl = c->cpl;
    uint32_t v[3], outer[2] = {0, 0}, mask;
    uint8_t b[12];

    if (cpu_long(c))
        return gate64_iret(c, size);
    if (pop_stack(c, 0, b, 3 * size))
        return 1;
    words(b, size, 3, v);
    if (!(c->cr0 & CR0_PE)) {
        add_esp(c, 3 * size);
        seg_set_real(c, S_CS, (uint16_t)v[1]);
        c->next_eip = v[0];
        cpu_set_eflags(c, v[2],
                       EF_ARITH | EF_DF | EF_IF | EF_TF | EF_IOPL | EF_NT | (size == 4 ? EF_AC | EF_ID | EF_RF : 0));
        return 0;
    }
    if (c->eflags & EF_NT) {
        rt_log(c->vm, "IRET to a linked task, which this version does not have");
        return cpu_raise(c, X_TS, c->seg[S_TR].sel & 0xfffc);
    }
    if (size == 4 && (v[2] & EF_VM) && c->cpl == 0) {
        rt_log(c->vm, "IRET to virtual-8086 mode, which this version does not have");
        return cpu_raise(c, X_GP, 0);
    }
    if ((v[1] & 3) > c->cpl) {
        if (pop_stack(c, 3 * size, b, 2 * size))
            return 1;
        words(b, size, 2, outer);
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
    c->nmi_masked = 0;
    cpu_set_eflags(c, v[2], mask);
    c->eflags &= ~EF_RF;
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
    uint8_t b[8];

    if (cpu_long(c))
        return long_ret_far(c, size, drop);
    if (pop_stack(c, 0, b, 2 * size))
        return 1;
    words(b, size, 2, v);
    if (!(c->cr0 & CR0_PE)) {
        add_esp(c, 2 * size + drop);
        seg_set_real(c, S_CS, (uint16_t)v[1]);
        c->next_eip = v[0];
        cpu_update_mode(c);
        return 0;
    }
    if ((v[1] & 3) > c->cpl) {
        if (pop_stack(c, 2 * size + drop, b, 2 * size))
            return 1;
        words(b, size, 2, outer);
    }
    if (far_return(c, (uint16_t)v[1], v[0], 2 * size, outer, drop))
        return 1;
    cpu_update_mode(c);
    return 0;
}

/* ---- far JMP and CALL; gates other than to code segments are for a later version and raise #GP */

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

static int far_check(struct cpu *c, uint16_t sel, uint32_t raw[2], uint64_t *addr)
{
    unsigned dpl;

    if (!(sel & 0xfffc))
        return cpu_raise(c, X_GP, 0);
    if (seg_descriptor(c, sel, X_GP, raw, addr))
        return 1;
    if (!(raw[1] & 0x1000)) {
        rt_log(c->vm, "far transfer through a system descriptor of type %x, which this version does not have",
               (raw[1] >> 8) & 15);
        return cpu_raise(c, X_GP, sel & 0xfffc);
    }
    dpl = (raw[1] >> 13) & 3;
    if (!(raw[1] & 0x800) || ((raw[1] & 0x400) ? dpl > c->cpl : dpl != c->cpl || (sel & 3u) > c->cpl))
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

int help_jmp_far(struct cpu *c, const struct site *s, uint64_t addr)
{
    uint32_t raw[2];
    uint64_t at, off;
    uint16_t sel;

    if (far_target(c, s, addr, &sel, &off))
        return 1;
    if (!(c->cr0 & CR0_PE)) {
        seg_set_real(c, S_CS, sel);
    } else {
        if (far_check(c, sel, raw, &at))
            return 1;
        gate_load_cs(c, sel, raw, at, c->cpl);
    }
    cpu_update_mode(c);
    c->next_eip = far_eip(c, off);
    return 0;
}

int help_call_far(struct cpu *c, const struct site *s, uint64_t addr)
{
    uint32_t raw[2], esp;
    uint64_t at = 0, off;
    uint16_t sel;
    struct frame f = {.wide = (s->arg & 0xff) == 4};
    uint64_t wide[2], lin;
    unsigned size = s->arg & 0xff;

    if (far_target(c, s, addr, &sel, &off))
        return 1;
    if ((c->cr0 & CR0_PE) && far_check(c, sel, raw, &at))
        return 1;
    if (c->mode & M_CODE64) {
        wide[0] = c->next_eip;
        wide[1] = c->seg[S_CS].sel;
        for (unsigned i = 0; i < 2; i++)
            if (seg_check(c, S_SS, c->gpr[R_ESP] - (2 - i) * size, size, ACC_WRITE, &lin) ||
                mmu_write(c, lin, &wide[i], size, 0))
                return 1;
        c->gpr[R_ESP] -= 2 * size;
    } else {
        put(&f, c->seg[S_CS].sel);
        put(&f, (uint32_t)c->next_eip);
        if (write_frame(c, &f, &c->seg[S_SS], (uint32_t)c->gpr[R_ESP], &esp))
            return 1;
        c->gpr[R_ESP] = esp;
    }
    if (!(c->cr0 & CR0_PE))
        seg_set_real(c, S_CS, sel);
    else
        gate_load_cs(c, sel, raw, at, c->cpl);
    cpu_update_mode(c);
    c->next_eip = far_eip(c, off);
    return 0;
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
