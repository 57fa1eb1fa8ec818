/* REP strings, and strings with 16-bit addresses: native runs of min(count, rest of either page), registers written
 * back after each, so that faults and interrupts fall between runs. Devices, code pages and elements that cross a page
 * go one at a time through mmu_read and mmu_write. */
#include "vmcore/tlb.h"

#include "src/base/util.h"
#include "vmcore/debug.h"
#include "vmcore/hwbreak.h"
#include "vmcore/helpers.h"
#include "vmcore/mem.h"
#include "vmcore/rt.h"

enum { OP_MOVS, OP_STOS, OP_LODS, OP_CMPS, OP_SCAS };

struct str {
    unsigned op, size, seg;
    bool rep, repne, down;
    uint64_t mask; /* of index and count registers */
};

static uint64_t get(const struct cpu *c, int reg, uint64_t mask)
{
    return c->gpr[reg] & mask;
}

static void put(struct cpu *c, int reg, uint64_t v, uint64_t mask)
{
    c->gpr[reg] = mask == 0xffff ? (c->gpr[reg] & ~mask) | (v & mask) : v & mask;
}

/* A host pointer to guest memory at lin from the TLB, filling it first; NULL: not plain memory (or a fault). writes: so
 * many bytes of the page from there on are about to be written; 0: read. */
static uint8_t *host_ptr(struct cpu *c, uint64_t lin, uint64_t writes, bool *fault)
{
    bool write = writes;
    uint8_t *hit = tlb_host(c, tlb_set(c->mode), lin, write), dummy;
    uint64_t pa;
    uint32_t flags, bpn;

    *fault = false;
    if (hit)
        return hit;
    if (mmu_translate(c, lin, write ? ACC_WRITE : ACC_READ, &pa, &flags)) {
        *fault = true;
        return NULL;
    }
    bpn = mem_bpn(c->mem, pa);
    if ((c->debug && debug_watched(c->debug, lin, 1)) || (c->dr_active && hwbreak_watches(c, lin & ~0xfffull, 4096)))
        return NULL;
    if (bpn == MEM_NONE || (write && mem_wbpn(c->mem, pa) != bpn))
        return NULL;
    if (write && mem_has_code(c->mem, bpn)) { /* it goes all at once, then no further byte needs to be asked about */
        mem_wrote(c->mem, bpn, lin & 0xfff, (uint32_t)writes);
        if (mem_has_code(c->mem, bpn))
            return NULL;
    }
    if (write) /* its side effects are those of a write to come: version, dirty bit */
        mmu_fill(c, lin, bpn, true, flags);
    else if (mmu_read(c, lin, &dummy, 1, 0))
        return NULL;
    return tlb_host(c, tlb_set(c->mode), lin, write);
}

static uint64_t left_in_page(uint64_t lin, unsigned size, bool down)
{
    if (down)
        return ((lin & 0xfff) + size > 4096 ? 0 : (lin & 0xfff) / size + 1);
    return (4096 - (lin & 0xfff)) / size;
}

static void native_movs(uint8_t *d, const uint8_t *s, uint64_t n, unsigned size, bool down)
{
    uint64_t cnt = n;

    if (down)
        __asm__ volatile("std" ::: "cc");
    if (size == 1)
        __asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(cnt) : : "memory");
    else if (size == 2)
        __asm__ volatile("rep movsw" : "+D"(d), "+S"(s), "+c"(cnt) : : "memory");
    else if (size == 4)
        __asm__ volatile("rep movsl" : "+D"(d), "+S"(s), "+c"(cnt) : : "memory");
    else
        __asm__ volatile("rep movsq" : "+D"(d), "+S"(s), "+c"(cnt) : : "memory");
    if (down)
        __asm__ volatile("cld" ::: "cc");
}

