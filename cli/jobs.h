/* Several jobs at once: copies of this process, whose output the first one gathers. */
#ifndef VT_CLI_JOBS_H
#define VT_CLI_JOBS_H

#include "cli/cli.h"

#define JOBS_MAX 256

/* Forks n children and returns in each of them with *ret_job 1 to n: standard input is empty, standard output and error
 * go to the parent. There it returns when all have ended, with *ret_job 0: each line that a job printed has been passed
 * on as "JOB: LINE"; with --json, the jobs' objects are in "jobs". The result is the worst status: 125 (our own
 * failure), else the greatest. The store must be closed. */
int jobs_run(struct cli *c, unsigned n, unsigned *ret_job, struct err *e);

/* Word with each "{}" replaced by the job's number; malloc'ed, NULL: out of memory. */
char *jobs_word(const char *word, unsigned job);

#endif
