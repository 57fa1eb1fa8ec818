/* An open file in the guest, by the agent's guest-file commands. */
#ifndef VT_GUESTFILE_H
#define VT_GUESTFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "src/agent.h"
#include "src/base/buf.h"
#include "src/base/err.h"

#define GUESTFILE_CHUNK (1u << 20) /* what one call carries */

struct guestfile {
    struct agent *agent;
    int64_t handle;
    uint64_t generation;
    char path[256]; /* for messages */
};

/* mode as fopen's: "r", "w", "r+". VT_FAIL with the guest's own reason. */
int guestfile_open(struct agent *a, const char *path, const char *mode, struct guestfile *ret, struct err *e);
int guestfile_write(struct guestfile *f, const void *src, size_t len, struct err *e);
/* Appends up to GUESTFILE_CHUNK bytes to out; *ret_eof at the end of the file. */
int guestfile_read(struct guestfile *f, struct buf *out, bool *ret_eof, struct err *e);
int guestfile_close(struct guestfile *f, struct err *e);

#endif
