/* The monitor's end of the helper's port: a thread that carries frames between a stream (a socket pair to the virtio
 * port) and the sessions, a session a command. What the guest sends is checked here against what it may send; one wrong
 * frame ends all sessions.
 *
 * A restore, revert or reset starts a new generation: the sessions of the old one are lost, and the helper is greeted
 * anew before the next command. Calls may come from any thread. */
#ifndef VT_EXECPORT_H
#define VT_EXECPORT_H

#include <stdbool.h>
#include <stdint.h>
#include "guest/wire.h"
#include "src/agent.h"
#include "src/base/buf.h"
#include "src/base/err.h"

#define EXECPORT_WINDOW (256u << 10) /* of output that may be under way, a session */

struct execport;

/* fd, a connected stream socket, becomes the port's. guest_open: nonzero while a program in the guest has the virtio
 * port open; read atomically; NULL where that is not known. */
int execport_new(int fd, const uint32_t *guest_open, struct execport **ret_port, struct err *e);
void execport_free(struct execport *p);
/* The guest is another one now. Nothing of before is sent after it. */
void execport_reset(struct execport *p);
/* The machine is being taken down: sessions end, and no new ones come. */
void execport_shut(struct execport *p);

/* Does a helper seem to run in the guest? */
bool execport_running(const struct execport *p);
/* Greets the helper. Where none runs it is put there by the agent, which must answer; a NULL agent: then VT_NOENT.
 * Once it could not be put there it
 * fails at once, until the next generation; one that does not answer is asked again after half a minute. cancel_fd (-1:
 * none) gives up with VT_GONE. */
int execport_connect(struct execport *p, struct agent *a, int cancel_fd, struct err *e);
bool execport_connected(struct execport *p);

/* flags: EW_SEEDED with fresh random numbers of the host, EW_CLOCK with its time. *ret_done: those that the guest says
 * it did. */
int execport_identity(struct execport *p, uint32_t flags, const struct ew_mac mac[EW_MACS], int cancel_fd,
                      uint32_t *ret_done, struct err *e);

/* ---- for sessions */
struct execlink;

struct execlink_state {
    uint32_t room; /* bytes of input that the guest takes now */
    bool closed;   /* it takes no more */
    bool ended;
    uint32_t how, number; /* enum ew_end */
    char why[256];
    int lost; /* 0, or why there will be nothing more: the session's error */
    struct err lost_err;
};

int execport_link(struct execport *p, struct execlink **ret_link, struct err *e);
/* The guest is told to forget the session, where it has not ended. NULL is fine. */
void execport_unlink(struct execport *p, struct execlink *l);
int execlink_fd(const struct execlink *l); /* readable when there may be news */
/* The state now. Output moves to the end of out[0] and out[1]. */
void execlink_take(struct execport *p, struct execlink *l, struct execlink_state *ret, struct buf out[2]);
/* Starts the command: its words as EW_START has them. */
void execlink_start(struct execport *p, struct execlink *l, const struct ew_start *how, const struct buf *words);
/* Queues a frame of type for the session. EW_DATA counts against `room`; EW_CREDIT gives room for output. */
void execlink_send(struct execport *p, struct execlink *l, uint8_t type, const void *payload, size_t len);

#endif
