/* The pair of 8259A interrupt controllers of a PC, with the edge/level registers at 4D0h (Intel 8259A data sheet; the
 * PIIX3's for ELCR). */
#ifndef VT_PIC_H
#define VT_PIC_H

#include "vmcore/dev/dev.h"

struct pic_chip {
    uint8_t irr, isr, imr;
    uint8_t lines; /* input levels */
    uint8_t elcr;  /* 1: level-triggered */
    uint8_t base;  /* vector of input 0 (ICW2) */
    uint8_t icw3, icw4;
    uint8_t init;        /* which ICW comes next: 0 none, 2, 3, 4 */
    uint8_t lowest;      /* the input with the lowest priority; 7 after initialisation */
    bool need_icw4;      /* ICW1.IC4 */
    bool single;         /* ICW1.SNGL */
    bool ltim;           /* ICW1.LTIM: all level-triggered */
    bool read_isr;       /* OCW3: reads of the even port give ISR instead of IRR */
    bool poll;           /* OCW3: the next read is a poll */
    bool special_mask;   /* OCW3 */
    bool rotate_on_aeoi; /* OCW2 */
};
struct pic {
    struct pic_chip chip[2]; /* master, slave (on the master's input 2) */
    struct irq_line out;     /* INTR of the master */
    struct bus_window win[2], elcr_win;
    struct state_entry state;
};

/* out: the INTR line, towards the CPU or LINT0. */
void pic_init(struct pic *p, struct devctx *c, struct irq_line out);
void pic_reset(struct pic *p);
/* irq_line function: input n, 0..15 (2 is the cascade and ignored). */
void pic_set_irq(void *pic, unsigned n, int level);
/* The CPU's interrupt acknowledge cycle: the vector; a spurious one (input 7) when the request has gone. */
bool pic_in_service(const struct pic *p, unsigned n); /* acknowledged, and not ended yet */
uint8_t pic_ack(struct pic *p);
/* Is INTR asserted? */
bool pic_pending(const struct pic *p);

#endif
