/* System instructions: control and debug registers, descriptor tables, flags with IF, port I/O, halting. */
#include "vmcore/cpu.h"

#include "vmcore/dev/dev.h"
#include "vmcore/helpers.h"
#include "vmcore/cpuid.h"
#include "vmcore/dev/lapic.h"
#include "vmcore/hwbreak.h"
#include "vmcore/rt.h"

static bool protected_mode(const struct cpu *c)
{
    return (c->cr0 & CR0_PE) && !(c->eflags & EF_VM);
}

static unsigned iopl(const struct cpu *c)
{
    return (c->eflags & EF_IOPL) >> 12;
}

int help_raise(struct cpu *c, const struct site *s, uint64_t addr)
{
    return cpu_raise(c, s->arg, s->arg == X_GP || s->arg == X_SS ? 0 : -1);
}

/* Checked builds: an access was about to leave guest memory. */
int help_escape(struct cpu *c, const struct site *s, uint64_t addr)
{
    vm_fail(c->vm, "checked build: a host address outside of guest memory", addr);
    return 1;
}

int help_ud(struct cpu *c, const struct site *s, uint64_t addr)
{
    return cpu_raise(c, X_UD, -1);
}

/* ---- flags */

static uint32_t popf_mask(const struct cpu *c, unsigned size)
{
    uint32_t m = EF_ARITH | EF_DF | EF_TF | EF_NT;

    if (size >= 4)
        m |= EF_AC | EF_ID;
    if (c->cpl == 0)
        m |= EF_IOPL;
    if (c->cpl <= iopl(c))
        m |= EF_IF;
    return m;
}

static int stack_lin(struct cpu *c, uint64_t esp, unsigned n, unsigned acc, uint64_t *lin)
{
    return seg_check(c, S_SS, esp & cpu_sp_mask(c), n, acc, lin);
}

/* Virtual-8086 mode without IOPL 3, and rings behind IOPL with PVI: IF's changes are #GP, or go to the virtual flag.
 * AMD APM vol. 2, 8.7. */
enum { IF_REAL, IF_VIRTUAL, IF_GP };
static int if_rights(const struct cpu *c, bool pvi)
{
    if (!(c->cr0 & CR0_PE) || c->cpl <= iopl(c))
        return IF_REAL;
    if (c->eflags & EF_VM)
        return c->cr4 & CR4_VME ? IF_VIRTUAL : IF_GP;
    return pvi && (c->cr4 & CR4_PVI) && c->cpl == 3 ? IF_VIRTUAL : IF_GP;
}

int help_pushf(struct cpu *c, const struct site *s, uint64_t addr)
{
    unsigned n = help_size(s);
    uint64_t v = cpu_get_eflags(c, FL_ALL) & ~(EF_RF | EF_VM), esp = c->gpr[R_ESP] - n, lin;

    if ((c->eflags & EF_VM) && iopl(c) < 3) {
        if (n != 2 || !(c->cr4 & CR4_VME))
            return cpu_raise(c, X_GP, 0);
        v = (v & ~(uint64_t)EF_IF) | EF_IOPL | (v & EF_VIF ? EF_IF : 0);
    }
    if (stack_lin(c, esp, n, ACC_WRITE, &lin) || mmu_write(c, lin, &v, n, 0))
        return 1;
    cpu_set_sp(c, esp);
    return 0;
}

int help_popf(struct cpu *c, const struct site *s, uint64_t addr)
{
    unsigned n = help_size(s);
    uint64_t v = 0, esp = c->gpr[R_ESP], lin;
    uint32_t mask = popf_mask(c, n);

    if ((c->eflags & EF_VM) && iopl(c) < 3 && (n != 2 || !(c->cr4 & CR4_VME)))
        return cpu_raise(c, X_GP, 0);
    if (stack_lin(c, esp, n, ACC_READ, &lin) || mmu_read(c, lin, &v, n, 0))
        return 1;
    if ((c->eflags & EF_VM) && iopl(c) < 3) {
        if ((v & EF_TF) || ((v & EF_IF) && (c->eflags & EF_VIP)))
            return cpu_raise(c, X_GP, 0);
        v = (v & ~(uint64_t)EF_VIF) | (v & EF_IF ? EF_VIF : 0);
        mask = (mask & ~EF_IF) | EF_VIF;
    }
    cpu_set_sp(c, esp + n);
    cpu_set_eflags(c, (uint32_t)v, mask);
    c->eflags &= ~EF_RF;
    return 0;
}

