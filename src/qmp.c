#include "src/qmp.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include "src/base/banned.h"
#include "src/base/buf.h"
#include "src/base/json.h"
#include "src/base/units.h"
#include "src/base/util.h"
#include "src/wire.h"

#define OUT_MAX (64u << 20) /* a client that reads nothing is dropped past this */

struct qmp_client {
    struct qmp_client *next;
    struct qmp *q; /* gone before this one where a call outlives the server */
    struct loop *loop;
    struct loop_fd io;
    struct wire in;
    struct buf out;
    int fds[QMP_MAX_FDS]; /* came with the bytes that are not a command yet */
    unsigned nfds;
    bool negotiated, busy, eof;
    atomic_uint refs; /* the server's list, and the call under way */
    atomic_bool gone;
    int gone_fd; /* an eventfd, readable once it has hung up */
    void (*on_gone)(void *opaque);
    void *opaque;
};

struct qmp {
    struct loop *loop;
    const struct qmp_command *commands;
    void *opaque;
    struct qmp_client *clients;
    unsigned nclients;
    struct loop_fd listener;
    char path[108];
};

/* What a call is inside: handlers see its head only. */
struct call {
    struct qmp_call pub;
    struct qmp_client *client;
    char *name;
    json_t *id;
    json_t *answer;
};

/* ---- clients */

static void client_unref(struct qmp_client *c)
{
    if (atomic_fetch_sub(&c->refs, 1) == 1) {
        close(c->gone_fd);
        free(c);
    }
}

