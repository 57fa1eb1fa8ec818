/* Page tables, and memory accesses of C code and of emitted code's slow side. AMD APM vol. 2, chapter 5; Intel SDM vol.
 * 3, chapter 4. The TLB itself is in tlb.c. */
#include "vmcore/tlb.h"

#include "src/base/util.h"
#include "vmcore/cache.h"
#include "vmcore/cpuid.h"
#include "vmcore/debug.h"
#include "vmcore/dev/dev.h"
#include "vmcore/hwbreak.h"
#include "vmcore/mem.h"
#include "vmcore/rt.h"

enum { PTE_P = 1, PTE_W = 2, PTE_U = 4, PTE_A = 0x20, PTE_D = 0x40, PTE_PS = 0x80, PTE_G = 0x100 };
enum { PF_P = 1, PF_W = 2, PF_U = 4, PF_RSVD = 8, PF_I = 16 };
#define PTE_ADDR 0xffffffffff000ull /* 52 physical bits at most */

static int page_fault(struct cpu *c, uint64_t lin, uint32_t error, unsigned acc)
{
    if ((acc & ACC_EXEC) && (((c->cr4 & CR4_PAE) && (c->efer & EFER_NXE)) || (c->cr4 & CR4_SMEP)))
        error |= PF_I;
    if (acc & ACC_WRITE)
        error |= PF_W;
    if (c->cpl == 3 && !(acc & ACC_SUP))
        error |= PF_U;
    if (acc & ACC_PROBE)
        return 1;
    return cpu_raise_pf(c, lin, error);
}

static bool pte_load(struct cpu *c, uint64_t pa, unsigned size, uint64_t *v)
{
    uint32_t bpn = mem_bpn(c->mem, pa & c->mem->a20);

    if (bpn == MEM_NONE) {
        *v = 0;
        return false;
    }
    const uint8_t *p = c->mem->host[bpn];
    p = (p ? p : mem_read_ptr(c->mem, bpn)) + (pa & 0xfff);
    *v = size == 8 ? *(const uint64_t *)p : *(const uint32_t *)p;
    return true;
}

static void pte_set(struct cpu *c, uint64_t pa, uint32_t bits)
{
    uint32_t bpn = mem_wbpn(c->mem, pa & c->mem->a20);

    if (bpn == MEM_NONE)
        return;
    *(uint32_t *)(mem_write_ptr(c->mem, bpn) + (pa & 0xfff)) |= bits;
    mem_wrote(c->mem, bpn, pa & 0xfff, 4);
}

/* Bits that must be 0 in an entry: level 0 is the table of pages. */
static uint64_t reserved_bits(const struct cpu *c, unsigned level, bool large)
{
    uint64_t v = (PTE_ADDR & ~((1ull << c->model->phys_bits) - 1)) | (c->efer & EFER_NXE ? 0 : 1ull << 63);

    if (!cpu_long(c))
        v |= 0x7ff0000000000000ull;
    if (large)
        v |= level == 2 ? 0x3fffe000 : 0x1fe000;
    else if (level == 3)
        v |= PTE_PS;
    return v;
}

struct walk {
    uint64_t at[4], e[4]; /* entries, top first */
    unsigned n;
    uint32_t rights;
    bool nx, large, huge;
    uint64_t pa;
};

/* 2 levels of 32-bit entries. 0, or 1 with the fault raised. */
static int walk_legacy(struct cpu *c, uint64_t lin, unsigned acc, struct walk *w)
{
    w->at[0] = (c->cr3 & 0xfffff000u) + (lin >> 22) * 4;
    for (w->n = 0; w->n < 2;) {
        uint64_t *e = &w->e[w->n];
        pte_load(c, w->at[w->n++], 4, e);
        if (!(*e & PTE_P))
            return page_fault(c, lin, 0, acc);
        w->rights &= (uint32_t)*e;
        if (w->n == 1 && (*e & PTE_PS) && (c->cr4 & CR4_PSE)) {
            if (*e & 0x200000)
                return page_fault(c, lin, PF_P | PF_RSVD, acc);
            w->large = true;
            w->pa = (*e & 0xffc00000u) | ((*e & 0x1fe000) << 19) | (lin & 0x3fffff);
            return 0;
        }
        if (w->n == 1)
            w->at[1] = (*e & 0xfffff000u) + ((lin >> 12) & 1023) * 4;
    }
    w->pa = (w->e[1] & 0xfffff000u) | (lin & 0xfff);
    return 0;
}

