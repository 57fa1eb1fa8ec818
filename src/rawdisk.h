/* A raw disk image file as a block device. A private one leaves the file alone: what is written goes to an unlinked
 * overlay that dies with the process, and a flush promises nothing. */
#ifndef VT_RAWDISK_H
#define VT_RAWDISK_H

#include <stdbool.h>
#include "src/base/blockdev.h"

/* Opens path; a size that is not whole sectors is rounded down. VT_NOENT, VT_PERM, VT_CORRUPT (empty, or not a file).
 */
int rawdisk_open(const char *path, bool private, struct blockdev **ret_dev, struct err *e);

#endif
