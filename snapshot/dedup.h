/* Which pages the store has already, by hash: candidates only, since a hash proves nothing between guests that do not
 * trust each other; who uses one compares the bytes. Bounded: the newest packs first. Any thread. */
#ifndef VT_SNAPSHOT_DEDUP_H
#define VT_SNAPSHOT_DEDUP_H

#include <stdint.h>
#include "src/base/err.h"

struct store;
struct dedup;

struct dedup *dedup_new(void); /* NULL: out of memory */
void dedup_free(struct dedup *d);
void dedup_clear(struct dedup *d); /* as new */
/* Reads the trailers of packs that were not known yet. One that cannot be read is left out: it only saves space. */
int dedup_refresh(struct dedup *d, struct store *s, struct err *e);
/* A map entry whose page has this hash, 0: none. */
uint64_t dedup_find(struct dedup *d, uint64_t hash);
/* Full, or known: does nothing. */
void dedup_add(struct dedup *d, uint64_t hash, uint64_t entry);

#endif