/* 64-bit entries: 4 levels in long mode, 2 below the PDPTEs that PAE loads. */
static int walk_wide(struct cpu *c, uint64_t lin, unsigned acc, struct walk *w)
{
    unsigned level = cpu_long(c) ? 3 : 1;
    uint64_t table = c->cr3 & PTE_ADDR;

    if (!cpu_long(c)) {
        table = c->pdpte[(lin >> 30) & 3];
        if (!(table & PTE_P))
            return page_fault(c, lin, 0, acc);
        table &= PTE_ADDR;
    }
    for (w->n = 0;; level--) {
        uint64_t *e = &w->e[w->n];
        w->at[w->n] = table + ((lin >> (12 + 9 * level)) & 511) * 8;
        pte_load(c, w->at[w->n++], 8, e);
        if (!(*e & PTE_P))
            return page_fault(c, lin, 0, acc);
        w->large = (*e & PTE_PS) && (level == 1 || (level == 2 && cpu_long(c) && c->model->pages_1g));
        if (*e & reserved_bits(c, level, w->large) || ((*e & PTE_PS) && level == 2 && cpu_long(c) && !w->large))
            return page_fault(c, lin, PF_P | PF_RSVD, acc);
        w->huge = w->large && level == 2;
        w->nx |= *e >> 63;
        w->rights &= (uint32_t)*e;
        if (w->large || level == 0) {
            uint64_t in_page = (1ull << (12 + 9 * level)) - 1;
            w->pa = (*e & PTE_ADDR & ~in_page) | (lin & in_page);
            return 0;
        }
        table = *e & PTE_ADDR;
    }
}

/* SMAP: no data of users' pages for the supervisor, but where EFLAGS.AC lifts it for what the code itself accesses. SDM
 * 4.6.1. */
static bool barred(const struct cpu *c, unsigned acc)
{
    return (c->cr4 & CR4_SMAP) && !(acc & (ACC_EXEC | ACC_NO_SMAP)) && ((acc & ACC_SUP) || !(c->eflags & EF_AC));
}

/* The TLB's set for an access of C code; CPL and AC count, the mode may not have followed yet. */
static int data_set(const struct cpu *c, unsigned acc)
{
    bool user = c->cpl == 3 && !(acc & ACC_SUP);

    return user ? 1 : barred(c, acc) ? 2 : 0;
}

/* Rights and final address from the gathered entry bits. */
int mmu_translate(struct cpu *c, uint64_t lin, unsigned acc, uint64_t *ret_pa, uint32_t *ret_flags)
{
    struct walk w = {.n = 0, .rights = PTE_W | PTE_U};

    if (!(c->cr0 & CR0_PG)) {
        *ret_pa = lin & c->mem->a20;
        *ret_flags = TR_WRITE;
        return 0;
    }
    c->walks++;
    if (cpu_long(c) && !cpu_canonical(lin))
        return acc & ACC_PROBE ? 1 : cpu_raise(c, X_GP, 0);
    if (c->cr4 & CR4_PAE ? walk_wide(c, lin, acc, &w) : walk_legacy(c, (uint32_t)lin, acc, &w))
        return 1;

    bool user = c->cpl == 3 && !(acc & ACC_SUP);
    bool can_write = (w.rights & PTE_W) || (!user && !(c->cr0 & CR0_WP));
    if ((user && !(w.rights & PTE_U)) || (!user && (w.rights & PTE_U) && barred(c, acc)) ||
        ((acc & ACC_WRITE) && !can_write) ||
        ((acc & ACC_EXEC) && (w.nx || (!user && (w.rights & PTE_U) && (c->cr4 & CR4_SMEP)))))
        return page_fault(c, lin, PF_P, acc);

    uint64_t leaf = w.e[w.n - 1], every = leaf;
    for (unsigned i = 0; i + 1 < w.n; i++)
        every &= w.e[i];
    if (!(acc & ACC_PROBE)) {
        for (unsigned i = 0; i + 1 < w.n; i++)
            if (!(w.e[i] & PTE_A))
                pte_set(c, w.at[i], PTE_A);
        uint32_t want = PTE_A | ((acc & ACC_WRITE) ? PTE_D : 0);
        if ((leaf & want) != want)
            pte_set(c, w.at[w.n - 1], want);
        leaf |= want;
    }
    *ret_pa = w.pa & c->mem->a20;
    *ret_flags = (can_write && (leaf & PTE_D) ? TR_WRITE : 0) | ((leaf & PTE_G) && (c->cr4 & CR4_PGE) ? TR_GLOBAL : 0) |
                 (w.large ? TR_LARGE : 0) | (w.huge ? TR_HUGE : 0) | (every & PTE_A ? 0 : TR_FRESH);
    return 0;
}

