/* Members of an exported machine as a file: a tar archive, compressed with zstd. The same members make the same bytes.
 */
#ifndef VT_ARCHIVE_TAR_H
#define VT_ARCHIVE_TAR_H

#include <stddef.h>
#include "src/base/err.h"

/* Writes to fd, which stays the caller's; name is for messages. */
struct tar_out;
int tar_out_begin(int fd, const char *name, struct tar_out **ret, struct err *e);
int tar_out_put(struct tar_out *t, const char *member, const void *data, size_t len, struct err *e);
int tar_out_end(struct tar_out *t, struct err *e); /* what is left, and the end; VT_IO */
void tar_out_free(struct tar_out *t);              /* NULL is fine */

/* Calls fn for each member read from fd, in order, none of them larger than max; a fn that returns non-zero ends it.
 * VT_CORRUPT: no archive, or one that is damaged or cut short. */
int tar_in(int fd, const char *name, size_t max,
           int (*fn)(void *opaque, const char *member, const void *data, size_t len, struct err *e), void *opaque,
           struct err *e);

#endif
