/* The monitor's side of its socket: QMP's wire form for several clients at once. A client's commands run one after the
 * other; different clients' run at the same time. Input is hostile: sizes, counts of clients and descriptors are
 * bounded, and a malformed message gets an error, never more.
 *
 * All is called on the loop's thread, but the calls marked [any thread]. */
#ifndef VT_QMP_H
#define VT_QMP_H

#include <jansson.h>
#include <stdbool.h>
#include "src/base/err.h"
#include "src/loop.h"

#define QMP_MAX_FDS     4
#define QMP_MAX_CLIENTS 64
#define QMP_MAX_MESSAGE (1u << 20)

struct qmp;

/* A command under way. Its handler answers exactly once, at once or later from any thread; the answer frees it. */
struct qmp_call {
    const char *command;
    json_t *args; /* an object, never NULL */
    int fds[QMP_MAX_FDS];
    unsigned nfds; /* closed with the call, unless taken by qmp_take_fd */
};
struct qmp_command {
    const char *name;
    void (*handler)(void *opaque, struct qmp_call *call);
};

/* commands ends with name NULL. Beside them the server knows qmp_capabilities, query-version and query-commands. */
int qmp_new(struct loop *l, const struct qmp_command *commands, void *opaque, struct qmp **ret_qmp, struct err *e);
void qmp_free(struct qmp *q); /* calls that are still under way may be answered after it, to nobody */
/* Listens at path (an old socket there is replaced) until qmp_free, which removes it. */
int qmp_listen(struct qmp *q, const char *path, struct err *e);
/* Until this. */
void qmp_unlisten(struct qmp *q);
/* Serves a connected stream socket, which becomes the server's; gone (may be NULL) is told when it has closed. */
int qmp_serve(struct qmp *q, int fd, void (*gone)(void *opaque), void *opaque, struct err *e);

/* [any thread] result (NULL: {}) is released. */
void qmp_return(struct qmp_call *call, json_t *result);
/* [any thread] Answers with an error: its message as "desc" and code as "code". */
void qmp_fail(struct qmp_call *call, const struct err *e);
/* [any thread] Has the client hung up? Then the answer reaches nobody, and long work for it should end. */
bool qmp_call_gone(const struct qmp_call *call);
/* [any thread] A descriptor that becomes readable (POLLIN or POLLHUP) when the client has hung up; owned by the call.
 */
int qmp_call_gone_fd(const struct qmp_call *call);
/* gone is told when the client of this call has closed, as with qmp_serve. */
void qmp_call_watch(struct qmp_call *call, void (*gone)(void *opaque), void *opaque);
/* The call's nth descriptor becomes the caller's. -1: it has none. */
int qmp_take_fd(struct qmp_call *call, unsigned n);

/* [any thread] Sends an event to every client that has negotiated; data (may be NULL) is released. */
void qmp_event(struct qmp *q, const char *name, json_t *data);
/* Writes out what is queued for the clients, waiting at most timeout_ms in all. */
void qmp_flush(struct qmp *q, int timeout_ms);

#endif