void mmu_fill(struct cpu *c, uint64_t lin, uint32_t bpn, bool write, uint32_t flags)
{
    tlb_fill(c, data_set(c, 0), lin, write ? mem_write_ptr(c->mem, bpn) : mem_read_ptr(c->mem, bpn), write, flags);
}

static int code_page(struct cpu *c, uint64_t lin, unsigned acc, uint32_t *ret_bpn)
{
    int user = c->cpl == 3;
    uint32_t known = tlb_code(c, user, lin), flags, bpn;
    uint64_t pa;

    if (known) {
        *ret_bpn = known - 1;
        return 0;
    }
    if (mmu_translate(c, lin, ACC_EXEC | acc, &pa, &flags))
        return 1;
    bpn = mem_bpn(c->mem, pa);
    if (bpn == MEM_NONE && acc)
        return 1;
    if (acc && (flags & TR_FRESH) && mmu_translate(c, lin, ACC_EXEC, &pa, &flags))
        return 1;
    if (bpn == MEM_NONE) {
        rt_log(c->vm, "code fetch from no memory: linear %llx physical %llx", (unsigned long long)lin,
               (unsigned long long)pa);
        return cpu_raise(c, X_GP, 0);
    }
    tlb_fill_code(c, user, lin, bpn, flags);
    *ret_bpn = bpn;
    return 0;
}

int mmu_code_page(struct cpu *c, uint64_t lin, uint32_t *ret_bpn)
{
    return code_page(c, lin, 0, ret_bpn);
}

int mmu_code_probe(struct cpu *c, uint64_t lin, uint32_t *ret_bpn)
{
    return code_page(c, lin, ACC_PROBE, ret_bpn);
}

/* ---- accesses of C code */

static int access_page(struct cpu *c, uint64_t lin, uint8_t *buf, unsigned n, unsigned acc, bool write)
{
    int user = data_set(c, acc);
    uint8_t *hit = tlb_host(c, user, lin, write);
    uint32_t flags, bpn;
    uint64_t pa;

    if (hit) {
        uint8_t *h = hit;
        if (write)
            memcpy(h, buf, n);
        else
            memcpy(buf, h, n);
        return 0;
    }
    if (mmu_translate(c, lin, acc | (write ? ACC_WRITE : ACC_READ), &pa, &flags))
        return 1;
    if (c->debug)
        debug_c_access(c, lin, n, write);
    if (c->dr_active)
        hwbreak_access(c, lin, n, write);
    bpn = write ? mem_wbpn(c->mem, pa) : mem_bpn(c->mem, pa);
    if (bpn == MEM_NONE) {
        for (unsigned i = 0; i < n; i += 4) {
            unsigned k = MIN(n - i, 4u);
            if (k == 3)
                k = 2;
            uint32_t v = 0;
            if (write) {
                memcpy(&v, buf + i, k);
                bus_mmio_write(c->bus, pa + i, v, k);
            } else {
                v = (uint32_t)bus_mmio_read(c->bus, pa + i, k);
                memcpy(buf + i, &v, k);
            }
        }
        return 0;
    }
    if (write) {
        uint8_t *h = mem_write_ptr(c->mem, bpn);
        memcpy(h + (pa & 0xfff), buf, n);
        if (mem_has_code(c->mem, bpn))
            mem_wrote(c->mem, bpn, pa & 0xfff, n);
        else if (mem_bpn(c->mem, pa) == bpn)
            tlb_fill(c, user, lin, h, true, flags);
    } else {
        uint8_t *h = mem_read_ptr(c->mem, bpn);
        memcpy(buf, h + (pa & 0xfff), n);
        tlb_fill(c, user, lin, h, false, flags);
    }
    return 0;
}

