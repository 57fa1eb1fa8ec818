/* Page tables, the software TLB, and memory accesses of C code. The TLB is a full table by linear page: {read tag,
 * write tag} and an addend (host address minus linear address) a page, one set for supervisor and one for user mode,
 * with lists of filled slots so that a flush costs what was filled. A tag is the page's linear address, or
 * tlb_invalid(). Negative results are never cached; a write tag is given only once the dirty bit is set, the page's
 * version is kept, and no translated code is on it (mem.h). */
#include "vmcore/cpu.h"

#include "src/base/util.h"
#include "vmcore/cache.h"
#include "vmcore/dev/dev.h"
#include "vmcore/mem.h"
#include "vmcore/rt.h"

enum { PTE_P = 1, PTE_W = 2, PTE_U = 4, PTE_A = 0x20, PTE_D = 0x40, PTE_PS = 0x80, PTE_G = 0x100 };
enum { TR_WRITE = 1, TR_GLOBAL = 2, TR_LARGE = 4 }; /* *ret_flags: may be written with the dirty bit set already */
enum { PF_P = 1, PF_W = 2, PF_U = 4, PF_RSVD = 8, PF_I = 16 };

static int page_fault(struct cpu *c, uint32_t lin, uint32_t error, unsigned acc)
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
    const uint8_t *p = mem_read_ptr(c->mem, bpn) + (pa & 0xfff);
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

/* Rights and final address from the gathered entry bits. */
int mmu_translate(struct cpu *c, uint32_t lin, unsigned acc, uint64_t *ret_pa, uint32_t *ret_flags)
{
    bool pae = c->cr4 & CR4_PAE, large = false, nx = false;
    unsigned size = pae ? 8 : 4, levels, n = 0;
    uint64_t at[3], e[3], pa;
    uint32_t rights = PTE_W | PTE_U;

    if (!(c->cr0 & CR0_PG)) {
        *ret_pa = lin & c->mem->a20;
        *ret_flags = TR_WRITE;
        return 0;
    }
    c->walks++;
    if (pae) {
        uint64_t top = c->pdpte[lin >> 30];
        if (!(top & PTE_P))
            return page_fault(c, lin, 0, acc);
        at[0] = (top & 0xffffffffff000ull) + ((lin >> 21) & 511) * 8;
    } else
        at[0] = (c->cr3 & 0xfffff000u) + (lin >> 22) * 4;
    levels = 2;
    for (n = 0; n < levels; n++) {
        pte_load(c, at[n], size, &e[n]);
        if (!(e[n] & PTE_P))
            return page_fault(c, lin, 0, acc);
        if (pae) {
            if ((e[n] & 0x7ff0000000000000ull) || ((e[n] >> 63) && !(c->efer & EFER_NXE)))
                return page_fault(c, lin, PF_P | PF_RSVD, acc);
            nx |= e[n] >> 63;
        }
        rights &= (uint32_t)e[n];
        if (n == 0 && (e[0] & PTE_PS) && (pae || (c->cr4 & CR4_PSE))) {
            if (e[0] & (pae ? 0x1fe000 : 0x200000))
                return page_fault(c, lin, PF_P | PF_RSVD, acc);
            large = true;
            n++;
            break;
        }
        if (n == 0)
            at[1] = pae ? (e[0] & 0xffffffffff000ull) + ((lin >> 12) & 511) * 8
                        : (e[0] & 0xfffff000u) + ((lin >> 12) & 1023) * 4;
    }

    bool user = c->cpl == 3 && !(acc & ACC_SUP);
    bool can_write = (rights & PTE_W) || (!user && !(c->cr0 & CR0_WP));
    if ((user && !(rights & PTE_U)) || ((acc & ACC_WRITE) && !can_write) ||
        ((acc & ACC_EXEC) && (nx || (!user && (rights & PTE_U) && (c->cr4 & CR4_SMEP)))))
        return page_fault(c, lin, PF_P, acc);

    uint64_t leaf = e[n - 1];
    if (!(acc & ACC_PROBE)) {
        for (unsigned i = 0; i + 1 < n; i++)
            if (!(e[i] & PTE_A))
                pte_set(c, at[i], PTE_A);
        uint32_t want = PTE_A | ((acc & ACC_WRITE) ? PTE_D : 0);
        if ((leaf & want) != want)
            pte_set(c, at[n - 1], want);
        leaf |= want;
    }
    if (large && pae)
        pa = (leaf & 0xfffffffe00000ull) | (lin & 0x1fffff);
    else if (large)
        pa = (leaf & 0xffc00000u) | ((leaf & 0x1fe000) << 19) | (lin & 0x3fffff);
    else
        pa = (leaf & (pae ? 0xffffffffff000ull : 0xfffff000u)) | (lin & 0xfff);
    *ret_pa = pa & c->mem->a20;
    *ret_flags = (can_write && (leaf & PTE_D) ? TR_WRITE : 0) | ((leaf & PTE_G) && (c->cr4 & CR4_PGE) ? TR_GLOBAL : 0) |
                 (large ? TR_LARGE : 0);
    return 0;
}

