/* Is a folder's file system fit for a store? SQLite's shared memory and our byte locks do not work over a network. */
#ifndef VT_SNAPSHOT_HOSTFS_H
#define VT_SNAPSHOT_HOSTFS_H

#include <stdbool.h>
#include "src/base/err.h"

/* The name of the network file system with this statfs(2) f_type, NULL: none. */
const char *hostfs_network_magic(unsigned long magic);
/* Is this type, as /proc/self/mountinfo names it ("fuse.sshfs"), one over a network? */
bool hostfs_network_type(const char *type);
/* VT_VERSION where dirfd, called dir in the message, is on a network file system. */
int hostfs_check(int dirfd, const char *dir, struct err *e);

#endif
