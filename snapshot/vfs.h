/* SQLite's file system, led through io.h: one VFS a store, so that nothing is shared between stores. */
#ifndef VT_SNAPSHOT_VFS_H
#define VT_SNAPSHOT_VFS_H

#include "snapshot/io.h"

struct vfs;

/* Registers a VFS over SQLite's default one; io must outlive it. */
int vfs_new(struct sio *io, struct vfs **ret, struct err *e);
void vfs_free(struct vfs *v);
const char *vfs_name(const struct vfs *v); /* for sqlite3_open_v2 */

#endif
