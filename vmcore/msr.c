/* Model-specific registers and time stamps. What is not listed here does not exist: #GP. */
#include "vmcore/cpu.h"

#include "vmcore/cpuid.h"
#include "vmcore/helpers.h"
#include "vmcore/rt.h"

enum {
    MSR_TSC = 0x10,
    MSR_PLATFORM_ID = 0x17,
    MSR_APIC_BASE = 0x1b,
    MSR_FEAT_CTL = 0x3a,
    MSR_TSC_ADJUST = 0x3b,
    MSR_SPEC_CTRL = 0x48,
    MSR_PRED_CMD = 0x49,
    MSR_UCODE = 0x8b,
    MSR_P6_PERFCTR = 0xc1,
    MSR_MTRRCAP = 0xfe,
    MSR_SYSENTER_CS = 0x174,
    MSR_SYSENTER_ESP = 0x175,
    MSR_SYSENTER_EIP = 0x176,
    MSR_MCG_CAP = 0x179,
    MSR_MCG_STATUS = 0x17a,
    MSR_P6_EVNTSEL = 0x186,
    MSR_MISC_ENABLE = 0x1a0,
    MSR_DEBUGCTL = 0x1d9,
    MSR_LASTBRANCH = 0x1db, /* and three more */
    MSR_MTRR_VAR = 0x200,
    MSR_MTRR_FIX64K = 0x250,
    MSR_MTRR_FIX16K = 0x258,
    MSR_MTRR_FIX4K = 0x268,
    MSR_PAT = 0x277,
    MSR_MTRR_DEF = 0x2ff,
    MSR_TSC_DEADLINE = 0x6e0,
    MSR_EFER = (int)0xc0000080,
    MSR_STAR = (int)0xc0000081,
    MSR_LSTAR = (int)0xc0000082,
    MSR_CSTAR = (int)0xc0000083,
    MSR_SFMASK = (int)0xc0000084,
    MSR_FS_BASE = (int)0xc0000100,
    MSR_GS_BASE = (int)0xc0000101,
    MSR_KERNEL_GS_BASE = (int)0xc0000102,
    MSR_TSC_AUX = (int)0xc0000103,
    MSR_SYSCFG = (int)0xc0010010,
    MSR_HWCR = (int)0xc0010015,
    MSR_NB_CFG = (int)0xc001001f,
    MSR_INT_PENDING = (int)0xc0010055,
    MSR_VM_CR = (int)0xc0010114,
    MSR_LS_CFG = (int)0xc0011020,
    MSR_DE_CFG = (int)0xc0011029,
};

/* Past what kernels want of a processor of our family and model: 0 would be one with all the errata of the first, whose
 * RDSEED Linux 6.12 switches off with a message. */
#define PATCH_LEVEL 0x0b0021ffu

uint64_t cpu_tsc(const struct cpu *c)
{
    uint32_t lo, hi;

    if (c->read_tsc)
        return c->read_tsc((struct cpu *)(uintptr_t)c);
    __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
    return ((uint64_t)hi << 32 | lo) + c->tsc_offset;
}

static bool has_tsc_aux(const struct cpu *c)
{
    return cpuid_has(c->model, CPUID_RDTSCP) || cpuid_has(c->model, CPUID_RDPID);
}

static void tsc_written(struct cpu *c)
{
    if (c->tsc_hook)
        c->tsc_hook(c->board);
}

/* The storage of an MTRR, or NULL. */
static uint64_t *mtrr(struct cpu *c, uint32_t n)
{
    if (n >= MSR_MTRR_VAR && n < MSR_MTRR_VAR + 16)
        return &c->mtrr_var[n - MSR_MTRR_VAR];
    if (n == MSR_MTRR_FIX64K)
        return &c->mtrr_fix[0];
    if (n == MSR_MTRR_FIX16K || n == MSR_MTRR_FIX16K + 1)
        return &c->mtrr_fix[1 + n - MSR_MTRR_FIX16K];
    if (n >= MSR_MTRR_FIX4K && n < MSR_MTRR_FIX4K + 8)
        return &c->mtrr_fix[3 + n - MSR_MTRR_FIX4K];
    return n == MSR_MTRR_DEF ? &c->mtrr_def : NULL;
}

/* The storage of a P6's performance counters, which hold what is written and count nothing; NULL: not one of them.
 * Linux tries them on each processor of that family, and warns where they are not. */
static uint64_t *p6_counter(struct cpu *c, uint32_t n)
{
    if (c->model_signature >> 8 != 6)
        return NULL;
    if (n - MSR_P6_PERFCTR < 2)
        return &c->p6_counter[n - MSR_P6_PERFCTR];
    return n - MSR_P6_EVNTSEL < 2 ? &c->p6_select[n - MSR_P6_EVNTSEL] : NULL;
}

/* Of the P6 family and of AMD's since the K8. The last branch records are of no model that we have: their bit stays 0,
 * and they do. SDM vol. 3, 18.12; APM vol. 2, 13.1.1.6 */
