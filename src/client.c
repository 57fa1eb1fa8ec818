#include "src/client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include "src/base/banned.h"
#include "src/base/buf.h"
#include "src/base/io.h"
#include "src/base/json.h"
#include "src/base/units.h"
#include "src/base/util.h"
#include "src/wire.h"

#define ANSWER_MAX (64u << 20)

struct client {
    int fd;
    struct wire in;
    json_t *events; /* array, oldest first */
    bool (*on_event)(void *opaque, const json_t *event);
    void *opaque;
    uint64_t last_id;
};

/* ---- where a machine's socket is */

/* Makes (where wanted) and checks one directory: a directory of ours that nobody else may enter. */
int client_private_dir(const char *path, bool create, struct err *e)
{
    struct stat st;

    if (create && mkdir(path, 0700) < 0 && errno != EEXIST)
        return err_set(e, err_from_errno(errno), "%s: %m", path);
    if (lstat(path, &st) < 0)
        return err_set(e, err_from_errno(errno), "%s: %m", path);
    if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid())
        return err_set(e, VT_PERM, "%s: not a directory of ours: somebody else made it", path);
    if ((st.st_mode & 077) && chmod(path, 0700) < 0)
        return err_set(e, VT_PERM, "%s: others may enter: %m", path);
    return 0;
}

int client_runtime_dir(const char *store_uuid, bool create, char *ret_path, size_t size, struct err *e)
{
    const char *run = getenv("XDG_RUNTIME_DIR");
    int n, rc;

    if (run && *run == '/')
        n = snprintf(ret_path, size, "%s/vmtest", run);
    else
        n = snprintf(ret_path, size, "/tmp/vmtest-%u", (unsigned)geteuid());
    if (n < 0 || (size_t)n + strlen(store_uuid) + 2 > size)
        return err_set(e, VT_FAIL, "XDG_RUNTIME_DIR is too long for a socket: %s", run);
    rc = client_private_dir(ret_path, create, e);
    if (rc < 0)
        return rc;
    snprintf(ret_path + n, size - (size_t)n, "/%s", store_uuid);
    return client_private_dir(ret_path, create, e);
}

int client_socket_path(const char *store_uuid, int64_t id, bool create, char *ret_path, size_t size, struct err *e)
{
    char dir[sizeof((struct sockaddr_un *)0)->sun_path - 24]; /* room for the name */
    int rc = client_runtime_dir(store_uuid, create, dir, sizeof dir, e), n;

    if (rc < 0)
        return rc;
    n = snprintf(ret_path, size, "%s/%lld.sock", dir, (long long)id);
    return n < 0 || (size_t)n >= size ? err_set(e, VT_FAIL, "%s: too long for a socket", dir) : 0;
}

/* ---- the connection */

void client_close(struct client *c)
{
    if (!c)
        return;
    close(c->fd);
    wire_release(&c->in);
    json_decref(c->events);
    free(c);
}

void cleanup_client(struct client **c)
{
    client_close(*c);
}

static int gone(struct err *e)
{
    return err_set(e, VT_GONE, "the machine's monitor has ended");
}

/* Reads what there is, waiting at most timeout_ms (-1: for ever). */
static int receive(struct client *c, int timeout_ms, struct err *e)
{
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    char data[16384];
    ssize_t n;
    int rc;

    do
        rc = poll(&p, 1, timeout_ms);
    while (rc < 0 && errno == EINTR && timeout_ms < 0);
    if (rc == 0 || (rc < 0 && errno == EINTR))
        return err_set(e, VT_TIMEOUT, "no answer from the machine's monitor");
    do
        n = recv(c->fd, data, sizeof data, 0);
    while (n < 0 && errno == EINTR);
    if (n <= 0)
        return gone(e);
    return wire_feed(&c->in, data, (size_t)n, e);
}

/* The next message of any kind. */
static int next_message(struct client *c, int timeout_ms, json_t **ret_msg, struct err *e)
{
    uint64_t until = clock_mono_ns() + (uint64_t)(timeout_ms < 0 ? 0 : timeout_ms) * NS_PER_MS;

    for (;;) {
        int rc = wire_next(&c->in, ret_msg, e), left = -1;

        if (rc != 0)
            return rc < 0 ? rc : 0;
        if (timeout_ms >= 0) {
            uint64_t now = clock_mono_ns();
            left = now >= until ? 0 : (int)((until - now + NS_PER_MS - 1) / NS_PER_MS);
        }
        rc = receive(c, left, e);
        if (rc < 0)
            return rc;
    }
}