int help_cli(struct cpu *c, const struct site *s, uint64_t addr)
{
    int r = if_rights(c, true);

    if (r == IF_GP)
        return cpu_raise(c, X_GP, 0);
    c->eflags &= r == IF_VIRTUAL ? ~EF_VIF : ~EF_IF;
    return 0;
}

int help_sti(struct cpu *c, const struct site *s, uint64_t addr)
{
    int r = if_rights(c, true);

    if (r == IF_GP || (r == IF_VIRTUAL && (c->eflags & EF_VIP)))
        return cpu_raise(c, X_GP, 0);
    if (r == IF_VIRTUAL)
        c->eflags |= EF_VIF;
    else if (!(c->eflags & EF_IF)) {
        c->eflags |= EF_IF;
        c->inhibit = INHIBIT_STI;
        c->inhibit_eip = c->next_eip;
        cpu_update_intr(c);
    }
    return 0;
}

int help_cld(struct cpu *c, const struct site *s, uint64_t addr)
{
    c->eflags &= ~EF_DF;
    cpu_update_mode(c);
    return 0;
}

int help_std(struct cpu *c, const struct site *s, uint64_t addr)
{
    c->eflags |= EF_DF;
    cpu_update_mode(c);
    return 0;
}

int help_hlt(struct cpu *c, const struct site *s, uint64_t addr)
{
    if (c->cpl)
        return cpu_raise(c, X_GP, 0);
    c->halted = !c->trap_after && !c->dr_hit; /* a debug trap that is due ends the halt as it begins */
    cpu_set_attn(c, ATTN_EXIT);
    return 0;
}

/* ---- ports */

static int io_allowed(struct cpu *c, uint16_t port, unsigned size)
{
    uint16_t map, bits;

    if (!(c->cr0 & CR0_PE) || (c->cpl <= iopl(c) && !(c->eflags & EF_VM)))
        return 0;
    if ((c->seg[S_TR].attr & 15) < 9 || c->seg[S_TR].limit < 103)
        return cpu_raise(c, X_GP, 0);
    if (mmu_read(c, c->seg[S_TR].base + 102, &map, 2, ACC_SUP))
        return 1;
    uint32_t at = map + port / 8u;
    if (at + 1 > c->seg[S_TR].limit)
        return cpu_raise(c, X_GP, 0);
    if (mmu_read(c, c->seg[S_TR].base + at, &bits, 2, ACC_SUP))
        return 1;
    if ((bits >> (port & 7)) & ((1u << size) - 1))
        return cpu_raise(c, X_GP, 0);
    return 0;
}

static uint16_t io_port(const struct cpu *c, const struct site *s)
{
    return (s->arg & HELP_DX) ? (uint16_t)c->gpr[R_EDX] : (uint16_t)(s->arg2 & 0xff);
}

/* The hypervisor's port: the TSC's and the local APIC timer's rates, for the asking (see cpuid.c). */
static bool hypervisor_call(struct cpu *c)
{
    if ((uint32_t)c->gpr[R_EAX] != HYPERVISOR_MAGIC || (uint16_t)c->gpr[R_ECX] != HYPERVISOR_GETHZ)
        return false;
    c->gpr[R_EAX] = (uint32_t)c->tsc_hz;
    c->gpr[R_EBX] = c->tsc_hz >> 32;
    c->gpr[R_ECX] = LAPIC_TIMER_HZ;
    return true;
}

int help_in(struct cpu *c, const struct site *s, uint64_t addr)
{
    unsigned n = help_size(s);
    uint16_t port = io_port(c, s);
    uint32_t v;

    if (port == HYPERVISOR_PORT && n == 4 && hypervisor_call(c))
        return 0;
    if (io_allowed(c, port, n))
        return 1;
    v = bus_io_read(c->bus, port, n);
    if (c->dr_active)
        hwbreak_io(c, port, n);
    if (n == 4)
        c->gpr[R_EAX] = v;
    else
        c->gpr[R_EAX] = n == 2 ? (c->gpr[R_EAX] & ~0xffffull) | (v & 0xffff) : (c->gpr[R_EAX] & ~0xffull) | (v & 0xff);
    return 0;
}