static bool has_debugctl(const struct cpu *c)
{
    return c->model->max_ext || c->model_signature >> 8 == 6;
}

static bool read_msr(struct cpu *c, uint32_t n, uint64_t *v)
{
    uint64_t *m = mtrr(c, n);

    if (!m)
        m = p6_counter(c, n);
    *v = 0;
    if (m) {
        *v = *m;
        return true;
    }
    switch ((int)n) {
    case MSR_TSC:
        *v = cpu_tsc(c);
        return true;
    case MSR_APIC_BASE:
        *v = c->apic_base;
        return true;
    case MSR_PLATFORM_ID: /* Intel's: Linux reads it unasked, for the microcode's sake */
        *v = 0;
        return !c->model->max_ext;
    case MSR_TSC_ADJUST:
        *v = c->tsc_adjust;
        return true;
    case MSR_TSC_DEADLINE:
        *v = c->deadline_hook ? c->deadline_hook(c->board, NULL) : 0;
        return cpuid_has(c->model, CPUID_TSC_DEADLINE);
    case MSR_DEBUGCTL:
        *v = c->debugctl;
        return has_debugctl(c);
    case MSR_LASTBRANCH:
    case MSR_LASTBRANCH + 1:
    case MSR_LASTBRANCH + 2:
    case MSR_LASTBRANCH + 3:
        return has_debugctl(c);
    case MSR_UCODE:
        *v = c->model->max_ext ? PATCH_LEVEL : 0;
        return true;
    case MSR_MTRRCAP:
        *v = 0x508; /* 8 variable ranges, fixed ranges, write-combining */
        return true;
    case MSR_SYSENTER_CS:
        *v = c->sysenter_cs;
        return true;
    case MSR_SYSENTER_ESP:
        *v = c->sysenter_esp;
        return true;
    case MSR_SYSENTER_EIP:
        *v = c->sysenter_eip;
        return true;
    case MSR_PAT:
        *v = c->pat;
        return true;
    case MSR_EFER:
        *v = c->efer;
        return c->model->max_ext;
    case MSR_STAR:
        *v = c->star;
        return true;
    case MSR_LSTAR:
        *v = c->lstar;
        return true;
    case MSR_CSTAR:
        *v = c->cstar;
        return true;
    case MSR_SFMASK:
        *v = c->sfmask;
        return true;
    case MSR_FS_BASE:
        *v = c->seg[S_FS].base;
        return true;
    case MSR_GS_BASE:
        *v = c->seg[S_GS].base;
        return true;
    case MSR_KERNEL_GS_BASE:
        *v = c->kernel_gs_base;
        return true;
    case MSR_TSC_AUX:
        *v = c->tsc_aux;
        return has_tsc_aux(c);
    case MSR_SYSCFG:
        *v = c->syscfg;
        return true;
    case MSR_HWCR:
        *v = c->hwcr;
        return true;
    case MSR_MCG_STATUS:
        *v = c->mcg_status;
        return true;
    case MSR_MISC_ENABLE:
        *v = c->misc_enable;
        return true;
    case MSR_MCG_CAP:
    case MSR_NB_CFG:
    case MSR_INT_PENDING:
    case MSR_VM_CR:
    case MSR_LS_CFG:
        return true;
    case MSR_DE_CFG:
        *v = 2; /* LFENCE serialises */
        return true;
    default:
        return false;
    }
}

static bool pat_ok(uint64_t v)
{
    for (unsigned i = 0; i < 8; i++) {
        unsigned t = (v >> (8 * i)) & 0xff;
        if (t > 7 || t == 2 || t == 3)
            return false;
    }
    return true;
}

static bool set_canonical(uint64_t *msr, uint64_t v)
{
    if (!cpu_canonical(v))
        return false;
    *msr = v;
    return true;
}

