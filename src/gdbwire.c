#include "src/gdbwire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include "src/base/banned.h"
#include "src/base/buf.h"
#include "src/base/units.h"
#include "src/base/util.h"
#include "src/gdbhex.h"

#define CTRL_C 0x03

struct gdbwire {
    struct loop *loop;
    struct gdbwire_hooks hooks;
    struct loop_fd listener, client;
    char *path; /* of the Unix socket, which is ours to remove */
    bool connected, no_ack, closing;
    struct buf in, out, last; /* last: the packet that was not acknowledged yet */
};

/* ---- packets */

static void want_events(struct gdbwire *w)
{
    w->client.events = (short)(POLLIN | (w->out.len ? POLLOUT : 0));
}

static void drop_client(struct gdbwire *w)
{
    if (!w->connected)
        return;
    w->connected = false;
    loop_del(w->loop, &w->client);
    close(steal_fd(&w->client.fd));
    buf_clear(&w->in);
    buf_clear(&w->out);
    buf_clear(&w->last);
    w->listener.idle = false;
    w->hooks.gone(w->hooks.opaque);
}

static void flush(struct gdbwire *w)
{
    while (w->connected && w->out.len) {
        ssize_t n = send(w->client.fd, w->out.data, w->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (n < 0) {
            drop_client(w);
            return;
        }
        buf_drop(&w->out, (size_t)n);
    }
    want_events(w);
    if (w->connected && w->closing && w->out.len == 0)
        drop_client(w);
}

void gdbwire_send(struct gdbwire *w, const void *data, size_t len)
{
    const uint8_t *p = data;
    uint8_t sum = 0;

    if (!w->connected)
        return;
    buf_clear(&w->last);
    buf_char(&w->last, '$');
    for (size_t i = 0; i < len; i++) {
        uint8_t c = p[i];

        if (c == '$' || c == '#' || c == '}' || c == '*') {
            buf_char(&w->last, '}');
            sum = (uint8_t)(sum + '}');
            c ^= 0x20;
        }
        buf_char(&w->last, (char)c);
        sum = (uint8_t)(sum + c);
    }
    buf_printf(&w->last, "#%02x", sum);
    buf_add(&w->out, w->last.data, w->last.len);
    flush(w);
}

void gdbwire_no_ack(struct gdbwire *w)
{
    w->no_ack = true;
}

void gdbwire_close(struct gdbwire *w)
{
    w->closing = true;
    flush(w);
}

static size_t unescape(char *p, size_t len)
{
    size_t n = 0;

    for (size_t i = 0; i < len; i++) {
        if (p[i] == '}' && i + 1 < len)
            p[n++] = (char)(p[++i] ^ 0x20);
        else
            p[n++] = p[i];
    }
    return n;
}

/* The packet at the start of `in`, `$` to its checksum. Returns its length there, 0: not whole yet. */
static size_t take_packet(struct gdbwire *w)
{
    char *end = memchr(w->in.data, '#', w->in.len);
    size_t len = end ? (size_t)(end - w->in.data) : w->in.len;
    uint8_t sum = 0;
    int hi, lo;

    if (!end || w->in.len < len + 3)
        return 0;
    for (size_t i = 1; i < len; i++)
        sum = (uint8_t)(sum + (uint8_t)w->in.data[i]);
    hi = gdbhex_digit(end[1]);
    lo = gdbhex_digit(end[2]);
    if (!w->no_ack) {
        bool good = hi >= 0 && lo >= 0 && (hi << 4 | lo) == sum;

        buf_char(&w->out, good ? '+' : '-');
        if (!good)
            return len + 3;
    }
    cleanup(buf_release) struct buf packet = {0};
    buf_add(&packet, w->in.data + 1, len - 1);
    if (packet.failed)
        return len + 3;
    packet.len = unescape(packet.data, packet.len);
    packet.data[packet.len] = 0;
    w->hooks.packet(w->hooks.opaque, packet.data, packet.len);
    return len + 3;
}

static void take_input(struct gdbwire *w)
{
    while (w->connected && !w->closing && w->in.len) {
        size_t n = 1;

        switch (w->in.data[0]) {
        case '$':
            n = take_packet(w);
            if (n == 0 && w->in.len > 2 * GDBWIRE_MAX + 4) {
                drop_client(w); /* not a debugger */
                return;
            }
            break;
        case CTRL_C:
            w->hooks.interrupt(w->hooks.opaque);
            break;
        case '-':
            buf_add(&w->out, w->last.data, w->last.len);
            break;
        default: /* an acknowledgement, or noise on the line, which is to be skipped */
            break;
        }
        if (n == 0)
            break;
        if (w->connected)
            buf_drop(&w->in, n);
    }
    if (w->connected)
        flush(w);
}

static void on_client(void *opaque, short re)
{
    struct gdbwire *w = opaque;
    char data[8192];
    ssize_t n;

    if (re & POLLOUT)
        flush(w);
    if (!w->connected || !(re & (POLLIN | POLLHUP | POLLERR)))
        return;
    n = recv(w->client.fd, data, sizeof data, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        drop_client(w);
        return;
    }
    buf_add(&w->in, data, (size_t)n);
    if (w->in.failed)
        drop_client(w);
    else
        take_input(w);
}

/* ---- sockets */

static void on_listener(void *opaque, short re)
{
    struct gdbwire *w = opaque;
    int fd = accept4(w->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), one = 1;

    if (fd < 0)
        return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* no such option on a Unix socket: well */
    w->client = (struct loop_fd){.fd = fd, .events = POLLIN, .fn = on_client, .opaque = w};
    w->connected = true;
    w->no_ack = w->closing = false;
    w->listener.idle = true;
    loop_add(w->loop, &w->client);
    w->hooks.attached(w->hooks.opaque);
}

/* tcp::PORT, tcp:localhost:PORT and tcp:127.0.0.1:PORT; *ret_port 0: a path. */
static int parse(const char *where, uint16_t *ret_port, struct err *e)
{
    static const char *const hosts[] = {"", "localhost", "127.0.0.1"};
    struct sockaddr_un un;
    const char *colon;
    uint64_t port;

    *ret_port = 0;
    if (strncmp(where, "tcp:", 4) != 0) {
        if (!*where || strlen(where) >= sizeof un.sun_path)
            return err_set(e, VT_USAGE, "--gdb: \"%s\" is no path that a socket can have", where);
        return 0;
    }
    colon = strchr(where + 4, ':');
    if (!colon || number_parse(colon + 1, 1, 65535, &port, NULL) < 0)
        return err_set(e, VT_USAGE, "--gdb: \"%s\" is neither a path nor tcp::PORT", where);
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++)
        if (strlen(hosts[i]) == (size_t)(colon - where - 4) && strncmp(where + 4, hosts[i], strlen(hosts[i])) == 0)
            *ret_port = (uint16_t)port;
    if (*ret_port == 0)
        return err_set(e, VT_USAGE, "--gdb: a debugger is let in on this host only: tcp::%llu",
                       (unsigned long long)port);
    return 0;
}

