/* x87 and SSE state in memory: FXSAVE, FNSAVE, FNSTENV and back. The state lives in the host's registers; what holds
 * addresses of the last instruction is the guest's or 0, never the host's. Intel SDM vol. 1, chapters 8 and 10. */
#include "vmcore/cpu.h"

#include "vmcore/cache.h"
#include "vmcore/helpers.h"
#include "vmcore/mem.h"
#include "vmcore/rt.h"

/* What the guest sees of the last x87 instruction. */
struct last {
    uint64_t fip;
    uint16_t fop; /* 11 bits */
};

/* From its host address: known while its block is there and on the current page. */
static struct last last_insn(struct cpu *c, const struct site *s, uint64_t host)
{
    const struct block *own, *b;
    struct last l = {0, 0};

    if (!cache_contains(c->cache, (const void *)host))
        return l;
    own = cache_by_host(c->cache, s);
    b = cache_by_host(c->cache, (const void *)host);
    if (!own || !b || own->bpn != b->bpn)
        return l;
    for (unsigned i = 0; i < b->nfaults; i++) {
        const struct fault_entry *f = &b->faults[i];
        if (c->cache->x + f->host != (const uint8_t *)host)
            continue;
        const uint8_t *p = mem_read_ptr(c->mem, b->bpn) + f->off, *end = p + f->len;
        if (f->off + f->len > 4096)
            end = p;
        while (p < end && (*p & 0xf8) != 0xd8) /* past prefixes */
            p++;
        l.fip = cpu_wrap(c, c->r15 + f->off);
        if (p + 1 < end)
            l.fop = (uint16_t)((p[0] & 7) << 8 | p[1]);
        return l;
    }
    return l;
}

/* Are FOP and the data pointer kept? As the CPUID model says, only with an exception that was unmasked. */
static bool keeps_operand(uint16_t cw, uint16_t sw)
{
    return sw & ~cw & 0x3f;
}

/* Where it crosses a page, and for FXSAVE, the last byte is touched first, as CPUs do. */
static int operand(struct cpu *c, const struct site *s, uint64_t addr, unsigned n, unsigned acc, uint64_t *lin)
{
    if (seg_check(c, help_seg(s), addr, n, acc, lin))
        return 1;
    if (n == 512 || ((*lin ^ (*lin + n - 1)) & 0xfffff000u)) {
        if (n == 512 && (*lin & 15))
            return cpu_raise(c, X_GP, 0);
        if (mmu_probe(c, *lin + n - 1, 1, acc))
            return 1;
    }
    return mmu_probe(c, *lin, 1, acc);
}

/* Bytes of an FXSAVE image up to the last XMM register of the mode. */
static unsigned fx_size(const struct cpu *c)
{
    return c->mode & M_CODE64 ? 416 : 288;
}

void fpu_guest_view(struct cpu *c, const struct site *s, uint8_t f[512])
{
    unsigned n = help_size(s) == 8 ? 8 : 4;
    uint64_t host;
    uint16_t cw, sw;
    struct last l;

    memcpy(&cw, f, 2);
    memcpy(&sw, f + 2, 2);
    memcpy(&host, f + 8, 8);
    l = last_insn(c, s, host);
    memset(f + 6, 0, 18); /* FOP, FIP, FCS, FDP, FDS */
    memcpy(f + 8, &l.fip, n);
    if (keeps_operand(cw, sw)) {
        memcpy(f + 6, &l.fop, 2);
        memcpy(f + 16, &c->fdp, n);
    }
}

int help_fxsave(struct cpu *c, const struct site *s, uint64_t addr)
{
    uint8_t *f = c->fx_tmp;
    uint64_t lin;

    if (operand(c, s, addr, 512, ACC_WRITE, &lin))
        return 1;
    if (lin & 15)
        return cpu_raise(c, X_GP, 0);
    __asm__ volatile("fxsave64 %0" : "=m"(c->fx_tmp));
    fpu_guest_view(c, s, f);
    return mmu_write(c, lin, f, fx_size(c), 0);
}

int help_fxrstor(struct cpu *c, const struct site *s, uint64_t addr)
{
    uint8_t *f = c->fx_tmp;
    uint64_t lin;
    uint32_t mask;

    if (operand(c, s, addr, 512, ACC_READ, &lin))
        return 1;
    if (lin & 15)
        return cpu_raise(c, X_GP, 0);
    __asm__ volatile("fxsave64 %0" : "=m"(c->fx_tmp));
    memcpy(&mask, f + 28, 4);
    if (!mask)
        mask = 0xffbf;
    if (mmu_read(c, lin, f, fx_size(c), 0))
        return 1;
    if (*(uint32_t *)(f + 24) & ~mask)
        return cpu_raise(c, X_GP, 0);
    memset(f + 6, 0, 18);
    __asm__ volatile("fxrstor64 %0" : : "m"(c->fx_tmp));
    return 0;
}