/* ---- TLB slots */

static void list_add(struct cpu *c, struct tlb_list *l, uint32_t page)
{
    if (l->n == TLB_LIST_MAX)
        mmu_flush_all(c);
    l->page[l->n++] = page;
}

static void slot_clear(struct cpu *c, int user, uint32_t page)
{
    uint32_t *t = cpu_tags(c, user, page);

    t[0] = t[1] = tlb_invalid(page);
}

static void fill(struct cpu *c, int user, uint32_t lin, uint32_t bpn, uint8_t *host, bool write, uint32_t flags)
{
    uint32_t page = lin >> 12, base = lin & 0xfffff000u, *t;

    t = cpu_tags(c, user, page);
    if (t[0] == tlb_invalid(page) && t[1] == tlb_invalid(page)) {
        list_add(c, &c->list[user][!!(flags & TR_GLOBAL)], page);
        if (flags & TR_LARGE)
            c->tlb_large[lin >> 22] = 1;
    }
    t[0] = base;
    if (write)
        t[1] = base;
    *cpu_addend(c, user, page) = (uint64_t)host - base;
    c->fills++;
}

void mmu_fill(struct cpu *c, uint32_t lin, uint32_t bpn, bool write, uint32_t flags)
{
    fill(c, c->cpl == 3, lin, bpn, write ? mem_write_ptr(c->mem, bpn) : mem_read_ptr(c->mem, bpn), write, flags);
}

static void stack_cache_drop(struct cpu *c)
{
    c->r13 = CPU_NO_STACK;
}

static void flush_list(struct cpu *c, int user, int global)
{
    struct tlb_list *l = &c->list[user][global];

    for (uint32_t i = 0; i < l->n; i++)
        slot_clear(c, user, l->page[i]);
    l->n = 0;
    l = &c->code_list[user][global];
    for (uint32_t i = 0; i < l->n; i++)
        *cpu_code_tab(c, user, l->page[i]) = 0;
    l->n = 0;
}

void mmu_flush_all(struct cpu *c)
{
    for (int u = 0; u < 2; u++)
        for (int g = 0; g < 2; g++)
            flush_list(c, u, g);
    memset(c->tlb_large, 0, sizeof c->tlb_large);
    stack_cache_drop(c);
}

void mmu_flush_nonglobal(struct cpu *c)
{
    for (int u = 0; u < 2; u++)
        flush_list(c, u, 0);
    stack_cache_drop(c);
}

void mmu_invlpg(struct cpu *c, uint32_t lin)
{
    uint32_t first = lin >> 12, n = 1;

    if (c->tlb_large[lin >> 22]) {
        first = (lin >> 22) << 10;
        n = 1024;
        c->tlb_large[lin >> 22] = 0;
    }
    for (uint32_t p = first; p < first + n; p++)
        for (int u = 0; u < 2; u++) {
            slot_clear(c, u, p);
            *cpu_code_tab(c, u, p) = 0;
        }
    stack_cache_drop(c);
}

