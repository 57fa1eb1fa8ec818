/* Automatic snapshots of a machine that runs: one every so often, named auto-DATE-TIME; of those, the oldest are
 * dropped past a number. One that was renamed, or that was not taken so, is none of them. Private to the monitor. */
#ifndef VT_AUTOSNAP_H
#define VT_AUTOSNAP_H

#include "src/monitor.h"

/* [loop's thread, or before it runs] By m->config from now on; called again when that changes. */
void autosnap_arm(struct monitor *m);
/* [a job's thread] Another setting, for this monitor and in the store; every_ms 0: none are taken. */
int autosnap_set(struct monitor *m, uint64_t every_ms, unsigned keep, struct err *e);

#endif