static void close_fds(int *fds, unsigned *n)
{
    for (unsigned i = 0; i < *n; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    *n = 0;
}

static void client_drop(struct qmp_client *c)
{
    struct qmp *q = c->q;
    uint64_t one = 1;

    for (struct qmp_client **p = &q->clients; *p; p = &(*p)->next)
        if (*p == c) {
            *p = c->next;
            q->nclients--;
            break;
        }
    loop_del(q->loop, &c->io);
    close(c->io.fd);
    close_fds(c->fds, &c->nfds);
    wire_release(&c->in);
    buf_release(&c->out);
    atomic_store(&c->gone, true);
    if (write(c->gone_fd, &one, sizeof one) < 0)
        vt_assert(errno == EAGAIN || errno == EINTR);
    if (c->on_gone)
        c->on_gone(c->opaque);
    client_unref(c);
}

/* Queues a message; what can be written now is. False: the client was dropped. */
static bool client_send(struct qmp_client *c, const json_t *msg)
{
    cleanup(cleanup_free) char *text = json_dumps(msg, JSON_COMPACT);

    if (text) {
        buf_str(&c->out, text);
        buf_str(&c->out, "\r\n");
    }
    if (!text || c->out.failed || c->out.len > OUT_MAX) {
        client_drop(c);
        return false;
    }
    c->io.events |= POLLOUT;
    return true;
}

static bool client_write(struct qmp_client *c)
{
    while (c->out.len) {
        ssize_t n = send(c->io.fd, c->out.data, c->out.len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return true;
        if (n < 0) {
            client_drop(c);
            return false;
        }
        buf_drop(&c->out, (size_t)n);
    }
    c->io.events &= (short)~POLLOUT;
    return true;
}

static json_t *error_object(const char *class, int code, const char *desc)
{
    return json_pack("{s:{s:s, s:o, s:i}}", "error", "class", class, "desc", json_string_lossy(desc, strlen(desc)),
                     "code", code);
}

/* ---- calls */

static void call_free(struct call *call)
{
    close_fds(call->pub.fds, &call->pub.nfds);
    json_decref(call->pub.args);
    json_decref(call->id);
    json_decref(call->answer);
    client_unref(call->client);
    free(call->name);
    free(call);
}

static void serve_input(struct qmp_client *c);

static void set_poll(struct qmp_client *c)
{
    bool in = !c->busy && !c->eof;

    c->io.events = (short)((in ? POLLIN : 0) | (c->out.len ? POLLOUT : 0));
}

/* Loop thread. */
static void deliver(void *opaque)
{
    struct call *call = opaque;
    struct qmp_client *c = call->client;

    if (!atomic_load(&c->gone)) {
        if (call->id)
            json_object_set(call->answer, "id", call->id);
        c->busy = false;
        if (client_send(c, call->answer)) {
            if (c->eof && !c->out.len)
                client_drop(c);
            else
                serve_input(c);
        }
    }
    call_free(call);
}

static void answer(struct qmp_call *pub, json_t *msg)
{
    struct call *call = container_of(pub, struct call, pub);

    call->answer = msg;
    loop_call(call->client->loop, deliver, call);
}

void qmp_return(struct qmp_call *call, json_t *result)
{
    answer(call, json_pack("{s:o}", "return", result ? result : json_object()));
}

void qmp_fail(struct qmp_call *call, const struct err *e)
{
    answer(call, error_object("GenericError", e->code, e->msg));
}

bool qmp_call_gone(const struct qmp_call *call)
{
    return atomic_load(&container_of(call, struct call, pub)->client->gone);
}

void qmp_call_watch(struct qmp_call *call, void (*gone)(void *opaque), void *opaque)
{
    struct qmp_client *c = container_of(call, struct call, pub)->client;

    c->on_gone = gone;
    c->opaque = opaque;
}

int qmp_call_gone_fd(const struct qmp_call *call)
{
    return container_of(call, struct call, pub)->client->gone_fd;
}

int qmp_take_fd(struct qmp_call *call, unsigned n)
{
    return n < call->nfds ? steal_fd(&call->fds[n]) : -1;
}

static json_t *version(void)
{
    unsigned a = 0, b = 0, c = 0;

    sscanf(VMTEST_VERSION, "%u.%u.%u", &a, &b, &c);
    return json_pack("{s:{s:i, s:i, s:i}, s:s}", "qemu", "major", a, "minor", b, "micro", c, "package",
                     "vmtest-" VMTEST_VERSION);
}

static json_t *command_list(const struct qmp *q)
{
    json_t *list = json_array();

    json_array_append_new(list, json_pack("{s:s}", "name", "qmp_capabilities"));
    json_array_append_new(list, json_pack("{s:s}", "name", "query-version"));
    json_array_append_new(list, json_pack("{s:s}", "name", "query-commands"));
    for (const struct qmp_command *cmd = q->commands; cmd->name; cmd++)
        json_array_append_new(list, json_pack("{s:s}", "name", cmd->name));
    return list;
}

static const struct qmp_command *find_command(const struct qmp *q, const char *name)
{
    for (const struct qmp_command *cmd = q->commands; cmd->name; cmd++)
        if (strcmp(cmd->name, name) == 0)
            return cmd;
    return NULL;
}

/* Checks a message's shape. NULL, or what to answer. */
static json_t *check(struct qmp_client *c, json_t *msg, const char **ret_name, json_t **ret_args)
{
    const json_t *name = json_object_get(msg, "execute");
    json_t *args = json_object_get(msg, "arguments");
    const char *key;
    json_t *value;

    json_object_foreach(msg, key,
                        value) if (strcmp(key, "execute") != 0 && strcmp(key, "arguments") != 0 &&
                                   strcmp(key, "id") != 0) return error_object("GenericError", VT_USAGE,
                                                                               "QMP input member is unexpected");
    if (!json_is_string(name))
        return error_object("GenericError", VT_USAGE, "QMP input lacks member 'execute'");
    if (args && !json_is_object(args))
        return error_object("GenericError", VT_USAGE, "QMP input member 'arguments' must be an object");
    *ret_name = json_string_value(name);
    *ret_args = args;
    if (!c->negotiated && strcmp(*ret_name, "qmp_capabilities") != 0)
        return error_object("CommandNotFound", VT_USAGE, "Expecting capabilities negotiation with 'qmp_capabilities'");
    return NULL;
}

/* What the server answers itself; NULL: it is a command of the table, or unknown. */
static json_t *own_command(struct qmp_client *c, const char *name)
{
    if (strcmp(name, "qmp_capabilities") == 0) {
        if (c->negotiated)
            return error_object("CommandNotFound", VT_USAGE, "Capabilities negotiation is already complete");
        c->negotiated = true;
        return json_pack("{s:{}}", "return");
    }
    if (strcmp(name, "query-version") == 0)
        return json_pack("{s:o}", "return", version());
    if (strcmp(name, "query-commands") == 0)
        return json_pack("{s:o}", "return", command_list(c->q));
    return NULL;
}

static void start_call(struct qmp_client *c, const struct qmp_command *cmd, json_t *args, json_t *id)
{
    struct call *call = calloc(1, sizeof *call);

    vt_assert(call);
    call->client = c;
    atomic_fetch_add(&c->refs, 1);
    call->pub.command = cmd->name;
    call->pub.args = args ? json_incref(args) : json_object();
    call->id = json_incref(id);
    memcpy(call->pub.fds, c->fds, sizeof c->fds);
    call->pub.nfds = c->nfds;
    c->nfds = 0;
    c->busy = true;
    cmd->handler(c->q->opaque, &call->pub);
}

/* False: the client was dropped. */
static bool serve_message(struct qmp_client *c, json_t *msg)
{
    const struct qmp_command *cmd;
    const char *name = NULL;
    json_t *args = NULL, *id = json_object_get(msg, "id");
    cleanup(cleanup_json) json_t *reply = check(c, msg, &name, &args);

    if (!reply)
        reply = own_command(c, name);
    if (!reply) {
        cmd = find_command(c->q, name);
        if (cmd) {
            start_call(c, cmd, args, id);
            return true;
        }
        reply = json_pack("{s:{s:s, s:o, s:i}}", "error", "class", "CommandNotFound", "desc",
                          json_sprintf("The command %s has not been found", name), "code", VT_USAGE);
    }
    close_fds(c->fds, &c->nfds);
    if (id)
        json_object_set(reply, "id", id);
    return client_send(c, reply);
}

/* Runs what is complete in the input, up to a command that is still under way. */
static void serve_input(struct qmp_client *c)
{
    while (!c->busy) {
        cleanup(cleanup_json) json_t *msg = NULL;
        struct err err = {0};
        int rc = wire_next(&c->in, &msg, &err);
        cleanup(cleanup_json) json_t *reply = NULL;

        if (rc == 0)
            break;
        if (rc < 0)
            reply = error_object("GenericError", VT_USAGE, err.msg);
        if (rc < 0 ? !client_send(c, reply) : !serve_message(c, msg))
            return;
    }
    if (c->eof && !c->busy && !c->out.len)
        client_drop(c);
    else
        set_poll(c);
}

/* Takes descriptors that came with bytes; those beyond the bound are closed, and one set a command is kept. */
static void take_fds(struct qmp_client *c, struct msghdr *m)
{
    for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR(m, h)) {
        size_t n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(h) + i * sizeof fd, sizeof fd);
            if (c->nfds < QMP_MAX_FDS)
                c->fds[c->nfds++] = fd;
            else
                close(fd);
        }
    }
}