int mmu_probe(struct cpu *c, uint64_t lin, unsigned len, unsigned acc)
{
    uint64_t last = cpu_lin_wrap(c, lin + len - 1), pa;
    uint32_t flags;

    if (mmu_translate(c, lin, acc, &pa, &flags))
        return 1;
    if ((lin ^ last) & ~0xfffull)
        return mmu_translate(c, last & ~0xfffull, acc, &pa, &flags);
    return 0;
}

int mmu_read(struct cpu *c, uint64_t lin, void *dst, unsigned len, unsigned acc)
{
    uint8_t *d = dst;
    unsigned first = MIN(len, (unsigned)(VT_PAGE_SIZE - (lin & 0xfff)));

    if (access_page(c, lin, d, first, acc, false))
        return 1;
    return first < len ? access_page(c, cpu_lin_wrap(c, lin + first), d + first, len - first, acc, false) : 0;
}

int mmu_write(struct cpu *c, uint64_t lin, const void *src, unsigned len, unsigned acc)
{
    uint8_t *s = (uint8_t *)(uintptr_t)src;
    unsigned first = MIN(len, (unsigned)(VT_PAGE_SIZE - (lin & 0xfff)));

    if (first < len && mmu_probe(c, lin, len, acc | ACC_WRITE))
        return 1;
    if (access_page(c, lin, s, first, acc, true))
        return 1;
    return first < len ? access_page(c, cpu_lin_wrap(c, lin + first), s + first, len - first, acc, true) : 0;
}

/* ---- the slow side of emitted accesses */

static void device_read(struct cpu *c, uint64_t pa, uint8_t *dst, unsigned n)
{
    while (n) {
        unsigned k = n >= 8 ? 8 : n >= 4 ? 4 : n >= 2 ? 2 : 1;
        uint64_t v = bus_mmio_read(c->bus, pa, k);
        memcpy(dst, &v, k);
        dst += k, pa += k, n -= k;
    }
}

static void device_write(struct cpu *c, uint64_t pa, const uint8_t *src, unsigned n)
{
    while (n) {
        unsigned k = n >= 8 ? 8 : n >= 4 ? 4 : n >= 2 ? 2 : 1;
        uint64_t v = 0;
        memcpy(&v, src, k);
        bus_mmio_write(c->bus, pa, v, k);
        src += k, pa += k, n -= k;
    }
}

/* An access across two pages that the TLB has: the bounce buffer without a walk. Writes there need no care: a write tag
 * says that the page's version is kept and that it holds no code. */
static uint64_t bounce_hit(struct cpu *c, const struct site *s, uint64_t lin, unsigned first)
{
    int user = data_set(c, 0), w = s->rw >> 1;
    uint8_t *b = c->bounce + (lin & 63);
    uint8_t *h0 = tlb_host(c, user, lin, w), *h1 = tlb_host(c, user, cpu_lin_wrap(c, lin + first), w);

    if (!h0 || !h1)
        return 0;
    c->bounce_host[0] = h0;
    c->bounce_host[1] = h1;
    if ((s->rw & 1) || (s->arg2 & SITE_X87)) {
        memcpy(b, c->bounce_host[0], first);
        memcpy(b + first, c->bounce_host[1], s->size - first);
    }
    c->bounce_lin = lin;
    c->bounce_len = first;
    c->r8 = (uint64_t)b;
    c->r9 = 0;
    c->twins++;
    return (uint64_t)(s + 1);
}

