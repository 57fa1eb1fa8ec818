/* A fork that waits for the next `run --warm` of its snapshot. When who ran something in it is gone, it goes back to
 * the snapshot, keeping its translations, stands there paused, and listens on a socket. Whoever connects first and says
 * "vmtest-take" has it alone; the socket is gone until it is parked again. It ends when nobody came for a while, when
 * another one of its snapshot is parked already, and when the store goes. Private to the monitor; on the loop's thread.
 */
#ifndef VT_PARK_H
#define VT_PARK_H

#include <stdint.h>
#include "src/base/err.h"

struct monitor;
struct park;
struct qmp_call;

/* idle: how long it waits, ns. */
int park_new(struct monitor *m, uint64_t idle, struct park **ret, struct err *e);
void park_free(struct park *p); /* NULL is fine */
/* Its owner is gone. */
void park_back(struct park *p);

/* The command. */
void cmd_take(void *opaque, struct qmp_call *call);

#endif