static void native_stos(uint8_t *d, uint64_t v, uint64_t n, unsigned size, bool down)
{
    uint64_t cnt = n;

    if (down)
        __asm__ volatile("std" ::: "cc");
    if (size == 1)
        __asm__ volatile("rep stosb" : "+D"(d), "+c"(cnt) : "a"(v) : "memory");
    else if (size == 2)
        __asm__ volatile("rep stosw" : "+D"(d), "+c"(cnt) : "a"(v) : "memory");
    else if (size == 4)
        __asm__ volatile("rep stosl" : "+D"(d), "+c"(cnt) : "a"(v) : "memory");
    else
        __asm__ volatile("rep stosq" : "+D"(d), "+c"(cnt) : "a"(v) : "memory");
    if (down)
        __asm__ volatile("cld" ::: "cc");
}

static uint64_t flags_of_compare(uint64_t a, uint64_t b, unsigned size)
{
    uint64_t f;

    if (size == 1)
        __asm__("cmpb %b2, %b1; lahf; seto %%al" : "=&a"(f) : "q"(a), "q"(b) : "cc");
    else if (size == 2)
        __asm__("cmpw %w2, %w1; lahf; seto %%al" : "=&a"(f) : "r"(a), "r"(b) : "cc");
    else if (size == 4)
        __asm__("cmpl %k2, %k1; lahf; seto %%al" : "=&a"(f) : "r"(a), "r"(b) : "cc");
    else
        __asm__("cmpq %2, %1; lahf; seto %%al" : "=&a"(f) : "r"(a), "r"(b) : "cc");
    return f & 0xffff;
}

static uint64_t load(const uint8_t *p, unsigned size)
{
    uint64_t v = 0;

    memcpy(&v, p, size);
    return v;
}

static uint64_t cut(uint64_t v, unsigned size)
{
    return size == 8 ? v : v & ((1ull << (8 * size)) - 1);
}

/* Compares run element by element, but over host pointers. Returns how many were done; *stop when the condition ended
 * it. */
static uint64_t run_compare(struct cpu *c, const struct str *t, const uint8_t *a, const uint8_t *b, uint64_t n,
                            bool *stop)
{
    int step = t->down ? -(int)t->size : (int)t->size;
    uint64_t acc = cut(c->gpr[R_EAX], t->size), x = 0, y = 0, i = 0;

    *stop = false;
    while (i < n) {
        x = t->op == OP_SCAS ? acc : load(a, t->size);
        y = load(b, t->size);
        i++;
        a += step;
        b += step;
        if ((x == y) == t->repne) {
            *stop = true;
            break;
        }
    }
    c->r12 = flags_of_compare(x, y, t->size);
    return i;
}

static void advance(struct cpu *c, const struct str *t, uint64_t n)
{
    uint64_t d = t->down ? 0 - n * t->size : n * t->size;

    if (t->op != OP_STOS && t->op != OP_SCAS)
        put(c, R_ESI, c->gpr[R_ESI] + d, t->mask);
    if (t->op != OP_LODS)
        put(c, R_EDI, c->gpr[R_EDI] + d, t->mask);
    if (t->rep)
        put(c, R_ECX, c->gpr[R_ECX] - n, t->mask);
}

static void set_acc(struct cpu *c, uint64_t v, unsigned size)
{
    if (size >= 4)
        c->gpr[R_EAX] = v;
    else if (size == 2)
        c->gpr[R_EAX] = (c->gpr[R_EAX] & ~0xffffull) | v;
    else
        c->gpr[R_EAX] = (c->gpr[R_EAX] & ~0xffull) | v;
}

