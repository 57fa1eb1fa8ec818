/* Files between host and guest by the guest agent. Trees travel as tar: into the guest in pieces on the standard input
 * of the guest's tar, large files straight into place; out of it through a temporary archive in the guest. What comes
 * out is hostile: it is written below the destination only, never through a symbolic link, without set-id bits or
 * devices.
 *
 * Guest paths are absolute, or relative to the root directory, and UTF-8. A destination that is a directory gets the
 * source inside of it, any other is the copy's own name. */
#ifndef VT_COPY_H
#define VT_COPY_H

#include <stdint.h>
#include "src/agent.h"
#include "src/base/err.h"

struct copy_count {
    uint64_t files, bytes; /* everything that is no directory; content of regular files */
};

/* host: absolute. VT_NOENT: it is not there. In the guest everything belongs to root. */
int copy_in(struct agent *a, const char *host, const char *guest, struct copy_count *ret, struct err *e);
int copy_out(struct agent *a, const char *guest, const char *host, struct copy_count *ret, struct err *e);
/* One file's bytes: all of fd into the file, or the file into fd. */
int copy_in_fd(struct agent *a, int fd, const char *guest, struct copy_count *ret, struct err *e);
int copy_out_fd(struct agent *a, const char *guest, int fd, struct copy_count *ret, struct err *e);

#endif