void mmu_flush_writes(struct cpu *c)
{
    for (int u = 0; u < 2; u++)
        for (int g = 0; g < 2; g++) {
            struct tlb_list *l = &c->list[u][g];
            for (uint32_t i = 0; i < l->n; i++)
                cpu_tags(c, u, l->page[i])[1] = tlb_invalid(l->page[i]);
        }
    stack_cache_drop(c);
}

void mmu_drop_host_page(struct cpu *c, uint32_t bpn, bool writes_only)
{
    if (bpn == MEM_NONE) {
        if (writes_only)
            mmu_flush_writes(c);
        else
            mmu_flush_all(c);
        return;
    }
    uint64_t host = (uint64_t)c->mem->ram + ((uint64_t)bpn << 12);
    for (int u = 0; u < 2; u++)
        for (int g = 0; g < 2; g++) {
            struct tlb_list *l = &c->list[u][g];
            for (uint32_t i = 0; i < l->n; i++) {
                uint32_t p = l->page[i];
                if (*cpu_addend(c, u, p) + ((uint64_t)p << 12) != host)
                    continue;
                if (writes_only)
                    cpu_tags(c, u, p)[1] = tlb_invalid(p);
                else
                    slot_clear(c, u, p);
            }
        }
    stack_cache_drop(c);
}

static int code_page(struct cpu *c, uint32_t lin, unsigned acc, uint32_t *ret_bpn)
{
    int user = c->cpl == 3;
    uint32_t *slot = cpu_code_tab(c, user, lin >> 12), flags, bpn;
    uint64_t pa;

    if (*slot) {
        *ret_bpn = *slot - 1;
        return 0;
    }
    if (mmu_translate(c, lin, ACC_EXEC | acc, &pa, &flags))
        return 1;
    bpn = mem_bpn(c->mem, pa);
    if (bpn == MEM_NONE && acc)
        return 1;
    if (acc && mmu_translate(c, lin, ACC_EXEC, &pa, &flags)) /* the accessed bits, too */
        return 1;
    if (bpn == MEM_NONE) {
        rt_log(c->vm, "code fetch from no memory: linear %x physical %llx", lin, (unsigned long long)pa);
        return cpu_raise(c, X_GP, 0);
    }
    list_add(c, &c->code_list[user][!!(flags & TR_GLOBAL)], lin >> 12);
    if (flags & TR_LARGE)
        c->tlb_large[lin >> 22] = 1;
    *slot = bpn + 1;
    *ret_bpn = bpn;
    return 0;
}

int mmu_code_page(struct cpu *c, uint32_t lin, uint32_t *ret_bpn)
{
    return code_page(c, lin, 0, ret_bpn);
}

int mmu_code_probe(struct cpu *c, uint32_t lin, uint32_t *ret_bpn)
{
    return code_page(c, lin, ACC_PROBE, ret_bpn);
}

/* ---- accesses of C code */

static int access_page(struct cpu *c, uint32_t lin, uint8_t *buf, unsigned n, unsigned acc, bool write)
{
    int user = c->cpl == 3 && !(acc & ACC_SUP);
    uint32_t page = lin >> 12, flags, bpn;
    uint64_t pa;

    if (cpu_tags(c, user, page)[write] == (lin & 0xfffff000u)) {
        uint8_t *h = (uint8_t *)(*cpu_addend(c, user, page) + lin);
        if (write)
            memcpy(h, buf, n);
        else
            memcpy(buf, h, n);
        return 0;
    }
    if (mmu_translate(c, lin, acc | (write ? ACC_WRITE : ACC_READ), &pa, &flags))
        return 1;
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
            fill(c, user, lin, bpn, h, true, flags);
    } else {
        uint8_t *h = mem_read_ptr(c->mem, bpn);
        memcpy(buf, h + (pa & 0xfff), n);
        fill(c, user, lin, bpn, h, false, flags);
    }
    return 0;
}

int mmu_probe(struct cpu *c, uint32_t lin, unsigned len, unsigned acc)
{
    uint32_t last = lin + len - 1, flags;
    uint64_t pa;

    if (mmu_translate(c, lin, acc, &pa, &flags))
        return 1;
    if ((lin ^ last) & 0xfffff000u)
        return mmu_translate(c, last & 0xfffff000u, acc, &pa, &flags);
    return 0;
}