static bool client_read(struct qmp_client *c)
{
    union {
        char bytes[CMSG_SPACE(QMP_MAX_FDS * sizeof(int))];
        struct cmsghdr align;
    } control;
    char data[16384];
    struct iovec iov = {.iov_base = data, .iov_len = sizeof data};
    struct msghdr m = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    ssize_t n = recvmsg(c->io.fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    take_fds(c, &m);
    c->eof = n == 0; /* what was asked is still answered */
    return wire_feed(&c->in, data, (size_t)n, NULL) == 0;
}

static void on_client(void *opaque, short re)
{
    struct qmp_client *c = opaque;

    if ((re & POLLOUT) && !client_write(c))
        return;
    if ((re & POLLIN) && !client_read(c)) {
        client_drop(c);
        return;
    }
    if (re & (POLLERR | POLLNVAL | POLLHUP) && !(re & POLLIN)) {
        client_drop(c); /* with a command under way too: whoever runs it sees qmp_call_gone */
        return;
    }
    serve_input(c);
}

/* ---- the server */

int qmp_serve(struct qmp *q, int fd, void (*gone)(void *opaque), void *opaque, struct err *e)
{
    struct qmp_client *c;
    cleanup(cleanup_json) json_t *greeting = json_pack("{s:{s:o, s:[]}}", "QMP", "version", version(), "capabilities");

    if (q->nclients == QMP_MAX_CLIENTS) {
        close(fd);
        return err_set(e, VT_BUSY, "too many connections to this machine (%d)", QMP_MAX_CLIENTS);
    }
    c = calloc(1, sizeof *c);
    if (!c) {
        close(fd);
        return err_set(e, VT_FAIL, "out of memory");
    }
    c->gone_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (c->gone_fd < 0) {
        close(fd);
        free(c);
        return err_set(e, VT_FAIL, "eventfd: %m");
    }
    c->q = q;
    c->loop = q->loop;
    c->in.max = QMP_MAX_MESSAGE;
    c->on_gone = gone;
    c->opaque = opaque;
    atomic_store(&c->refs, 1);
    c->io = (struct loop_fd){.fd = fd, .events = POLLIN, .fn = on_client, .opaque = c};
    loop_add(q->loop, &c->io);
    c->next = q->clients;
    q->clients = c;
    q->nclients++;
    client_send(c, greeting);
    return 0;
}

static void on_listener(void *opaque, short re)
{
    struct qmp *q = opaque;
    int fd = accept4(q->listener.fd, NULL, NULL, SOCK_CLOEXEC);
    struct ucred who;
    socklen_t len = sizeof who;

    if (fd < 0)
        return;
    /* The directory is ours alone already; this also holds where it lies on a file system that ignores modes. */
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) < 0 || (who.uid != geteuid() && who.uid != 0)) {
        close(fd);
        return;
    }
    qmp_serve(q, fd, NULL, NULL, NULL);
}

