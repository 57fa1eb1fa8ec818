/* Host signals on a vCPU thread: a host fault inside translated code is the guest's exception. The handler puts the
 * guest's state where C code expects it and sends the thread to vcpu_leave; nothing is unwound. */
#include <signal.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include "vmcore/cache.h"
#include "vmcore/cpu.h"
#include "vmcore/fault.h"
#include "vmcore/rt.h"

#ifndef ARCH_GET_GS
#define ARCH_GET_GS 0x1004
#endif

/* EFLAGS to the r12 form. */
static uint64_t saved_flags(uint64_t rflags)
{
    return cpu_flags_from_ef((uint32_t)rflags);
}

static bool guest_vector(int trap, struct cpu *c, unsigned *vector, int64_t *error)
{
    *error = -1;
    switch (trap) {
    case X_DE:
    case X_MF:
        *vector = (unsigned)trap;
        return true;
    case X_XM:
        *vector = c->cr4 & CR4_OSXMMEXCPT ? X_XM : X_UD;
        return true;
    case X_UD: /* the host refuses what a row granted */
        *vector = X_UD;
        return true;
    case X_GP: /* an SSE operand that is not aligned, or reserved MXCSR bits */
        *vector = X_GP;
        *error = 0;
        return true;
    case X_AC:
        *vector = X_AC;
        *error = 0;
        return true;
    default:
        return false;
    }
}

/* Is the guest's register n in struct cpu already? */
static bool spilled(const struct block *b, unsigned n)
{
    unsigned p = b->plan;

    return p && ((p & 15) == n || (p >> 4 & 15) == n || (p >> 8 & 15) == n || p >> 12 == n);
}

void fault_handler(int sig, siginfo_t *si, void *context)
{
    ucontext_t *u = context;
    greg_t *g = u->uc_mcontext.gregs;
    struct cpu *c = NULL;
    struct block *b;
    unsigned vector;
    int64_t error;

    rt_syscall3(SYS_arch_prctl, ARCH_GET_GS, (long)&c, 0);
    if (!c || !cache_contains(c->cache, (void *)g[REG_RIP]))
        goto not_ours;
    b = cache_by_host(c->cache, (void *)g[REG_RIP]);
    if (!b || !guest_vector((int)g[REG_TRAPNO], c, &vector, &error))
        goto not_ours;
    for (unsigned i = 0; i < b->nfaults; i++) {
        const struct fault_entry *f = &b->faults[i];
        static const uint8_t order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                          REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
        bool m64 = c->mode & M_CODE64;
        if (c->cache->x + f->host != (const uint8_t *)g[REG_RIP])
            continue;
        for (unsigned k = 0; k < (m64 ? 16u : 8u); k++)
            if (!spilled(b, k))
                c->gpr[k] = (uint64_t)g[order[k]];
        if (f->fix == FIX_RDI)
            c->gpr[R_EDI] = (uint64_t)g[m64 ? order[b->plan >> 8 & 15] : REG_R10];
        if (!m64) {
            c->r12 = (uint64_t)g[REG_R12];
            c->r13 = (uint64_t)g[REG_R13];
            c->r14 = (uint64_t)g[REG_R14];
            c->r15 = (uint64_t)g[REG_R15];
        }
        c->r12 = cpu_mask_flags(f->loc ? c->r12 : saved_flags((uint64_t)g[REG_EFL]), f->live);
        c->eip = cpu_wrap(c, c->r15 + f->off);
        c->store_probe = c->beside_code = 0; /* in a twin */
        if (vector == X_MF)
            cpu_raise_mf(c);
        else
            cpu_raise(c, vector, error);
        g[REG_RIP] = (greg_t)(uintptr_t)vcpu_leave;
        return;
    }
not_ours:
    /* a bug of ours: die with the default action, at the instruction itself */
    fault_fatal(sig, si, context);
}
