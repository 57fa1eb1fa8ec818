/* The host side of a character port (a serial line, a virtio-console port): carries bytes between the port and any
 * number of attached descriptors, on the loop's thread. Output reaches every descriptor; nothing is dropped for an
 * attached one that is slow: the guest waits. With nobody attached, output is read away and the last 64 KiB of it are
 * kept for whoever attaches next, so that a guest never waits for a reader that is not there. */
#ifndef VT_CHRHOST_H
#define VT_CHRHOST_H

#include <stdbool.h>
#include "src/base/err.h"
#include "src/loop.h"
#include "vmcore/port.h"

struct chrhost;
struct vm;

/* Watches port, which must be initialised and get its kick descriptor here, before the machine is made with it. */
int chrhost_new(struct loop *l, struct chrport *port, struct chrhost **ret_host, struct err *e);
void chrhost_free(struct chrhost *h); /* detaches all */
/* The machine that the port belongs to; before that, input waits. NULL: it is gone. */
void chrhost_set_vm(struct chrhost *h, struct vm *vm);

/* Attaches in_fd (-1: no input) and out_fd (-1: no output; may equal in_fd); `own` closes them at the end. They may be
 * blocking: at most PIPE_BUF bytes are written, and only when poll says that they fit. An end of input stops input;
 * for an owned stream (in_fd == out_fd) it detaches. `gone` (may be NULL) is told when the attachment has ended by
 * itself. */
struct chrhost_link;
int chrhost_attach(struct chrhost *h, int in_fd, int out_fd, bool own, void (*gone)(void *opaque), void *opaque,
                   struct chrhost_link **ret_link, struct err *e);
void chrhost_detach(struct chrhost *h, struct chrhost_link *k);

/* Listens to what the guest sends: fn gets the bytes kept so far (at most the last 64 KiB), then all that follow, on
 * the loop's thread; slowing nobody. t is the caller's until chrhost_untap. */
struct chrhost_tap {
    void (*fn)(void *opaque, const void *data, size_t n);
    void *opaque;
    struct chrhost_tap *next; /* chrhost's */
};
void chrhost_tap(struct chrhost *h, struct chrhost_tap *t);
void chrhost_untap(struct chrhost *h, struct chrhost_tap *t);

/* [vCPU paused] Throws away what is under way in both directions (a revert: those bytes are from another time); with
 * input also what attached descriptors hold and was not read yet. */
void chrhost_discard(struct chrhost *h, bool input);
/* Writes out what the guest has sent, waiting at most timeout_ms for slow readers. */
void chrhost_drain(struct chrhost *h, int timeout_ms);

#endif
