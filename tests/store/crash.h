/* What a store must have after a crash, said by a world's events: every snapshot that was reported, with all its bytes,
 * nothing that was reported as deleted, and a head with what was flushed. */
#ifndef TEST_STORE_CRASH_H
#define TEST_STORE_CRASH_H

#include "tests/store/world.h"

#define CRASH_LINEAGES 8

/* What may be in the head: for each lineage (a revert that was not yet flushed upon may be undone by a power failure)
 * the flushed pages, and what was written to each since. */
struct lineage {
    struct model_disk base;  /* as flushed */
    uint32_t wrote[4096][2]; /* page, tag */
    int n_wrote;
};
struct snap_expect {
    bool begun, reported, deleting, deleted;
    unsigned renaming, renamed; /* the greatest name that it may have, and the least */
};
struct expect {
    bool machine, other, other_going, other_gone;
    struct snap_expect snap[W_SNAPSHOTS];
    struct lineage of[CRASH_LINEAGES];
    int n;        /* lineages; the last is the newest */
    bool between; /* a reset has begun, but was not reported */
};

/* Of the events up to operation n. */
void expect_at(const struct world *w, size_t n, struct expect *x);
/* The snapshots in s are as x says. */
void crash_look_at_snapshots(struct world *w, struct store *s, int64_t machine, const struct expect *x,
                             const struct crash *c);
/* So is the second machine. */
void crash_look_at_other(struct store *s, const struct expect *x, const struct crash *c);
/* So is the head; *ret is what it has. */
void crash_look_at_head(struct head *h, const struct expect *x, const struct crash *c, struct model_disk *ret);
/* Opens the world on what is left in its folder, looks, and goes on from there. */
void crash_resume(struct world *w, const struct crash *c);
/* Fails the test. */
void crash_wrong(const struct crash *c, const char *what);

#endif
