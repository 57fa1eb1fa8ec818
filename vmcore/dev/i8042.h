/* The i8042 keyboard controller with a PS/2 keyboard and mouse behind it, and port 92h (IBM PS/2 technical reference,
 * keyboard and auxiliary device controller). */
#ifndef VT_I8042_H
#define VT_I8042_H

#include "vmcore/dev/dev.h"

#define PS2_QUEUE 64

/* Bytes on their way from a device, or from the controller itself, to port 60h. */
struct ps2_queue {
    uint8_t byte[PS2_QUEUE];
    uint8_t head, len;
};

struct i8042 {
    uint8_t command;     /* the command byte */
    uint8_t expect;      /* controller command whose data byte comes next on port 60h; 0: none */
    uint8_t output_port; /* bit 0: not reset, bit 1: A20 */
    uint8_t data;        /* output buffer */
    bool full, from_aux, last_was_command;
    struct ps2_queue answers, kbd, aux; /* controller, keyboard, mouse */
    uint8_t kbd_expect, kbd_leds, kbd_set, kbd_rate;
    uint8_t aux_expect, aux_rate, aux_resolution;
    bool kbd_scanning, aux_reporting, aux_remote, aux_scale2, aux_wrap;
    uint8_t port92;
    struct irq_line irq1, irq12, a20;
    void (*reset_request)(void *opaque);
    void *reset_opaque;
    struct bus_window data_win, cmd_win, win92;
    struct state_entry state;
};
/* a20: level of the gate. */
void i8042_init(struct i8042 *k, struct devctx *c, struct irq_line irq1, struct irq_line irq12, struct irq_line a20,
                void (*reset_request)(void *opaque), void *reset_opaque);
void i8042_reset(struct i8042 *k);

#endif
