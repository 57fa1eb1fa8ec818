/* Virtio console. Control messages to the driver are not queued but pend as a bit each, so their number is bounded and
 * they can be saved; a port's messages go out in the order of the bits. */
#include "vmcore/dev/virtio_console.h"
#include "vmcore/rt.h"

#define F_MULTIPORT (1ull << 1)

enum {
    DATA_QUEUE = 64,
    CONTROL_QUEUE = 64,
    Q_CONTROL_IN = 2,
    Q_CONTROL_OUT = 3,
    CONTROL = 8, /* bytes: id, event, value */
    NAME_MAX_LEN = 64,
    BOUNCE = 4096,

    EV_DEVICE_READY = 0,
    EV_PORT_ADD = 1,
    EV_PORT_READY = 3,
    EV_CONSOLE_PORT = 4,
    EV_PORT_OPEN = 6,
    EV_PORT_NAME = 7,

    PEND_ADD = 1 << 0,
    PEND_CONSOLE = 1 << 1,
    PEND_NAME = 1 << 2,
    PEND_OPEN = 1 << 3,
};

static unsigned port_id(const struct console_port *p)
{
    return (unsigned)(p - p->dev->port);
}

static struct vq *in_queue(struct console_port *p)
{
    return &p->dev->v.vq[port_id(p) ? 2 * port_id(p) + 2 : 0];
}

static struct vq *out_queue(struct console_port *p)
{
    return in_queue(p) + 1;
}

static bool multiport(const struct virtio_console *d)
{
    return virtio_has(&d->v, F_MULTIPORT);
}

static bool port_open(const struct console_port *p)
{
    return multiport(p->dev) ? p->guest_open : port_id(p) == 0;
}

static bool host_open(const struct console_port *p)
{
    return port_id(p) == 0 || __atomic_load_n(&p->chr->host_open, __ATOMIC_ACQUIRE);
}

static void set_guest_open(struct console_port *p, bool open)
{
    p->guest_open = open;
    __atomic_store_n(&p->chr->guest_open, open, __ATOMIC_RELEASE);
    host_kick(&p->chr->kick);
}

/* ---- control messages */
static unsigned build_message(const struct console_port *p, unsigned bit, uint8_t *m)
{
    static const uint16_t events[] = {EV_PORT_ADD, EV_CONSOLE_PORT, EV_PORT_NAME, EV_PORT_OPEN};
    unsigned len = CONTROL;

    put_le32(m, port_id(p));
    put_le16(m + 4, events[bit]);
    put_le16(m + 6, 1u << bit == PEND_OPEN ? p->told_open : 1);
    if (1u << bit == PEND_NAME)
        for (const char *s = p->chr->name; *s && len < CONTROL + NAME_MAX_LEN; s++)
            m[len++] = (uint8_t)*s;
    return len;
}

static void send_pending(struct virtio_console *d)
{
    struct vq *q = &d->v.vq[Q_CONTROL_IN];
    struct vq_chain c;
    uint8_t m[CONTROL + NAME_MAX_LEN];
    bool sent = false;

    for (struct console_port *p = d->port; p < d->port + d->nports; p++) {
        while (p->pending && multiport(d) && vq_pop(&d->v, q, &c)) {
            unsigned bit = (unsigned)__builtin_ctz(p->pending);
            if (1u << bit == PEND_OPEN)
                p->told_open = host_open(p);
            unsigned len = build_message(p, bit, m);
            if (c.in_len < len) {
                virtio_break(&d->v, "control buffer is too small");
                return;
            }
            p->pending &= (uint8_t) ~(1u << bit);
            if (vq_in(&d->v, &c, 0, m, len) != len)
                return;
            vq_push(&d->v, q, c.head, len);
            sent = true;
        }
    }
    if (sent)
        vq_signal(&d->v, q);
}

static void receive(struct console_port *p);

static void control(struct virtio_console *d, const uint8_t *m)
{
    uint32_t id = get_le32(m);
    uint16_t event = get_le16(m + 4), value = get_le16(m + 6);
    struct console_port *p = id < d->nports && d->port[id].chr ? &d->port[id] : NULL;

    if (event == EV_DEVICE_READY) {
        for (unsigned i = 0; value && i < d->nports; i++)
            if (d->port[i].chr)
                d->port[i].pending |= PEND_ADD;
    } else if (p && event == EV_PORT_READY) {
        p->ready = value;
        if (value) {
            p->pending |= id ? PEND_NAME : PEND_CONSOLE | PEND_NAME;
            p->told_open = host_open(p);
            if (p->told_open)
                p->pending |= PEND_OPEN;
        }
    } else if (p && event == EV_PORT_OPEN) {
        set_guest_open(p, value);
        receive(p);
    }
}

static void control_out(struct virtio_console *d)
{
    struct vq *q = &d->v.vq[Q_CONTROL_OUT];
    struct vq_chain c;
    uint8_t m[CONTROL];
    bool any = false;

    for (unsigned budget = CONTROL_QUEUE; vq_pop(&d->v, q, &c); any = true) {
        if (vq_out(&d->v, &c, 0, m, CONTROL) == CONTROL)
            control(d, m);
        vq_push(&d->v, q, c.head, 0);
        if (!--budget) {
            virtio_later(&d->v);
            break;
        }
    }
    if (any)
        vq_signal(&d->v, q);
    send_pending(d);
}