/* Sets up the bounce buffer over one or two pieces, and goes to the site's twin. */
static uint64_t bounce(struct cpu *c, const struct site *s, uint64_t lin, const uint64_t pa[2], unsigned first)
{
    uint8_t *b = c->bounce + (lin & 63);

    c->twins++;
    c->bounce_lin = lin;
    c->bounce_len = first;
    c->bounce_host[0] = NULL;
    for (int i = 0; i < 2; i++) {
        unsigned at = i ? first : 0, n = i ? s->size - first : first;
        c->bounce_pa[i] = pa[i];
        /* an x87 store that raises an unmasked exception writes nothing: what is there must stay */
        if (!n || !((s->rw & 1) || (s->arg2 & SITE_X87)))
            continue;
        uint32_t bpn = mem_bpn(c->mem, pa[i]);
        if (bpn == MEM_NONE) {
            if (s->rw & 1)
                device_read(c, pa[i], b + at, n);
        } else
            memcpy(b + at, mem_read_ptr(c->mem, bpn) + (pa[i] & 0xfff), n);
    }
    c->r8 = (uint64_t)b;
    c->r9 = 0;
    return (uint64_t)(s + 1);
}

enum { PROBE_X87 = 1, PROBE_XM };

/* Can a store raise an unmasked exception of its own? */
static bool may_be_withheld(const struct site *s)
{
    uint32_t mxcsr;
    uint16_t cw;

    if (s->rw != 2)
        return false;
    if (s->arg2 & SITE_XM) {
        __asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
        return (mxcsr >> 7 & 0x3f) != 0x3f;
    }
    __asm__ volatile("fnstcw %0" : "=m"(cw));
    return (s->arg2 & (SITE_X87 | SITE_MMX)) == SITE_X87 && (cw & 0x3f) != 0x3f;
}

/* A page fault of such a store comes only if the store happens. */
static uint64_t store_fault(struct cpu *c, const struct site *s, uint64_t lin)
{
    if (!may_be_withheld(s))
        return cpu_resume(c);
    __asm__ volatile("fxsave64 %0" : "=m"(c->fx_probe));
    c->store_probe = s->arg2 & SITE_XM ? PROBE_XM : PROBE_X87;
    c->probe_vector = c->exc_vector;
    c->probe_error = c->exc_error;
    c->probe_cr2 = c->exc_cr2;
    c->exc_pending = 0;
    c->r8 = (uint64_t)(c->bounce + (lin & 63));
    c->r9 = 0;
    return (uint64_t)(s + 1);
}

/* It came to its end: a conversion's exception would have been a fault. */
static uint64_t store_probed(struct cpu *c, const struct site *s)
{
    bool x87 = c->store_probe == PROBE_X87;
    uint16_t sw, cw;

    c->store_probe = 0;
    __asm__ volatile("fnstsw %0; fnstcw %1" : "=m"(sw), "=m"(cw));
    if (x87 && (sw & ~cw & 0x1f)) /* not for precision: that one comes after the store */
        return (uint64_t)((const char *)s + s->cont);
    __asm__ volatile("fxrstor64 %0" : : "m"(c->fx_probe));
    c->eip = site_eip(c, s);
    cpu_raise(c, c->probe_vector, c->probe_error);
    c->exc_cr2 = c->probe_cr2;
    return cpu_resume(c);
}

uint64_t mmu_post(struct cpu *c, const struct site *s, uint64_t unused)
{
    const uint8_t *b = c->bounce + (c->bounce_lin & 63);

    if (c->store_probe)
        return store_probed(c, s);
    if (c->beside_code) {
        c->beside_code = 0;
        return (uint64_t)((const char *)s + s->cont);
    }
    if (c->bounce_host[0]) {
        memcpy(c->bounce_host[0], b, c->bounce_len);
        memcpy(c->bounce_host[1], b + c->bounce_len, s->size - c->bounce_len);
        return (uint64_t)((const char *)s + s->cont);
    }

    for (int i = 0; i < 2; i++) {
        unsigned at = i ? c->bounce_len : 0, n = i ? s->size - c->bounce_len : c->bounce_len;
        if (!n)
            continue;
        uint64_t pa = c->bounce_pa[i];
        uint32_t bpn = mem_wbpn(c->mem, pa);
        if (bpn == MEM_NONE) {
            device_write(c, pa, b + at, n);
        } else {
            memcpy(mem_write_ptr(c->mem, bpn) + (pa & 0xfff), b + at, n);
            mem_wrote(c->mem, bpn, pa & 0xfff, n);
        }
    }
    return (uint64_t)((const char *)s + s->cont);
}

