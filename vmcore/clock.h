/* The machine's one clock, in nanoseconds since it was made. It runs only between vclock_start() and vclock_stop();
 * while stopped it stands still, or is driven by vclock_advance() (tests). All on the vCPU thread, but for vclock_now()
 * of a stopped clock. */
#ifndef VT_CLOCK_H
#define VT_CLOCK_H

#include "vmcore/dev/dev.h"

struct vclock {
    uint64_t base;       /* virtual time when it was last stopped */
    uint64_t host_base;  /* CLOCK_MONOTONIC at base, while running */
    int64_t wall_offset; /* seconds since 1970 at virtual time 0 */
    bool running;
    struct vtimer *timers;       /* armed ones, soonest first */
    void (*armed)(void *opaque); /* told when the soonest deadline moved forward; may be NULL */
    void *opaque;
    struct state_entry state;
};

void vclock_init(struct vclock *c, struct devctx *ctx, int64_t wall_start);
void vclock_start(struct vclock *c);
void vclock_stop(struct vclock *c);
/* Sets what the guest's wall clock shows now. */
void vclock_set_wall(struct vclock *c, int64_t seconds_since_1970);
/* Virtual time of the next timer, UINT64_MAX when none is armed. */
static inline uint64_t vclock_next_deadline(const struct vclock *c)
{
    return c->timers ? c->timers->deadline : UINT64_MAX;
}
/* Runs what is due; returns how many timers ran. */
unsigned vclock_run_timers(struct vclock *c);
/* A stopped clock only: goes on by ns, and runs each timer at its own instant. */
void vclock_advance(struct vclock *c, uint64_t ns);

/* a * b / d without overflow in the product; d is not 0 and the result fits (it does for times below 2^62). */
static inline uint64_t mul_div(uint64_t a, uint64_t b, uint64_t d)
{
    uint64_t hi, lo, q, r;
    __asm__("mulq %3" : "=a"(lo), "=d"(hi) : "0"(a), "rm"(b) : "cc");
    if (hi >= d) /* would trap: saturate */
        return UINT64_MAX;
    __asm__("divq %4" : "=a"(q), "=d"(r) : "0"(lo), "1"(hi), "rm"(d) : "cc");
    return q;
}
#define NS_PER_S 1000000000ull

#endif
