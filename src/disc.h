/* The disc in a machine's CD drive: a file that is only read, and the thread that reads it. */
#ifndef VT_DISC_H
#define VT_DISC_H

#include "src/blkworker.h"

struct disc {
    struct blkworker *worker;
    struct blockdev *dev; /* NULL: the drive is empty */
};

/* path "": no disc. Fills the port that the machine is made with. VT_NOENT, VT_PERM, VT_CORRUPT (no file, or empty). */
int disc_init(struct disc *d, const char *path, blkworker_trouble *trouble, void *opaque, struct blkport *ret_port,
              struct err *e);
void disc_release(struct disc *d);
/* [vCPU paused] Puts in another disc, or none for "". On error the old one stays. The port is for the drive. */
int disc_change(struct disc *d, const char *path, struct blkport *ret_port, struct err *e);

#endif