/* Alignment and pending x87 exceptions rank before page faults. */
static int first_checks(struct cpu *c, const struct site *s, uint64_t lin)
{
    uint16_t sw;

    if (s->arg2 & SITE_AC && lin & (s->size - 1u))
        return cpu_raise(c, X_AC, 0);

    if (s->arg2 & SITE_X87) {
        __asm__ volatile("fnstsw %0" : "=m"(sw));
        if (sw & 0x80)
            return cpu_raise_mf(c);
    }
    if (s->arg2 & SITE_MMX) { /* the switch to MMX state happens whether the access faults or not */
        uint32_t unused;
        __asm__ volatile("movd %%mm0, %0" : "=r"(unused));
    }
    return (s->arg2 & SITE_ALIGN) && (lin & (s->size - 1u)) ? cpu_raise(c, X_GP, 0) : 0;
}

/* A read of a stack page that may not be written yet: straight through its twin, at the page itself. */
static uint64_t stack_read(struct cpu *c, const struct site *s, uint64_t lin)
{
    int user = data_set(c, 0);

    uint8_t *h = tlb_host(c, user, lin, false);

    if (!h)
        return 0;
    c->r8 = (uint64_t)h;
    c->r9 = 0;
    return (uint64_t)(s + 1);
}

/* The first page that a site's access touches. */
static int site_translate(struct cpu *c, const struct site *s, uint64_t lin, uint64_t *ret_pa, uint32_t *ret_flags)
{
    if (cpu_long(c) && cpu_canonical(lin) && !cpu_canonical(lin + s->size - 1)) /* ranks before a page fault */
        cpu_raise(c, X_GP, 0);
    else if (!mmu_translate(c, lin, s->rw & 2 ? ACC_WRITE : ACC_READ, ret_pa, ret_flags))
        return 0;
    if ((s->arg2 & (SITE_SS | SITE_STACK)) && c->exc_vector == X_GP) /* not canonical */
        c->exc_vector = X_SS;
    return 1;
}

/* The instruction again, as a block of its own. */
static uint64_t run_alone(struct cpu *c)
{
    c->single = 1;
    return cpu_resume(c);
}

/* The page that a site's block is on. */
static struct code_page *own_page(struct cpu *c, const struct site *s)
{
    const struct block *own = cache_by_host(c->cache, s);

    return own ? &c->mem->code[own->bpn] : NULL;
}

/* Its blocks are to be made anew, in another way. */
static void renew_page(struct cpu *c, const struct code_page *p)
{
    mem_wrote(c->mem, (uint32_t)(p - c->mem->code), 0, VT_PAGE_SIZE);
}

/* An access that needs its twin where none was made: few ever do, and those are on few pages. */
static uint64_t run_without_twin(struct cpu *c, const struct site *s)
{
    struct code_page *p = own_page(c, s);

    if (p && p->lone < MEM_TWINS && ++p->lone == MEM_TWINS)
        renew_page(c, p);
    return run_alone(c);
}

/* A write to a page that holds code, but to none of the lines that do: its twin may write to the page itself. */
static bool beside_code(const struct cpu *c, uint64_t pa, unsigned size)
{
    uint32_t bpn = mem_bpn(c->mem, pa);

    return bpn != MEM_NONE && mem_wbpn(c->mem, pa) == bpn && !c->dr_active && !c->debug && mem_has_code(c->mem, bpn) &&
           !cache_overlaps(c->cache, bpn, pa & 0xfff, size);
}

/* Such a write is about to be: its page, for mixed_check() in rewrite.c, and the page of the block that does it, whose
 * blocks are made anew once it has done that often. */