/* ---- data */

/* Copies the current chain to the host as far as there is room; true when all of it is through. */
static bool transmit_chain(struct console_port *p)
{
    struct virtio *v = &p->dev->v;
    uint8_t bounce[BOUNCE];

    if (!host_open(p))
        return true;
    while (p->tx_done < p->tx.out_len) {
        uint32_t space = byteq_space(&p->chr->to_host);
        uint64_t part = p->tx.out_len - p->tx_done;
        if (!space)
            return false;
        part = part < space ? part : space;
        part = part < BOUNCE ? part : BOUNCE;
        if (vq_out(v, &p->tx, p->tx_done, bounce, part) != part)
            return true; /* broken: nothing is given back */
        byteq_put(&p->chr->to_host, bounce, (uint32_t)part);
        p->tx_done += part;
    }
    return true;
}

static bool next_chain(struct console_port *p)
{
    struct virtio *v = &p->dev->v;

    if (p->tx_active && !p->tx_loaded) { /* after a restore */
        p->tx_loaded = vq_reload(v, out_queue(p), p->tx_head, &p->tx);
        p->tx_active = p->tx_loaded;
    }
    if (!p->tx_active) {
        if (!vq_pop(v, out_queue(p), &p->tx))
            return false;
        p->tx_active = p->tx_loaded = true;
        p->tx_head = p->tx.head;
        p->tx_done = 0;
    }
    return true;
}

static void transmit(struct console_port *p)
{
    struct virtio *v = &p->dev->v;
    bool pushed = false;
    uint64_t before = p->tx_done;
    bool moved = false;

    for (unsigned budget = 2 * DATA_QUEUE; next_chain(p); budget--) {
        if (!budget) {
            virtio_later(v);
            break;
        }
        bool done = transmit_chain(p);
        moved |= p->tx_done != before;
        if (!done)
            break;
        p->tx_active = p->tx_loaded = false;
        p->tx_done = 0; /* else the next chain, if it is as long, seems not to have moved */
        vq_push(v, out_queue(p), p->tx_head, 0);
        pushed = true;
        before = 0;
    }
    if (pushed)
        vq_signal(v, out_queue(p));
    if (moved)
        host_kick(&p->chr->kick);
}

static void receive(struct console_port *p)
{
    struct virtio *v = &p->dev->v;
    struct vq *q = in_queue(p);
    struct vq_chain c;
    uint8_t bounce[BOUNCE];
    bool any = false;

    if (!port_open(p) || !virtio_live(v))
        return;
    for (unsigned budget = 2 * DATA_QUEUE; byteq_used(&p->chr->to_guest) && vq_pop(v, q, &c); any = true) {
        uint64_t done = 0;
        while (done < c.in_len) {
            uint64_t room = c.in_len - done;
            uint32_t n = byteq_peek(&p->chr->to_guest, bounce, (uint32_t)(room < BOUNCE ? room : BOUNCE));
            if (!n || vq_in(v, &c, done, bounce, n) != n)
                break;
            byteq_drop(&p->chr->to_guest, n);
            done += n;
        }
        vq_push(v, q, c.head, (uint32_t)done);
        if (!--budget) {
            virtio_later(v);
            break;
        }
    }
    if (any) {
        vq_signal(v, q);
        host_kick(&p->chr->kick);
    }
}

static void port_event(struct vm_event *ev)
{
    struct console_port *p = ev->opaque;

    if (p->ready && p->told_open != host_open(p)) {
        p->pending |= PEND_OPEN;
        send_pending(p->dev);
    }
    receive(p);
    transmit(p);
}

/* ---- the device */
static void console_notify(struct virtio *v, unsigned n)
{
    struct virtio_console *d = (struct virtio_console *)v;

    if (n == Q_CONTROL_IN) {
        send_pending(d);
    } else if (n == Q_CONTROL_OUT) {
        control_out(d);
    } else {
        struct console_port *p = &d->port[n < 2 ? 0 : n / 2 - 1];
        if (!p->chr)
            return;
        if (n & 1)
            transmit(p);
        else
            receive(p);
    }
}

static void console_later(struct vm_event *ev)
{
    struct virtio_console *d = ev->opaque;

    if (multiport(d))
        control_out(d);
    for (struct console_port *p = d->port; p < d->port + d->nports; p++)
        if (p->chr)
            port_event(&p->chr->rx_event);
}

static void console_reset(struct virtio *v)
{
    struct virtio_console *d = (struct virtio_console *)v;

    for (struct console_port *p = d->port; p < d->port + d->nports; p++) {
        p->ready = p->told_open = p->tx_active = p->tx_loaded = false;
        p->pending = 0;
        p->tx_head = 0;
        p->tx_done = 0;
        if (p->chr)
            set_guest_open(p, false);
    }
}

