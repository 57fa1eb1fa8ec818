#include "src/chrhost.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include "src/base/banned.h"
#include "src/base/util.h"
#include "vmcore/vmcore.h"

#define KEEP 65536u

struct chrhost_link {
    struct chrhost_link *next;
    struct chrhost *host;
    struct loop_fd in, out;
    bool has_in, has_out, same, own;
    bool hup;      /* poll reports it for ever: watched again only when there is something to do */
    uint64_t sent; /* position in the output stream up to which this one has it */
    void (*gone)(void *opaque);
    void *opaque;
};

struct chrhost {
    struct loop *loop;
    struct chrport *port;
    struct vm *vm;
    struct loop_fd kick;
    struct chrhost_link *links;
    struct chrhost_tap *taps;
    uint8_t ring[KEEP]; /* the output stream's last bytes: byte n is at n % KEEP */
    uint64_t end;       /* length of the stream so far */
    uint64_t seen;      /* what somebody was attached for */
    uint64_t from;      /* what came before is from another time (a revert) */
};

static void pump(struct chrhost *h);

static void link_watch(struct chrhost_link *k)
{
    struct chrhost *h = k->host;
    bool want_in = k->has_in && h->vm && byteq_space(&h->port->to_guest) > 0;
    bool want_out = k->has_out && k->sent < h->end;

    if (k->same) {
        k->in.events = (short)((want_in ? POLLIN : 0) | (want_out ? POLLOUT : 0));
        k->in.idle = k->hup && !want_in && !want_out;
        return;
    }
    k->in.idle = !want_in;
    k->out.idle = !want_out;
}

static void link_end(struct chrhost *h, struct chrhost_link *k)
{
    for (struct chrhost_link **p = &h->links; *p; p = &(*p)->next)
        if (*p == k) {
            *p = k->next;
            break;
        }
    if (k->has_out && k->sent > h->seen)
        h->seen = k->sent;
    loop_del(h->loop, &k->in);
    loop_del(h->loop, &k->out);
    if (k->own) {
        if (k->in.fd >= 0)
            close(k->in.fd);
        if (k->out.fd >= 0 && !k->same)
            close(k->out.fd);
    }
    free(k);
}

static void tell_guest(struct chrhost *h)
{
    __atomic_store_n(&h->port->host_open, h->links ? 1u : 0u, __ATOMIC_RELEASE);
    if (h->vm)
        vm_post(h->vm, &h->port->rx_event);
}

static void link_gone(struct chrhost_link *k)
{
    void (*gone)(void *opaque) = k->gone;
    void *opaque = k->opaque;
    struct chrhost *h = k->host;

    link_end(h, k);
    tell_guest(h);
    if (gone)
        gone(opaque);
    pump(h);
}

