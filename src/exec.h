/* Commands in the guest by the agent's guest-exec. Its limits are errors here, never a silent cut: output and input of
 * at most 16 MiB each, output when the command has ended, no terminal. */
#ifndef VT_EXEC_H
#define VT_EXEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "src/agent.h"
#include "src/base/buf.h"
#include "src/base/err.h"

#define EXEC_INPUT_MAX (16u << 20)

struct exec_spec {
    const char *const *argv; /* ends with NULL */
    const char *const *env;  /* "NAME=value" words added to the agent's environment, ends with NULL; may be NULL */
    const char *dir;         /* NULL: the root directory */
    const char *user;        /* NULL: who the agent runs as */
    const void *input;
    size_t input_len;
    uint64_t timeout; /* ns, 0: none */
    int cancel_fd;    /* readable: nobody waits any more, the command is killed; -1: none */
};
struct exec_result {
    int status; /* 0..255; 128+n: ended by signal n */
    struct buf out, err;
};
void exec_result_release(struct exec_result *r);

/* Runs the command to its end. VT_TIMEOUT: it was killed; VT_GONE: the guest went away under it, or was reverted. */
int exec_run(struct agent *a, const struct exec_spec *x, struct exec_result *ret, struct err *e);
/* The same with descriptors: reads all of in (-1: no input) first, and writes the outputs at the end (-1: dropped). */
int exec_streams(struct agent *a, const struct exec_spec *x, int in, int out, int err, int *ret_status, struct err *e);
/* A short POSIX shell script with words $1, $2 … (end with NULL); its output in *ret. A status but 0 is VT_FAIL with
 * the script's last line on standard error. */
int exec_script(struct agent *a, const char *script, const char *const *words, struct exec_result *ret, struct err *e);

#endif
