/* The process that runs one machine of a store: its parts, and the state that its commands change. Private to the
 * monitor.
 *
 * The loop's thread owns `state`, the machine's ports and the socket; commands that take time run on threads of their
 * own (jobs) and come back to it by loop_call_wait. `change` is held by whoever moves the machine in its snapshot tree.
 */
#ifndef VT_MONITOR_H
#define VT_MONITOR_H

#include <pthread.h>
#include <stdatomic.h>
#include "snapshot/snapshot.h"
#include "src/base/log.h"
#include "src/capture.h"
#include "src/config.h"
#include "src/exec.h"
#include "src/loop.h"
#include "src/machine.h"
#include "src/qmp.h"
#include "src/warm.h"

enum run_state {
    RUN_PRELAUNCH, /* not booted yet */
    RUN_RUNNING,
    RUN_PAUSED,
    RUN_IO_ERROR, /* a disk is in trouble: the guest stands until "cont" */
    RUN_PANICKED, /* the virtual CPU gave up */
    RUN_FAILED,   /* we failed: see failure */
    RUN_SHUTDOWN, /* the guest is off, or going away with the process */
};
/* In every state but RUN_RUNNING the vCPU is paused once on the state's account. */

struct gdb;
struct park;

struct monitor {
    struct log log;
    struct loop *loop;
    struct store *store;
    struct head *head;
    int lock_fd;
    int64_t id, fork_of; /* the machine's row, or (ephemeral) the snapshot it started from */
    char *name;
    struct machine_config config;
    struct machine *machine;
    struct capture *capture;
    struct warm warm;
    struct qmp *qmp;
    struct pcap *pcap; /* NULL: nothing is captured */
    struct gdb *gdb;   /* NULL: no debugger is let in */
    struct park *park; /* NULL: an ephemeral machine ends with its owner */
    struct loop_fd signals;
    struct loop_timer log_timer, auto_timer;
    atomic_bool auto_busy; /* an automatic snapshot is being taken */

    _Atomic(enum run_state) state;
    bool booted;
    atomic_bool stale;        /* memory is from an earlier time: see monitor_ready */
    bool frozen, keep_clock;  /* a guest of an earlier time stays as it was; or its clock does */
    pthread_mutex_t readying; /* held while the guest is made ready for a command */
    struct vcpu_end end;      /* how the guest ended, while end_pending */
    atomic_bool end_pending;
    bool reverting; /* an end that the guest came to meanwhile is looked at when the revert is over */
    struct err failure;
    int end_fd; /* an eventfd, readable once the machine has ended */

    pthread_mutex_t change;
    atomic_uint jobs, reverts;
};

const char *run_state_name(enum run_state s); /* QMP's words */

/* [change held] What the monitor changed of its machine's hardware, discs and floppies, goes into the store's
 * configuration. */
int monitor_keep_discs(struct monitor *m, struct err *e);

/* Loop's thread. */
int monitor_cont(struct monitor *m, struct err *e);
void monitor_stop(struct monitor *m); /* pause; nothing where it does not run */
int monitor_reset(struct monitor *m, struct err *e);
void monitor_shut(struct monitor *m, const char *reason);      /* the machine ends, and the process with it */
void monitor_broken(struct monitor *m, const struct err *why); /* the state cannot be used: only revert or stop help */
/* Around capture_revert: pauses; then rc and broken as that returned. */
void monitor_revert_begin(struct monitor *m);
void monitor_revert_end(struct monitor *m, int rc, bool broken, enum power power, const struct err *why);
/* The guest came to an end (monitor->end). */
void monitor_ended(struct monitor *m);

/* The words after the program's name. Returns the exit status: 0, or why it did not start. */
int monitor_main(int argc, char **argv);

/* [a job's thread] Makes ready what `need` names, waiting for the guest. A guest whose memory is of an earlier time is
 * made one of its own first: the helper reseeds its kernel's random numbers and sets its clock. Where the helper cannot
 * run, way->port is NULL and commands go by the agent. */
enum ready_need { READY_AGENT = 1, READY_COMMAND = 2 };
int monitor_ready(struct monitor *m, const struct qmp_call *call, unsigned need, struct exec_way *ret, struct err *e);

extern const struct qmp_command monitor_commands[];

#endif
