/* The agent's guest-exec and guest-exec-status as they are. */
#ifndef VT_GUESTEXEC_H
#define VT_GUESTEXEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "src/agent.h"
#include "src/base/err.h"
#include "src/exec.h"

#define GUESTEXEC_INPUT_MAX (12u << 20)

struct guestexec {
    struct agent *agent;
    int64_t pid;
    uint64_t generation;
};

/* Starts /bin/sh -c script with words $1, $2 … (ends with NULL; may be NULL). Outputs are kept by the agent, 16 MiB
 * each. */
int guestexec_start(struct agent *a, const char *script, const char *const *words, const void *input, size_t input_len,
                    struct guestexec *ret, struct err *e);
/* Has it ended? Then *ret holds its status and outputs. Asked once more after that, the agent knows nothing of it.
 * VT_GONE: the machine was reverted, reset or stopped since. */
int guestexec_poll(struct guestexec *g, bool *ret_ended, struct exec_result *ret, struct err *e);
/* Waits for fd (-1: none) to become readable, at most ns; then says so. */
bool guestexec_pause(int fd, uint64_t ns);

#endif
