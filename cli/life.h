/* Steps that several verbs take with a running machine. */
#ifndef VT_CLI_LIFE_H
#define VT_CLI_LIFE_H

#include "cli/resolve.h"

/* Ends the monitor (the guest's power is gone) and waits until the machine's lock is free. */
int life_end(struct cli *c, const struct machine_info *m, struct client *client, struct err *e);

/* Waits until nobody holds the machine's lock: a monitor that ends. VT_TIMEOUT after ten seconds. */
int life_wait_unlocked(struct cli *c, const struct machine_info *m, struct err *e);

/* Starts the monitor of a machine whose lock is held in *lock, which is given up on failure. */
struct life_how { /* as in monitor_spec */
    bool paused, cache_unsafe, frozen, keep_clock;
    const char *gdb, *pcap;
    int64_t snapshot;
};
int life_start(struct cli *c, const struct machine_info *m, int *lock, const struct life_how *how, struct client **ret,
               struct err *e);
/* --clock: host or snapshot. *ret_keep: snapshot. NULL: host. */
int life_clock(const char *word, bool *ret_keep, struct err *e);

/* Ends the fork of a snapshot that waits for the next `run --warm`, if there is one: nobody uses it. */
void life_end_parked(struct cli *c, int64_t snapshot);
/* The same of all snapshots of a machine. */
void life_end_all_parked(struct cli *c, int64_t machine);

/* A name that the machine has no snapshot of: the prefix, at most 20 characters, and the time in UTC,
 * "20260131-120000". */
void life_dated_name(struct cli *c, int64_t machine, const char *prefix, char name[NAME_MAX_LEN + 1]);
/* Deletes a snapshot of the running machine, and keeps nothing of it for undo. VT_BUSY: a fork runs from it. */
int life_drop(struct cli *c, int64_t machine, int64_t snapshot, struct client *client, struct err *e);

/* Sends one command to the running machine that the verb's word names, and ends with "DONE NAME in …". already (may be
 * NULL): the state in which there is nothing to do. */
int life_command(struct cli *c, const char *command, const char *done, const char *already, struct err *e);

/* The last step of a verb that deleted something and has said so: gives the lock up, and back to the file system what
 * nobody uses. What cannot be had now is there the next time, so this does not fail. */
void life_tidy(struct cli *c, int *lock);

/* A member of a monitor's answer, 0 where it is not there. */
uint64_t answer_u64(const json_t *answer, const char *key);

#endif
