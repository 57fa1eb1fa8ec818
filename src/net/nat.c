#include "src/net/nat.h"

#include <arpa/inet.h>
#include <errno.h>
#include <slirp/libslirp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include "src/base/util.h"
#include "src/net/pcap.h"

enum {
    FRAME_MAX = 65536,
    FRAMES_A_TURN = 512, /* so that a guest that only sends cannot keep the loop */
};

struct nat_timer {
    struct nat_timer *next;
    SlirpTimerCb cb;
    void *opaque;
    int64_t deadline; /* ms on nat_clock_ns; INT64_MAX: not armed */
};

struct nat {
    Slirp *slirp;
    struct netport *port;
    struct vm *vm;
    struct pcap *pcap;
    char *hostname;
    int kick_fd;
    bool delivered; /* frames for the guest since rx_event was last posted */
    bool more;      /* the guest's frames were not all taken */
    struct nat_timer *timers;
    struct config_forward *forward;
    size_t nforwards;
    /* the poll set that is being filled or served; and the sockets that slirp has */
    struct pollfd *fds;
    const struct pollfd *served;
    int max, count;
    int *sockets;
    size_t nsockets, sockets_size;
    uint8_t frame[FRAME_MAX];
};

/* ---- what libslirp calls */
static ssize_t send_packet(const void *buf, size_t len, void *opaque)
{
    struct nat *n = opaque;

    if (n->pcap)
        pcap_write(n->pcap, buf, len);
    if (n->vm && netq_put(&n->port->to_guest, buf, (uint32_t)len))
        n->delivered = true; /* no room: lost; TCP sends it again */
    return (ssize_t)len;
}

static void guest_error(const char *msg, void *opaque)
{
}

static int64_t nat_clock_ns(void *opaque)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void *timer_new(SlirpTimerCb cb, void *cb_opaque, void *opaque)
{
    struct nat *n = opaque;
    struct nat_timer *t = calloc(1, sizeof *t);

    if (!t)
        abort(); /* libslirp takes no failure here, and itself aborts without memory */
    *t = (struct nat_timer){.next = n->timers, .cb = cb, .opaque = cb_opaque, .deadline = INT64_MAX};
    n->timers = t;
    return t;
}

static void timer_free(void *timer, void *opaque)
{
    struct nat *n = opaque;

    for (struct nat_timer **p = &n->timers; *p; p = &(*p)->next)
        if (*p == timer) {
            *p = (*p)->next;
            break;
        }
    free(timer);
}

static void timer_mod(void *timer, int64_t expire_ms, void *opaque)
{
    ((struct nat_timer *)timer)->deadline = expire_ms;
}

static void socket_add(int fd, void *opaque)
{
    struct nat *n = opaque;

    if (n->nsockets == n->sockets_size) {
        size_t size = n->sockets_size ? 2 * n->sockets_size : 64;
        int *p = realloc(n->sockets, size * sizeof *p);
        if (!p)
            return; /* then its peer gets an end of stream instead of a reset */
        n->sockets = p;
        n->sockets_size = size;
    }
    n->sockets[n->nsockets++] = fd;
}

static void socket_remove(int fd, void *opaque)
{
    struct nat *n = opaque;

    for (size_t i = 0; i < n->nsockets; i++)
        if (n->sockets[i] == fd) {
            n->sockets[i] = n->sockets[--n->nsockets];
            return;
        }
}

static void notify(void *opaque)
{
    /* all runs on the loop's thread, which fills the poll set anew before it sleeps */
}

static const SlirpCb callbacks = {
    .send_packet = send_packet,
    .guest_error = guest_error,
    .clock_get_ns = nat_clock_ns,
    .timer_new = timer_new,
    .timer_free = timer_free,
    .timer_mod = timer_mod,
    .register_poll_fd = socket_add,
    .unregister_poll_fd = socket_remove,
    .notify = notify,
};

/* ---- forwards */
static bool same_forward(const struct config_forward *a, const struct config_forward *b)
{
    return a->udp == b->udp && a->host_port == b->host_port && strcmp(a->host, b->host) == 0;
}