int gdbwire_where_check(const char *where, struct err *e)
{
    uint16_t port;

    return parse(where, &port, e);
}

static int listen_tcp(uint16_t port, int *ret_fd, struct err *e)
{
    struct sockaddr_in addr = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    cleanup(cleanup_close) int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int one = 1;

    if (fd < 0)
        return err_set(e, VT_FAIL, "socket: %m");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&addr, sizeof addr) < 0 || listen(fd, 4) < 0)
        return err_set(e, errno == EADDRINUSE ? VT_BUSY : err_from_errno(errno), "--gdb: port %u: %m", port);
    *ret_fd = steal_fd(&fd);
    return 0;
}

/* A socket that nobody listens on is left over from a process that was killed. */
static bool left_over(const struct sockaddr_un *addr)
{
    cleanup(cleanup_close) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct stat st;

    return lstat(addr->sun_path, &st) == 0 && S_ISSOCK(st.st_mode) &&
           connect(fd, (const struct sockaddr *)addr, sizeof *addr) < 0 && errno == ECONNREFUSED;
}

static int listen_unix(const char *path, int *ret_fd, struct err *e)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    cleanup(cleanup_close) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    mode_t mask;
    int r;

    if (fd < 0)
        return err_set(e, VT_FAIL, "socket: %m");
    snprintf(addr.sun_path, sizeof addr.sun_path, "%s", path);
    if (left_over(&addr))
        unlink(path);
    mask = umask(0177);
    r = bind(fd, (struct sockaddr *)&addr, sizeof addr);
    umask(mask);
    if (r < 0 || listen(fd, 4) < 0)
        return err_set(e, errno == EADDRINUSE ? VT_BUSY : err_from_errno(errno), "--gdb: %s: %m", path);
    *ret_fd = steal_fd(&fd);
    return 0;
}

int gdbwire_new(struct loop *l, const char *where, const struct gdbwire_hooks *hooks, struct gdbwire **ret_wire,
                struct err *e)
{
    struct gdbwire *w;
    uint16_t port;
    int fd = -1, r = parse(where, &port, e);

    if (!r)
        r = port ? listen_tcp(port, &fd, e) : listen_unix(where, &fd, e);
    if (r)
        return r;
    w = calloc(1, sizeof *w);
    if (!w) {
        close(fd);
        return err_set(e, VT_FAIL, "out of memory");
    }
    w->loop = l;
    w->hooks = *hooks;
    w->client.fd = -1;
    w->path = port ? NULL : strdup(where);
    w->listener = (struct loop_fd){.fd = fd, .events = POLLIN, .fn = on_listener, .opaque = w};
    loop_add(l, &w->listener);
    *ret_wire = w;
    return 0;
}

static void drain(struct gdbwire *w)
{
    uint64_t until = clock_mono_ns() + NS_PER_SEC;

    flush(w);
    while (w->connected && w->out.len && clock_mono_ns() < until) {
        struct pollfd p = {.fd = w->client.fd, .events = POLLOUT};
        poll(&p, 1, 100);
        flush(w);
    }
}

void gdbwire_free(struct gdbwire *w)
{
    if (!w)
        return;
    drain(w);
    drop_client(w);
    loop_del(w->loop, &w->listener);
    close(w->listener.fd);
    if (w->path)
        unlink(w->path);
    free(w->path);
    buf_release(&w->in);
    buf_release(&w->out);
    buf_release(&w->last);
    free(w);
}