int help_out(struct cpu *c, const struct site *s, uint64_t addr)
{
    unsigned n = help_size(s);
    uint16_t port = io_port(c, s);
    uint32_t v = (uint32_t)c->gpr[R_EAX];

    if (io_allowed(c, port, n))
        return 1;
    bus_io_write(c->bus, port, n == 4 ? v : n == 2 ? v & 0xffff : v & 0xff, n);
    if (c->dr_active)
        hwbreak_io(c, port, n);
    return 0;
}

static uint64_t index_mask(const struct site *s)
{
    return s->arg2 & HELP_A64 ? ~0ull : s->arg2 & HELP_A16 ? 0xffff : 0xffffffffu;
}

static void set_index(struct cpu *c, const struct site *s, int reg, uint64_t v)
{
    uint64_t m = index_mask(s);

    c->gpr[reg] = m == 0xffff ? (c->gpr[reg] & ~m) | (v & m) : v & m;
}

static void step_index(struct cpu *c, const struct site *s, int reg, unsigned n)
{
    set_index(c, s, reg, c->eflags & EF_DF ? c->gpr[reg] - n : c->gpr[reg] + n);
}

/* INS and OUTS: one element a turn, registers exact before each; leaves between turns when something wants attention.
 */
static int string_io(struct cpu *c, const struct site *s, bool in)
{
    unsigned n = help_size(s);
    uint64_t m = index_mask(s);
    bool rep = s->arg2 & HELP_REP;
    uint16_t port = (uint16_t)c->gpr[R_EDX];

    if (io_allowed(c, port, n))
        return 1;
    while (!rep || (c->gpr[R_ECX] & m)) {
        uint32_t v = 0;
        uint64_t lin, off = c->gpr[in ? R_EDI : R_ESI] & m;
        if (in) {
            if (seg_check(c, S_ES, off, n, ACC_WRITE, &lin) || mmu_probe(c, lin, n, ACC_WRITE))
                return 1;
            v = bus_io_read(c->bus, port, n);
            if (mmu_write(c, lin, &v, n, 0))
                return 1;
        } else {
            if (seg_check(c, help_seg(s), off, n, ACC_READ, &lin) || mmu_read(c, lin, &v, n, 0))
                return 1;
            bus_io_write(c->bus, port, v, n);
        }
        if (c->dr_active)
            hwbreak_io(c, port, n);
        step_index(c, s, in ? R_EDI : R_ESI, n);
        if (!rep)
            break;
        set_index(c, s, R_ECX, c->gpr[R_ECX] - 1);
        if (c->attn && (c->gpr[R_ECX] & m)) {
            c->next_eip = c->eip;
            break;
        }
    }
    return 0;
}

int help_ins(struct cpu *c, const struct site *s, uint64_t addr)
{
    return string_io(c, s, true);
}

int help_outs(struct cpu *c, const struct site *s, uint64_t addr)
{
    return string_io(c, s, false);
}

/* ---- descriptor tables and their kin */

static int mem_read_op(struct cpu *c, const struct site *s, uint64_t addr, void *dst, unsigned n)
{
    uint64_t lin;

    return seg_check(c, help_seg(s), addr, n, ACC_READ, &lin) || mmu_read(c, lin, dst, n, 0);
}

static int mem_write_op(struct cpu *c, const struct site *s, uint64_t addr, const void *src, unsigned n)
{
    uint64_t lin;

    return seg_check(c, help_seg(s), addr, n, ACC_WRITE, &lin) || mmu_write(c, lin, src, n, 0);
}

static int load_table(struct cpu *c, const struct site *s, uint64_t addr, uint64_t *base, uint32_t *limit)
{
    uint8_t b[10];
    uint64_t v = 0;
    unsigned n = c->mode & M_CODE64 ? 8 : 4;

    if (c->cpl)
        return cpu_raise(c, X_GP, 0);
    if (mem_read_op(c, s, addr, b, 2 + n))
        return 1;
    memcpy(&v, b + 2, n);
    if (!cpu_canonical(v))
        return cpu_raise(c, X_GP, 0);
    *limit = *(uint16_t *)b;
    *base = help_size(s) == 2 ? v & 0xffffff : v;
    return 0;
}

int help_lgdt(struct cpu *c, const struct site *s, uint64_t addr)
{
    return load_table(c, s, addr, &c->gdt.base, &c->gdt.limit);
}