static const struct virtio_type console_type = {
    .id = VIRTIO_ID_CONSOLE,
    .pci_device = 0x1003,
    .class_code = 0x078000,
    .notify = console_notify,
    .reset = console_reset,
};

static int console_loaded(void *dev, const char **why)
{
    struct virtio_console *d = dev;

    for (struct console_port *p = d->port; p < d->port + d->nports; p++) {
        p->tx_loaded = false;
        if (!p->chr) {
            if (p->pending || p->tx_active) {
                *why = "a port that this machine has not";
                return -1;
            }
            continue;
        }
        if (p->pending & ~(PEND_ADD | PEND_CONSOLE | PEND_NAME | PEND_OPEN)) {
            *why = "pending messages";
            return -1;
        }
        if (p->tx_active && p->tx_head >= out_queue(p)->size) {
            *why = "request in flight";
            return -1;
        }
        __atomic_add_fetch(&p->chr->generation, 1, __ATOMIC_RELEASE);
        byteq_drop(&p->chr->to_guest, byteq_used(&p->chr->to_guest));
        set_guest_open(p, p->guest_open);
    }
    return virtio_loaded(&d->v, why);
}

#define PORT_FIELDS(n)                                                                                                 \
    FIELD(struct virtio_console, port[n].ready, F_BOOL), FIELD(struct virtio_console, port[n].guest_open, F_BOOL),     \
        FIELD(struct virtio_console, port[n].told_open, F_BOOL), FIELD(struct virtio_console, port[n].pending, F_U8),  \
        FIELD(struct virtio_console, port[n].tx_active, F_BOOL), FIELD(struct virtio_console, port[n].tx_head, F_U16), \
        FIELD(struct virtio_console, port[n].tx_done, F_U64)

static const struct field console_fields[] = {
    VIRTIO_FIELDS(struct virtio_console),
    VQ_FIELDS(struct virtio_console, 0),
    VQ_FIELDS(struct virtio_console, 1),
    VQ_FIELDS(struct virtio_console, 2),
    VQ_FIELDS(struct virtio_console, 3),
    VQ_FIELDS(struct virtio_console, 4),
    VQ_FIELDS(struct virtio_console, 5),
    VQ_FIELDS(struct virtio_console, 6),
    VQ_FIELDS(struct virtio_console, 7),
    VQ_FIELDS(struct virtio_console, 8),
    VQ_FIELDS(struct virtio_console, 9),
    VQ_FIELDS(struct virtio_console, 10),
    VQ_FIELDS(struct virtio_console, 11),
    VQ_FIELDS(struct virtio_console, 12),
    VQ_FIELDS(struct virtio_console, 13),
    VQ_FIELDS(struct virtio_console, 14),
    VQ_FIELDS(struct virtio_console, 15),
    VQ_FIELDS(struct virtio_console, 16),
    VQ_FIELDS(struct virtio_console, 17),
    VQ_FIELDS(struct virtio_console, 18),
    VQ_FIELDS(struct virtio_console, 19),
    PORT_FIELDS(0),
    PORT_FIELDS(1),
    PORT_FIELDS(2),
    PORT_FIELDS(3),
    PORT_FIELDS(4),
    PORT_FIELDS(5),
    PORT_FIELDS(6),
    PORT_FIELDS(7),
    PORT_FIELDS(8),
    FIELD_END,
};
_Static_assert(VIRTIO_MAX_VQ == 2 * CONSOLE_PORTS + 2, "a field for every queue");

static const struct state_table console_table = {
    .name = "virtio-console",
    .version = 1,
    .fields = console_fields,
    .loaded = console_loaded,
};

static void attach(struct virtio_console *d, unsigned n, struct chrport *chr)
{
    d->port[n].dev = d;
    d->port[n].chr = chr;
    if (!chr)
        return;
    chr->rx_event.fn = port_event;
    chr->rx_event.opaque = &d->port[n];
}

void virtio_console_init(struct virtio_console *d, struct devctx *c, struct pci_bus *bus, unsigned devfn,
                         const char *name, struct chrport *console, struct chrport *const *ports, unsigned n)
{
    uint16_t sizes[VIRTIO_MAX_VQ];

    if (n > CONSOLE_PORTS - 1)
        n = CONSOLE_PORTS - 1;
    d->nports = n + 1;
    attach(d, 0, console);
    for (unsigned i = 0; i < n; i++)
        attach(d, i + 1, ports[i]);
    for (unsigned i = 0; i < VIRTIO_MAX_VQ; i++)
        sizes[i] = i == Q_CONTROL_IN || i == Q_CONTROL_OUT ? CONTROL_QUEUE : DATA_QUEUE;
    put_le32(d->config + 4, d->nports); /* max_nr_ports; columns and rows are not offered */
    virtio_init(&d->v, c, bus, devfn,
                &(struct virtio_setup){
                    .type = &console_type,
                    .offered = F_MULTIPORT,
                    .config = d->config,
                    .config_len = sizeof(d->config),
                    .nvq = (uint16_t)(2 * d->nports + 2),
                    .vq_size = sizes,
                    .table = &console_table,
                    .dev = d,
                    .name = name,
                    .later = console_later,
                });
}
