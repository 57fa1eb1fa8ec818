/* Task switches, by JMP, CALL, IRET and task gates. Intel SDM vol. 3, chapter 7. What fails before the new task
 * register is loaded is an exception of the old task; what fails after is one of the new task, with its EIP. */
#include "vmcore/gate.h"

#include "vmcore/mem.h"
#include "vmcore/rt.h"

enum { TSS32_SIZE = 104, TSS16_SIZE = 44 };

/* Both TSS formats as one. */
struct task {
    uint32_t eip, eflags, gpr[8], cr3;
    uint16_t seg[6], ldt; /* seg in the order ES CS SS DS FS GS */
    bool trap;
};

static void task_unpack(const uint8_t *b, bool wide, struct task *t)
{
    memset(t, 0, sizeof *t);
    if (wide) {
        memcpy(&t->cr3, b + 28, 4);
        memcpy(&t->eip, b + 32, 4);
        memcpy(&t->eflags, b + 36, 4);
        memcpy(t->gpr, b + 40, 32);
        for (unsigned i = 0; i < 6; i++)
            memcpy(&t->seg[i], b + 72 + 4 * i, 2);
        memcpy(&t->ldt, b + 96, 2);
        t->trap = b[100] & 1;
        return;
    }
    memcpy(&t->eip, b + 14, 2);
    memcpy(&t->eflags, b + 16, 2);
    for (unsigned i = 0; i < 8; i++) {
        memcpy(&t->gpr[i], b + 18 + 2 * i, 2);
        t->gpr[i] |= 0xffff0000u;
    }
    for (unsigned i = 0; i < 4; i++)
        memcpy(&t->seg[i], b + 34 + 2 * i, 2);
    memcpy(&t->ldt, b + 42, 2);
}

/* The old task's registers into its TSS: the middle part, from EIP to the last selector. */
static int task_save(struct cpu *c, uint32_t eflags)
{
    uint8_t b[TSS32_SIZE];
    uint64_t base = c->seg[S_TR].base;
    uint32_t eip = (uint32_t)c->eip;

    if ((c->seg[S_TR].attr & 15) >= T_TSS32) {
        memset(b, 0, sizeof b);
        memcpy(b, &eip, 4);
        memcpy(b + 4, &eflags, 4);
        for (unsigned i = 0; i < 8; i++)
            memcpy(b + 8 + 4 * i, &c->gpr[i], 4);
        for (unsigned i = 0; i < 6; i++)
            memcpy(b + 40 + 4 * i, &c->seg[i].sel, 2);
        return mmu_write(c, base + 32, b, 64, ACC_SUP);
    }
    memcpy(b, &eip, 2);
    memcpy(b + 2, &eflags, 2);
    for (unsigned i = 0; i < 8; i++)
        memcpy(b + 4 + 2 * i, &c->gpr[i], 2);
    for (unsigned i = 0; i < 4; i++)
        memcpy(b + 20 + 2 * i, &c->seg[i].sel, 2);
    return mmu_write(c, base + 14, b, 28, ACC_SUP);
}

static int set_busy(struct cpu *c, uint16_t sel, bool busy)
{
    uint64_t at = c->gdt.base + (sel & 0xfff8u);
    uint32_t v;

    if (mmu_read(c, at + 4, &v, 4, ACC_SUP))
        return 1;
    v = busy ? v | 0x200 : v & ~0x200u;
    return mmu_write(c, at + 4, &v, 4, ACC_SUP);
}

static int load_ldt(struct cpu *c, uint16_t sel)
{
    uint32_t raw[2];
    uint64_t at;

    c->seg[S_LDTR] = (struct cpu_seg){.sel = sel};
    if (!(sel & 0xfffc))
        return 0;
    if (sel & 4)
        return cpu_raise(c, X_TS, sel & 0xfffc);
    if (seg_descriptor(c, sel, X_TS, raw, &at))
        return 1;
    if (((raw[1] >> 8) & 0x1f) != T_LDT || !(raw[1] & 0x8000))
        return cpu_raise(c, X_TS, sel & 0xfffc);
    seg_from_raw(c, S_LDTR, sel, raw);
    return 0;
}

static int load_code(struct cpu *c, uint16_t sel)
{
    uint32_t raw[2];
    uint64_t at;
    unsigned dpl;

    if (!(sel & 0xfffc))
        return cpu_raise(c, X_TS, sel & 0xfffc);
    if (seg_descriptor(c, sel, X_TS, raw, &at))
        return 1;
    dpl = (raw[1] >> 13) & 3;
    if ((raw[1] & 0x1800) != 0x1800 || (raw[1] & 0x400 ? dpl > (sel & 3u) : dpl != (sel & 3u)))
        return cpu_raise(c, X_TS, sel & 0xfffc);
    if (!(raw[1] & 0x8000))
        return cpu_raise(c, X_NP, sel & 0xfffc);
    gate_load_cs(c, sel, raw, at, sel & 3);
    return 0;
}

static int load_segments(struct cpu *c, const struct task *t)
{
    static const uint8_t data[4] = {S_DS, S_ES, S_FS, S_GS};
    struct cpu_seg ss;

    if (c->eflags & EF_VM) {
        for (unsigned i = 0; i < 6; i++) {
            seg_set_real(c, i, t->seg[i]);
            c->seg[i].attr = 0xf3;
        }
        c->cpl = 3;
        return 0;
    }
    c->cpl = t->seg[S_CS] & 3;
    if (load_ldt(c, t->ldt))
        return 1;
    if (gate_check_stack(c, t->seg[S_SS], t->seg[S_CS] & 3, 0, &ss))
        return 1;
    c->seg[S_SS] = ss;
    if (load_code(c, t->seg[S_CS]))
        return 1;
    for (unsigned i = 0; i < 4; i++)
        if (seg_load(c, data[i], t->seg[data[i]], X_TS))
            return 1;
    return 0;
}

