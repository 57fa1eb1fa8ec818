/* Interrupts and exceptions through the IDT, far transfers, IRET, SYSENTER. Intel SDM vol. 3, chapter 6; vol. 2. */
#include "vmcore/gate.h"

#include "vmcore/helpers.h"
#include "vmcore/rt.h"

void frame_put(struct frame *f, uint32_t v)
{
    unsigned size = f->wide ? 4 : 2;

    f->n += size;
    memcpy(f->bytes + sizeof f->bytes - f->n, &v, size);
}

/* Are len bytes at off inside the segment? */
static bool room(const struct cpu *c, const struct cpu_seg *s, uint32_t off, unsigned len)
{
    uint64_t last = (uint64_t)off + len - 1;

    if ((c->cr0 & CR0_PE) && !(c->eflags & EF_VM) && (s->attr & 12) == 4) /* expand-down */
        return off > s->limit && last <= (s->attr & 0x4000 ? 0xffffffffu : 0xffff);
    return last <= s->limit;
}

int frame_write(struct cpu *c, const struct frame *f, const struct cpu_seg *ss, uint32_t esp, uint32_t err,
                uint32_t *ret_esp)
{
    bool wide = (ss->attr & 0x4000) && (c->cr0 & CR0_PE);
    uint32_t mask = wide ? 0xffffffffu : 0xffff, new_esp = (esp & ~mask) | ((esp - f->n) & mask), at = new_esp & mask;

    if (!room(c, ss, at, f->n))
        return cpu_raise(c, X_SS, err);
    /* pushes go downwards: the first that faults is the highest */
    if (mmu_probe(c, (uint32_t)(ss->base + at + f->n - (f->wide ? 4 : 2)), f->wide ? 4 : 2, ACC_WRITE))
        return 1;
    if (mmu_write(c, (uint32_t)(ss->base + at), f->bytes + sizeof f->bytes - f->n, f->n, 0))
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

int gate_limit(struct cpu *c, const uint32_t raw[2], uint64_t eip, unsigned ext)
{
    uint32_t limit = (raw[0] & 0xffff) | (raw[1] & 0xf0000);

    if (raw[1] & 0x800000)
        limit = limit << 12 | 0xfff;
    return eip > limit ? cpu_raise(c, X_GP, ext) : 0;
}

void gate_load_cs(struct cpu *c, uint16_t sel, uint32_t raw[2], uint64_t addr, unsigned cpl)
{
    seg_set_accessed(c, addr, raw);
    seg_from_raw(c, S_CS, (uint16_t)((sel & ~3u) | cpl), raw);
    c->cpl = (uint8_t)cpl;
}

/* SS and ESP for an inner level, from the TSS. */
int gate_tss_stack(struct cpu *c, unsigned level, unsigned ext, uint16_t *ret_ss, uint32_t *ret_esp)
{
    bool wide = (c->seg[S_TR].attr & 15) >= T_TSS32;
    uint32_t at = wide ? 4 + level * 8 : 2 + level * 4;
    uint8_t b[8];

    if (at + (wide ? 5u : 3u) > c->seg[S_TR].limit)
        return cpu_raise(c, X_TS, (c->seg[S_TR].sel & 0xfffc) | ext);
    if (mmu_read(c, c->seg[S_TR].base + at, b, wide ? 8 : 4, ACC_SUP))
        return 1;
    *ret_esp = wide ? *(uint32_t *)b : *(uint16_t *)b;
    *ret_ss = *(uint16_t *)(b + (wide ? 4 : 2));
    return 0;
}

int gate_check_stack(struct cpu *c, uint16_t sel, unsigned cpl, unsigned ext, struct cpu_seg *ret)
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

/* Through the vector table, in real mode and where VME redirects an INT n in virtual-8086 mode. */
static int real_interrupt(struct cpu *c, unsigned vector, uint64_t table, uint32_t flags)
{
    uint16_t ivt[2];
    struct frame f = {.wide = false};
    uint32_t esp;

    if (mmu_read(c, table + vector * 4, ivt, 4, 0))
        return 1;
    frame_put(&f, flags);
    frame_put(&f, c->seg[S_CS].sel);
    frame_put(&f, (uint32_t)c->eip);
    if (frame_write(c, &f, &c->seg[S_SS], (uint32_t)c->gpr[R_ESP], 0, &esp))
        return 1;
    c->gpr[R_ESP] = esp;
    c->eflags &= ~(EF_TF | EF_AC | EF_RF);
    seg_set_real(c, S_CS, ivt[1]);
    c->eip = ivt[0];
    cpu_update_mode(c);
    return 0;
}

bool gate_fault_class(unsigned vector)
{
    return vector != X_BP && vector != X_OF && vector != X_NMI && vector != X_DF && vector < 32;
}

/* Pushes what every gate to a level of its own pushes first: in virtual-8086 mode the data segments, then the old
 * stack. */
static void put_outer(struct cpu *c, struct frame *f)
{
    if (c->eflags & EF_VM) {
        frame_put(f, c->seg[S_GS].sel);
        frame_put(f, c->seg[S_FS].sel);
        frame_put(f, c->seg[S_DS].sel);
        frame_put(f, c->seg[S_ES].sel);
    }
    frame_put(f, c->seg[S_SS].sel);
    frame_put(f, (uint32_t)c->gpr[R_ESP]);
}

static void leave_v86(struct cpu *c)
{
    static const uint8_t data[] = {S_ES, S_DS, S_FS, S_GS};

    c->eflags &= ~EF_VM;
    for (unsigned i = 0; i < sizeof data; i++) {
        struct cpu_seg *s = &c->seg[data[i]];
        *s = (struct cpu_seg){.fast_lim = -1};
    }
    for (unsigned i = 0; i < 6; i++)
        seg_update(c, i);
}

/* An interrupt or trap gate's code segment: 0, or 1 with #GP or #NP. */
static int gate_target(struct cpu *c, uint16_t sel, unsigned ext, uint32_t raw[2], uint64_t *addr, unsigned *ret_cpl)
{
    unsigned dpl;

    if (gate_code_descriptor(c, sel, ext, raw, addr))
        return 1;
    dpl = (raw[1] >> 13) & 3;
    if (dpl > c->cpl)
        return cpu_raise(c, X_GP, (sel & 0xfffc) | ext);
    if (!(raw[1] & 0x8000))
        return cpu_raise(c, X_NP, (sel & 0xfffc) | ext);
    *ret_cpl = raw[1] & 0x400 ? c->cpl : dpl;
    if ((c->eflags & EF_VM) && *ret_cpl)
        return cpu_raise(c, X_GP, (sel & 0xfffc) | ext);
    return 0;
}

/* Through an interrupt or trap gate with the descriptor g. */
static int through_gate(struct cpu *c, const uint32_t g[2], unsigned vector, bool soft, bool has_error, uint32_t error)
{
    uint32_t raw[2], esp = (uint32_t)c->gpr[R_ESP], eflags, ext = soft ? 0 : 1, eip;
    unsigned type = (g[1] >> 8) & 31, cpl = 0, old_cpl = c->cpl;
    uint16_t sel = (uint16_t)(g[0] >> 16), ss_sel = 0;
    struct cpu_seg ss = c->seg[S_SS];
    struct frame f = {.n = 0, .wide = type & 8};
    bool switched = false, v86 = c->eflags & EF_VM;
    uint64_t addr;

    if (gate_target(c, sel, ext, raw, &addr, &cpl))
        return 1;
    eip = f.wide ? (g[0] & 0xffff) | (g[1] & 0xffff0000u) : g[0] & 0xffff;
    if (cpl < c->cpl) {
        uint32_t inner = 0;
        if (gate_tss_stack(c, cpl, ext, &ss_sel, &inner) || gate_check_stack(c, ss_sel, cpl, ext, &ss))
            return 1;
        switched = true;
        put_outer(c, &f);
        esp = inner;
    }
    eflags = cpu_get_eflags(c, FL_ALL);
    if (!soft && gate_fault_class(vector) && vector != X_DB)
        eflags |= EF_RF;
    frame_put(&f, eflags);
    frame_put(&f, c->seg[S_CS].sel);
    frame_put(&f, (uint32_t)c->eip);
    if (has_error)
        frame_put(&f, error);
    c->cpl = (uint8_t)cpl;
    if (v86)
        c->eflags &= ~EF_VM; /* the new stack is one of protected mode */
    if (gate_limit(c, raw, eip, ext) || frame_write(c, &f, &ss, esp, (switched ? ss_sel & 0xfffcu : 0) | ext, &esp)) {
        c->cpl = (uint8_t)old_cpl;
        c->eflags |= v86 ? EF_VM : 0;
        return 1;
    }
    if (v86)
        leave_v86(c);
    if (switched)
        c->seg[S_SS] = ss;
    c->gpr[R_ESP] = esp;
    gate_load_cs(c, sel, raw, addr, cpl);
    c->eip = eip;
    c->eflags &= ~(EF_TF | EF_NT | EF_VM | EF_RF);
    if (!(type & 1))
        c->eflags &= ~EF_IF;
    c->r12 = 0;
    cpu_update_mode(c);
    return 0;
}

/* 0, or 1 with an exception raised and nothing changed. eip is what is pushed. */
int gate_interrupt(struct cpu *c, unsigned vector, bool soft, bool has_error, uint32_t error)
{
    uint32_t g[2], ext = soft ? 0 : 1;
    unsigned type, dpl;

    c->interrupts++;
    if (cpu_long(c))
        return gate64_interrupt(c, vector, soft, has_error, error);
    if (!(c->cr0 & CR0_PE)) {
        if (vector * 4 + 3 > c->idt.limit)
            return cpu_raise(c, X_GP, -1);
        if (real_interrupt(c, vector, c->idt.base, cpu_get_eflags(c, FL_ALL)))
            return 1;
        c->eflags &= ~EF_IF;
        return 0;
    }
    if (vector * 8 + 7 > c->idt.limit)
        return cpu_raise(c, X_GP, vector * 8 + 2 + ext);
    if (mmu_read(c, c->idt.base + vector * 8, g, 8, ACC_SUP))
        return 1;
    type = (g[1] >> 8) & 31;
    dpl = (g[1] >> 13) & 3;
    if (type != T_INT16 && type != T_TRAP16 && type != T_INT32 && type != T_TRAP32 && type != T_TASK)
        return cpu_raise(c, X_GP, vector * 8 + 2 + ext);
    if (soft && dpl < c->cpl)
        return cpu_raise(c, X_GP, vector * 8 + 2);
    if (!(g[1] & 0x8000))
        return cpu_raise(c, X_NP, vector * 8 + 2 + ext);
    if (type == T_TASK)
        return task_gate(c, (uint16_t)(g[0] >> 16), ext, has_error, error);
    return through_gate(c, g, vector, soft, has_error, error);
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
    c->trap_after = 0; /* the single-step trap is for the instruction after its IRET */
    return 0;
}

/* INT n in virtual-8086 mode: with VME the bitmap below the I/O map may send it to the program's own table. Returns 2
 * for the way through the IDT. AMD APM vol. 2, 8.2 and 8.7. */
static int v86_int(struct cpu *c, unsigned vector)
{
    const struct cpu_seg *tr = &c->seg[S_TR];
    bool low = (c->eflags & EF_IOPL) != EF_IOPL;
    uint16_t map;
    uint8_t bits;
    uint32_t flags, iflag;

    if (!(c->cr4 & CR4_VME))
        return low ? cpu_raise(c, X_GP, 0) : 2;
    if ((tr->attr & 15) < T_TSS32 || tr->limit < 103)
        return cpu_raise(c, X_GP, 0);
    if (mmu_read(c, tr->base + 102, &map, 2, ACC_SUP))
        return 1;
    uint32_t at = map - 32u + vector / 8;
    if (map < 32 || at > tr->limit)
        return cpu_raise(c, X_GP, 0);
    if (mmu_read(c, tr->base + at, &bits, 1, ACC_SUP))
        return 1;
    if (bits >> (vector & 7) & 1)
        return low ? cpu_raise(c, X_GP, 0) : 2;
    flags = cpu_get_eflags(c, FL_ALL);
    iflag = low ? EF_VIF : EF_IF;
    if (low) /* the program sees IOPL 3 and its virtual IF */
        flags = (flags & ~EF_IF) | EF_IOPL | (flags & EF_VIF ? EF_IF : 0);
    c->eip = c->next_eip;
    if (real_interrupt(c, vector, 0, flags)) {
        c->eip = cpu_wrap(c, c->eip);
        return 1;
    }
    c->eflags &= ~iflag;
    c->next_eip = c->eip;
    c->trap_after = 0;
    return 0;
}

int help_int(struct cpu *c, const struct site *s, uint64_t addr)
{
    if ((c->eflags & EF_VM) && !c->exc_hook) {
        uint64_t eip = c->eip;
        int r = v86_int(c, s->arg2 & 0xff);
        if (r == 1)
            c->eip = eip;
        if (r != 2)
            return r;
    }
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
