/* The software TLB's slots: filled by the walk (mmu.c), read by emitted code. */
#ifndef VT_TLB_H
#define VT_TLB_H

#include "vmcore/cpu.h"

/* What a walk says of a page: may be written with the dirty bit set already; global; part of a large one; of 1 GiB;
 * with accessed bits that a probe has left clear. */
enum { TR_WRITE = 1, TR_GLOBAL = 2, TR_LARGE = 4, TR_HUGE = 8, TR_FRESH = 16 };

void tlb_init(struct cpu *c);
/* host: the page's bytes. write: the write tag, too. In the current mode's table. */
void tlb_fill(struct cpu *c, int user, uint64_t lin, uint8_t *host, bool write, uint32_t flags);
void tlb_fill_code(struct cpu *c, int user, uint64_t lin, uint32_t bpn, uint32_t flags);

/* An entry of 64-bit code that was put aside, and one of its code TLB. */
void tlb_again(struct cpu *c, int user, uint64_t lin, uint64_t addend, bool write);
void tlb_again_code(struct cpu *c, int user, uint64_t lin, uint32_t backing);

/* tlb_pcid.c: by PCID */
void tlb_put_aside(struct cpu *c, unsigned pcid);
void tlb_bring_back(struct cpu *c, unsigned pcid);
void tlb_forget_pcid(struct cpu *c, unsigned pcid);
void tlb_forget_pcids(struct cpu *c);

/* The host address of lin where the current mode's table has its page for this kind of access, else NULL. */
static inline uint8_t *tlb_host(struct cpu *c, int user, uint64_t lin, bool write)
{
    if (c->mode & M_CODE64) {
        const struct tlb64 *t = cpu_tlb64(c, user, write, lin);
        return t->tag == (lin & ~0xfffull) ? (uint8_t *)(t->addend + lin) : NULL;
    }
    if (lin >> 32 || cpu_tags(c, user, (uint32_t)lin >> 12)[write] != ((uint32_t)lin & 0xfffff000u))
        return NULL;
    return (uint8_t *)(*cpu_addend(c, user, (uint32_t)lin >> 12) + lin);
}
/* Backing page + 1 of code at lin, 0: not known. */
static inline uint32_t tlb_code(struct cpu *c, int user, uint64_t lin)
{
    if (c->mode & M_CODE64) {
        const struct tlb64 *t = cpu_code64(c, user, lin);
        return t->tag == (lin & ~0xfffull) ? (uint32_t)t->addend : 0;
    }
    return *cpu_code_tab(c, user, (uint32_t)lin >> 12);
}

#endif
