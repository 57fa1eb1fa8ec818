/* What test kernels find on QEMU's board by the name of pc-testdev, as its documentation and the kernels that use it
 * have it: a register that keeps what was written to it (port E0h, 1 to 4 bytes), the interrupt inputs (a byte to port
 * 2000h + n sets input n's level), and 64 KiB of registers in memory (FF000000h). A write to port E4h has QEMU drop its
 * own mapping of a page, which no guest can see: it does nothing. */
#ifndef VT_TESTDEV_H
#define VT_TESTDEV_H

#include "vmcore/dev/dev.h"

#define TESTDEV_INPUTS 24
#define TESTDEV_BASE   0xff000000u

struct testdev {
    struct irq_line irq; /* its fn gets the input's number */
    uint32_t data;
    uint8_t mem[1u << 16];
    struct bus_window data_win, flush_win, irq_win, mem_win;
    struct state_entry state;
};
/* irq: called with the number of the input instead of irq.n, 0..TESTDEV_INPUTS-1. */
void testdev_init(struct testdev *d, struct devctx *c, struct irq_line irq);
void testdev_reset(struct testdev *d);

#endif
