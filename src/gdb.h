/* gdb's remote serial protocol for a machine: a socket that one debugger at a time connects to. All on the loop's
 * thread. While a debugger has the guest stopped, the vCPU is paused once on its account, beside whoever else pauses
 * it. */
#ifndef VT_GDB_H
#define VT_GDB_H

#include <stdbool.h>
#include "src/base/err.h"
#include "src/loop.h"
#include "src/machine.h"

struct gdb;

struct gdb_hooks {
    void (*run)(void *opaque);   /* the debugger lets the guest go: whatever else holds it may be ended; may be NULL */
    void (*reset)(void *opaque); /* "monitor reset"; the vCPU is paused */
    void (*kill)(void *opaque);  /* the debugger ends the machine */
    void *opaque;
};

/* Listens at `where`: a path (a Unix socket, which only this user can open), or tcp::PORT on the loopback address.
 * `wait`: the guest stands until a debugger lets it go. VT_USAGE; VT_BUSY: the port is taken. */
int gdb_new(struct loop *l, struct machine *m, const char *where, bool wait, const struct gdb_hooks *hooks,
            struct gdb **ret_gdb, struct err *e);
/* Before the machine is freed; a debugger that is there is told that the guest is gone. NULL is fine. */
void gdb_free(struct gdb *g);

/* The vCPU has come to an end or a stop. True: it is the debugger's matter (breakpoints and steps always, a triple
 * fault while a debugger is there): the guest stands. g may be NULL. */
bool gdb_stopped(struct gdb *g, const struct vcpu_end *end);
/* The machine ends with this status. */
void gdb_exited(struct gdb *g, int status);

/* The form of `where` alone. */
int gdb_where_check(const char *where, struct err *e);

#endif
