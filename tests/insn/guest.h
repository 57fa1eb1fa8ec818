/* The translated side: a process of its own too, so that a case on which the translator dies or does not end is a
 * failure with a name, and the cases after it still run. */
#ifndef INSN_GUEST_H
#define INSN_GUEST_H

#include <sys/types.h>

#include "insn.h"
#include "src/base/err.h"

#define MAX_ROWS 2048

struct guest_shm {
    uint32_t go, done; /* futexes: number of the batch handed over, and of the last one finished */
    uint32_t first, n; /* which cases of it to run */
    uint32_t at;       /* the case that runs now, plus one */
    uint32_t ready;
    uint64_t steps;            /* cases run so far: stands still in a hang */
    uint8_t covered[MAX_ROWS]; /* rows of the translator's table that were used */
    struct insn_result results[BATCH];
};

struct guest {
    struct insn_shm *in; /* cases and base image */
    const char *model;   /* of the guest's processor; NULL: the default one */
    struct guest_shm *shm;
    pid_t pid;
    uint32_t batch;
};

/* in: cases, base image, mode, and which optional pages there are. VT_GONE: no such mode in the translator. */
int guest_start(struct guest *g, struct insn_shm *in, const char *model, struct err *e);
void guest_stop(struct guest *g);
/* Lets the translated side run the first n cases of g->in; guest_wait() then has the results in g->shm. */
void guest_submit(struct guest *g, uint32_t n);
int guest_wait(struct guest *g, struct err *e);

#endif