static void note_beside(struct cpu *c, const struct site *s, uint64_t lin, uint32_t bpn, const uint8_t *host)
{
    struct code_page *p = own_page(c, s);
    struct mixed_page *m = &c->mixed[data_set(c, 0)];

    if (!p)
        return;
    if (p->beside < MEM_MIXED) { /* no block of it asks for the page yet */
        if (++p->beside == MEM_MIXED)
            renew_page(c, p);
        return;
    }
    if (m->bpn != bpn) {
        if (m->next != bpn) { /* what is written once is not worth it */
            m->next = bpn;
            return;
        }
        cache_room(c->cache, bpn, m->room);
        m->bpn = bpn;
    }
    m->minus_lin = 0 - (lin & ~0xfffull);
    m->addend = (uint64_t)host - (lin & ~0xfffull);
}

/* Of a page that is read: would a write to it, too, only want its TLB entry? */
static bool ready_for_writes(const struct cpu *c, uint64_t pa, uint32_t bpn, uint32_t flags)
{
    return (flags & TR_WRITE) && mem_wbpn(c->mem, pa) == bpn && !mem_has_code(c->mem, bpn) &&
           mem_is_written(c->mem, bpn);
}

/* The access off ESP is in the page that is kept for the stack, and yet its check failed: 32-bit ESP and displacement
 * wrap, which the host's 64-bit addresses do not. */
static bool wraps(const struct cpu *c, uint64_t lin)
{
    return c->r13 == 0 - (lin & ~0xfffull);
}

uint64_t mmu_slow(struct cpu *c, const struct site *s, uint64_t lin)
{
    int user = data_set(c, 0);
    unsigned first = MIN(s->size, (unsigned)(VT_PAGE_SIZE - (lin & 0xfff)));
    uint64_t pa[2] = {0, 0}, killed = c->invalidations;
    uint32_t flags, bpn;

    if ((s->arg2 & (SITE_STACK | SITE_ALIGN)) == SITE_STACK && s->rw == 1 && first == s->size) {
        uint64_t go = stack_read(c, s, lin);
        if (go)
            return go;
    }
    if (first < s->size && (s->arg2 & (SITE_ALIGN | SITE_TWIN)) == SITE_TWIN) {
        uint64_t go = bounce_hit(c, s, lin, first);
        if (go)
            return go;
    }
    c->eip = site_eip(c, s);
    c->r12 = cpu_mask_flags(c->r12, s->live);
    if (s->arg2 && first_checks(c, s, lin))
        return cpu_resume(c);
    if (site_translate(c, s, lin, &pa[0], &flags))
        return s->arg2 & SITE_TWIN ? store_fault(c, s, lin) : cpu_resume(c);
    if (first < s->size) {
        uint32_t f2;
        if (mmu_translate(c, cpu_lin_wrap(c, lin + first), s->rw & 2 ? ACC_WRITE : ACC_READ, &pa[1], &f2))
            return s->arg2 & SITE_TWIN ? store_fault(c, s, lin) : cpu_resume(c);
    }
    if (c->dr_active)
        hwbreak_access(c, lin, s->size, s->rw & 2);
    if (c->debug && debug_access(c, s, lin, s->size, s->rw))
        return run_alone(c);
    bpn = mem_bpn(c->mem, pa[0]);
    bool twin_only = (s->arg2 & SITE_STACK) && wraps(c, lin);
    if (first == s->size && bpn != MEM_NONE && !twin_only && !(c->debug && debug_watched(c->debug, lin, s->size)) &&
        !(c->dr_active && hwbreak_watches(c, lin & ~0xfffull, 4096)) &&
        !((s->rw & 2) && (mem_wbpn(c->mem, pa[0]) != bpn || mem_has_code(c->mem, bpn)))) {
        uint8_t *h = (s->rw & 2) ? mem_write_ptr(c->mem, bpn) : mem_read_ptr(c->mem, bpn);
        tlb_fill(c, user, lin, h, (s->rw & 2) || ready_for_writes(c, pa[0], bpn, flags), flags);
        if (killed != c->invalidations) /* the walk wrote to code, perhaps to this: look it up again */
            return cpu_resume(c);
        if ((s->arg2 & SITE_STACK) && s->rw == 1)
            return stack_read(c, s, lin);
        return (uint64_t)((const char *)s + s->retry);
    }
    if (!(s->arg2 & SITE_TWIN))
        return run_without_twin(c, s);
    if (first == s->size && (s->rw & 2) && beside_code(c, pa[0], s->size)) {
        uint8_t *host = mem_write_ptr(c->mem, bpn);
        note_beside(c, s, lin, bpn, host);
        if (killed != c->invalidations) /* nothing is watched any more: this block must not go on */
            return cpu_resume(c);
        c->r8 = (uint64_t)(host + (pa[0] & 0xfff));
        c->r9 = 0;
        c->beside_code = 1;
        return (uint64_t)(s + 1);
    }
    if ((s->rw & 2) && cache_hits_own_block(c->cache, s, pa[0], first, pa[1], s->size - first))
        return run_alone(c);
    return bounce(c, s, lin, pa, first);
}

