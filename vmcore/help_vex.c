/* VEX instructions whose accesses depend on a mask: gathers and masked moves. An element that is masked out is never
 * accessed, so they go element by element, through the TLB where it has the page. Intel SDM vol. 2, VGATHERDPS and
 * VMASKMOV. */
#include "vmcore/tlb.h"

#include "vmcore/helpers.h"
#include "vmcore/rt.h"

union vec {
    uint8_t b[32];
    uint64_t q[4];
};

#define EACH_REGISTER(op) \
    op(0) op(1) op(2) op(3) op(4) op(5) op(6) op(7) op(8) op(9) op(10) op(11) op(12) op(13) op(14) op(15)

static void get_ymm(unsigned n, union vec *v)
{
    switch (n) {
#define GET(i)                                         \
    case i:                                            \
        __asm__("vmovdqu %%ymm" #i ", %0" : "=m"(*v)); \
        break;
        EACH_REGISTER(GET)
#undef GET
    default:
        break;
    }
}

static void set_ymm(unsigned n, const union vec *v)
{
    switch (n) {
#define SET(i)                                                \
    case i:                                                   \
        __asm__ volatile("vmovdqu %0, %%ymm" #i : : "m"(*v)); \
        break;
        EACH_REGISTER(SET)
#undef SET
    default:
        break;
    }
}

static bool chosen(const union vec *mask, unsigned i, unsigned size)
{
    return mask->b[(i + 1) * size - 1] >> 7;
}

static int read_element(struct cpu *c, unsigned seg, uint64_t off, unsigned size, void *to)
{
    const uint8_t *host;
    uint64_t lin, v;

    if (seg_check(c, seg, off, size, ACC_READ, &lin))
        return 1;
    host = (lin & 0xfff) + size <= 4096 ? tlb_host(c, tlb_set(c->mode), lin, false) : NULL;
    if (!host && mmu_read(c, lin, &v, size, 0)) /* may have read a part of it */
        return 1;
    memcpy(to, host ? host : (const uint8_t *)&v, size);
    return 0;
}

/* At a fault what was read stays read, and the mask says what was not, its elements all ones or none over the whole
 * length of the instruction, so that the next turn goes on there. */
int help_vgather(struct cpu *c, const struct site *s, uint64_t addr)
{
    unsigned size = s->arg & VEX_WIDE ? 8 : 4, isize = s->arg & VEX_WIDE_INDEX ? 8 : 4,
             len = s->arg & VEX_256 ? 32 : 16;
    unsigned n = len / (size > isize ? size : isize);
    union vec dst, mask, index;
    int fault = 0;

    get_ymm(vex_reg(s, VEX_DST), &dst);
    get_ymm(vex_reg(s, VEX_MASK), &mask);
    get_ymm(vex_reg(s, VEX_INDEX), &index);
    for (unsigned i = 0; i < len / size; i++)
        memset(mask.b + i * size, chosen(&mask, i, size) ? 0xff : 0, size);
    memset(mask.b + len, 0, sizeof mask - len);
    for (unsigned i = 0; i < n; i++) {
        int64_t at = 0;
        uint64_t off;
        memcpy(&at, index.b + i * isize, isize);
        off = addr + ((uint64_t)(isize == 4 ? (int32_t)at : at) << vex_scale(s));
        if (!chosen(&mask, i, size))
            continue;
        fault = read_element(c, help_seg(s), s->arg & VEX_A64 ? off : (uint32_t)off, size, dst.b + i * size);
        if (fault)
            break;
        memset(mask.b + i * size, 0, size);
        memset(dst.b + len, 0, sizeof dst - len);
    }
    if (!fault) {
        memset(dst.b + n * size, 0, sizeof dst - n * size);
        memset(&mask, 0, sizeof mask);
    }
    set_ymm(vex_reg(s, VEX_DST), &dst);
    set_ymm(vex_reg(s, VEX_MASK), &mask);
    return fault;
}

/* The address wraps as a whole, not within the operand. */
static uint64_t element(const struct cpu *c, uint64_t addr, unsigned at)
{
    return cpu_wrap(c, addr + at);
}

/* Nothing is written before all that will be has been checked. */
static int store(struct cpu *c, const struct site *s, uint64_t addr, unsigned n, unsigned size)
{
    union vec v, mask;
    uint64_t lin;

    get_ymm(vex_reg(s, VEX_DST), &v);
    get_ymm(vex_reg(s, VEX_MASK), &mask);
    for (unsigned i = 0; i < n; i++)
        if (chosen(&mask, i, size) && (seg_check(c, help_seg(s), element(c, addr, i * size), size, ACC_WRITE, &lin) ||
                                       mmu_probe(c, lin, size, ACC_WRITE)))
            return 1;
    for (unsigned i = 0; i < n; i++)
        if (chosen(&mask, i, size) && (seg_check(c, help_seg(s), element(c, addr, i * size), size, ACC_WRITE, &lin) ||
                                       mmu_write(c, lin, v.b + i * size, size, 0)))
            return 1;
    return 0;
}

int help_vmaskmov(struct cpu *c, const struct site *s, uint64_t addr)
{
    unsigned size = s->arg & VEX_WIDE ? 8 : 4, n = (s->arg & VEX_256 ? 32 : 16) / size;
    union vec v = {{0}}, mask;

    if (s->arg & VEX_STORE)
        return store(c, s, addr, n, size);
    get_ymm(vex_reg(s, VEX_MASK), &mask);
    for (unsigned i = 0; i < n; i++)
        if (chosen(&mask, i, size) && read_element(c, help_seg(s), element(c, addr, i * size), size, v.b + i * size))
            return 1;
    set_ymm(vex_reg(s, VEX_DST), &v);
    return 0;
}
