/* The host's end of a machine's keyboard and mouse: puts events into the input port as it has room, and tells when the
 * guest has taken them. */
#ifndef VT_TYPIST_H
#define VT_TYPIST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "src/base/err.h"
#include "vmcore/port.h"

struct typist;

int typist_new(struct typist **ret, struct err *e);
void typist_free(struct typist *t);              /* after the machine; NULL is fine */
struct inputport *typist_port(struct typist *t); /* for the machine's configuration */
void typist_set_vm(struct typist *t, struct vm *vm);
/* [vCPU paused] What is not taken yet is forgotten; who waits for it is told so. */
void typist_discard(struct typist *t);

struct typist_stop {
    uint64_t stall_ns; /* give up when the guest took nothing for so long */
    int gone_fd;       /* readable: who asked for it has gone */
    int end_fd;        /* readable: the machine has ended */
};
/* [any thread] Puts all n keys, waiting as long as the guest goes on to take some. *ret_taken (also on error): how many
 * it took. VT_GONE: it took none for too long, ended, or was reverted; VT_FAIL: gone_fd. Then the rest is withdrawn.
 * One text at a time: others wait their turn. */
int typist_type(struct typist *t, const struct input_key *keys, size_t n, const struct typist_stop *stop,
                size_t *ret_taken, struct err *e);
/* [any thread] Puts them without waiting. VT_BUSY: there is no room. */
int typist_keys(struct typist *t, const struct input_key *keys, size_t n, struct err *e);
/* The mouse moved by dx (right), dy (down), dz (wheel, towards the user), and buttons in `mask` are now as in `down`.
 */
int typist_mouse(struct typist *t, int dx, int dy, int dz, unsigned mask, unsigned down, struct err *e);

#endif
