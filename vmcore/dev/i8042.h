/* The i8042 keyboard controller, a PS/2 keyboard and mouse behind it, and port 92h (IBM PS/2 technical reference,
 * keyboard and auxiliary device controller). */
#ifndef VT_I8042_H
#define VT_I8042_H

#include "vmcore/dev/ps2.h"

struct i8042 {
    uint8_t command;     /* the command byte */
    uint8_t expect;      /* controller command whose data byte comes next on port 60h; 0: none */
    uint8_t output_port; /* bit 0: not reset, bit 1: A20 */
    uint8_t data;        /* output buffer */
    bool full, from_aux, last_was_command;
    bool from_scan;           /* data is of a scan code */
    bool release;             /* translation: F0h was taken, the next code gets bit 7 */
    uint8_t ram[32];          /* the controller's memory; byte 0, the command byte, is above */
    struct ps2_queue answers; /* of the controller: pairs of whether it is the mouse's, and the byte */
    struct ps2_kbd kbd;
    struct ps2_mouse mouse;
    struct inputport *input;
    uint8_t port92;
    struct irq_line irq1, irq12, a20;
    bool (*irq1_in_service)(void *opaque); /* set by the board; NULL: not known */
    void *service_opaque;
    void (*reset_request)(void *opaque);
    void *reset_opaque;
    struct bus_window data_win, cmd_win, win92;
    struct state_entry state;
};
/* a20: level of the gate. input: what is typed and moved; NULL: nothing ever is. */
void i8042_init(struct i8042 *k, struct devctx *c, struct irq_line irq1, struct irq_line irq12, struct irq_line a20,
                void (*reset_request)(void *opaque), void *reset_opaque, struct inputport *input);
void i8042_reset(struct i8042 *k);

#endif
