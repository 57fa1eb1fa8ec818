/* The monitor's event loop: one thread that polls descriptors, runs timers and takes work from other threads. Nothing
 * in it may block. All calls are for the loop's own thread (or before it runs), but loop_call and loop_stop: any
 * thread. */
#ifndef VT_LOOP_H
#define VT_LOOP_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include "src/base/err.h"

struct loop;

int loop_new(struct loop **ret_loop, struct err *e);
void loop_free(struct loop *l);

/* A watched descriptor, embedded in its owner. events may be changed at any time; 0 only hears errors and hang-ups, and
 * `idle` hears nothing at all. fn may remove any watch, its own too. */
struct loop_fd {
    int fd;
    short events; /* POLLIN, POLLOUT */
    bool idle;
    void (*fn)(void *opaque, short revents);
    void *opaque;
    struct loop_fd *next; /* the loop's */
    int slot;             /* the loop's: its place in this turn's poll set, -1: none */
};
void loop_add(struct loop *l, struct loop_fd *f);
void loop_del(struct loop *l, struct loop_fd *f); /* nothing happens where it is not watched */

/* A timer on CLOCK_MONOTONIC; deadline 0 disarms. Fires once. */
struct loop_timer {
    uint64_t deadline; /* ns, as loop_now */
    void (*fn)(void *opaque);
    void *opaque;
    struct loop_timer *next; /* the loop's */
};
uint64_t loop_now(void);
void loop_timer_add(struct loop *l, struct loop_timer *t);
void loop_timer_del(struct loop *l, struct loop_timer *t);

/* A source with descriptors of its own (user-mode network): `prepare` appends up to max entries to fds, lowers
 * *timeout_ms as it needs and returns how many; `dispatch` gets the same entries after the poll. */
struct loop_source {
    int (*prepare)(void *opaque, struct pollfd *fds, int max, int *timeout_ms);
    void (*dispatch)(void *opaque, const struct pollfd *fds, int n, bool poll_failed);
    void *opaque;
    struct loop_source *next; /* the loop's */
    int first, count;         /* the loop's */
};
void loop_source_add(struct loop *l, struct loop_source *s);
void loop_source_del(struct loop *l, struct loop_source *s);

/* [any thread] Runs fn(opaque) on the loop's thread, in order of the calls. Out of memory ends the process. */
void loop_call(struct loop *l, void (*fn)(void *opaque), void *opaque);
/* The same, and waits until it has run; on the loop's own thread it runs at once. */
void loop_call_wait(struct loop *l, void (*fn)(void *opaque), void *opaque);

void loop_run(struct loop *l);  /* until loop_stop */
void loop_stop(struct loop *l); /* [any thread] sticky */
/* One turn: waits at most timeout_ms (-1: for ever). For tests and for draining at the end. */
void loop_turn(struct loop *l, int timeout_ms);

#endif
