/* What a machine's display shows, for commands: the guest is stopped for the moment of a copy. */
#ifndef VT_SCREEN_H
#define VT_SCREEN_H

#include "src/display/display.h"
#include "src/machine.h"

/* [any thread but the vCPU's, while nobody restores memory] */
int screen_picture(struct machine *m, struct picture *ret, struct err *e);
/* The same; VT_BUSY: the display is in a graphics mode. */
int screen_text(struct machine *m, struct screen_text *ret, struct err *e);

#endif
