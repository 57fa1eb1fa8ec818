/* What a machine that runs is when a revert leaves it, kept as a snapshot with its memory: `revert --keep` takes it,
 * and undo goes on from it. Named left-DATE-TIME, or left-paused-DATE-TIME where the user had the guest paused. One
 * that was renamed is the user's own. The guest stands from the moment that is kept until the revert, so nothing is
 * lost between.
 */
#ifndef VT_CLI_LEFT_H
#define VT_CLI_LEFT_H

#include "cli/resolve.h"

#define LEFT_KEPT 4 /* of a machine; older ones are dropped */

/* Pauses the guest and keeps its state, as what a revert to the snapshot named `to` left. *ret is to be released; its
 * id is 0 where the guest has not run yet, and there is nothing to keep. Where it fails, the guest goes on. */
int left_take(struct cli *c, const struct machine_info *m, struct client *client, const char *to,
              struct snapshot_info *ret, struct err *e);
/* The revert did not happen after all: drops what was kept, and lets the guest go on. */
void left_give_up(struct cli *c, const struct snapshot_info *s, struct client *client);

/* [machine's lock held] Whether `name` (NULL: no) is such a state, and the machine's disks, as they are, are its disks:
 * *ret is to be released, ret->id 0: no. It is renamed to back-DATE-TIME, since what the machine does from now on is
 * not what was left. *ret_running: the guest ran. */
int left_find(struct cli *c, const struct machine_info *m, const char *name, struct snapshot_info *ret,
              bool *ret_running, struct err *e);

#endif