/* The entry that a span's check wants, if the first access may have it and nothing that the block has already checked
 * changes by that. A write's only where the page is dirty: whether the span's write ever comes is not known yet. */
uint64_t mmu_span(struct cpu *c, const struct site *s, uint64_t lin)
{
    uint64_t pa, drops = c->drops, killed = c->invalidations;
    uint32_t flags, bpn;
    bool write = s->rw & 2;

    if (((lin + s->size - 1) ^ lin) & ~0xfffull || (s->arg && wraps(c, lin)) || c->debug || c->dr_active ||
        mmu_translate(c, lin, ACC_READ | ACC_PROBE, &pa, &flags) || (write && !(flags & TR_WRITE)))
        return 0;
    bpn = mem_bpn(c->mem, pa);
    if (bpn == MEM_NONE || (write && (mem_wbpn(c->mem, pa) != bpn || mem_has_code(c->mem, bpn))))
        return 0;
    if (flags & TR_FRESH)
        mmu_translate(c, lin, ACC_READ, &pa, &flags);
    uint8_t *host = write ? mem_write_ptr(c->mem, bpn) : mem_read_ptr(c->mem, bpn);
    tlb_fill(c, data_set(c, 0), lin, host, write || ready_for_writes(c, pa, bpn, flags), flags);
    return drops == c->drops && killed == c->invalidations ? (uint64_t)((const char *)s + s->retry) : 0;
}

uint64_t mmu_seg_slow(struct cpu *c, const struct site *s, uint64_t off)
{
    unsigned acc = (s->rw & 2) ? ACC_WRITE : ACC_READ, first;
    uint64_t pa[2] = {0, 0}, lin;
    uint32_t flags;

    c->eip = site_eip(c, s);
    c->r12 = cpu_mask_flags(c->r12, s->live);
    if (s->arg2 && first_checks(c, s, 0))
        return cpu_resume(c);
    if (seg_check(c, s->arg, off, s->size, s->rw, &lin))
        return s->arg2 & SITE_XM ? store_fault(c, s, off) : cpu_resume(c);
    if (s->arg2 && first_checks(c, s, lin))
        return cpu_resume(c);
    first = MIN(s->size, (unsigned)(VT_PAGE_SIZE - (lin & 0xfff)));
    if (mmu_translate(c, lin, acc, &pa[0], &flags) ||
        (first < s->size && mmu_translate(c, cpu_lin_wrap(c, lin + first), acc, &pa[1], &flags)))
        return s->arg2 & SITE_XM ? store_fault(c, s, lin) : cpu_resume(c);
    if (c->dr_active)
        hwbreak_access(c, lin, s->size, s->rw & 2);
    if (c->debug && debug_access(c, s, lin, s->size, s->rw))
        return run_alone(c);
    if ((s->rw & 2) && cache_hits_own_block(c->cache, s, pa[0], first, pa[1], s->size - first))
        return run_alone(c);
    return bounce(c, s, lin, pa, first);
}
