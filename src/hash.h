/* Hashes of what a machine holds (`info --hash`): XXH3 with 128 bits, in hex as xxhsum has it, of each part's whole
 * contents as the guest would see them: what is not loaded is read from where it is, what is zero counts as zeros.
 * Nothing is changed by it. */
#ifndef VT_HASH_H
#define VT_HASH_H

#include <jansson.h>
#include <stddef.h>
#include "src/base/err.h"
#include "src/base/pagesrc.h"

struct image;
struct hashes;

int hashes_new(struct hashes **ret, struct err *e);
void hashes_free(struct hashes *h); /* NULL is fine */
void cleanup_hashes(struct hashes **h);

/* All of these add one part under its name. They read for as long as it takes. */
int hashes_add_disk(struct hashes *h, const char *slot, struct image *i, struct err *e);
/* Only with the vCPU stopped, and where a capture may begin (pagesrc.h). */
int hashes_add_memory(struct hashes *h, const char *name, struct pagetrack *t, struct err *e);
/* The state as vm_state_dump tells it, without what is the host's time and not the guest's doing. */
int hashes_add_state(struct hashes *h, const char *dump, struct err *e);

/* {name: hash} of what was added, in that order, and last "all", of a line "NAME HASH" for each of them. A new
 * reference; once. */
int hashes_end(struct hashes *h, json_t **ret, struct err *e);

#endif