int qmp_new(struct loop *l, const struct qmp_command *commands, void *opaque, struct qmp **ret_qmp, struct err *e)
{
    struct qmp *q = calloc(1, sizeof *q);

    if (!q)
        return err_set(e, VT_FAIL, "out of memory");
    q->loop = l;
    q->commands = commands;
    q->opaque = opaque;
    q->listener.fd = -1;
    *ret_qmp = q;
    return 0;
}

void qmp_free(struct qmp *q)
{
    if (!q)
        return;
    while (q->clients) {
        q->clients->on_gone = NULL;
        client_drop(q->clients);
    }
    qmp_unlisten(q);
    free(q);
}

void qmp_unlisten(struct qmp *q)
{
    if (q->listener.fd < 0)
        return;
    unlink(q->path);
    loop_del(q->loop, &q->listener);
    close(q->listener.fd);
    q->listener.fd = -1;
}

int qmp_listen(struct qmp *q, const char *path, struct err *e)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd;

    if ((size_t)snprintf(addr.sun_path, sizeof addr.sun_path, "%s", path) >= sizeof addr.sun_path)
        return err_set(e, VT_FAIL, "%s: too long for a socket", path);
    snprintf(q->path, sizeof q->path, "%s", addr.sun_path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_set(e, VT_FAIL, "socket: %m");
    unlink(path); /* the caller holds the machine's lock: nobody listens there */
    if (bind(fd, (struct sockaddr *)&addr, sizeof addr) < 0 || listen(fd, 16) < 0) {
        int rc = err_set(e, err_from_errno(errno), "%s: %m", path);
        close(fd);
        return rc;
    }
    q->listener = (struct loop_fd){.fd = fd, .events = POLLIN, .fn = on_listener, .opaque = q};
    loop_add(q->loop, &q->listener);
    return 0;
}

struct event {
    struct qmp *q;
    json_t *msg;
};

static void send_event(void *opaque)
{
    struct event *ev = opaque;
    struct qmp_client *c = ev->q->clients, *next;

    for (; c; c = next) {
        next = c->next;
        if (c->negotiated)
            client_send(c, ev->msg);
    }
    json_decref(ev->msg);
    free(ev);
}

void qmp_event(struct qmp *q, const char *name, json_t *data)
{
    struct event *ev = calloc(1, sizeof *ev);
    int64_t now = clock_wall_ns();

    vt_assert(ev);
    ev->q = q;
    ev->msg =
        json_pack("{s:s, s:{s:I, s:I}}", "event", name, "timestamp", "seconds", (json_int_t)(now / (int64_t)NS_PER_SEC),
                  "microseconds", (json_int_t)(now % (int64_t)NS_PER_SEC / 1000));
    if (data)
        json_object_set_new(ev->msg, "data", data);
    loop_call(q->loop, send_event, ev);
}

void qmp_flush(struct qmp *q, int timeout_ms)
{
    uint64_t until = loop_now() + (uint64_t)timeout_ms * NS_PER_MS;

    for (;;) {
        bool waiting = false;
        uint64_t now = loop_now();

        for (struct qmp_client *c = q->clients; c; c = c->next)
            waiting |= c->out.len > 0;
        if (!waiting || now >= until)
            return;
        loop_turn(q->loop, (int)((until - now) / NS_PER_MS) + 1);
    }
}
