/* What struct cpu remembers of pages and of jump targets, so that emitted code need not ask. Part of cpu.h. */
#ifndef VT_CPU_TABLES_H
#define VT_CPU_TABLES_H

#include <stdint.h>
#include "vmcore/cpu_offsets.h"
#include "vmcore/cpu_regs.h"

#define TLB_LIST_MAX 8192
struct tlb_list {
    uint32_t n;
    uint32_t page[TLB_LIST_MAX];
};

#define TLB64_SIZE    (1u << TLB64_BITS)
#define TLB64_INVALID 1ull /* a tag that no page has */
struct tlb64 {
    uint64_t tag, addend;
};
struct tlb64_list { /* slots that may be filled */
    uint32_t n;
    uint16_t slot[TLB64_SIZE];
    uint8_t in[TLB64_SIZE];
};

/* See tlb_pcid.c. */
#define TLB_PCIDS 8
#define TLB_KEPT  1024
struct kept_entry {
    uint64_t lin, addend; /* of code: its backing page + 1 */
};
struct kept_pcid {
    uint8_t valid;
    uint16_t pcid;
    uint32_t n;
    struct kept_entry entry[TLB_KEPT];
};

#define LARGE_SIZE 1024

#define JH_BITS 17
struct jump_hash {    /* by what stands behind an address: processes share it */
    const void *code; /* flags saved; NULL: unused */
    uint32_t backing; /* page + 1 */
    uint32_t off, mode, pad;
    uint32_t plan;   /* 64-bit code: the block's, if flags are dead at its entry; else one that none has */
    int32_t spilled; /* its entry for those of its plan, from `code` on */
};

#define JH_FACTOR 0x9e3779b1u
static inline uint32_t jump_slot(uint32_t backing, uint32_t off)
{
    return (backing * JH_FACTOR >> (32 - JH_BITS)) ^ off;
}

/* What the jump hash and the code TLB together said since either changed, or the mode but for its privilege: no other
 * check is needed. One for supervisor, one for user mode, one for the supervisor under M_LIFT; see cpu_forget_near().
 */
#define NEAR_SIZE 4096
#define NEAR_LIST 1024 /* so many fills are noted, to be taken back one by one */
#define NEAR_SETS 3
struct jump_near {
    uint64_t eip; /* unused: one that belongs elsewhere */
    const void *code, *spilled;
    uint32_t plan, pad;
};
static inline unsigned near_slot(uint64_t eip)
{
    return eip >> 3 & (NEAR_SIZE - 1); /* functions begin at multiples of 16, calls return anywhere */
}
struct near_list { /* entries that were filled, by their offsets in their table; NEAR_LIST: more than that */
    uint32_t n, at[NEAR_LIST + 1];
};
#define NEAR_MAP 32768
static inline unsigned near_page(uint64_t lin)
{
    return (unsigned)(lin >> 12 ^ lin >> 27) % NEAR_MAP;
}

/* The page with code that was written last, for each set of the TLB. */
struct mixed_page {
    uint64_t minus_lin; /* its linear address negated, or CPU_NO_STACK */
    uint64_t addend;
    uint32_t bpn;       /* what room[] is of, or MEM_NONE */
    uint32_t next;      /* the last page that was written and is another */
    uint8_t room[4096]; /* bytes from each place on that no translation rests on; 255: so many or more */
};

/* The set for data accesses of code that runs in a mode: its own, or the processor's in its name (descriptor tables,
 * TSS). */
static inline int tlb_set(uint32_t mode)
{
    return (mode & M_CPL) == 3 ? 1 : (mode & (M_SMAP | M_LIFT)) == M_SMAP ? 2 : 0;
}
/* The table of near[]: these bits may change without making it wrong. */
#define NEAR_BITS (M_CPL | M_LIFT)
static inline int near_set(uint32_t mode)
{
    return (mode & M_CPL) == 3 ? 1 : mode & M_LIFT ? 2 : 0;
}
static inline int tlb_set_implicit(uint32_t mode)
{
    return mode & M_SMAP ? 2 : 0;
}

#endif
