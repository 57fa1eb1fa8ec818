/* Ports that only testers and firmware use: POST code (80h), debug consoles (E9h, 402h), debug exit (F4h, 501h). What
 * is written to the consoles goes to the machine's log, a line at a time. */
#ifndef VT_DEBUGPORT_H
#define VT_DEBUGPORT_H

#include "vmcore/dev/dev.h"

struct vm;

#define DEBUG_LINE 200 /* longer lines are broken */

struct debug_console {
    const char *name; /* before its lines in the log */
    struct vm *vm;
    char line[DEBUG_LINE + 1];
    unsigned len;
    struct bus_window win;
};
struct debugport {
    uint8_t post;
    struct debug_console e9, firmware;
    void (*exit)(void *opaque, uint32_t code);
    void *exit_opaque;
    struct bus_window post_win, exit_win[2];
    struct state_entry state;
};
void debugport_init(struct debugport *d, struct devctx *c, void (*exit)(void *opaque, uint32_t code),
                    void *exit_opaque);

#endif