/* The 28-byte environment of 32-bit protected mode, words as the guest sees them. */
struct env {
    uint32_t cw, sw, tw, fip, fcs_fop, fdp, fds;
};

static void to_guest(struct cpu *c, const struct site *s, struct env *e)
{
    uint16_t cw, sw;
    struct last l;
    uint64_t host;
    bool keeps;

    __asm__ volatile("fxsave64 %0" : "=m"(c->fx_tmp));
    memcpy(&host, c->fx_tmp + 8, 8);
    memcpy(&cw, c->fx_tmp, 2);
    memcpy(&sw, c->fx_tmp + 2, 2);
    keeps = keeps_operand(cw, sw);
    l = last_insn(c, s, host);
    e->fip = (uint32_t)l.fip;
    e->fcs_fop = keeps ? (uint32_t)l.fop << 16 : 0;
    e->fdp = keeps ? (uint32_t)c->fdp : 0;
    e->fds = 0xffff0000u;
}

static unsigned pack16(const struct env *e, uint8_t *out)
{
    const uint32_t v[7] = {e->cw, e->sw, e->tw, e->fip, e->fcs_fop, e->fdp, e->fds};

    for (unsigned i = 0; i < 7; i++)
        memcpy(out + 2 * i, &v[i], 2);
    return 14;
}

static void unpack16(const uint8_t *in, struct env *e)
{
    memset(e, 0, sizeof *e);
    memcpy(&e->cw, in, 2);
    memcpy(&e->sw, in + 2, 2);
    memcpy(&e->tw, in + 4, 2);
}

int help_fnstenv(struct cpu *c, const struct site *s, uint64_t addr)
{
    bool narrow = help_size(s) == 2;
    uint8_t out[28];
    struct env e;
    uint64_t lin;

    if (operand(c, s, addr, narrow ? 14 : 28, ACC_WRITE, &lin))
        return 1;
    to_guest(c, s, &e);
    struct env host;
    __asm__ volatile("fnstenv %0" : "=m"(host));
    e.cw = host.cw;
    e.sw = host.sw;
    e.tw = host.tw;
    if (narrow)
        return mmu_write(c, lin, out, pack16(&e, out), 0);
    return mmu_write(c, lin, &e, 28, 0);
}

/* FLDENV and FRSTOR wait: a pending exception comes first. */
static int pending(struct cpu *c)
{
    uint16_t sw;

    __asm__ volatile("fnstsw %0" : "=m"(sw));
    return sw & 0x80 ? cpu_raise_mf(c) : 0;
}

int help_fldenv(struct cpu *c, const struct site *s, uint64_t addr)
{
    bool narrow = help_size(s) == 2;
    uint8_t in[28];
    struct env e;
    uint64_t lin;

    if (pending(c) || operand(c, s, addr, narrow ? 14 : 28, ACC_READ, &lin) ||
        mmu_read(c, lin, in, narrow ? 14 : 28, 0))
        return 1;
    if (narrow)
        unpack16(in, &e);
    else
        memcpy(&e, in, 28);
    e.fip = e.fcs_fop = e.fdp = e.fds = 0;
    __asm__ volatile("fldenv %0" : : "m"(e));
    return 0;
}

int help_fnsave(struct cpu *c, const struct site *s, uint64_t addr)
{
    bool narrow = help_size(s) == 2;
    uint8_t out[108], *at;
    struct env e;
    struct {
        struct env env;
        uint8_t st[80];
    } host;
    uint64_t lin;
    unsigned n = narrow ? 94 : 108;

    if (operand(c, s, addr, n, ACC_WRITE, &lin))
        return 1;
    to_guest(c, s, &e);
    __asm__ volatile("fnsave %0" : "=m"(host));
    e.cw = host.env.cw;
    e.sw = host.env.sw;
    e.tw = host.env.tw;
    if (narrow)
        at = out + pack16(&e, out);
    else {
        memcpy(out, &e, 28);
        at = out + 28;
    }
    memcpy(at, host.st, 80);
    return mmu_write(c, lin, out, n, 0);
}

int help_frstor(struct cpu *c, const struct site *s, uint64_t addr)
{
    bool narrow = help_size(s) == 2;
    uint8_t in[108];
    struct {
        struct env env;
        uint8_t st[80];
    } host;
    uint64_t lin;
    unsigned n = narrow ? 94 : 108;

    if (pending(c) || operand(c, s, addr, n, ACC_READ, &lin) || mmu_read(c, lin, in, n, 0))
        return 1;
    if (narrow)
        unpack16(in, &host.env);
    else
        memcpy(&host.env, in, 28);
    memcpy(host.st, in + n - 80, 80);
    host.env.fip = host.env.fcs_fop = host.env.fdp = host.env.fds = 0;
    __asm__ volatile("frstor %0" : : "m"(host));
    return 0;
}