static int forward_open(struct nat *n, const struct config_forward *f, struct err *e)
{
    const char *proto = f->udp ? "udp" : "tcp";
    struct in_addr host, guest = {.s_addr = htonl(INADDR_ANY)}; /* any: the address that DHCP gives */

    if (inet_pton(AF_INET, f->host, &host) != 1)
        return err_set(e, VT_USAGE, "forward %s:%u: \"%s\" is not an IPv4 address", proto, f->host_port, f->host);
    if (slirp_add_hostfwd(n->slirp, f->udp, host, f->host_port, guest, f->guest_port) == 0)
        return 0;
    int err = errno;
    return err_set(e, err == EADDRINUSE ? VT_BUSY : err_from_errno(err), "forward %s %s:%u to the guest's port %u: %s",
                   proto, f->host, f->host_port, f->guest_port, strerror(err));
}

int nat_forward_add(struct nat *n, const struct config_forward *f, struct err *e)
{
    for (size_t i = 0; i < n->nforwards; i++)
        if (same_forward(&n->forward[i], f))
            return err_set(e, VT_EXISTS, "forward of %s port %s:%u: there is one already", f->udp ? "udp" : "tcp",
                           f->host, f->host_port);
    struct config_forward *list = realloc(n->forward, (n->nforwards + 1) * sizeof *list);
    if (!list)
        return err_set(e, VT_FAIL, "out of memory");
    n->forward = list;
    int r = forward_open(n, f, e);
    if (r == 0)
        n->forward[n->nforwards++] = *f;
    return r;
}

int nat_forward_remove(struct nat *n, const struct config_forward *f, struct err *e)
{
    struct in_addr host;

    for (size_t i = 0; i < n->nforwards; i++)
        if (same_forward(&n->forward[i], f)) {
            if (inet_pton(AF_INET, f->host, &host) == 1)
                slirp_remove_hostfwd(n->slirp, f->udp, host, f->host_port);
            memmove(&n->forward[i], &n->forward[i + 1], (n->nforwards - i - 1) * sizeof *n->forward);
            n->nforwards--;
            return 0;
        }
    return err_set(e, VT_NOENT, "no forward of %s port %s:%u", f->udp ? "udp" : "tcp", f->host, f->host_port);
}

/* ---- life */
static int stack_new(struct nat *n, struct err *e)
{
    SlirpConfig c = {
        .version = 1,
        .in_enabled = true,
        .in6_enabled = true,
        .vprefix_len = 64,
        .vhostname = n->hostname,
    };

    inet_pton(AF_INET, "10.0.2.0", &c.vnetwork);
    inet_pton(AF_INET, "255.255.255.0", &c.vnetmask);
    inet_pton(AF_INET, "10.0.2.2", &c.vhost);
    inet_pton(AF_INET, "10.0.2.3", &c.vnameserver);
    inet_pton(AF_INET, "10.0.2.15", &c.vdhcp_start);
    inet_pton(AF_INET6, "fec0::", &c.vprefix_addr6);
    inet_pton(AF_INET6, "fec0::2", &c.vhost6);
    inet_pton(AF_INET6, "fec0::3", &c.vnameserver6);
    n->slirp = slirp_new(&c, &callbacks, n);
    return n->slirp ? 0 : err_set(e, VT_FAIL, "the user-mode network could not be started");
}

