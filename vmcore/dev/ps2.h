/* What hangs on the keyboard controller: an MF2 keyboard with scan code sets 1 to 3, and a mouse with wheel and five
 * buttons (IBM PS/2 technical reference, keyboard and auxiliary device; Microsoft's wheel and five-button extensions).
 *
 * Each has two queues: answers to commands, which go first, and scan codes or movement. The second is filled from the
 * host's input port only when it is empty, one event at a time: the guest's reading sets the pace. */
#ifndef VT_PS2_H
#define VT_PS2_H

#include "vmcore/dev/dev.h"
#include "vmcore/port.h"

#define PS2_QUEUE 64

struct ps2_queue {
    uint8_t byte[PS2_QUEUE];
    uint8_t head, len;
};
void ps2_push(struct ps2_queue *q, uint8_t byte); /* full: the byte is dropped */
uint8_t ps2_pop(struct ps2_queue *q);             /* not empty */
bool ps2_queue_ok(const struct ps2_queue *q);     /* after a load */

/* What both get at their init. */
struct ps2_host {
    struct devctx *ctx;
    struct inputport *port;           /* NULL: nobody types */
    void (*ready)(void *opaque);      /* there may be something to take now */
    bool (*in_service)(void *opaque); /* is the keyboard's interrupt being handled? */
    void *opaque;
};

/* ---- keyboard */
struct ps2_kbd {
    struct ps2_queue reply, scan;
    uint8_t expect; /* command whose argument comes next; 0: none */
    uint8_t leds, set, rate, last, modifiers;
    bool scanning, in_break; /* in_break: F0h was taken, its code comes next whatever else waits */
    uint8_t no_break[32];    /* set 3: keys that send no break code, a bit a code */
    uint8_t no_repeat[32];   /* set 3: keys that do not repeat */
    uint64_t scan_at;        /* virtual ns before which no scan code is offered */
    /* The BIOS's key buffer (see ps2_kbd.c) */
    bool ring_ignored;
    uint16_t ring_head;
    uint64_t ring_since; /* virtual ns since when it is full; 0: it is not */
    /* Whose hand is on which key is the host's business, and not part of the state: after a load no key is held. */
    uint8_t held; /* the key that repeats, 0: none */
    struct ps2_host host;
    struct vtimer timer, repeat;
};
void ps2_kbd_init(struct ps2_kbd *k, const struct ps2_host *host);
void ps2_kbd_reset(struct ps2_kbd *k);
void ps2_kbd_write(struct ps2_kbd *k, uint8_t v);
/* The next byte for the controller. False: none. *ret_scan: it is of a scan code. */
bool ps2_kbd_take(struct ps2_kbd *k, uint8_t *ret, bool *ret_scan);
/* The guest has read a byte of a scan code: the next one comes after the time that the line takes. */
void ps2_kbd_was_read(struct ps2_kbd *k);
/* After a load, with the output buffer empty: calls ready() when what waits may be taken. */
void ps2_kbd_wait(struct ps2_kbd *k);
void ps2_kbd_let_go(struct ps2_kbd *k); /* no key is held any more */
bool ps2_kbd_ok(const struct ps2_kbd *k);
/* Scan code set 2 to set 1, as the controller translates (without F0h, which it makes bit 7 of the next code). */
uint8_t ps2_translate(uint8_t set2);

/* ---- mouse */
struct ps2_mouse {
    struct ps2_queue reply, packet;
    uint8_t expect, rate, resolution;
    uint8_t id;       /* 0, 3: wheel, 4: wheel and five buttons */
    uint8_t knock[2]; /* the last sample rates before this one */
    bool reporting, remote, scale2, wrap;
    int16_t dx, dy, dz; /* moved, not told yet */
    uint16_t buttons, told_buttons;
    struct ps2_host host;
};
void ps2_mouse_init(struct ps2_mouse *m, const struct ps2_host *host);
void ps2_mouse_reset(struct ps2_mouse *m);
void ps2_mouse_write(struct ps2_mouse *m, uint8_t v);
bool ps2_mouse_take(struct ps2_mouse *m, uint8_t *ret);
bool ps2_mouse_ok(const struct ps2_mouse *m);

#endif
