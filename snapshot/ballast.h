/* A file of 8 MiB that is there to be given up: on a full disk nothing can be deleted either, since the rows that say
 * so need room themselves. */
#ifndef VT_SNAPSHOT_BALLAST_H
#define VT_SNAPSHOT_BALLAST_H

#include <stdbool.h>
#include "src/base/err.h"

struct store;

#define BALLAST_BYTES (8u << 20)

/* Did something that makes room fail with r for want of it, and is there a ballast? Then that is gone, *e is cleared,
 * and the caller tries once more. */
bool ballast_spend(struct store *s, int r, struct err *e);
/* Makes it anew where there is room enough again; else the next time will do. */
void ballast_restore(struct store *s);

#endif
