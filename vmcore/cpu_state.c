/* The CPU's saved table, and what a load validates. TLBs, blocks and links are not state. */
#include "vmcore/vm.h"

#include <stdio.h>
#include "src/base/util.h"
#include "vmcore/cache.h"
#include "vmcore/cpuid.h"

#define SEG_FIELDS(n)                                                         \
    {"seg" #n "_sel", offsetof(struct cpu, seg[n].sel), 1, F_U16, 1},         \
        {"seg" #n "_base", offsetof(struct cpu, seg[n].base), 1, F_U64, 1},   \
        {"seg" #n "_limit", offsetof(struct cpu, seg[n].limit), 1, F_U32, 1}, \
        {"seg" #n "_attr", offsetof(struct cpu, seg[n].attr), 1, F_U16, 1},   \
        {"seg" #n "_valid", offsetof(struct cpu, seg[n].valid), 1, F_U32, 1}, \
    {                                                                         \
        "seg" #n "_raw", offsetof(struct cpu, seg[n].raw), 2, F_U32, 1        \
    }

static const struct field fields[] = {
    FIELD_ARRAY(struct cpu, gpr, F_U64),
    FIELD(struct cpu, r12, F_U64),
    FIELD(struct cpu, eip, F_U64),
    FIELD(struct cpu, eflags, F_U32),
    FIELD(struct cpu, cr0, F_U32),
    FIELD(struct cpu, cr2, F_U64),
    FIELD(struct cpu, cr3, F_U64),
    FIELD(struct cpu, cr4, F_U32),
    FIELD(struct cpu, cr8, F_U64),
    FIELD_ARRAY(struct cpu, dr, F_U64),
    FIELD(struct cpu, efer, F_U64),
    FIELD(struct cpu, pat, F_U64),
    FIELD(struct cpu, apic_base, F_U64),
    FIELD(struct cpu, tsc_adjust, F_U64),
    FIELD(struct cpu, tsc_aux, F_U64),
    FIELD(struct cpu, mcg_status, F_U64),
    FIELD(struct cpu, sysenter_cs, F_U64),
    FIELD(struct cpu, sysenter_esp, F_U64),
    FIELD(struct cpu, sysenter_eip, F_U64),
    FIELD(struct cpu, star, F_U64),
    FIELD(struct cpu, lstar, F_U64),
    FIELD(struct cpu, cstar, F_U64),
    FIELD(struct cpu, sfmask, F_U64),
    FIELD(struct cpu, kernel_gs_base, F_U64),
    FIELD(struct cpu, mtrr_def, F_U64),
    FIELD_ARRAY(struct cpu, mtrr_fix, F_U64),
    FIELD_ARRAY(struct cpu, mtrr_var, F_U64),
    FIELD(struct cpu, hwcr, F_U64),
    FIELD(struct cpu, syscfg, F_U64),
    FIELD_ARRAY(struct cpu, pdpte, F_U64),
    FIELD(struct cpu, gdt.base, F_U64),
    FIELD(struct cpu, gdt.limit, F_U32),
    FIELD(struct cpu, idt.base, F_U64),
    FIELD(struct cpu, idt.limit, F_U32),
    FIELD(struct cpu, cpl, F_U8),
    FIELD(struct cpu, halted, F_BOOL),
    FIELD(struct cpu, nmi_masked, F_BOOL),
    FIELD(struct cpu, nmi_pending, F_BOOL),
    FIELD(struct cpu, inhibit, F_U8),
    FIELD(struct cpu, inhibit_eip, F_U64),
    FIELD(struct cpu, trap_after, F_BOOL),
    FIELD(struct cpu, dr_hit, F_U8),
    FIELD(struct cpu, exc_pending, F_BOOL),
    FIELD(struct cpu, exc_has_error, F_BOOL),
    FIELD(struct cpu, exc_vector, F_U32),
    FIELD(struct cpu, exc_error, F_U32),
    FIELD(struct cpu, exc_cr2, F_U64),
    FIELD(struct cpu, saved_tsc, F_U64),
    FIELD(struct cpu, fdp, F_U64),
    FIELD_BYTES(struct cpu, fx),
    FIELD_SINCE(struct cpu, xcr0, F_U64, 3),
    FIELD_SINCE(struct cpu, saved_features, F_U32, 3),
    FIELD_SINCE(struct cpu, misc_enable, F_U64, 4),
    FIELD_SINCE(struct cpu, debugctl, F_U64, 6),
    {"p6_select", offsetof(struct cpu, p6_select), 2, F_U64, 5},
    {"p6_counter", offsetof(struct cpu, p6_counter), 2, F_U64, 5},
    {"ymmh", offsetof(struct cpu, x.ymmh), sizeof((struct cpu *)0)->x.ymmh, F_BYTES, 3},
    SEG_FIELDS(0),
    SEG_FIELDS(1),
    SEG_FIELDS(2),
    SEG_FIELDS(3),
    SEG_FIELDS(4),
    SEG_FIELDS(5),
    SEG_FIELDS(6),
    SEG_FIELDS(7),
    FIELD_END,
};

static void before_save(void *dev)
{
    struct cpu *c = dev;

    c->saved_tsc = c->vm->guest_tsc;
    c->saved_features = c->model->features;
    memset(c->fx + 6, 0, 18); /* the last instruction's addresses are the host's */
}

/* The guest has seen its CPUID: the features of then stay, or the machine does not run here. */
static bool take_features(struct cpu *c, const char **why)
{
    uint32_t have = c->own_model.features;
    char names[160];

    if (c->saved_features == have && !(have & ~FEATURES_ALL))
        return true;
    if (c->own_model.as_host)
        have = cpu_features_of_host();
    cpu_features_text(c->saved_features & ~have, names, sizeof names);
    if (c->saved_features & ~FEATURES_ALL)
        *why = "CPU features of a later version";
    else if (names[0]) {
        snprintf(c->why, sizeof c->why, "the processor here lacks %s", names);
        *why = c->why;
    } else if (!c->own_model.as_host)
        *why = "features of another CPU model";
    else {
        c->cache->flush_wanted = true; /* other instructions are there */
        c->own_model.features = c->saved_features;
        return true;
    }
    return false;
}

static int loaded(void *dev, const char **why)
{
    struct cpu *c = dev;
    uint32_t mxcsr;

    if (c->cpl > 3 || ((c->cr0 & CR0_PG) && !(c->cr0 & CR0_PE)) || c->exc_vector > 31 ||
        ((c->efer & EFER_LMA) && (~c->cr0 & (CR0_PG | CR0_PE) || !(c->cr4 & CR4_PAE))) ||
        ((c->cr4 & CR4_PCIDE) && !(c->efer & EFER_LMA)) || !cpu_canonical(c->eip)) {
        *why = "processor state that cannot be";
        return -1;
    }
    if (!take_features(c, why))
        return -1;
    if (c->cr4 & ~cpuid_cr4(c->model) || !cpu_xcr0_ok(c, c->xcr0)) {
        *why = "control registers that the CPU model has not";
        return -1;
    }
    for (unsigned i = 0; i < 8 && !cpu_long(c); i++) /* 32-bit code counts on it */
        c->gpr[i] = (uint32_t)c->gpr[i];
    memcpy(&mxcsr, c->fx + 24, 4);
    mxcsr &= 0xffff; /* reserved bits would fault in the host */
    memcpy(c->fx + 24, &mxcsr, 4);
    memset(c->fx + 6, 0, 18); /* addresses of the host that saved it */
    c->eflags &= EF_TF | EF_IF | EF_DF | EF_IOPL | EF_NT | EF_RF | EF_VM | EF_AC | EF_VIF | EF_VIP | EF_ID;
    for (unsigned i = 0; i < 6; i++)
        seg_update(c, i);
    c->single = 0;
    c->untaken = ~0ull;
    c->triple = 0;
    c->vm->guest_tsc = c->saved_tsc;
    cpu_debug_changed(c);
    for (unsigned i = 0; i < NEAR_SETS; i++)
        c->near_filled[i].n = NEAR_LIST;
    mmu_flush_all(c);
    cpu_update_mode(c);
    cpu_update_intr(c);
    return 0;
}

const struct state_table cpu_state_table = {"cpu", 6, fields, loaded, before_save};