/* Returns false when the link has ended. */
static bool link_write(struct chrhost_link *k)
{
    struct chrhost *h = k->host;
    uint32_t at = (uint32_t)(k->sent % KEEP);
    size_t n = MIN(MIN(h->end - k->sent, (uint64_t)PIPE_BUF), (uint64_t)(KEEP - at));
    int fd = k->same ? k->in.fd : k->out.fd;
    ssize_t w;

    if (n == 0)
        return true;
    w = send(fd, h->ring + at, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (w < 0 && errno == ENOTSOCK)
        w = write(fd, h->ring + at, n);
    if (w > 0) {
        k->sent += (uint64_t)w;
        return true;
    }
    return w < 0 && (errno == EAGAIN || errno == EINTR);
}

/* Returns false when the input has ended. */
static bool link_read(struct chrhost_link *k)
{
    struct chrhost *h = k->host;
    uint8_t buf[4096];
    uint32_t room = byteq_space(&h->port->to_guest);
    ssize_t n;

    if (room == 0 || !h->vm)
        return true;
    n = read(k->in.fd, buf, MIN(room, sizeof buf));
    if (n > 0) {
        byteq_put(&h->port->to_guest, buf, (uint32_t)n);
        vm_post(h->vm, &h->port->rx_event);
        return true;
    }
    return n < 0 && (errno == EAGAIN || errno == EINTR);
}

static void on_link(void *opaque, short re)
{
    struct chrhost_link *k = opaque;
    bool alive = true;

    k->hup |= (re & (POLLHUP | POLLERR | POLLNVAL)) != 0;
    if ((re & POLLOUT) && k->same)
        alive = link_write(k);
    if (alive && k->has_in && (re & (POLLIN | POLLHUP)))
        alive = link_read(k);
    if (re & (POLLERR | POLLNVAL))
        alive = false;
    if (!alive && k->same) {
        link_gone(k);
        return;
    }
    k->has_in &= alive;
    pump(k->host);
}

static void on_out(void *opaque, short re)
{
    struct chrhost_link *k = opaque;

    if (!link_write(k) || (re & (POLLERR | POLLNVAL) && !(re & POLLOUT)))
        link_gone(k);
    else
        pump(k->host);
}

/* Up to where the slowest attached reader has the stream. */
static uint64_t slowest(const struct chrhost *h)
{
    uint64_t low = h->end;

    for (const struct chrhost_link *k = h->links; k; k = k->next)
        if (k->has_out && k->sent < low)
            low = k->sent;
    return low;
}

static bool has_reader(const struct chrhost *h)
{
    for (const struct chrhost_link *k = h->links; k; k = k->next)
        if (k->has_out)
            return true;
    return false;
}

/* Takes from the port what the slowest attached reader leaves room for, and sets what to poll for. */
static void pump(struct chrhost *h)
{
    bool reader = has_reader(h), took = false;
    uint64_t low = slowest(h);

    for (;;) {
        uint32_t at = (uint32_t)(h->end % KEEP), n;
        uint64_t room = reader ? KEEP - (h->end - low) : KEEP;

        n = byteq_peek(&h->port->to_host, h->ring + at, (uint32_t)MIN(room, (uint64_t)(KEEP - at)));
        if (n == 0)
            break;
        byteq_drop(&h->port->to_host, n);
        h->end += n;
        for (struct chrhost_tap *t = h->taps; t; t = t->next)
            t->fn(t->opaque, h->ring + at, n);
        took = true;
    }
    /* The device may wait for room. Whether the queue was full cannot be asked from here: it may have filled up between
     * two looks, and then nobody would wake the device again. */
    if (h->vm && took)
        vm_post(h->vm, &h->port->rx_event);
    for (struct chrhost_link *k = h->links; k; k = k->next)
        link_watch(k);
}

static void on_kick(void *opaque, short re)
{
    struct chrhost *h = opaque;
    uint64_t v;

    if (read(h->kick.fd, &v, sizeof v) < 0 && errno != EAGAIN && errno != EINTR)
        return;
    pump(h);
}

int chrhost_new(struct loop *l, struct chrport *port, struct chrhost **ret_host, struct err *e)
{
    struct chrhost *h = calloc(1, sizeof *h);

    if (!h)
        return err_set(e, VT_FAIL, "out of memory");
    h->loop = l;
    h->port = port;
    h->kick.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (h->kick.fd < 0) {
        free(h);
        return err_set(e, VT_FAIL, "eventfd: %m");
    }
    h->kick.events = POLLIN;
    h->kick.fn = on_kick;
    h->kick.opaque = h;
    port->kick.fd = h->kick.fd;
    loop_add(l, &h->kick);
    *ret_host = h;
    return 0;
}

void chrhost_free(struct chrhost *h)
{
    if (!h)
        return;
    while (h->links)
        link_end(h, h->links);
    loop_del(h->loop, &h->kick);
    h->port->kick.fd = -1;
    close(h->kick.fd);
    free(h);
}

void chrhost_set_vm(struct chrhost *h, struct vm *vm)
{
    h->vm = vm;
    if (vm)
        tell_guest(h);
    pump(h);
}

int chrhost_attach(struct chrhost *h, int in_fd, int out_fd, bool own, void (*gone)(void *opaque), void *opaque,
                   struct chrhost_link **ret_link, struct err *e)
{
    struct chrhost_link *k = calloc(1, sizeof *k);

    if (!k)
        return err_set(e, VT_FAIL, "out of memory");
    k->host = h;
    k->same = in_fd >= 0 && in_fd == out_fd;
    k->has_in = in_fd >= 0;
    k->has_out = out_fd >= 0;
    k->own = own;
    k->gone = gone;
    k->opaque = opaque;
    k->in = (struct loop_fd){.fd = in_fd, .events = POLLIN, .fn = on_link, .opaque = k};
    k->out = (struct loop_fd){.fd = out_fd, .events = POLLOUT, .fn = on_out, .opaque = k};
    k->sent = has_reader(h) ? h->end : MAX(h->seen, h->end > KEEP ? h->end - KEEP : 0);
    if (k->has_in || k->same)
        loop_add(h->loop, &k->in);
    if (k->has_out && !k->same)
        loop_add(h->loop, &k->out);
    k->next = h->links;
    h->links = k;
    tell_guest(h);
    pump(h);
    if (ret_link)
        *ret_link = k;
    return 0;
}

void chrhost_detach(struct chrhost *h, struct chrhost_link *k)
{
    link_end(h, k);
    tell_guest(h);
    pump(h);
}

void chrhost_discard(struct chrhost *h, bool input)
{
    uint8_t buf[4096];

    byteq_drop(&h->port->to_host, byteq_used(&h->port->to_host));
    byteq_drop(&h->port->to_guest, byteq_used(&h->port->to_guest));
    for (struct chrhost_link *k = h->links; k; k = k->next) {
        k->sent = h->end;
        while (input && k->has_in && recv(k->in.fd, buf, sizeof buf, MSG_DONTWAIT) > 0)
            ;
    }
    h->seen = h->from = h->end;
    pump(h);
}

void chrhost_tap(struct chrhost *h, struct chrhost_tap *t)
{
    pump(h); /* what waits in the port is kept first */
    for (uint64_t at = MAX(h->from, h->end > KEEP ? h->end - KEEP : 0); at < h->end;) {
        size_t off = (size_t)(at % KEEP), n = MIN((size_t)(h->end - at), KEEP - off);
        t->fn(t->opaque, h->ring + off, n);
        at += n;
    }
    t->next = h->taps;
    h->taps = t;
}

void chrhost_untap(struct chrhost *h, struct chrhost_tap *t)
{
    for (struct chrhost_tap **p = &h->taps; *p; p = &(*p)->next)
        if (*p == t) {
            *p = t->next;
            break;
        }
}

void chrhost_drain(struct chrhost *h, int timeout_ms)
{
    uint64_t until = loop_now() + (uint64_t)timeout_ms * 1000000u;

    for (;;) {
        bool waiting = false;
        uint64_t now = loop_now();

        pump(h);
        for (struct chrhost_link *k = h->links; k; k = k->next)
            waiting |= k->has_out && k->sent < h->end;
        waiting |= h->links && byteq_used(&h->port->to_host) > 0;
        if (!waiting || now >= until)
            return;
        loop_turn(h->loop, (int)((until - now) / 1000000u) + 1);
    }
}
