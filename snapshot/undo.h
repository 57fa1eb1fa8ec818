/* What is kept to be taken back: entries of the oplog, for the files that write and read them. */
#ifndef VT_SNAPSHOT_UNDO_H
#define VT_SNAPSHOT_UNDO_H

#include "snapshot/db.h"

/* How long, in ns; 0: not at all. */
int undo_keep(struct db *db, int64_t *ret, struct err *e);
/* The head that an entry of a revert speaks of. VT_NOENT: it is kept no longer. */
int undo_head(struct db *db, int64_t entry, int64_t machine, int64_t *ret_head, struct err *e);
/* In a transaction: lets go of what is too old, and of the oldest while all together is too large. */
int undo_bound(struct store *s, struct db *db, struct err *e);

#endif
