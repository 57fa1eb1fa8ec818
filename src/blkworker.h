/* A disk's worker: a thread that serves a blkport's requests on a struct blockdev, in the order of their submission.
 *
 * A write, flush, discard or zero that fails (no space, an I/O error) is kept: the worker tells by trouble(), stands,
 * and serves nothing more until blkworker_retry; so the guest never sees an error that would make it give up its disk.
 * A read that fails is told too, and fails in the guest. */
#ifndef VT_BLKWORKER_H
#define VT_BLKWORKER_H

#include <stdbool.h>
#include "src/base/blockdev.h"
#include "src/base/err.h"
#include "vmcore/port.h"

struct blkworker;

/* On the worker's thread, which it must not block. held: the request waits for blkworker_retry. */
typedef void blkworker_trouble(void *opaque, enum blk_op op, bool held, const struct err *why);

/* dev stays the caller's and outlives the worker; only the worker calls it, but while it is idle. No thread yet. */
int blkworker_new(struct blockdev *dev, blkworker_trouble *trouble, void *opaque, struct blkworker **ret_w,
                  struct err *e);
/* Fills the port that a machine is made with; serial (at most 20 bytes) is what the guest reads as the disk's. */
void blkworker_port(struct blkworker *w, const char *serial, struct blkport *ret_port);
/* Starts serving; completions go to vm. */
int blkworker_start(struct blkworker *w, struct vm *vm, struct err *e);
/* Serves what was submitted, fails what is held, and ends the thread. The machine may still hold the port. */
void blkworker_stop(struct blkworker *w);
void blkworker_free(struct blkworker *w); /* stops it too */

/* [any thread but the worker's] Waits until all that was submitted is served. With the vCPU paused the worker then
 * stays idle, and the caller may use dev. VT_BUSY: a request is held; the worker stands all the same. */
int blkworker_quiesce(struct blkworker *w, struct err *e);
/* [any thread] Tries a held request again. */
void blkworker_retry(struct blkworker *w);
/* [vCPU paused] The machine's state is being replaced: what is held or waits is failed (the device no longer expects
 * it), and later requests go to dev, of the same size. */
void blkworker_switch(struct blkworker *w, struct blockdev *dev);

#endif
