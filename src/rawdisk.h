/* A raw disk image file as a block device. */
#ifndef VT_RAWDISK_H
#define VT_RAWDISK_H

#include "src/base/blockdev.h"

enum rawdisk_mode {
    RAWDISK_WRITE,   /* the file is changed in place */
    RAWDISK_PRIVATE, /* it is left alone: writes go to an unlinked overlay that dies with the process; a flush promises
                        nothing */
    RAWDISK_READ,    /* it is left alone: writes fail */
};

/* Opens path; a size that is not whole sectors is rounded down. VT_NOENT, VT_PERM, VT_CORRUPT (empty, or not a file).
 */
int rawdisk_open(const char *path, enum rawdisk_mode mode, struct blockdev **ret_dev, struct err *e);

#endif