/* One element, by checked accesses. */
static int one(struct cpu *c, const struct str *t, uint64_t src, uint64_t dst, bool *stop)
{
    uint64_t a = 0, b = 0;

    *stop = false;
    switch (t->op) {
    case OP_MOVS:
        if (mmu_read(c, src, &a, t->size, 0) || mmu_write(c, dst, &a, t->size, 0))
            return 1;
        break;
    case OP_STOS:
        a = c->gpr[R_EAX];
        if (mmu_write(c, dst, &a, t->size, 0))
            return 1;
        break;
    case OP_LODS:
        if (mmu_read(c, src, &a, t->size, 0))
            return 1;
        set_acc(c, a, t->size);
        break;
    default:
        if (mmu_read(c, dst, &b, t->size, 0)) /* the order in which CPUs fault */
            return 1;
        if (t->op == OP_CMPS && mmu_read(c, src, &a, t->size, 0))
            return 1;
        if (t->op == OP_SCAS)
            a = cut(c->gpr[R_EAX], t->size);
        c->r12 = flags_of_compare(a, b, t->size);
        *stop = (a == b) == t->repne;
    }
    advance(c, t, 1);
    return 0;
}

/* Has the segment no limit to check within 4 GiB? */
static bool unbounded(const struct cpu *c, unsigned seg)
{
    return (c->mode & M_CODE64) || c->seg[seg].fast_lim == 0xffffffffll;
}

/* 0 went on, 1 exception, 2 condition met. */
static int turn(struct cpu *c, const struct str *t, uint64_t count)
{
    bool uses_src = t->op != OP_STOS && t->op != OP_SCAS, uses_dst = t->op != OP_LODS, stop, fault;
    bool writes = t->op == OP_MOVS || t->op == OP_STOS;
    uint64_t so = get(c, R_ESI, t->mask), dof = get(c, R_EDI, t->mask), src = 0, dst = 0, n = count;
    uint8_t *hs = NULL, *hd = NULL;
    uint64_t copies;

    /* CMPS looks at its destination first, also where the source's segment is unusable */
    if (t->op == OP_CMPS && !unbounded(c, t->seg) &&
        (seg_check(c, S_ES, dof, t->size, ACC_READ, &dst) || mmu_probe(c, dst, t->size, ACC_READ)))
        return 1;
    if (uses_src && seg_check(c, t->seg, so, t->size, ACC_READ, &src))
        return 1;
    if (t->op == OP_MOVS && (!unbounded(c, S_ES) || !cpu_canonical(dof)) && mmu_probe(c, src, t->size, ACC_READ))
        return 1;
    if (uses_dst && seg_check(c, S_ES, dof, t->size, writes ? ACC_WRITE : ACC_READ, &dst))
        return 1;
    if (uses_src)
        n = MIN(n, left_in_page(src, t->size, t->down));
    if (uses_dst)
        n = MIN(n, left_in_page(dst, t->size, t->down));
    /* a segment that is not flat, or 16-bit indices: a run must not pass their end */
    if (n > 1 && (t->mask == 0xffff || !unbounded(c, S_ES) || !unbounded(c, t->seg)))
        n = 1;
    if (n > 1 && (c->mode & M_CODE64) && t->mask == 0xffffffffu) /* nor the end of the low 4 GiB */
        n = 1;
    if (n && uses_dst && t->op == OP_CMPS && !(hd = host_ptr(c, dst, 0, &fault)) && fault)
        return 1;
    if (n && uses_src && !(hs = host_ptr(c, src, 0, &fault)) && fault)
        return 1;
    copies = c->mem->copies;
    if (n && uses_dst && !hd && !(hd = host_ptr(c, dst, !writes ? 0 : t->down ? 1 : n * t->size, &fault)) && fault)
        return 1;
    if (hs && c->mem->copies != copies) /* the first write to a page has moved it, and the source may be on it */
        hs = tlb_host(c, tlb_set(c->mode), src, false);
    if (!n || (uses_src && !hs) || (uses_dst && !hd)) {
        if (one(c, t, src, dst, &stop))
            return 1;
        return stop ? 2 : 0;
    }
    stop = false;
    switch (t->op) {
    case OP_MOVS:
        native_movs(hd, hs, n, t->size, t->down);
        break;
    case OP_STOS:
        native_stos(hd, c->gpr[R_EAX], n, t->size, t->down);
        break;
    case OP_LODS:
        set_acc(c, load(hs + (t->down ? -(int64_t)((n - 1) * t->size) : (int64_t)((n - 1) * t->size)), t->size),
                t->size);
        break;
    default:
        n = run_compare(c, t, hs, hd, n, &stop);
    }
    advance(c, t, n);
    return stop ? 2 : 0;
}

