/* High precision event timers (IA-PC HPET specification 1.0a): one block of three timers, all of 64 bits, one-shot and
 * periodic, to I/O APIC inputs 20 to 23 or, by legacy replacement, in the place of PIT and RTC. No FSB delivery.
 *
 * The main counter is not stepped: it is derived from the virtual clock, 10 ns a tick. */
#ifndef VT_HPET_H
#define VT_HPET_H

#include "vmcore/dev/dev.h"

#define HPET_BASE   0xfed00000u
#define HPET_TIMERS 3
#define HPET_ID     0x8086a201u /* capabilities, low half: Intel, legacy routes, 64 bits, three timers, revision 1 */

struct hpet_timer {
    uint64_t config;   /* the writable bits, and no others */
    uint64_t cmp;      /* when it fires next, in ticks */
    uint64_t period;   /* periodic: what is added then */
    bool set_high;     /* the low half was written with VAL_SET: the high half of that write comes next */
    bool met;          /* one-shot: the count has been there since the comparator was written */
    bool high;         /* edge-triggered: it has fired, the line stays up until it is about to fire again */
    uint64_t not_then; /* virtual ns before which it does not fire again: no storm hangs the machine */
    struct vtimer vt;
};
struct hpet {
    uint64_t config, status;
    uint64_t counter; /* while halted */
    uint64_t start;   /* while it runs: virtual ns at which it was 0, modulo 2^64 */
    struct hpet_timer t[HPET_TIMERS];
    bool legacy_in[2]; /* levels of the PIT's and the RTC's lines */
    uint64_t levels;   /* of all lines that it drives: bits 0 and 1 legacy, else the I/O APIC's inputs */
    /* A read of 64 bits comes as two: the high half of the count is of the time of the low one. */
    uint32_t read_high;
    uint64_t read_at;
    struct vclock *clock;
    struct irq_line legacy[2], gsi; /* gsi: n is the I/O APIC's input */
    struct bus_window win;
    struct state_entry state;
};
/* legacy: IRQ 0 and IRQ 8, which PIT and RTC reach through hpet_legacy_in. */
void hpet_init(struct hpet *h, struct devctx *c, const struct irq_line legacy[2], struct irq_line gsi);
void hpet_reset(struct hpet *h);
/* irq_line function: the PIT's (0) or the RTC's (1) line. */
void hpet_legacy_in(void *hpet, unsigned n, int level);

#endif
