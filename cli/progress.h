/* How far a snapshot is: on a terminal a line of standard error that is gone at the end, and wherever it is asked for.
 */
#ifndef VT_CLI_PROGRESS_H
#define VT_CLI_PROGRESS_H

#include "cli/cli.h"

struct progress {
    struct cli *c;
    const char *what; /* "snapshot clean of web" */
    bool asked;       /* --progress: wherever standard error goes; with --json, objects on standard output */
    bool drawn;
};

/* pages of 4 KiB */
void progress_show(struct progress *p, uint64_t done, uint64_t total);
void progress_end(struct progress *p);

#endif
