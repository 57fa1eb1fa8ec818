/* Steps that several verbs take with a running machine. */
#ifndef VT_CLI_LIFE_H
#define VT_CLI_LIFE_H

#include "cli/resolve.h"

/* Ends the monitor (the guest's power is gone) and waits until the machine's lock is free. */
int life_end(struct cli *c, const struct machine_info *m, struct client *client, struct err *e);

/* Sends one command to the running machine that the verb's word names, and ends with "DONE NAME in …". */
int life_command(struct cli *c, const char *command, const char *done, struct err *e);

/* A member of a monitor's answer, 0 where it is not there. */
uint64_t answer_u64(const json_t *answer, const char *key);

#endif