static void stack_free(struct nat *n)
{
    const struct linger reset = {.l_onoff = 1};

    if (!n->slirp)
        return;
    /* closing with linger 0 sends a reset, so that the far end does not wait for a guest that is gone; UDP and
     * listening sockets do not mind */
    for (size_t i = 0; i < n->nsockets; i++)
        setsockopt(n->sockets[i], SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    slirp_cleanup(n->slirp);
    n->slirp = NULL;
    n->nsockets = 0;
}

int nat_new(const struct nat_config *c, struct netport *port, struct nat **ret_nat, struct err *e)
{
    struct nat *n = calloc(1, sizeof *n);
    int r;

    if (!n)
        return err_set(e, VT_FAIL, "out of memory");
    n->port = port;
    n->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (n->kick_fd < 0) {
        r = err_set(e, VT_FAIL, "eventfd: %m");
    } else if (c->hostname && !(n->hostname = strdup(c->hostname))) {
        r = err_set(e, VT_FAIL, "out of memory");
    } else {
        port->kick.fd = n->kick_fd;
        r = stack_new(n, e);
    }
    for (size_t i = 0; i < c->nforwards && r == 0; i++)
        r = nat_forward_add(n, &c->forward[i], e);
    if (r < 0) {
        nat_free(n);
        return r;
    }
    *ret_nat = n;
    return 0;
}

void nat_free(struct nat *n)
{
    if (!n)
        return;
    stack_free(n);
    while (n->timers)
        timer_free(n->timers, n);
    n->port->kick.fd = -1;
    if (n->kick_fd >= 0)
        close(n->kick_fd);
    free(n->sockets);
    free(n->forward);
    free(n->hostname);
    free(n);
}

void nat_set_vm(struct nat *n, struct vm *vm)
{
    n->vm = vm;
}

void nat_capture(struct nat *n, struct pcap *p)
{
    n->pcap = p;
}

int nat_reset_connections(struct nat *n, struct err *e)
{
    struct err first = {0};

    while (netq_get(&n->port->to_host, n->frame, sizeof n->frame))
        ;
    stack_free(n);
    if (stack_new(n, &first) == 0)
        for (size_t i = 0; i < n->nforwards; i++)
            forward_open(n, &n->forward[i], &first);
    return first.code ? err_set(e, first.code, "%s", first.msg) : 0;
}

/* ---- the loop */
static int add_poll(int fd, int events, void *opaque)
{
    struct nat *n = opaque;
    short want = 0;

    if (n->count == n->max)
        return -1;
    if (events & SLIRP_POLL_IN)
        want |= POLLIN;
    if (events & SLIRP_POLL_OUT)
        want |= POLLOUT;
    if (events & SLIRP_POLL_PRI)
        want |= POLLPRI;
    n->fds[n->count] = (struct pollfd){.fd = fd, .events = want};
    return n->count++;
}

static int get_revents(int idx, void *opaque)
{
    const struct nat *n = opaque;
    int got = 0;

    if (idx < 0 || idx >= n->count)
        return 0;
    short re = n->served[idx].revents;
    if (re & POLLIN)
        got |= SLIRP_POLL_IN;
    if (re & POLLOUT)
        got |= SLIRP_POLL_OUT;
    if (re & POLLPRI)
        got |= SLIRP_POLL_PRI;
    if (re & (POLLERR | POLLNVAL))
        got |= SLIRP_POLL_ERR;
    if (re & POLLHUP)
        got |= SLIRP_POLL_HUP;
    return got;
}

int nat_fill_pollfds(void *nat, struct pollfd *fds, int max, int *timeout_ms)
{
    struct nat *n = nat;
    uint32_t timeout = *timeout_ms < 0 ? UINT32_MAX : (uint32_t)*timeout_ms;
    int64_t now = nat_clock_ns(n) / 1000000;

    if (max < 1)
        return 0;
    fds[0] = (struct pollfd){.fd = n->kick_fd, .events = POLLIN};
    n->fds = fds;
    n->max = max;
    n->count = 1;
    if (n->slirp)
        slirp_pollfds_fill(n->slirp, &timeout, add_poll, n);
    for (const struct nat_timer *t = n->timers; t; t = t->next)
        if (t->deadline != INT64_MAX)
            timeout = t->deadline <= now ? 0 : (uint32_t)MIN((int64_t)timeout, t->deadline - now);
    if (n->more)
        timeout = 0;
    if (timeout <= INT32_MAX)
        *timeout_ms = (int)timeout;
    return n->count;
}

static void take_frames(struct nat *n)
{
    uint32_t len;

    n->more = false;
    for (unsigned left = FRAMES_A_TURN; (len = netq_get(&n->port->to_host, n->frame, sizeof n->frame)); left--) {
        if (n->pcap)
            pcap_write(n->pcap, n->frame, len);
        if (n->slirp)
            slirp_input(n->slirp, n->frame, (int)len);
        if (left == 1) {
            n->more = true;
            break;
        }
    }
}

static void run_timers(struct nat *n)
{
    int64_t now = nat_clock_ns(n) / 1000000;
    struct nat_timer *t;

    for (;;) { /* a timer's function may free any timer */
        for (t = n->timers; t && t->deadline > now; t = t->next)
            ;
        if (!t)
            break;
        t->deadline = INT64_MAX;
        t->cb(t->opaque);
    }
}

void nat_poll(void *nat, const struct pollfd *fds, int count, bool failed)
{
    struct nat *n = nat;
    uint64_t v;

    n->served = fds;
    n->count = count;
    if (read(n->kick_fd, &v, sizeof v) < 0) { /* nothing there: the look at the queue below costs little */
    }
    take_frames(n);
    if (n->slirp)
        slirp_pollfds_poll(n->slirp, failed, get_revents, n);
    run_timers(n);
    if (n->delivered && n->vm) {
        n->delivered = false;
        vm_post(n->vm, &n->port->rx_event);
    }
}
