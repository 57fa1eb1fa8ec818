/* Commands in the guest by the agent's guest-exec, and around its limits: a command's outputs go to two files in the
 * guest's memory, which are read while it runs and at its end, so that they may be longer than what guest-exec carries,
 * and a daemon that keeps them open keeps nobody waiting; its input is a pipe fed piece by piece. There are no
 * terminals.
 *
 * A command is over when its main process is. */
#ifndef VT_EXEC_H
#define VT_EXEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "src/agent.h"
#include "src/base/buf.h"
#include "src/base/err.h"

struct exec_spec {
    const char *const *argv; /* ends with NULL */
    const char *const *env;  /* "NAME=value" words added to the agent's environment, ends with NULL; may be NULL */
    const char *dir;         /* NULL: the root directory */
    const char *user;        /* NULL: who the agent runs as */
    uint64_t timeout;        /* ns, 0: none */
    int cancel_fd;           /* readable: nobody waits any more, the command is killed; -1: none */
};
struct exec_result {
    int status; /* 0..255; 128+n: ended by signal n */
    struct buf out, err;
};
void exec_result_release(struct exec_result *r);

/* Runs it with descriptors: in (-1: no input) is read as the command takes it, out and err (-1: dropped) get its
 * outputs as they come. VT_TIMEOUT, VT_GONE (given up): it was killed; VT_GONE also: the guest went away under it, or
 * was reverted. */
int exec_streams(struct agent *a, const struct exec_spec *x, int in, int out, int err, int *ret_status, struct err *e);

/* For our own short commands, by guest-exec alone: input and each output of at most 16 MiB, everything at the end, and
 * whatever the command leaves running must close its outputs. A status but 0 is not an error here. */
int exec_run(struct agent *a, const struct exec_spec *x, const void *input, size_t input_len, struct exec_result *ret,
             struct err *e);
/* The same for a POSIX shell script with words $1, $2 … (end with NULL). A status but 0 is VT_FAIL with the script's
 * last line on standard error. */
int exec_script(struct agent *a, const char *script, const char *const *words, struct exec_result *ret, struct err *e);

#endif
