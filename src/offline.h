/* What is done to a machine that is off: the caller holds its lock, and no monitor runs. */
#ifndef VT_OFFLINE_H
#define VT_OFFLINE_H

#include <stdint.h>
#include "snapshot/snapshot.h"

/* Takes a snapshot of the disks. note may be NULL. VT_EXISTS, VT_IO. */
int offline_snapshot(struct store *s, const struct machine_info *m, const char *name, const char *note, int64_t *ret_id,
                     struct snap_stats *ret_stats, struct err *e);

/* Makes the machine's disks and hardware those of the snapshot; a memory in it is left alone. */
int offline_revert(struct store *s, const struct machine_info *m, const struct snapshot_info *snap, struct err *e);

/* Makes the machine's disks what they were at a time (ns since 1970), as head_reset_past does. */
int offline_revert_past(struct store *s, const struct machine_info *m, int64_t when, struct err *e);
/* Takes back a revert: the disks, with all that was written to them, and the hardware are those from before it. */
int offline_undo(struct store *s, const struct machine_info *m, const struct undo_info *entry, struct err *e);

#endif
