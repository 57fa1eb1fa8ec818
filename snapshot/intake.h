/* Pages on their way into the store: each is looked for among those that it has, else goes into a new pack. What a
 * snapshot and an import are made with. One thread. */
#ifndef VT_SNAPSHOT_INTAKE_H
#define VT_SNAPSHOT_INTAKE_H

#include "snapshot/pack.h"
#include "snapshot/snapshot.h"

struct db;
struct mapw;

struct intake {
    struct store *s;
    int lock; /* keeps gc off */
    struct packw *pack;
    struct dedup *mine; /* hashes of what this pack has */
    uint64_t *reused;   /* numbers of frames that others' pages are taken from; ascending runs, not unique */
    size_t n_reused, cap_reused;
    struct snap_stats stats;
    uint64_t first_frame; /* set by intake_commit */
    bool in_doubt; /* a commit was tried: even if it failed it may be found after a crash, so the pack must stay */
};

int intake_init(struct intake *t, struct store *s, struct err *e);
void intake_release(struct intake *t, bool keep);
/* The map entry for a page: zero, a frame's, or ENTRY_NEW. */
int intake_page(struct intake *t, const void *page, uint64_t *ret_entry, struct err *e);
/* Makes the pack durable; outside of any transaction. */
int intake_finish(struct intake *t, struct err *e);
/* In a transaction: rows of the pack and its frames. Numbers are taken from the store's counters, *next_node too; set
 * them back with intake_done. VT_BUSY: a pack that pages were taken from was swept meanwhile. */
int intake_commit(struct intake *t, struct db *db, int64_t *ret_next_node, struct err *e);
int intake_done(struct intake *t, struct db *db, int64_t next_node, struct err *e);

#endif
