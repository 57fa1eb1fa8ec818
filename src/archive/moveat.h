/* The export of a machine that others may go on changing: it ends at a snapshot. Private to export's two ways. */
#ifndef VT_ARCHIVE_MOVEAT_H
#define VT_ARCHIVE_MOVEAT_H

#include "snapshot/snapshot.h"

struct moveat {
    struct move_at at;
    char *config;
    struct snaplock **hold; /* of all snapshots of the machine */
    size_t n;
};
/* Makes ret->at of a snapshot of the machine: its hardware is the configuration's then. Keeps all snapshots of the
 * machine from deletion until the release. */
int moveat_begin(struct store *s, int64_t machine, int64_t snapshot, struct moveat *ret, struct err *e);
void moveat_release(struct moveat *m);

#endif
