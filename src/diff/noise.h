/* What a running system changes by itself, and nobody who compares two snapshots wants to see. */
#ifndef VT_DIFF_NOISE_H
#define VT_DIFF_NOISE_H

#include "src/diff/tree.h"

/* Is an absolute path of the root file system always noise? */
bool noise_path(const char *path);
/* Takes out of c what is noise: such paths where root is set, and directories in which only the size differs. Returns
 * how many changes went. */
size_t noise_filter(struct changes *c, bool root);

#endif
