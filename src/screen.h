/* What a machine's display shows, for commands: the guest is stopped for the moment of a copy. */
#ifndef VT_SCREEN_H
#define VT_SCREEN_H

#include "src/base/buf.h"
#include "src/display/display.h"
#include "src/machine.h"

/* [any thread but the vCPU's] Appends a PNG file of what is shown now. */
int screen_png(struct machine *m, struct buf *b, struct err *e);
/* [any thread but the vCPU's] VT_BUSY: the display is in a graphics mode. */
int screen_text(struct machine *m, struct screen_text *ret, struct err *e);

#endif
