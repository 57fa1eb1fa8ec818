/* The debug registers' breakpoints. While DR7 has one on, every block is one instruction, and watched pages are never
 * in the TLB: exact, and slow. Intel SDM vol. 3, chapter 17.2. */
#include "vmcore/hwbreak.h"

static bool enabled(const struct cpu *c, unsigned n)
{
    return c->dr[7] >> (2 * n) & 3;
}

static unsigned kind(const struct cpu *c, unsigned n) /* 0 execution, 1 write, 2 I/O, 3 read or write */
{
    return c->dr[7] >> (16 + 4 * n) & 3;
}

static unsigned length(const struct cpu *c, unsigned n)
{
    static const uint8_t bytes[4] = {1, 2, 8, 4};

    return bytes[c->dr[7] >> (18 + 4 * n) & 3];
}

void cpu_debug_changed(struct cpu *c)
{
    bool active = c->dr[7] & 0xff;

    if (active || c->dr_active)
        mmu_flush_all(c); /* pages are watched, or no longer */
    c->dr_active = active;
}

unsigned hwbreak_exec(const struct cpu *c, uint64_t lin)
{
    unsigned hit = 0;

    for (unsigned n = 0; n < 4; n++)
        if (enabled(c, n) && kind(c, n) == 0 && cpu_lin_wrap(c, c->dr[n]) == lin)
            hit |= 1u << n;
    return hit;
}

static bool overlaps(const struct cpu *c, unsigned n, uint64_t lin, uint64_t len)
{
    uint64_t size = length(c, n), at = cpu_lin_wrap(c, c->dr[n]) & ~(size - 1);

    return at < lin + len && lin < at + size;
}

bool hwbreak_watches(const struct cpu *c, uint64_t lin, uint64_t len)
{
    for (unsigned n = 0; n < 4; n++)
        if (enabled(c, n) && (kind(c, n) & 1) && overlaps(c, n, lin, len))
            return true;
    return false;
}

void hwbreak_access(struct cpu *c, uint64_t lin, unsigned len, bool write)
{
    for (unsigned n = 0; n < 4; n++)
        if (enabled(c, n) && (kind(c, n) == 3 || (kind(c, n) == 1 && write)) && overlaps(c, n, lin, len))
            c->dr_hit |= (uint8_t)(1u << n);
}

void hwbreak_io(struct cpu *c, uint16_t port, unsigned len)
{
    for (unsigned n = 0; n < 4; n++)
        if (enabled(c, n) && kind(c, n) == 2 && (c->cr4 & CR4_DE) && overlaps(c, n, port, len))
            c->dr_hit |= (uint8_t)(1u << n);
}
