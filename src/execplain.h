/* Commands in the guest by the agent's guest-exec alone, where the helper cannot run, and around guest-exec's limits: a
 * command's outputs go to two files in the guest's memory, which are read while it runs and at its end, so that they
 * may be longer than what guest-exec carries, and a daemon that keeps them open keeps nobody waiting; its input is a
 * pipe fed piece by piece. There are no terminals and no signals, and a restart of the agent's service ends the
 * command. */
#ifndef VT_EXECPLAIN_H
#define VT_EXECPLAIN_H

#include "src/exec.h"

/* As exec_streams. */
int execplain_run(struct agent *a, const struct exec_spec *x, int in, int out, int err, int *ret_status, struct err *e);

/* A shell script that becomes a command, with the words that exec_launch_words appends (the script itself first). */
extern const char exec_launch[];
int exec_launch_words(const struct exec_spec *x, struct strlist *words, struct err *e);

#endif
