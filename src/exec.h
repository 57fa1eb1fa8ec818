/* Commands in the guest. The usual way is the helper (guest/): streams apart, terminals, signals, and a command ends
 * when its main process does and its outputs have gone quiet. Where it cannot run, the agent's guest-exec serves
 * (execplain.h). Our own short commands go by guest-exec always. */
#ifndef VT_EXEC_H
#define VT_EXEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "src/agent.h"
#include "src/base/buf.h"
#include "src/base/err.h"
#include "src/execport.h"

#define EXEC_WORDS_MAX 4096 /* arguments, and words of the environment */

struct exec_spec {
    const char *const *argv; /* ends with NULL; none by the helper: the user's login shell */
    const char *const *env;  /* "NAME=value" words added to the user's environment, ends with NULL; may be NULL */
    const char *dir;         /* NULL: the root directory; a login shell's is its home */
    const char *user;        /* NULL: root */
    uint64_t timeout;        /* ns, 0: none */
    int cancel_fd;           /* readable: nobody waits any more, the command is killed; -1: none */
    bool tty;                /* one terminal for all streams: its output is `out` */
    uint16_t rows, cols;     /* of it; 0: not known */
    bool has_control;
    int control_fd; /* where it has one: a stream of struct exec_control */
};
/* By what commands go. */
struct exec_way {
    struct agent *agent;   /* NULL: not asked for, where there is a port */
    struct execport *port; /* connected; NULL: by the agent */
    char why_plain[256];   /* no port: why */
};
struct exec_result {
    int status; /* 0..255; 128+n: ended by signal n */
    struct buf out, err;
};
void exec_result_release(struct exec_result *r);

/* Runs it with descriptors: in (-1: no input) is read as the command takes it, out and err (-1: dropped) get its
 * outputs as they come. VT_TIMEOUT, VT_GONE (given up): it was killed; VT_GONE also: the guest went away under it, or
 * was reverted. */
int exec_streams(const struct exec_way *way, const struct exec_spec *x, int in, int out, int err, int *ret_status,
                 struct err *e);

/* For our own short commands, by guest-exec alone: input and each output of at most 16 MiB, everything at the end, and
 * whatever the command leaves running must close its outputs. A status but 0 is not an error here. */
int exec_run(struct agent *a, const struct exec_spec *x, const void *input, size_t input_len, struct exec_result *ret,
             struct err *e);
/* The same for a POSIX shell script with words $1, $2 … (end with NULL). A status but 0 is VT_FAIL with the script's
 * last line on standard error. */
int exec_script(struct agent *a, const char *script, const char *const *words, struct exec_result *ret, struct err *e);

#endif
