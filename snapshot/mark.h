/* `store.db-mark`: which commit was the last durable one, said once more beside the database. SQLite takes a wrong byte
 * in its write-ahead log for the log's end, and the commits after it for ones that never were; the mark knows of them.
 * It is written after such a commit and never synced: it may be behind, or not there at all, but is never ahead. */
#ifndef VT_SNAPSHOT_MARK_H
#define VT_SNAPSHOT_MARK_H

#include <stdint.h>
#include "src/base/err.h"

struct store;

struct mark {
    char uuid[37];
    uint64_t commit;
};
/* What the mark says, and of which store; all of it 0 where there is none that is whole. */
void mark_read(struct store *s, struct mark *ret);
/* The last durable commit had this number; any thread. One that cannot be written is as good as an older one. */
void mark_put(struct store *s, uint64_t commit);
/* The same of a database that had later ones, and has to do without them. */
int mark_back(struct store *s, uint64_t commit, struct err *e);
/* There will be no more commits. */
int mark_remove(struct store *s, struct err *e);

#endif
