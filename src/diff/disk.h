/* The disks that a request names, and which of their pages differ.
 *
 * A SPEC is one of
 *   file:PATH                          a raw image
 *   store:DIR:ID:SLOT:quiesced|live    a disk of snapshot ID in the store at DIR
 *   store:DIR:ID:SLOT:head             a disk of the head of machine ID, as its last flush left it */
#ifndef VT_DIFF_DISK_H
#define VT_DIFF_DISK_H

#include "src/diff/bitset.h"
#include "src/base/blockdev.h"

struct disk;

/* Opens a SPEC read-only. other (may be NULL) is a disk whose store is shared when it is the same one; it must be
 * closed after this one. VT_USAGE where the SPEC is not one. */
int disk_open(const char *spec, struct disk *other, struct disk **ret, struct err *e);
void disk_close(struct disk *d); /* NULL is fine */
static inline void cleanup_disk(struct disk **d)
{
    disk_close(*d);
}
/* Read-only, cached; belongs to d. */
struct blockdev *disk_dev(struct disk *d);
/* Bytes read from below the cache so far. */
uint64_t disk_read_bytes(const struct disk *d);
/* Fills *ret with a bit for each 4 KiB page that may differ (of the longer disk). Two disks of one store are told apart
 * by their maps; two files by reading both, holes apart. *ret_known is false, and *ret untouched, where neither is so.
 */
int disk_differ(struct disk *a, struct disk *b, struct bitset *ret, bool *ret_known, struct err *e);

#endif
