/* What is in a drive whose medium can be changed, a CD drive or a floppy drive: a file that is only read, and the
 * thread that reads it. */
#ifndef VT_DISC_H
#define VT_DISC_H

#include "src/blkworker.h"

struct disc {
    struct blkworker *worker;
    struct blockdev *dev; /* NULL: the drive is empty */
    char *path;           /* "": empty */
    bool floppy;
};

/* path "": nothing. Fills the port that the machine is made with; its size is 0 where the drive is empty. VT_NOENT,
 * VT_PERM, VT_CORRUPT (no file, or empty; of a size that no floppy has). */
int disc_init(struct disc *d, bool floppy, const char *path, blkworker_trouble *trouble, void *opaque,
              struct blkport *ret_port, struct err *e);
void disc_release(struct disc *d);
/* [vCPU paused] Another one, or none for "": the machine is to be told of its port before it runs again. On error the
 * old one stays. */
int disc_change(struct disc *d, const char *path, struct blkport *ret_port, struct err *e);

#endif
