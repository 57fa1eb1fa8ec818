/* The virtual CPU's own state: reset, flags, mode, the raising of exceptions. */
#include "vmcore/cpu.h"

#include "src/base/util.h"
#include "vmcore/mem.h"
#include "vmcore/rt.h"

_Static_assert(offsetof(struct cpu, self) == CPU_SELF, "enter.S");
_Static_assert(offsetof(struct cpu, host_rsp) == CPU_HOST_RSP, "enter.S");
_Static_assert(offsetof(struct cpu, stub) == CPU_STUB, "emitted code");
_Static_assert(offsetof(struct cpu, attn) == CPU_ATTN, "emitted code");
_Static_assert(offsetof(struct cpu, hfl) == CPU_HFL, "enter.S");
_Static_assert(offsetof(struct cpu, kinds) == CPU_KINDS, "enter.S");
_Static_assert(offsetof(struct cpu, stub64) == CPU_STUB64, "emitted code");
_Static_assert(offsetof(struct cpu, go) == CPU_GO, "enter.S");
_Static_assert(offsetof(struct cpu, mode) == CPU_MODE && M_CODE64 == CPU_MODE_CODE64, "enter.S");
_Static_assert(offsetof(struct cpu, gpr) == CPU_GPR, "enter.S");
_Static_assert(offsetof(struct cpu, r8) == CPU_R8, "enter.S");
_Static_assert(offsetof(struct cpu, r15) == CPU_R15, "enter.S");
_Static_assert(offsetof(struct cpu, seg) == CPU_SEG, "emitted code");
_Static_assert(sizeof(struct cpu_seg) == CPU_SEG_SIZE, "emitted code");
_Static_assert(offsetof(struct cpu_seg, fast_lim) == CPU_SEG_LIM, "emitted code");
_Static_assert(offsetof(struct cpu, bounce) == CPU_BOUNCE && CPU_BOUNCE % 64 == 0, "alignment faults stay");
_Static_assert(sizeof(struct cpu) <= CPU_STRUCT_MAX, "tables follow");
_Static_assert(offsetof(struct site, kind) == SITE_KIND, "enter.S");
_Static_assert(sizeof(struct site) == 24, "emitted code");

void cpu_set_attn(struct cpu *c, uint32_t bits)
{
    __atomic_fetch_or(&c->attn, bits, __ATOMIC_SEQ_CST);
}

void cpu_update_intr(struct cpu *c)
{
    if (c->intr_level && (c->eflags & EF_IF))
        cpu_set_attn(c, ATTN_INTR);
}

void cpu_unmask_nmi(struct cpu *c)
{
    c->nmi_masked = 0;
    if (c->nmi_pending)
        cpu_set_attn(c, ATTN_NMI);
}

void cpu_forget_mixed(struct cpu *c)
{
    for (unsigned i = 0; i < ARRAY_LEN(c->mixed); i++)
        c->mixed[i].minus_lin = CPU_NO_STACK;
}

void cpu_forget_room(struct cpu *c, uint32_t bpn)
{
    for (unsigned i = 0; i < ARRAY_LEN(c->mixed); i++)
        if (c->mixed[i].bpn == bpn) {
            c->mixed[i].bpn = MEM_NONE;
            c->mixed[i].minus_lin = CPU_NO_STACK;
        }
}

static void forget_near_set(struct cpu *c, unsigned set)
{
    struct near_list *l = &c->near_filled[set];

    if (!l->n)
        return;
    if (l->n == NEAR_LIST)
        memset(c->near[set], 0, sizeof c->near[set]);
    else
        for (uint32_t i = 0; i < l->n; i++)
            ((struct jump_near *)((char *)c->near[set] + l->at[i]))->eip = 0;
    c->near[set][0].eip = ~0ull; /* no EIP of 0 there */
    l->n = 0;
}

void cpu_forget_near(struct cpu *c)
{
    for (unsigned i = 0; i < NEAR_SETS; i++)
        forget_near_set(c, i);
}

void cpu_forget_target(struct cpu *c, uint64_t eip)
{
    struct jump_near *n = &c->near[near_set(c->mode)][near_slot(eip)];

    if (n->eip == eip)
        n->eip = ~eip; /* which belongs elsewhere */
}

void cpu_forget_near_local(struct cpu *c)
{
    if (c->near_local)
        cpu_forget_near(c);
    else
        forget_near_set(c, near_set(M_CPL));
}

static bool flat(const struct cpu_seg *s)
{
    return s->base == 0 && s->fast_lim == 0xffffffffll;
}

/* Rings 1 and 2 share the kernel's table of near[]. */
static bool between(uint32_t mode)
{
    return (mode & M_CPL) == 1 || (mode & M_CPL) == 2;
}

