/* Ports that only testers and firmware use: POST code (80h), debug consoles (E9h, 402h), debug exit (F4h). */
#ifndef VT_DEBUGPORT_H
#define VT_DEBUGPORT_H

#include "vmcore/dev/dev.h"
#include "vmcore/port.h"

struct debugport {
    uint8_t post;
    struct chrport *console; /* NULL: output is dropped */
    void (*exit)(void *opaque, uint32_t code);
    void *exit_opaque;
    struct bus_window post_win, e9_win, fw_win, exit_win;
    struct state_entry state;
};
void debugport_init(struct debugport *d, struct devctx *c, struct chrport *console,
                    void (*exit)(void *opaque, uint32_t code), void *exit_opaque);

#endif
