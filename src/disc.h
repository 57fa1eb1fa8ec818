/* The disc in a machine's CD drive: a file that is only read, and the thread that reads it. */
#ifndef VT_DISC_H
#define VT_DISC_H

#include "src/blkworker.h"

struct disc {
    struct blkworker *worker;
    struct blockdev *dev; /* NULL: the drive is empty */
    char *path;           /* "": empty */
};

/* path "": no disc. Fills the port that the machine is made with. VT_NOENT, VT_PERM, VT_CORRUPT (no file, or empty). */
int disc_init(struct disc *d, const char *path, blkworker_trouble *trouble, void *opaque, struct blkport *ret_port,
              struct err *e);
void disc_release(struct disc *d);
/* [vCPU paused] Puts another disc, or none for "", into the drive at an IDE slot of vm. On error the old one stays. */
int disc_change(struct disc *d, struct vm *vm, unsigned slot, const char *path, struct err *e);

#endif