int help_lidt(struct cpu *c, const struct site *s, uint64_t addr)
{
    return load_table(c, s, addr, &c->idt.base, &c->idt.limit);
}

static bool umip(const struct cpu *c)
{
    return (c->cr4 & CR4_UMIP) && c->cpl;
}

static int store_table(struct cpu *c, const struct site *s, uint64_t addr, uint64_t base, uint32_t limit)
{
    uint8_t b[10];
    unsigned n = c->mode & M_CODE64 ? 8 : 4;

    if (umip(c))
        return cpu_raise(c, X_GP, 0);
    *(uint16_t *)b = (uint16_t)limit;
    memcpy(b + 2, &base, n);
    return mem_write_op(c, s, addr, b, 2 + n);
}

int help_sgdt(struct cpu *c, const struct site *s, uint64_t addr)
{
    return store_table(c, s, addr, c->gdt.base, c->gdt.limit);
}

int help_sidt(struct cpu *c, const struct site *s, uint64_t addr)
{
    return store_table(c, s, addr, c->idt.base, c->idt.limit);
}

/* LDT and TSS descriptors have 16 bytes in long mode: the upper half of the base. */
static int system_descriptor(struct cpu *c, uint16_t sel, uint32_t raw[2], uint64_t *at, uint64_t *upper)
{
    uint32_t more[2] = {0, 0};

    *upper = 0;
    if (seg_descriptor(c, sel, X_GP, raw, at))
        return 1;
    if (!cpu_long(c))
        return 0;
    if ((sel | 7u) + 8 > c->gdt.limit)
        return cpu_raise(c, X_GP, sel & 0xfffc);
    if (mmu_read(c, *at + 8, more, 8, ACC_SUP))
        return 1;
    if (more[1] & 0x1f00)
        return cpu_raise(c, X_GP, sel & 0xfffc);
    *upper = (uint64_t)more[0] << 32;
    return 0;
}

/* A 16-bit operand: memory or register. */
static int operand16(struct cpu *c, const struct site *s, uint64_t addr, uint16_t *ret)
{
    if (s->arg & HELP_MEM)
        return mem_read_op(c, s, addr, ret, 2);
    *ret = (uint16_t)c->gpr[help_rm(s)];
    return 0;
}

static int store16(struct cpu *c, const struct site *s, uint64_t addr, uint32_t v)
{
    if (s->arg & HELP_MEM)
        return mem_write_op(c, s, addr, &v, 2);
    if (help_size(s) == 2)
        c->gpr[help_rm(s)] = (c->gpr[help_rm(s)] & ~0xffffull) | (v & 0xffff);
    else
        c->gpr[help_rm(s)] = v;
    return 0;
}

int help_sldt(struct cpu *c, const struct site *s, uint64_t addr)
{
    if (!protected_mode(c))
        return cpu_raise(c, X_UD, -1);
    return umip(c) ? cpu_raise(c, X_GP, 0) : store16(c, s, addr, c->seg[S_LDTR].sel);
}

int help_str(struct cpu *c, const struct site *s, uint64_t addr)
{
    if (!protected_mode(c))
        return cpu_raise(c, X_UD, -1);
    return umip(c) ? cpu_raise(c, X_GP, 0) : store16(c, s, addr, c->seg[S_TR].sel);
}

int help_smsw(struct cpu *c, const struct site *s, uint64_t addr)
{
    return umip(c) ? cpu_raise(c, X_GP, 0) : store16(c, s, addr, c->cr0);
}

int help_lmsw(struct cpu *c, const struct site *s, uint64_t addr)
{
    uint16_t v;

    if (c->cpl)
        return cpu_raise(c, X_GP, 0);
    if (operand16(c, s, addr, &v))
        return 1;
    return cpu_write_cr0(c, (c->cr0 & ~0xeu) | (v & 0xf));
}