static bool write_msr(struct cpu *c, uint32_t n, uint64_t v)
{
    uint64_t *m = mtrr(c, n);

    if (m) {
        *m = v;
        return true;
    }
    m = p6_counter(c, n);
    if (m) { /* a counter of 40 bits is extended from bit 31. SDM vol. 3, 20.6.9 */
        *m = n < MSR_P6_EVNTSEL ? (uint64_t)(int64_t)(int32_t)v & 0xffffffffff : (uint32_t)v;
        return true;
    }
    switch ((int)n) {
    case MSR_TSC: {
        uint64_t d = v - cpu_tsc(c);
        c->tsc_offset += d;
        c->tsc_adjust += d;
        tsc_written(c);
        return true;
    }
    case MSR_TSC_ADJUST:
        c->tsc_offset += v - c->tsc_adjust;
        c->tsc_adjust = v;
        tsc_written(c);
        return true;
    case MSR_TSC_DEADLINE:
        if (!cpuid_has(c->model, CPUID_TSC_DEADLINE))
            return false;
        if (c->deadline_hook)
            c->deadline_hook(c->board, &v);
        return true;
    case MSR_APIC_BASE: /* the address, enabled, bootstrap processor; x2APIC is in no model */
        if (v & ~(((1ull << c->model->phys_bits) - 1) & ~0xfffull) & ~0x900ull)
            return false;
        c->apic_base = v;
        if (c->apic_base_hook)
            c->apic_base_hook(c->board, v);
        return true;
    case MSR_DEBUGCTL:
        if (!has_debugctl(c) || v & ~(uint64_t)DEBUGCTL_BITS)
            return false;
        c->debugctl = v & ~(uint64_t)DEBUGCTL_LBR;
        return true;
    case MSR_SYSENTER_CS:
        c->sysenter_cs = v;
        return true;
    case MSR_SYSENTER_ESP:
        return set_canonical(&c->sysenter_esp, v);
    case MSR_SYSENTER_EIP:
        return set_canonical(&c->sysenter_eip, v);
    case MSR_PAT:
        if (!pat_ok(v))
            return false;
        c->pat = v;
        return true;
    case MSR_EFER:
        if (!c->model->max_ext || v & ~(uint64_t)(EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE | EFER_AUTOIBRS) ||
            (((v ^ c->efer) & EFER_LME) && (c->cr0 & CR0_PG)))
            return false;
        if ((v ^ c->efer) & EFER_NXE)
            mmu_flush_all(c);
        c->efer = (v & ~(uint64_t)EFER_LMA) | (c->efer & EFER_LMA);
        return true;
    case MSR_STAR:
        c->star = v;
        return true;
    case MSR_LSTAR:
        return set_canonical(&c->lstar, v);
    case MSR_CSTAR:
        return set_canonical(&c->cstar, v);
    case MSR_FS_BASE:
        c->seg[S_FS].raw[1] = 0;
        return set_canonical(&c->seg[S_FS].base, v);
    case MSR_GS_BASE:
        c->seg[S_GS].raw[1] = 0;
        return set_canonical(&c->seg[S_GS].base, v);
    case MSR_KERNEL_GS_BASE:
        return set_canonical(&c->kernel_gs_base, v);
    case MSR_TSC_AUX:
        c->tsc_aux = (uint32_t)v; /* AMD's ignore the upper half */
        return has_tsc_aux(c);
    case MSR_SFMASK:
        c->sfmask = v;
        return true;
    case MSR_SYSCFG:
        c->syscfg = v;
        return true;
    case MSR_HWCR:
        c->hwcr = v;
        return true;
    case MSR_MCG_STATUS:
        c->mcg_status = v;
        return true;
    case MSR_MISC_ENABLE: /* Intel's; virtual machines have it whatever their vendor, and test kernels count on that */
        c->misc_enable = (v & ~(uint64_t)MISC_ENABLE_FIXED) | (c->misc_enable & MISC_ENABLE_FIXED);
        return true;
    case MSR_UCODE:
    case MSR_DE_CFG:
    case MSR_LS_CFG:
    case MSR_NB_CFG:
    case MSR_INT_PENDING:
        return true;
    default:
        return false;
    }
}

int help_rdmsr(struct cpu *c, const struct site *s, uint64_t addr)
{
    uint64_t v;

    if (c->cpl || !read_msr(c, (uint32_t)c->gpr[R_ECX], &v))
        return cpu_raise(c, X_GP, 0);
    c->gpr[R_EAX] = (uint32_t)v;
    c->gpr[R_EDX] = v >> 32;
    return 0;
}

int help_wrmsr(struct cpu *c, const struct site *s, uint64_t addr)
{
    if (c->cpl || !write_msr(c, (uint32_t)c->gpr[R_ECX], c->gpr[R_EDX] << 32 | (uint32_t)c->gpr[R_EAX]))
        return cpu_raise(c, X_GP, 0);
    return 0;
}

int help_rdtsc(struct cpu *c, const struct site *s, uint64_t addr)
{
    uint64_t v;

    if ((c->cr4 & CR4_TSD) && c->cpl)
        return cpu_raise(c, X_GP, 0);
    v = cpu_tsc(c);
    c->gpr[R_EAX] = (uint32_t)v;
    c->gpr[R_EDX] = v >> 32;
    return 0;
}

int help_rdtscp(struct cpu *c, const struct site *s, uint64_t addr)
{
    if (help_rdtsc(c, s, addr))
        return 1;
    c->gpr[R_ECX] = (uint32_t)c->tsc_aux;
    return 0;
}

int help_rdpid(struct cpu *c, const struct site *s, uint64_t addr)
{
    c->gpr[help_rm(s)] = (uint32_t)c->tsc_aux;
    return 0;
}

int help_rdpmc(struct cpu *c, const struct site *s, uint64_t addr)
{
    uint32_t n = (uint32_t)c->gpr[R_ECX];
    uint64_t *counter = n < 2 ? p6_counter(c, MSR_P6_PERFCTR + n) : NULL;

    if (!counter || (c->cpl && !(c->cr4 & CR4_PCE)))
        return cpu_raise(c, X_GP, 0);
    c->gpr[R_EAX] = (uint32_t)*counter;
    c->gpr[R_EDX] = *counter >> 32;
    return 0;
}