int mmu_read(struct cpu *c, uint32_t lin, void *dst, unsigned len, unsigned acc)
{
    uint8_t *d = dst;
    unsigned first = MIN(len, VT_PAGE_SIZE - (lin & 0xfff));

    if (access_page(c, lin, d, first, acc, false))
        return 1;
    return first < len ? access_page(c, lin + first, d + first, len - first, acc, false) : 0;
}

int mmu_write(struct cpu *c, uint32_t lin, const void *src, unsigned len, unsigned acc)
{
    uint8_t *s = (uint8_t *)(uintptr_t)src;
    unsigned first = MIN(len, VT_PAGE_SIZE - (lin & 0xfff));

    if (first < len && mmu_probe(c, lin, len, acc | ACC_WRITE))
        return 1;
    if (access_page(c, lin, s, first, acc, true))
        return 1;
    return first < len ? access_page(c, lin + first, s + first, len - first, acc, true) : 0;
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
static uint64_t bounce_hit(struct cpu *c, const struct site *s, uint32_t lin, unsigned first)
{
    int user = c->cpl == 3, w = s->rw >> 1;
    uint32_t p0 = lin >> 12, p1 = (lin + first) >> 12;
    uint8_t *b = c->bounce + (lin & 63);

    if (cpu_tags(c, user, p0)[w] != p0 << 12 || cpu_tags(c, user, p1)[w] != p1 << 12)
        return 0;
    c->bounce_host[0] = (uint8_t *)(*cpu_addend(c, user, p0) + lin);
    c->bounce_host[1] = (uint8_t *)(*cpu_addend(c, user, p1) + (lin + first));
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
static uint64_t bounce(struct cpu *c, const struct site *s, uint32_t lin, const uint64_t pa[2], unsigned first)
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

/* A page fault of an x87 store comes only if the store happens: not where it raises an unmasked exception. */
static uint64_t x87_fault(struct cpu *c, const struct site *s, uint32_t lin)
{
    uint16_t cw;

    __asm__ volatile("fnstcw %0" : "=m"(cw));
    if (!(s->arg2 & SITE_X87) || (s->arg2 & SITE_MMX) || s->rw != 2 || (cw & 0x3f) == 0x3f || c->exc_vector != X_PF)
        return cpu_resume(c);
    __asm__ volatile("fxsave64 %0" : "=m"(c->fx_probe));
    c->x87_probe = 1;
    c->probe_vector = c->exc_vector;
    c->probe_error = c->exc_error;
    c->probe_cr2 = c->exc_cr2;
    c->exc_pending = 0;
    c->r8 = (uint64_t)(c->bounce + (lin & 63));
    c->r9 = 0;
    return (uint64_t)(s + 1);
}

static uint64_t x87_probed(struct cpu *c, const struct site *s)
{
    uint16_t sw, cw;

    c->x87_probe = 0;
    __asm__ volatile("fnstsw %0; fnstcw %1" : "=m"(sw), "=m"(cw));
    if (sw & ~cw & 0x1f) /* not for precision: that one comes after the store */
        return (uint64_t)((const char *)s + s->cont);
    __asm__ volatile("fxrstor64 %0" : : "m"(c->fx_probe));
    c->eip = site_eip(c, s);
    cpu_raise(c, c->probe_vector, c->probe_error);
    c->exc_cr2 = c->probe_cr2;
    return cpu_resume(c);
}

uint64_t mmu_post(struct cpu *c, const struct site *s, uint32_t unused)
{
    const uint8_t *b = c->bounce + (c->bounce_lin & 63);

    if (c->x87_probe)
        return x87_probed(c, s);
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
static int first_checks(struct cpu *c, const struct site *s, uint32_t lin)
{
    uint16_t sw;

    if (s->arg2 & SITE_X87) {
        __asm__ volatile("fnstsw %0" : "=m"(sw));
        if (sw & 0x80)
            return cpu_raise(c, X_MF, -1);
    }
    if (s->arg2 & SITE_MMX) { /* the switch to MMX state happens whether the access faults or not */
        uint32_t unused;
        __asm__ volatile("movd %%mm0, %0" : "=r"(unused));
    }
    return (s->arg2 & SITE_ALIGN16) && (lin & 15) ? cpu_raise(c, X_GP, 0) : 0;
}

/* A read of a stack page that may not be written yet: straight through its twin, at the page itself. */
static uint64_t stack_read(struct cpu *c, const struct site *s, uint32_t lin)
{
    int user = c->cpl == 3;

    if (cpu_tags(c, user, lin >> 12)[0] != (lin & 0xfffff000u))
        return 0;
    c->r8 = *cpu_addend(c, user, lin >> 12) + lin;
    c->r9 = 0;
    return (uint64_t)(s + 1);
}

uint64_t mmu_slow(struct cpu *c, const struct site *s, uint32_t lin)
{
    int user = c->cpl == 3;
    unsigned acc = (s->rw & 2) ? ACC_WRITE : ACC_READ, first = MIN((uint32_t)s->size, VT_PAGE_SIZE - (lin & 0xfff));
    uint64_t pa[2] = {0, 0};
    uint32_t flags, bpn;

    if ((s->arg2 & (SITE_STACK | SITE_ALIGN16)) == SITE_STACK && s->rw == 1 && first == s->size) {
        uint64_t go = stack_read(c, s, lin);
        if (go)
            return go;
    }
    if (first < s->size && !(s->arg2 & SITE_ALIGN16)) {
        uint64_t go = bounce_hit(c, s, lin, first);
        if (go)
            return go;
    }
    c->eip = site_eip(c, s);
    c->r12 = cpu_mask_flags(c->r12, s->live);
    if (s->arg2 && first_checks(c, s, lin))
        return cpu_resume(c);
    if (mmu_translate(c, lin, acc, &pa[0], &flags))
        return s->arg2 ? x87_fault(c, s, lin) : cpu_resume(c);
    if (first < s->size) {
        uint32_t f2;
        if (mmu_translate(c, lin + first, acc, &pa[1], &f2))
            return s->arg2 ? x87_fault(c, s, lin) : cpu_resume(c);
    }
    bpn = mem_bpn(c->mem, pa[0]);
    if (first == s->size && bpn != MEM_NONE &&
        !((s->rw & 2) && (mem_wbpn(c->mem, pa[0]) != bpn || mem_has_code(c->mem, bpn)))) {
        uint8_t *h = (s->rw & 2) ? mem_write_ptr(c->mem, bpn) : mem_read_ptr(c->mem, bpn);
        fill(c, user, lin, bpn, h, s->rw & 2, flags);
        if ((s->arg2 & SITE_STACK) && s->rw == 1)
            return stack_read(c, s, lin);
        return (uint64_t)((const char *)s + s->retry);
    }
    if ((s->rw & 2) && cache_hits_own_block(c->cache, s, pa[0], first, pa[1], s->size - first)) {
        c->single = 1;
        return cpu_resume(c);
    }
    return bounce(c, s, lin, pa, first);
}

uint64_t mmu_seg_slow(struct cpu *c, const struct site *s, uint32_t off)
{
    unsigned acc = (s->rw & 2) ? ACC_WRITE : ACC_READ, first;
    uint64_t pa[2] = {0, 0};
    uint32_t lin, flags;

    c->eip = site_eip(c, s);
    c->r12 = cpu_mask_flags(c->r12, s->live);
    if ((s->arg2 && first_checks(c, s, 0)) || seg_check(c, s->arg, off, s->size, s->rw, &lin) ||
        (s->arg2 && first_checks(c, s, lin)))
        return cpu_resume(c);
    first = MIN((uint32_t)s->size, VT_PAGE_SIZE - (lin & 0xfff));
    if (mmu_translate(c, lin, acc, &pa[0], &flags))
        return cpu_resume(c);
    if (first < s->size && mmu_translate(c, lin + first, acc, &pa[1], &flags))
        return cpu_resume(c);
    if ((s->rw & 2) && cache_hits_own_block(c->cache, s, pa[0], first, pa[1], s->size - first)) {
        c->single = 1;
        return cpu_resume(c);
    }
    return bounce(c, s, lin, pa, first);
}