/* Loads the new task; from here on what fails is the new task's. */
static int task_enter(struct cpu *c, const struct task *t, bool wide, uint32_t eflags)
{
    c->task_entered = 1;
    c->cr0 |= CR0_TS;
    c->dr[7] &= ~0x155ull; /* local breakpoints */
    cpu_debug_changed(c);
    if (wide && (c->cr0 & CR0_PG) && t->cr3 != c->cr3 && cpu_load_cr3(c, t->cr3))
        return 1;
    c->eip = t->eip;
    for (unsigned i = 0; i < 8; i++)
        c->gpr[i] = wide ? t->gpr[i] : (c->gpr[i] & 0xffff0000u) | (t->gpr[i] & 0xffff);
    /* selectors are there, and unusable, until each is loaded */
    for (unsigned i = 0; i < 6; i++) {
        c->seg[i].sel = t->seg[i];
        if (i != S_CS && i != S_SS) {
            c->seg[i].valid = 0;
            c->seg[i].raw[0] = c->seg[i].raw[1] = 0;
            seg_update(c, i);
        }
    }
    cpu_set_eflags(c, eflags, wide ? ~0u : 0xffffu);
    if (load_segments(c, t)) {
        cpu_update_mode(c);
        return 1;
    }
    for (unsigned i = 0; i < 6; i++)
        seg_update(c, i);
    cpu_update_mode(c);
    cpu_update_intr(c);
    if (c->eip > c->seg[S_CS].limit)
        return cpu_raise(c, X_GP, 0);
    return 0;
}

static int push_error(struct cpu *c, bool wide, uint32_t error)
{
    struct frame f = {.wide = wide};
    uint32_t esp;

    frame_put(&f, error);
    if (frame_write(c, &f, &c->seg[S_SS], (uint32_t)c->gpr[R_ESP], 1, &esp))
        return 1;
    c->gpr[R_ESP] = esp;
    return 0;
}

int task_switch(struct cpu *c, uint16_t sel, enum task_way way, bool has_error, uint32_t error)
{
    unsigned ext = way == TASK_INT, bad = way == TASK_IRET ? X_TS : X_GP, type;
    uint32_t raw[2], old_flags, flags;
    uint8_t b[TSS32_SIZE] = {0};
    struct cpu_seg old = c->seg[S_TR], tr;
    uint64_t at;
    struct task t;
    bool wide, nest = way == TASK_CALL || way == TASK_INT;

    c->task_entered = 0;
    if ((sel & 4) || !(sel & 0xfffc))
        return cpu_raise(c, bad, (sel & 0xfffc) | ext);
    if (seg_descriptor(c, sel, bad, raw, &at))
        return 1;
    type = (raw[1] >> 8) & 31;
    wide = type & 8;
    if (way == TASK_IRET ? type != T_TSS32_BUSY && type != T_TSS16_BUSY : type != T_TSS32 && type != T_TSS16)
        return cpu_raise(c, bad, (sel & 0xfffc) | ext);
    if (!(raw[1] & 0x8000))
        return cpu_raise(c, X_NP, (sel & 0xfffc) | ext);
    seg_from_raw(c, S_TR, sel, raw);
    tr = c->seg[S_TR];
    c->seg[S_TR] = old;
    if (tr.limit < (wide ? TSS32_SIZE : TSS16_SIZE) - 1u)
        return cpu_raise(c, X_TS, (sel & 0xfffc) | ext);
    /* all that is touched must be there before anything changes */
    if (mmu_read(c, tr.base, b, wide ? TSS32_SIZE : TSS16_SIZE, ACC_SUP) ||
        mmu_probe(c, old.base, (old.attr & 8) ? TSS32_SIZE : TSS16_SIZE, ACC_WRITE | ACC_SUP) ||
        (nest && mmu_probe(c, tr.base, 2, ACC_WRITE | ACC_SUP)))
        return 1;
    task_unpack(b, wide, &t);
    if (way == TASK_JMP || way == TASK_IRET)
        if (set_busy(c, old.sel, false))
            return 1;
    old_flags = cpu_get_eflags(c, FL_ALL);
    if (way == TASK_IRET)
        old_flags &= ~EF_NT;
    if (task_save(c, old_flags))
        return 1;
    flags = t.eflags;
    if (nest) {
        if (mmu_write(c, tr.base, &old.sel, 2, ACC_SUP))
            return 1;
        flags |= EF_NT;
    }
    if (way != TASK_IRET && set_busy(c, sel, true))
        return 1;
    tr.attr |= 2;
    tr.raw[1] |= 0x200;
    c->seg[S_TR] = tr;
    if (task_enter(c, &t, wide, flags | 2) || (has_error && push_error(c, wide, error)))
        return 1;
    if (t.trap) {
        c->dr[6] |= 0x8000;
        return cpu_raise(c, X_DB, -1);
    }
    return 0;
}

int task_gate(struct cpu *c, uint16_t sel, unsigned ext, bool has_error, uint32_t error)
{
    uint32_t raw[2];
    uint64_t at;

    if ((sel & 4) || !(sel & 0xfffc))
        return cpu_raise(c, X_GP, (sel & 0xfffc) | ext);
    if (seg_descriptor(c, sel, X_GP, raw, &at))
        return 1;
    if (((raw[1] >> 8) & 31) != T_TSS32 && ((raw[1] >> 8) & 31) != T_TSS16)
        return cpu_raise(c, X_GP, (sel & 0xfffc) | ext);
    if (!(raw[1] & 0x8000))
        return cpu_raise(c, X_NP, (sel & 0xfffc) | ext);
    return task_switch(c, sel, TASK_INT, has_error, error);
}
