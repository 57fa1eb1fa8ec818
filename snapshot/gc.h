/* What the two halves of gc share: gc.c finds what is reached and sweeps, repack.c moves what is left of sparse packs.
 */
#ifndef VT_SNAPSHOT_GC_H
#define VT_SNAPSHOT_GC_H

#include "snapshot/pageidx.h"
#include "snapshot/store.h"

/* Copies what `live`, the numbers of frames that are reached, has in packs that are less than half alive into one new
 * pack, and lets those go. plan: only adds up what that would give. The caller keeps writers off. */
int repack(struct store *s, struct db *db, const struct pageidx *live, bool plan, struct gc_stats *stats,
           struct err *e);
/* Lets go of heads whose time is over, and of logs that no row names (maintain.c). stats may be NULL. */
int sweep_logs(struct store *s, struct db *db, struct gc_stats *stats, struct err *e);
int unlink_pack(struct store *s, int64_t id, struct err *e);

#endif
