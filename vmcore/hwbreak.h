/* The guest's own breakpoints, in DR0..DR3 and DR7; only while cpu->dr_active. */
#ifndef VT_HWBREAK_H
#define VT_HWBREAK_H

#include "vmcore/cpu.h"

/* What the debug exception that is about to be raised says in DR6: its low four bits are of this one alone, the others
 * stay until software clears them (AMD APM vol. 2, 13.1.1.3). */
static inline void hwbreak_status(struct cpu *c, unsigned bits)
{
    c->dr[6] = (c->dr[6] & ~15ull) | bits;
}

/* DR6's bits for execution breakpoints at lin. */
unsigned hwbreak_exec(const struct cpu *c, uint64_t lin);
/* Does a data breakpoint touch [lin, lin + len)? */
bool hwbreak_watches(const struct cpu *c, uint64_t lin, uint64_t len);
/* An access, or a port's, has happened: what it met is in dr_hit, for the trap after the instruction. */
void hwbreak_access(struct cpu *c, uint64_t lin, unsigned len, bool write);
void hwbreak_io(struct cpu *c, uint16_t port, unsigned len);

#endif
