/* The test's end of the native runner. */
#ifndef INSN_HOST_H
#define INSN_HOST_H

#include <sys/types.h>

#include "insn.h"
#include "src/base/err.h"

struct host {
    struct insn_shm *shm;
    pid_t pid;
    uint32_t batch;
};

/* Starts the runner (the program `path`). VT_GONE: this host cannot run code of the mode, *e says why. */
int host_start(struct host *h, const char *path, const struct mode *mode, struct err *e);
void host_stop(struct host *h);
/* Lays out the code of the first n cases of h->shm and lets the runner go. */
void host_submit(struct host *h, uint32_t n);
/* Waits until the batch is done; results are in h->shm. */
int host_wait(struct host *h, struct err *e);

#endif