int help_lldt(struct cpu *c, const struct site *s, uint64_t addr)
{
    uint32_t raw[2];
    uint64_t at, upper;
    uint16_t sel;

    if (!protected_mode(c))
        return cpu_raise(c, X_UD, -1);
    if (c->cpl)
        return cpu_raise(c, X_GP, 0);
    if (operand16(c, s, addr, &sel))
        return 1;
    if (!(sel & 0xfffc)) {
        c->seg[S_LDTR].valid = 0;
        c->seg[S_LDTR].sel = sel;
        return 0;
    }
    if (sel & 4)
        return cpu_raise(c, X_GP, sel & 0xfffc);
    if (system_descriptor(c, sel, raw, &at, &upper))
        return 1;
    if (((raw[1] >> 8) & 0x1f) != 2)
        return cpu_raise(c, X_GP, sel & 0xfffc);
    if (!(raw[1] & 0x8000))
        return cpu_raise(c, X_NP, sel & 0xfffc);
    if (!cpu_canonical(upper))
        return cpu_raise(c, X_GP, sel & 0xfffc);
    seg_from_raw(c, S_LDTR, sel, raw);
    c->seg[S_LDTR].base |= upper;
    return 0;
}

int help_ltr(struct cpu *c, const struct site *s, uint64_t addr)
{
    uint32_t raw[2];
    uint64_t at, upper;
    uint16_t sel;
    unsigned type;

    if (!protected_mode(c))
        return cpu_raise(c, X_UD, -1);
    if (c->cpl)
        return cpu_raise(c, X_GP, 0);
    if (operand16(c, s, addr, &sel))
        return 1;
    if (!(sel & 0xfffc))
        return cpu_raise(c, X_GP, 0);
    if (sel & 4)
        return cpu_raise(c, X_GP, sel & 0xfffc);
    if (system_descriptor(c, sel, raw, &at, &upper))
        return 1;
    type = (raw[1] >> 8) & 0x1f;
    if ((type != 1 || cpu_long(c)) && type != 9)
        return cpu_raise(c, X_GP, sel & 0xfffc);
    if (!(raw[1] & 0x8000))
        return cpu_raise(c, X_NP, sel & 0xfffc);
    if (!cpu_canonical(upper))
        return cpu_raise(c, X_GP, sel & 0xfffc);
    raw[1] |= 0x200;
    if (mmu_write(c, at + 4, &raw[1], 4, ACC_SUP))
        return 1;
    seg_from_raw(c, S_TR, sel, raw);
    c->seg[S_TR].base |= upper;
    return 0;
}

/* LAR, LSL, VERR, VERW: is the selector one that this code may look at? */
static bool visible(struct cpu *c, uint16_t sel, uint32_t raw[2], unsigned *ret_type)
{
    uint64_t addr;
    unsigned type, dpl;

    if (!(sel & 0xfffc) || ((sel & 4) && !c->seg[S_LDTR].valid))
        return false;
    if ((sel | 7u) > ((sel & 4) ? c->seg[S_LDTR].limit : c->gdt.limit))
        return false;
    addr = ((sel & 4) ? c->seg[S_LDTR].base : c->gdt.base) + (sel & 0xfff8u);
    if (mmu_read(c, addr, raw, 8, ACC_SUP))
        return false; /* a page fault is pending */
    type = (raw[1] >> 8) & 0x1f;
    dpl = (raw[1] >> 13) & 3;
    *ret_type = type;
    if ((type & 0x1c) == 0x1c) /* conforming code */
        return true;
    return dpl >= c->cpl && dpl >= (sel & 3u);
}

static void set_zf(struct cpu *c, bool v)
{
    c->r12 = v ? c->r12 | 0x4000 : c->r12 & ~0x4000ull;
}

static void set_reg(struct cpu *c, const struct site *s, uint32_t v)
{
    unsigned r = help_reg(s);

    c->gpr[r] = help_size(s) == 2 ? (c->gpr[r] & ~0xffffull) | (v & 0xffff) : v;
}

static int look(struct cpu *c, const struct site *s, uint64_t addr, uint32_t good_system, bool limit)
{
    uint32_t raw[2];
    unsigned type;
    uint16_t sel;

    if (!protected_mode(c))
        return cpu_raise(c, X_UD, -1);
    if (operand16(c, s, addr, &sel))
        return 1;
    bool ok = visible(c, sel, raw, &type) && ((type & 0x10) || ((good_system >> type) & 1));
    if (c->exc_pending)
        return 1;
    set_zf(c, ok);
    if (!ok)
        return 0;
    if (limit) {
        uint32_t v = (raw[0] & 0xffff) | (raw[1] & 0xf0000);
        set_reg(c, s, raw[1] & 0x800000 ? v << 12 | 0xfff : v);
    } else
        set_reg(c, s, raw[1] & 0x00ffff00u);
    return 0;
}

