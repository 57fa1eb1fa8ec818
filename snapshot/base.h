/* Sealed stores that a store refers into, by the number in its map entries. */
#ifndef VT_SNAPSHOT_BASE_H
#define VT_SNAPSHOT_BASE_H

#include "snapshot/store.h"

/* The base of this number, opened where it is not yet; it is the store's. VT_CORRUPT: none has it, or what is where it
 * was is another, or not sealed. */
int store_base(struct store *s, unsigned num, struct store **ret, struct err *e);

#endif
