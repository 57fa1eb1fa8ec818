/* Helper numbers, and how their arguments are packed in struct site. */
#ifndef VT_HELPERS_H
#define VT_HELPERS_H

#include "vmcore/cpu.h"

enum {
#define HELPER(n) HELPER_##n,
#include "vmcore/helpers.def"
#undef HELPER
    HELPER_COUNT
};
#define HELPER(n) int help_##n(struct cpu *c, const struct site *s, uint64_t addr);
#include "vmcore/helpers.def"
#undef HELPER

/* arg of rows with operands: size in bytes 7:0, HELP_MEM, HELP_DX, segment 18:16, ModRM.reg 27:24, ModRM.rm 31:28.
 * arg2: immediates (16 bits each, the last one lowest), HELP_REP, HELP_A16. addr: offset of the memory operand. */
#define HELP_MEM 0x100u
#define HELP_DX  0x200u
#define HELP_REP 0x80000000u
#define HELP_A16 0x40000000u
#define HELP_A64 0x20000000u

/* arg of vgather and vmaskmov: numbers of registers and shifts of the index, segment 18:16, and what else they are. */
enum { VEX_DST = 0, VEX_MASK = 4, VEX_INDEX = 8, VEX_SCALE = 12 };
#define VEX_256        0x100000u
#define VEX_WIDE       0x200000u /* elements of 8 bytes */
#define VEX_WIDE_INDEX 0x400000u
#define VEX_STORE      0x800000u
#define VEX_A64        0x1000000u
static inline unsigned vex_reg(const struct site *s, unsigned which)
{
    return s->arg >> which & 15;
}
static inline unsigned vex_scale(const struct site *s)
{
    return s->arg >> VEX_SCALE & 3;
}

static inline unsigned help_size(const struct site *s)
{
    return s->arg & 0xff;
}
static inline unsigned help_seg(const struct site *s)
{
    return (s->arg >> 16) & 7;
}
static inline unsigned help_reg(const struct site *s)
{
    return (s->arg >> 24) & 15;
}
static inline unsigned help_rm(const struct site *s)
{
    return (s->arg >> 28) & 15;
}

#endif
