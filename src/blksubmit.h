/* How requests get from the vCPU thread to a disk's worker. blksubmit() runs on the vCPU thread: it is built like
 * vmcore's run-time part, for general registers only. */
#ifndef VT_BLKSUBMIT_H
#define VT_BLKSUBMIT_H

#include "vmcore/port.h"

struct blkinbox {
    struct reqlist list;
    uint32_t count;    /* atomic: requests ever submitted; the futex that a sleeping worker waits on */
    uint32_t sleeping; /* atomic: the worker waits, or is about to */
};

/* A blkport's submit; opaque is a struct blkinbox. */
void blksubmit(void *opaque, struct blk_req *r);
/* Wakes the worker without a request. */
void blkinbox_wake(struct blkinbox *b);
/* The worker: sleeps unless count differs from seen. May return early. */
void blkinbox_wait(struct blkinbox *b, uint32_t seen);

#endif