static bool flat_seg(const struct cpu *c, unsigned seg)
{
    return unbounded(c, seg) && (!c->seg[seg].base || ((c->mode & M_CODE64) && seg < S_FS));
}

/* The common case: REP MOVS or STOS upwards, inside one page each, flat, both in the TLB. */
static bool quick(struct cpu *c, const struct site *s)
{
    unsigned op = s->arg & 0xff, size = (s->arg >> 8) & 0xff;
    uint64_t mask = c->mode & M_CODE64 ? ~0ull : 0xffffffffull, n = c->gpr[R_ECX] & mask, bytes = n * size;
    uint64_t src = c->gpr[R_ESI] & mask, dst = c->gpr[R_EDI] & mask;
    uint8_t *d, *h;

    if (op > OP_STOS || s->arg2 != (c->mode & M_CODE64 ? 9 : 1) || (c->eflags & (EF_DF | EF_TF)) || c->dr_active ||
        n > 4096 || (dst & 0xfff) + bytes > 4096 || !flat_seg(c, S_ES) ||
        !(d = tlb_host(c, tlb_set(c->mode), dst, true)))
        return false;
    if (op == OP_MOVS) {
        if ((src & 0xfff) + bytes > 4096 || !flat_seg(c, (s->arg >> 16) & 7) ||
            !(h = tlb_host(c, tlb_set(c->mode), src, false)))
            return false;
        native_movs(d, h, n, size, false);
        c->gpr[R_ESI] = (src + bytes) & mask;
    } else
        native_stos(d, c->gpr[R_EAX], n, size, false);
    c->gpr[R_EDI] = (dst + bytes) & mask;
    c->gpr[R_ECX] = 0;
    return true;
}

/* arg: operation, size << 8, source segment << 16; arg2: 1 REP, 2 REPNE, 4 16-bit addresses, 8 64-bit ones. */
int help_string(struct cpu *c, const struct site *s, uint64_t addr)
{
    struct str t = {s->arg & 0xff,
                    (s->arg >> 8) & 0xff,
                    (s->arg >> 16) & 7,
                    s->arg2 & 1,
                    s->arg2 & 2,
                    c->eflags & EF_DF,
                    s->arg2 & 8   ? ~0ull
                    : s->arg2 & 4 ? 0xffffull
                                  : 0xffffffffull};
    bool bounded = (c->eflags & EF_TF) || c->dr_active;
    uint64_t before = c->r12; /* what the flags are while it is not complete (SDM vol. 2, REP) */

    if (quick(c, s))
        return 0;
    if (!t.rep)
        return turn(c, &t, 1) == 1;
    if (t.mask == 0xffffffffu && (c->mode & M_CODE64)) { /* cut whatever happens, as current CPUs do */
        put(c, R_ECX, c->gpr[R_ECX], t.mask);
        if (t.op <= OP_STOS)
            advance(c, &t, 0);
    }
    for (;;) {
        uint64_t count = get(c, R_ECX, t.mask);
        int r;
        if (!count)
            return 0;
        r = turn(c, &t, bounded ? 1 : count);
        if (r == 1) {
            c->r12 = before;
            return 1;
        }
        if (r == 2 && (t.op == OP_CMPS || t.op == OP_SCAS))
            return 0;
        if (get(c, R_ECX, t.mask) && (__atomic_load_n(&c->attn, __ATOMIC_RELAXED) || bounded)) {
            c->r12 = before;
            c->next_eip = c->eip; /* again, after what wants attention */
            c->eflags |= EF_RF;   /* for the frame of what comes between two iterations: SDM vol. 3, 17.3.1.1 */
            return 0;
        }
    }
}
