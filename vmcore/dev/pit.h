/* The 8254 interval timer and the system control port 61h that gates its third counter (Intel 8254 data sheet).
 *
 * Counters are not stepped: each keeps the virtual time of its last load and derives count and output from the clock.
 * Only counter 0 has a timer, for its output's edges. */
#ifndef VT_PIT_H
#define VT_PIT_H

#include "vmcore/dev/dev.h"

#define PIT_HZ 1193182u

struct pit_counter {
    uint16_t reload; /* as written, BCD where bcd; 0 means the largest */
    uint16_t latched;
    uint8_t mode;      /* 0..5 */
    uint8_t rw;        /* 1 low byte, 2 high byte, 3 both */
    uint8_t write_low; /* rw 3: the low byte, while the high one is awaited */
    uint8_t status;    /* latched status */
    bool bcd;
    bool gate;
    bool write_high_next, read_high_next;
    bool null_count; /* a control word or count was written and not loaded yet */
    bool running;    /* loaded, and counting unless the gate stops it */
    bool armed;      /* modes 1 and 5: a count was written, a gate edge starts it */
    bool latched_count, latched_status;
    bool edge_due;  /* modes 0, 1, 4, 5: the output has not risen since the load */
    uint64_t start; /* virtual ns of the load */
    uint64_t held;  /* clocks elapsed when it was stopped */
    bool waits;     /* modes 1 and 5: next waits for a gate edge, which ends the one-shot under way */
    /* A count written while running takes effect at the end of the period in mode 2, of the half-cycle in mode 3. */
    uint64_t switch_at; /* virtual ns; UINT64_MAX: none */
    uint16_t next;
    bool low_first; /* mode 3: the low half began at the load */
};
struct pit {
    struct pit_counter ch[3];
    uint8_t checks; /* port 61h bits 2 and 3: memory and I/O checks off; storage, for nothing here fails them */
    bool speaker;   /* port 61h bit 1 */
    struct vclock *clock;
    struct vtimer timer;
    struct irq_line out0;
    struct bus_window win, port61;
    struct state_entry state;
};
void pit_init(struct pit *p, struct devctx *c, struct irq_line out0);
void pit_reset(struct pit *p);

#endif
