/* What a debugger has asked of the processor: breakpoints, watchpoints, single steps. cpu->debug points here from the
 * first request until vm_debug_clear(), and is NULL otherwise, so that a machine without a debugger pays one test in
 * the slow paths.
 *
 * Invariants while it is not NULL:
 *  1. At a page offset in split[] a block begins, in every page: no block runs past it, no chain and no jump-hash entry
 *     leads to it. So each way to a breakpoint passes debug_stop().
 *  2. A page with a watchpoint is never in the TLB for data, so each access to it passes debug_access() or
 *     debug_c_access(). */
#ifndef VT_DEBUG_H
#define VT_DEBUG_H

#include <stdbool.h>
#include <stdint.h>
#include "vmcore/vmcore.h"

struct cpu;
struct site;

#define DEBUG_POINTS 64

enum debug_step { STEP_NONE, STEP_ARMED, STEP_RUNS };

struct debug {
    struct {
        uint64_t lin;
        uint32_t len;   /* bytes; execution: 1 */
        uint32_t kinds; /* VM_BREAK_EXEC, or VM_WATCH_* */
    } point[DEBUG_POINTS];
    unsigned n, nwatch;
    uint64_t split[64]; /* a bit an offset in the page; a superset of the breakpoints' */
    enum debug_step step;
    bool step_seen; /* STEP_ARMED: the instruction at step_lin was about to begin */
    bool skip;      /* the guest stands at skip_lin: its breakpoint was told already */
    bool stopped;   /* vm_run is to return VM_STOP_DEBUG */
    uint64_t step_lin, skip_lin;
    struct vm_debug_stop hit; /* a watchpoint that the instruction under way met; kinds 0: none */
    struct vm_debug_stop why; /* of the last stop */
};

static inline bool debug_splits(const struct debug *d, uint64_t lin)
{
    return d->split[(lin >> 6) & 63] >> (lin & 63) & 1;
}

/* In front of the block at lin: true where the guest stops here (the attention word is set). Sets cpu->single where one
 * instruction is to run alone. */
bool debug_stop(struct cpu *c, uint64_t lin);
/* The block at lin is entered. */
void debug_enters(struct cpu *c, uint64_t lin);
/* Are interrupts held back (so that a step goes to the next instruction, not into a handler)? */
bool debug_holds_interrupts(const struct cpu *c);

/* The processor has another state now: a step that was under way is not its, nor is the stop that was told. */
void debug_other_state(struct debug *d);

/* Does a page of the access have a watchpoint? */
bool debug_watched(const struct debug *d, uint64_t lin, unsigned len);
/* An access of translated code to such a page; rw: 1 read, 2 write, 3 both. True: the instruction must run as a block
 * of its own first, so that the guest stops right after it. */
bool debug_access(struct cpu *c, const struct site *s, uint64_t lin, unsigned len, unsigned rw);
/* An access of C code. */
void debug_c_access(struct cpu *c, uint64_t lin, unsigned len, bool write);

#endif