int help_lar(struct cpu *c, const struct site *s, uint64_t addr)
{
    return look(c, s, addr, cpu_long(c) ? 0x1a04 : 0x1a3e, false);
}

int help_lsl(struct cpu *c, const struct site *s, uint64_t addr)
{
    return look(c, s, addr, cpu_long(c) ? 0x0a04 : 0x0a0e, true);
}

static int verify(struct cpu *c, const struct site *s, uint64_t addr, bool write)
{
    uint32_t raw[2];
    unsigned type;
    uint16_t sel;

    if (!protected_mode(c))
        return cpu_raise(c, X_UD, -1);
    if (operand16(c, s, addr, &sel))
        return 1;
    bool ok =
        visible(c, sel, raw, &type) && (type & 0x10) && (write ? !(type & 8) && (type & 2) : !(type & 8) || (type & 2));
    if (c->exc_pending)
        return 1;
    set_zf(c, ok);
    return 0;
}

int help_verr(struct cpu *c, const struct site *s, uint64_t addr)
{
    return verify(c, s, addr, false);
}

int help_verw(struct cpu *c, const struct site *s, uint64_t addr)
{
    return verify(c, s, addr, true);
}

int help_arpl(struct cpu *c, const struct site *s, uint64_t addr)
{
    uint16_t dst, src = (uint16_t)c->gpr[help_reg(s)];

    if (!protected_mode(c))
        return cpu_raise(c, X_UD, -1);
    if (operand16(c, s, addr, &dst))
        return 1;
    bool adjust = (dst & 3) < (src & 3);
    if (adjust)
        dst = (uint16_t)((dst & ~3u) | (src & 3));
    if (s->arg & HELP_MEM) {
        if (adjust && mem_write_op(c, s, addr, &dst, 2))
            return 1;
    } else
        c->gpr[help_rm(s)] = (c->gpr[help_rm(s)] & ~0xffffull) | dst;
    set_zf(c, adjust);
    return 0;
}

int help_invlpg(struct cpu *c, const struct site *s, uint64_t addr)
{
    if (c->cpl)
        return cpu_raise(c, X_GP, 0);
    mmu_invlpg(c, cpu_lin_wrap(c, (c->mode & M_CODE64 && help_seg(s) < S_FS ? 0 : c->seg[help_seg(s)].base) + addr));
    return 0;
}

int help_wbinvd(struct cpu *c, const struct site *s, uint64_t addr)
{
    return c->cpl ? cpu_raise(c, X_GP, 0) : 0;
}

/* ---- segment registers */

static void shadow(struct cpu *c)
{
    c->inhibit = INHIBIT_SS;
    c->inhibit_eip = c->next_eip;
}

/* arg: segment, | 0x100 where the source is memory in segment arg2; else arg2 is the register. */
int help_mov_to_seg(struct cpu *c, const struct site *s, uint64_t addr)
{
    unsigned seg = s->arg & 7;
    uint16_t sel;

    if (s->arg & 0x100) {
        uint64_t lin;
        if (seg_check(c, s->arg2 & 7, addr, 2, ACC_READ, &lin) || mmu_read(c, lin, &sel, 2, 0))
            return 1;
    } else
        sel = (uint16_t)c->gpr[s->arg2 & 15];
    if (seg_load(c, seg, sel, X_GP))
        return 1;
    if (seg == S_SS)
        shadow(c);
    return 0;
}

/* MOV from memory whose selector has been read, into r11: DS, ES, FS and GS. */
int help_load_seg(struct cpu *c, const struct site *s, uint64_t addr)
{
    return seg_load(c, s->arg & 7, (uint16_t)c->r11, X_GP);
}

int help_pop_seg(struct cpu *c, const struct site *s, uint64_t addr)
{
    uint64_t esp = c->gpr[R_ESP], mask = cpu_sp_mask(c), lin;
    uint16_t sel;

    if (stack_lin(c, esp, s->arg2, ACC_READ, &lin) || mmu_read(c, lin, &sel, 2, 0))
        return 1;
    if (seg_load(c, s->arg & 7, sel, X_GP))
        return 1;
    /* by the size of the stack that it came from */
    c->gpr[R_ESP] = mask == 0xffff ? (esp & ~mask) | ((esp + s->arg2) & mask) : (esp + s->arg2) & mask;
    if ((s->arg & 7) == S_SS)
        shadow(c);
    return 0;
}
