#include "mode.h"

#include <stddef.h>
#include <string.h>

#include "layout.h"

/* 32-bit: truncating an address in the code area to 16 bits never gives one in LOW: whether data can be executed is not
 * asked. 64-bit: code, data and self-modified code are within the reach of RIP-relative operands and far above 4 GiB,
 * the stack is out of that reach. 16-bit: the stack ends with its segment, so that SP wraps; data ends before its
 * segment does, with a read-only page of which the limit cuts off a part. */
static const struct mode modes[] = {
    {.mode = CPU_TEST_32,
     .name = "32",
     .gprs = 8,
     .mask = 0xffffffff,
     .code = 0x10000000,
     .data = 0x20000000,
     .stack = 0x30000000,
     .low = 0xd000,
     .smc = 0x18000000},
    {.mode = CPU_TEST_64,
     .name = "64",
     .gprs = 16,
     .mask = UINT64_MAX,
     .code = 0x234510000000,
     .code2 = 0x7fffffffe000 - CODE_PAGES * INSN_PAGE,
     .data = 0x234520000000,
     .stack = 0x678930000000,
     .low = 0x1d000000,
     .edge = 0x7fffffffe000,
     .wrap = 0xfffff000,
     .smc = 0x234518000000},
    {.mode = CPU_TEST_16,
     .name = "16",
     .gprs = 8,
     .mask = 0xffffffff,
     .code = 0x10000000,
     .data = 0x20000000,
     .stack = 0x30000000,
     .low = 0xd000,
     .smc = 0x1000e000,
     .cs_base = 0x10000000,
     .ss_base = 0x30000000 - 0xe000,
     .ds_base = 0x20000000 - 0xd000,
     .ds_limit = 0xf7ff},
};

const struct mode *mode_get(enum cpu_test_mode mode)
{
    return &modes[mode];
}

const struct mode *mode_by_name(const char *name)
{
    for (unsigned i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
        if (strcmp(modes[i].name, name) == 0)
            return &modes[i];
    return NULL;
}

uint64_t mode_code_offset(const struct mode *m, uint64_t va)
{
    return va - (m->code2 && va >= m->code2 ? m->code2 : m->code);
}

enum { RANGES = 6 };
struct range {
    uint64_t va;
    unsigned first, pages;
};

static void ranges_of(const struct mode *m, struct range r[RANGES])
{
    r[0] = (struct range){m->data, PAGE_DATA, PAGE_STACK - PAGE_DATA};
    r[1] = (struct range){m->stack, PAGE_STACK, PAGE_LOW - PAGE_STACK};
    r[2] = (struct range){m->low, PAGE_LOW, PAGE_EDGE - PAGE_LOW};
    r[3] = (struct range){m->edge, PAGE_EDGE, m->edge ? PAGE_WRAP - PAGE_EDGE : 0};
    r[4] = (struct range){m->wrap, PAGE_WRAP, m->wrap ? PAGE_SMC - PAGE_WRAP : 0};
    r[5] = (struct range){m->smc, PAGE_SMC, MEM_PAGES - PAGE_SMC};
}

uint64_t mode_page(const struct mode *m, unsigned i)
{
    struct range r[RANGES];
    ranges_of(m, r);
    for (unsigned k = 0; k < RANGES; k++)
        if (i - r[k].first < r[k].pages)
            return r[k].va + (i - r[k].first) * INSN_PAGE;
    return 0;
}

int mode_offset(const struct mode *m, uint64_t va)
{
    struct range r[RANGES];
    ranges_of(m, r);
    for (unsigned k = 0; k < RANGES; k++)
        if (va - r[k].va < r[k].pages * INSN_PAGE)
            return (int)(r[k].first * INSN_PAGE + (va - r[k].va));
    return -1;
}

struct mode_segment mode_ldt(const struct mode *m, unsigned i)
{
    if (i == SEL_CODE16 >> 3)
        return (struct mode_segment){m->cs_base, 0xffff, true};
    if (i == SEL_STACK16 >> 3)
        return (struct mode_segment){m->ss_base, 0xffff, false};
    return (struct mode_segment){m->ds_base, m->ds_limit, false};
}
