/* A disk of a snapshot or of a machine that is off, handed out: over NBD, and as a file of another format. Whoever
 * links it links the store too. */
#ifndef VT_ARCHIVE_DISKOUT_H
#define VT_ARCHIVE_DISKOUT_H

#include "snapshot/snapshot.h"
#include "src/nbd.h"

/* The image as an NBD export of this name; both are borrowed as long as it is used. */
void diskout_nbd(struct image *i, const char *name, struct nbd_export *ret);

/* The format that a file's name says it has ("raw", "qcow2", "vmdk"); NULL: none of these. */
const char *diskout_format(const char *path);
/* Is this one of them? */
bool diskout_known(const char *format);
/* Writes the disk to a new file; raw ones are sparse, others are made by qemu-img. VT_EXISTS; VT_FAIL: qemu-img is not
 * installed. */
int diskout_write(struct image *i, const char *format, const char *path, struct err *e);

#endif