/* Sends all of data, the descriptors with its first byte. */
static int send_all(struct client *c, const char *data, size_t len, const int *fds, unsigned nfds, struct err *e)
{
    union {
        char bytes[CMSG_SPACE(CLIENT_MAX_FDS * sizeof(int))];
        struct cmsghdr align;
    } control = {0};
    struct iovec iov;
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

    if (nfds) {
        struct cmsghdr *h;
        m.msg_control = control.bytes;
        m.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
        h = CMSG_FIRSTHDR(&m);
        *h = (struct cmsghdr){
            .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(nfds * sizeof(int))};
        memcpy(CMSG_DATA(h), fds, nfds * sizeof(int));
    }
    while (len) {
        ssize_t n;
        iov = (struct iovec){.iov_base = (char *)data, .iov_len = len};
        n = sendmsg(c->fd, &m, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EPIPE || errno == ECONNRESET ? gone(e) : err_set(e, VT_IO, "sending to the monitor: %m");
        m.msg_control = NULL;
        m.msg_controllen = 0;
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

/* Turns {"error": …} into our error. */
static int remote_error(const json_t *error, struct err *e)
{
    const char *desc = json_string_value(json_object_get(error, "desc"));
    const json_t *code = json_object_get(error, "code");
    int n = json_is_integer(code) ? (int)json_integer_value(code) : VT_FAIL;

    return err_set(e, n < 0 ? n : VT_FAIL, "%s", desc ? desc : "the monitor failed without a message");
}

int client_call_fds(struct client *c, const char *command, json_t *args, const int *fds, unsigned nfds,
                    json_t **ret_result, struct err *e)
{
    cleanup(cleanup_json) json_t *call = json_object();
    cleanup(cleanup_free) char *text = NULL;
    uint64_t id = ++c->last_id;
    int rc;

    vt_assert(nfds <= CLIENT_MAX_FDS);
    json_object_set_new(call, "execute", json_string(command));
    if (args)
        json_object_set_new(call, "arguments", args);
    json_object_set_new(call, "id", json_integer((json_int_t)id));
    text = json_dumps(call, JSON_COMPACT);
    if (!text)
        return err_set(e, VT_FAIL, "%s: out of memory, or a word that is not UTF-8", command);
    rc = send_all(c, text, strlen(text), fds, nfds, e);
    while (rc == 0) {
        cleanup(cleanup_json) json_t *msg = NULL;
        json_t *result;

        rc = next_message(c, -1, &msg, e);
        if (rc < 0)
            break;
        if (json_object_get(msg, "event")) {
            if (!c->on_event || !c->on_event(c->opaque, msg))
                json_array_append(c->events, msg);
            continue;
        }
        if ((uint64_t)json_integer_value(json_object_get(msg, "id")) != id)
            continue;
        result = json_object_get(msg, "return");
        if (!result)
            return remote_error(json_object_get(msg, "error"), e);
        if (ret_result)
            *ret_result = json_incref(result);
        return 0;
    }
    return rc;
}

int client_call(struct client *c, const char *command, json_t *args, json_t **ret_result, struct err *e)
{
    return client_call_fds(c, command, args, NULL, 0, ret_result, e);
}

void client_on_event(struct client *c, bool (*fn)(void *opaque, const json_t *event), void *opaque)
{
    c->on_event = fn;
    c->opaque = opaque;
}

int client_event(struct client *c, int timeout_ms, json_t **ret_event, struct err *e)
{
    uint64_t until = clock_mono_ns() + (uint64_t)(timeout_ms < 0 ? 0 : timeout_ms) * NS_PER_MS;

    while (json_array_size(c->events) == 0) {
        uint64_t now = clock_mono_ns();
        int left = timeout_ms < 0 ? -1 : now >= until ? 0 : (int)((until - now) / NS_PER_MS) + 1;
        json_t *msg = NULL;
        int rc = next_message(c, left, &msg, e);

        if (rc < 0)
            return rc;
        if (json_object_get(msg, "event"))
            json_array_append_new(c->events, msg);
        else
            json_decref(msg);
    }
    *ret_event = json_incref(json_array_get(c->events, 0));
    json_array_remove(c->events, 0);
    return 0;
}

int client_open_fd(int fd, struct client **ret_client, struct err *e)
{
    cleanup(cleanup_client) struct client *c = calloc(1, sizeof *c);
    cleanup(cleanup_json) json_t *greeting = NULL;
    int rc;

    if (!c) {
        close(fd);
        return err_set(e, VT_FAIL, "out of memory");
    }
    c->fd = fd;
    c->in.max = ANSWER_MAX;
    c->events = json_array();
    rc = next_message(c, 10000, &greeting, e);
    if (rc == 0 && !json_is_object(json_object_get(greeting, "QMP")))
        rc = err_set(e, VT_CORRUPT, "the monitor's socket does not speak QMP");
    if (rc == 0)
        rc = client_call(c, "qmp_capabilities", NULL, NULL, e);
    if (rc == 0)
        *ret_client = steal(&c);
    return rc;
}

int client_open(const char *store_uuid, int64_t id, struct client **ret_client, struct err *e)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct err why = {0};
    int fd, rc = client_socket_path(store_uuid, id, false, addr.sun_path, sizeof addr.sun_path, &why);

    if (rc == VT_NOENT)
        return err_set(e, VT_BUSY, "the machine is not running");
    if (rc < 0)
        return err_set(e, rc, "%s", why.msg);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_set(e, VT_FAIL, "socket: %m");
    if (connect(fd, (struct sockaddr *)&addr, sizeof addr) < 0) {
        rc = errno == ENOENT || errno == ECONNREFUSED ? err_set(e, VT_BUSY, "the machine is not running")
                                                      : err_set(e, err_from_errno(errno), "%s: %m", addr.sun_path);
        close(fd);
        return rc;
    }
    return client_open_fd(fd, ret_client, e);
}

/* ---- exec */

/* JSON carries text only: a word that is not UTF-8 is refused, never changed. */
static json_t *text_or_null(const char *s, bool *ok)
{
    json_t *j = json_string(s);

    *ok &= j != NULL;
    return j;
}

static json_t *exec_args(const struct client_exec *x, struct err *e)
{
    json_t *args = json_object(), *argv = json_array(), *env = json_object();
    bool ok = args && argv && env;

    for (size_t i = 0; x->argv[i] && ok; i++)
        ok &= json_array_append_new(argv, text_or_null(x->argv[i], &ok)) == 0;
    for (size_t i = 0; x->env && x->env[i] && ok; i++) {
        const char *eq = strchr(x->env[i], '=');
        cleanup(cleanup_free) char *name = eq ? strndup(x->env[i], (size_t)(eq - x->env[i])) : NULL;
        ok &= name && json_object_set_new(env, name, text_or_null(eq + 1, &ok)) == 0;
    }
    json_object_set_new(args, "argv", argv);
    json_object_set_new(args, "env", env);
    if (x->dir)
        json_object_set_new(args, "dir", text_or_null(x->dir, &ok));
    if (x->user)
        json_object_set_new(args, "user", text_or_null(x->user, &ok));
    json_object_set_new(args, "tty", json_boolean(x->tty));
    if (x->rows && x->cols) {
        json_object_set_new(args, "rows", json_integer(x->rows));
        json_object_set_new(args, "cols", json_integer(x->cols));
    }
    if (x->has_control)
        json_object_set_new(args, "control", json_true());
    json_object_set_new(args, "stdin", json_boolean(x->in >= 0));
    if (x->timeout > 0)
        json_object_set_new(args, "timeout", json_real(x->timeout));
    if (ok)
        return args;
    json_decref(args);
    err_set(e, VT_USAGE, "a word of the command is not UTF-8 text (or an environment word has no \"=\")");
    return NULL;
}

int client_exec(struct client *c, const struct client_exec *x, int *ret_status, struct err *e)
{
    cleanup(cleanup_json) json_t *result = NULL;
    json_t *args = exec_args(x, e);
    int fds[CLIENT_MAX_FDS], nfds = 0, rc;
    uint64_t status;

    if (!args)
        return VT_USAGE;
    if (x->in >= 0)
        fds[nfds++] = x->in;
    fds[nfds++] = x->out;
    fds[nfds++] = x->err;
    if (x->has_control)
        fds[nfds++] = x->control;
    rc = client_call_fds(c, "vmtest-exec", args, fds, (unsigned)nfds, &result, e);
    if (rc == 0)
        rc = json_get_u64(result, "status", JSON_REQUIRED, &status, "the monitor's answer", e);
    if (rc == 0)
        *ret_status = (int)status;
    return rc;
}
