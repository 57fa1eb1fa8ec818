/* The sockets of the NBD server (nbd.h): one thread, a handful of clients at a time. One that does not finish its
 * handshake within HANDSHAKE_NS is sent away, and so is whoever comes when all places are taken. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include "src/base/io.h"
#include "src/base/units.h"
#include "src/base/util.h"
#include "src/nbd.h"

#define CLIENTS      8
#define HANDSHAKE_NS (10 * NS_PER_SEC)

struct client {
    int fd; /* -1: a free place */
    uint64_t since;
    struct nbd_conn c;
};

struct server {
    const struct nbd_export *x;
    int listener, stop;
    bool once, served;
    struct client clients[CLIENTS];
};

static void drop(struct client *k)
{
    close(k->fd);
    k->fd = -1;
    nbd_conn_release(&k->c);
}

static void add(struct server *s, int fd)
{
    for (unsigned i = 0; i < CLIENTS; i++)
        if (s->clients[i].fd < 0 && !io_set_nonblock(fd, true, NULL)) {
            s->clients[i].fd = fd;
            s->clients[i].since = clock_mono_ns();
            nbd_conn_init(&s->clients[i].c, s->x);
            s->served = true;
            return;
        }
    close(fd);
}

/* Sends what there is to send. False: the client has gone. */
static bool send_out(struct client *k)
{
    size_t at = 0;
    ssize_t n = 0;

    while (at < k->c.out.len) {
        n = send(k->fd, k->c.out.data + at, k->c.out.len - at, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        at += (size_t)n;
    }
    buf_drop(&k->c.out, at);
    return n >= 0 || errno == EAGAIN;
}

static bool receive(struct client *k)
{
    void *room = buf_reserve(&k->c.in, NBD_IN_MAX / 2);
    ssize_t n;

    if (!room)
        return false;
    do
        n = recv(k->fd, room, NBD_IN_MAX / 2, 0);
    while (n < 0 && errno == EINTR);
    if (n > 0)
        k->c.in.len += (size_t)n;
    return n > 0 || (n < 0 && errno == EAGAIN);
}

/* Does what can be done without waiting. False: it is over. */
static bool serve_client(struct client *k, short events)
{
    bool there = true;

    if (events & (POLLIN | POLLHUP | POLLERR) && !k->c.out.len && k->c.in.len < NBD_IN_MAX / 2)
        there = receive(k);
    if (events & (POLLHUP | POLLERR) && k->c.out.len)
        there = send_out(k);
    while (there) {
        there = send_out(k);
        if (!there || k->c.out.len || !nbd_conn_step(&k->c))
            break;
    }
    return there && (k->c.out.len || !k->c.closed);
}

static bool anybody(const struct server *s)
{
    for (unsigned i = 0; i < CLIENTS; i++)
        if (s->clients[i].fd >= 0)
            return true;
    return false;
}

/* In ms from now: when the first handshake has taken too long. */
static int next_timeout(struct server *s)
{
    uint64_t now = clock_mono_ns(), first = UINT64_MAX;

    for (unsigned i = 0; i < CLIENTS; i++) {
        struct client *k = &s->clients[i];
        if (k->fd < 0 || nbd_conn_serving(&k->c))
            continue;
        if (now - k->since >= HANDSHAKE_NS)
            drop(k);
        else
            first = MIN(first, k->since + HANDSHAKE_NS - now);
    }
    return first == UINT64_MAX ? -1 : (int)(first / NS_PER_MS) + 1;
}

/* 1: go on; 0: the end. */
static int turn(struct server *s, struct err *e)
{
    struct pollfd p[CLIENTS + 2] = {{.fd = s->stop, .events = POLLIN}, {.fd = s->listener, .events = POLLIN}};
    int timeout = next_timeout(s);

    if (!anybody(s) && (s->listener < 0 || (s->once && s->served)))
        return 0;
    for (unsigned i = 0; i < CLIENTS; i++) {
        struct client *k = &s->clients[i];
        p[i + 2] = (struct pollfd){.fd = k->fd, .events = k->fd >= 0 && k->c.out.len ? POLLOUT : POLLIN};
    }
    if (poll(p, ARRAY_LEN(p), timeout) < 0)
        return errno == EINTR ? 1 : err_set(e, VT_IO, "poll: %m");
    if (p[0].revents)
        return 0;
    for (unsigned i = 0; i < CLIENTS; i++)
        if (s->clients[i].fd >= 0 && p[i + 2].revents && !serve_client(&s->clients[i], p[i + 2].revents))
            drop(&s->clients[i]);
    if (p[1].revents) {
        int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
            add(s, fd);
    }
    return 1;
}

int nbd_serve(const struct nbd_export *x, int listener, int fd, int stop, bool once, struct err *e)
{
    struct server s = {.x = x, .listener = listener, .stop = stop, .once = once};
    int r;

    for (unsigned i = 0; i < CLIENTS; i++)
        s.clients[i].fd = -1;
    if (fd >= 0)
        add(&s, fd);
    do
        r = turn(&s, e);
    while (r > 0);
    for (unsigned i = 0; i < CLIENTS; i++)
        if (s.clients[i].fd >= 0)
            drop(&s.clients[i]);
    return r;
}

/* Is there a socket that nobody listens on? */
static bool stale(const struct sockaddr_un *addr)
{
    cleanup(cleanup_close) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct stat st;

    return !lstat(addr->sun_path, &st) && S_ISSOCK(st.st_mode) && fd >= 0 &&
           connect(fd, (const struct sockaddr *)addr, sizeof *addr) < 0 && errno == ECONNREFUSED;
}

int nbd_listen_unix(const char *path, int *ret_fd, struct err *e)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    cleanup(cleanup_close) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    mode_t mask;
    int r;

    if (fd < 0)
        return err_set(e, VT_FAIL, "socket: %m");
    if (!*path || (size_t)snprintf(addr.sun_path, sizeof addr.sun_path, "%s", path) >= sizeof addr.sun_path)
        return err_set(e, VT_USAGE, "%s: a socket's path has 1 to %zu bytes", path, sizeof addr.sun_path - 1);
    if (stale(&addr))
        unlink(path);
    mask = umask(0177);
    r = bind(fd, (struct sockaddr *)&addr, sizeof addr);
    umask(mask);
    if (r < 0)
        return errno == EADDRINUSE ? err_set(e, VT_EXISTS, "%s: is there already", path)
                                   : err_set(e, err_from_errno(errno), "%s: %m", path);
    if (listen(fd, CLIENTS) < 0)
        return err_set(e, VT_FAIL, "%s: %m", path);
    *ret_fd = steal_fd(&fd);
    return 0;
}

int nbd_listen_tcp(uint16_t port, int *ret_fd, uint16_t *ret_port, struct err *e)
{
    struct sockaddr_in addr = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    cleanup(cleanup_close) int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    socklen_t len = sizeof addr;
    int on = 1;

    if (fd < 0)
        return err_set(e, VT_FAIL, "socket: %m");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&addr, sizeof addr) < 0)
        return err_set(e, errno == EADDRINUSE ? VT_EXISTS : err_from_errno(errno), "127.0.0.1:%u: %m", port);
    if (listen(fd, CLIENTS) < 0 || getsockname(fd, (struct sockaddr *)&addr, &len) < 0)
        return err_set(e, VT_FAIL, "127.0.0.1:%u: %m", port);
    *ret_port = ntohs(addr.sin_port);
    *ret_fd = steal_fd(&fd);
    return 0;
}
