/* Reading the logs of a disk's head back: which batches count. */
#ifndef VT_SNAPSHOT_REPLAY_H
#define VT_SNAPSHOT_REPLAY_H

#include "snapshot/hlog.h"

struct replay {
    struct batch **v; /* those from `from` on, in order; each a reference */
    size_t n;
    uint64_t next_seq; /* for the next batch */
    uint64_t prev;     /* checksum of the last one */
    uint64_t synced;   /* what comes before is known to have been durable */
    bool spent; /* what the logs have is all in a snapshot, and ends before `from`: nothing can follow it there */
};

/* Reads logs[0..n), in order. What was flushed must verify (VT_CORRUPT); a torn tail, which never was, is left out. On
 * return each log's `end` is where it may go on. */
int replay_logs(struct hlog *const *logs, size_t n, uint64_t from, struct replay *ret, struct err *e);
/* Leaves only what the guest had flushed by a time, in ns since 1970. */
int replay_until(struct replay *r, int64_t when, struct err *e);
void replay_release(struct replay *r);

#endif
