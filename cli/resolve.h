/* From words to machines and snapshots: which store, which machine, which snapshot the user means. */
#ifndef VT_CLI_RESOLVE_H
#define VT_CLI_RESOLVE_H

#include "cli/cli.h"
#include "cli/name.h"
#include "snapshot/snapshot.h"
#include "src/client.h"

/* Opens the store into c->store: --store, else the setting (settings.h), else $XDG_DATA_HOME/vmtest. flags: enum
 * store_flags. */
int cli_store(struct cli *c, unsigned flags, struct err *e);

/* The machine meant, by: word (may be NULL or ""), -m, the setting, `use`, the only machine. exact: no prefixes.
 * VT_USAGE: none is named and there are several, or two are named. *ret must be released. */
int cli_machine(struct cli *c, const char *word, bool exact, struct machine_info *ret, struct err *e);

/* A machine and the name of a snapshot in it, which need not exist. */
struct target {
    struct machine_info machine;
    struct name_ref ref; /* ref.snap is "" where MACHINE stood alone */
};
void target_release(struct target *t);
/* "[MACHINE] SNAP": n is 1 or 2 words at `words`; one word may be MACHINE@SNAP. */
int cli_target(struct cli *c, char **words, int n, bool exact, struct target *ret, struct err *e);
/* The row of t's snapshot. The error names MACHINE@SNAP. */
int cli_snapshot(struct cli *c, const struct target *t, bool exact, struct snapshot_info *ret, struct err *e);

/* Connects to a running machine. VT_BUSY: it is not running, with what to do about it. */
int cli_connect(struct cli *c, const struct machine_info *m, struct client **ret, struct err *e);
/* Takes the machine's lock where it is off (*ret_fd), or connects where it runs (*ret). One of them is set, the other
 * is NULL or -1. Waits a moment for other commands. VT_BUSY: they took longer. */
int cli_lock_or_connect(struct cli *c, const struct machine_info *m, int *ret_fd, struct client **ret, struct err *e);

/* The command failed with r, VT_GONE. Where the monitor that it had reached is gone, the error is given the log's last
 * line. */
int cli_last_words(struct cli *c, int r, struct err *e);
/* The file that the machine's monitor logs to, its directory made; malloc'ed. */
int cli_log_path(struct cli *c, int64_t machine, char **ret, struct err *e);

/* VT_NOENT: a card is on a private network that there is not. Opens the store. */
struct machine_config;
int cli_nets(struct cli *c, const struct machine_config *cfg, struct err *e);

/* Path as an absolute one, of a file that exists; malloc'ed. */
int cli_abspath(const char *path, char **ret, struct err *e);

#endif
