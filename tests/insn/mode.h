/* The kinds of code that are tested, and where each has its memory. Linear addresses, the same on the host CPU and in
 * the translated machine. */
#ifndef INSN_MODE_H
#define INSN_MODE_H

#include <stdbool.h>
#include <stdint.h>

#include "vmcore/cpu_test.h"

#define INSN_PAGE 4096u

/* The data pages, in the order of the images. LOW is what addresses narrower than the code's reach; EDGE is the last
 * page that user code can have and WRAP the two pages around 4 GiB, 64-bit code only. */
enum { PAGE_DATA, PAGE_RO = 2, PAGE_STACK, PAGE_LOW = 5, PAGE_EDGE = 7, PAGE_WRAP, PAGE_SMC = 10, MEM_PAGES = 12 };
#define MEM_BYTES (MEM_PAGES * INSN_PAGE)

struct mode {
    enum cpu_test_mode mode;
    const char *name;
    unsigned gprs;
    uint64_t mask;  /* of what a general register holds, and of a linear address */
    uint64_t code;  /* test code: one slot a case, filled with INT3 around the case's bytes */
    uint64_t code2; /* the same again elsewhere, with EDGE behind it; 0: none */
    uint64_t data;  /* two writable pages, then a read-only one; unmapped pages on both sides */
    uint64_t stack; /* two writable pages, unmapped ones on both sides */
    uint64_t low;   /* two writable pages, where the host allows them */
    uint64_t edge;  /* 0: none */
    uint64_t wrap;  /* 0: none */
    uint64_t smc;   /* two pages that are writable and executable, for code that changes itself */
    /* Bases of the segments that are not flat, and the limit of DS: 16-bit code only. */
    uint32_t cs_base, ss_base, ds_base, ds_limit;
};

const struct mode *mode_get(enum cpu_test_mode mode);
/* Offset in the code area of an address in it or in its second place. */
uint64_t mode_code_offset(const struct mode *m, uint64_t va);
/* NULL: no such name. */
const struct mode *mode_by_name(const char *name);

/* Linear address of page i of the images. */
uint64_t mode_page(const struct mode *m, unsigned i);
/* Offset of a linear address in the images, -1 where no page is. */
int mode_offset(const struct mode *m, uint64_t va);

/* Selectors of 16-bit code, in a local descriptor table. */
enum { SEL_CODE16 = 0x07, SEL_STACK16 = 0x0f, SEL_DATA16 = 0x17, SEGMENTS16 = 3 };
struct mode_segment {
    uint32_t base, limit;
    bool code;
};
/* Descriptor i of that table: byte granular, 16 bits wide, readable or writable, ring 3. */
struct mode_segment mode_ldt(const struct mode *m, unsigned i);

#endif