void cpu_update_mode(struct cpu *c)
{
    uint32_t m = c->cpl;
    bool pe = (c->cr0 & CR0_PE) && !(c->eflags & EF_VM);
    const struct cpu_seg *cs = &c->seg[S_CS];

    if (cpu_long(c) && (cs->attr & 0x2000))
        m |= M_CODE64 | M_CODE32 | M_STACK32 | M_CS_FLAT | M_DS_FLAT | M_ES_FLAT | M_SS_FLAT;
    if (pe && (cs->attr & 0x4000))
        m |= M_CODE32;
    if (pe && (c->seg[S_SS].attr & 0x4000))
        m |= M_STACK32;
    if (cs->base == 0 && cs->limit == 0xffffffffu)
        m |= M_CS_FLAT;
    if (flat(&c->seg[S_DS]))
        m |= M_DS_FLAT;
    if (flat(&c->seg[S_ES]))
        m |= M_ES_FLAT;
    if (flat(&c->seg[S_SS]))
        m |= M_SS_FLAT;
    if (c->eflags & EF_DF)
        m |= M_DF;
    if ((c->eflags & EF_AC) && (c->cr0 & CR0_AM) && c->cpl == 3)
        m |= M_AC;
    if (c->cr0 & CR0_TS)
        m |= M_TS;
    if (c->cr0 & CR0_EM)
        m |= M_EM;
    if (c->cr0 & CR0_MP)
        m |= M_MP;
    if (!(c->cr4 & CR4_OSFXSR))
        m |= M_NOSSE;
    if ((c->cr4 & CR4_OSXSAVE) && (c->xcr0 & XCR0_AVX)) /* which has SSE then */
        m |= M_AVX;
    if (!pe)
        m |= M_REAL;
    if (c->cr4 & CR4_SMAP)
        m |= M_SMAP | ((c->eflags & EF_AC) && c->cpl < 3 ? M_LIFT : 0);
    if ((c->mode ^ m) & (M_CPL | M_CODE64 | M_LIFT)) { /* the stack's page is known for one privilege only */
        c->r13 = CPU_NO_STACK;
        c->r14 = (uint64_t)c->no_stack + CPU_NO_STACK;
    }
    if (((c->mode ^ m) & ~(uint32_t)NEAR_BITS) || (c->mode != m && (between(c->mode) || between(m))))
        cpu_forget_near(c);
    c->mode = m;
}

uint32_t cpu_get_eflags(struct cpu *c, uint32_t live)
{
    return cpu_flags_to_ef(cpu_mask_flags(c->r12, live)) | c->eflags | 2;
}

void cpu_set_eflags(struct cpu *c, uint32_t v, uint32_t mask)
{
    uint32_t old = cpu_get_eflags(c, FL_ALL);

    v = (old & ~mask) | (v & mask);
    c->r12 = cpu_flags_from_ef(v);
    c->eflags = v & (EF_TF | EF_IF | EF_DF | EF_IOPL | EF_NT | EF_RF | EF_VM | EF_AC | EF_VIF | EF_VIP | EF_ID);
    cpu_update_mode(c);
    cpu_update_intr(c);
}

int cpu_raise(struct cpu *c, unsigned vector, int64_t error)
{
    c->exc_pending = 1;
    c->exc_vector = vector;
    c->exc_has_error = error >= 0;
    c->exc_error = error >= 0 ? (uint32_t)error : 0;
    c->exc_soft = 0;
    c->exceptions++;
    return 1;
}

int cpu_raise_pf(struct cpu *c, uint64_t lin, uint32_t error)
{
    c->page_faults++;
    cpu_raise(c, X_PF, error);
    c->exc_cr2 = lin;
    return 1;
}

int cpu_raise_mf(struct cpu *c)
{
    if (c->cr0 & CR0_NE)
        return cpu_raise(c, X_MF, -1);
    c->ferr = 1; /* told outside of translated code; the processor waits at the instruction */
    cpu_set_attn(c, ATTN_EXIT);
    return 1;
}

void cpu_reset(struct cpu *c)
{
    static const uint8_t fx_init[32] = {0x7f, 0x03, [24] = 0x80, [25] = 0x1f, [28] = 0xff, [29] = 0xff};

    memset(c->gpr, 0, sizeof c->gpr);
    c->gpr[R_EDX] = c->model_signature;
    c->eip = 0xfff0;
    c->eflags = 0;
    c->r12 = 0;
    c->r13 = CPU_NO_STACK;
    c->cr0 = CR0_ET | CR0_NW | CR0_CD;
    c->cr2 = c->cr3 = c->cr4 = c->cr8 = 0;
    c->efer = 0;
    c->pat = 0x0007040600070406ull;
    c->apic_base = 0xfee00900ull;
    c->mtrr_def = 0;
    c->misc_enable = 0x1801; /* fast strings; neither BTS nor PEBS */
    c->hwcr = 1u << 24;      /* the TSC counts at P0's rate */
    c->spec_ctrl = c->tsc_aux = c->tsc_adjust = 0;
    memset(c->p6_select, 0, sizeof c->p6_select);
    memset(c->p6_counter, 0, sizeof c->p6_counter);
    c->sysenter_cs = c->sysenter_esp = c->sysenter_eip = 0;
    memset(c->dr, 0, sizeof c->dr);
    c->dr[6] = 0xffff0ff0u;
    c->dr[7] = 0x400;
    c->debugctl = 0;
    cpu_debug_changed(c);
    c->dr_hit = 0;
    c->cpl = c->halted = c->nmi_masked = c->exc_pending = c->single = c->inhibit = c->nmi_pending = 0;
    c->gdt.base = c->idt.base = 0;
    c->gdt.limit = c->idt.limit = 0xffff;
    for (unsigned i = 0; i < 6; i++)
        seg_set_real(c, i, 0);
    seg_set_real(c, S_CS, 0xf000);
    c->seg[S_CS].base = 0xffff0000u;
    c->seg[S_CS].attr = 0x9b;
    seg_update(c, S_CS);
    for (unsigned i = S_LDTR; i <= S_TR; i++) {
        memset(&c->seg[i], 0, sizeof c->seg[i]);
        c->seg[i].limit = 0xffff;
    }
    c->seg[S_LDTR].attr = 0x82;
    c->seg[S_TR].attr = 0x8b;
    c->xcr0 = XCR0_X87;
    memset(&c->x, 0, sizeof c->x);
    memcpy(c->fx, fx_init, sizeof fx_init);
    c->fx[0] = 0x40; /* power-up control word; FINIT gives 037Fh */
    c->fx[1] = 0;
    for (unsigned i = 0; i < NEAR_SETS; i++)
        c->near_filled[i].n = NEAR_LIST;
    mmu_flush_all(c);
    cpu_update_mode(c);
}
