/* Virtio network device. Each frame in a buffer is preceded by a header, which without offloads says nothing but, with
 * mergeable buffers, in how many of them the frame lies. */
#include "vmcore/dev/virtio_net.h"
#include "vmcore/rt.h"

#define F_MAC       (1ull << 5)
#define F_MRG_RXBUF (1ull << 15)
#define F_STATUS    (1ull << 16)

enum {
    QUEUE = 256,
    Q_RECEIVE = 0,
    Q_TRANSMIT = 1,
    HEADER_LEGACY = 10,
    HEADER = 12, /* with num_buffers */
    NUM_BUFFERS = 10,
    LINK_UP = 1,
    MAC_LEN = 6,
    BUFFERS_MAX = 64, /* of one frame */
};

static unsigned header_len(const struct virtio_net *d)
{
    return virtio_has(&d->v, VIRTIO_F_VERSION_1 | F_MRG_RXBUF) ? HEADER : HEADER_LEGACY;
}

static void transmit(struct virtio_net *d)
{
    struct virtio *v = &d->v;
    struct vq *q = &v->vq[Q_TRANSMIT];
    struct vq_chain c;
    bool any = false;

    for (unsigned budget = QUEUE; vq_pop(v, q, &c); any = true) {
        uint64_t len = c.out_len - header_len(d);
        if (c.out_len > header_len(d) && len <= NET_FRAME_MAX && vq_out(v, &c, header_len(d), d->sending, len) == len)
            netq_put(&d->port->to_host, d->sending, (uint32_t)len); /* no room: lost, as on a busy wire */
        vq_push(v, q, c.head, 0);
        if (!--budget) {
            virtio_later(v);
            break;
        }
    }
    if (any) {
        vq_signal(v, q);
        host_kick(&d->port->kick);
    }
}

enum deliver { DELIVERED, NO_BUFFERS, TOO_LONG };

static enum deliver give_back(struct vq *q, unsigned n, enum deliver why)
{
    while (n--)
        vq_unpop(q);
    return why;
}

/* Puts the held frame into as many buffers as it needs, all or nothing. */
static enum deliver deliver(struct virtio_net *d)
{
    struct virtio *v = &d->v;
    struct vq *q = &v->vq[Q_RECEIVE];
    bool merge = virtio_has(v, F_MRG_RXBUF);
    uint8_t header[HEADER] = {0};
    unsigned hlen = header_len(d), n = 0;
    uint32_t done = 0;
    struct vq_chain c, first;

    do {
        unsigned skip = n ? 0 : hlen;
        uint32_t part = d->held - done;
        if (n == BUFFERS_MAX)
            return give_back(q, n, TOO_LONG);
        if (!vq_pop(v, q, &c))
            return give_back(q, n, NO_BUFFERS);
        if (c.in_len < skip || (c.in_len - skip < part && !merge))
            return give_back(q, n + 1, TOO_LONG);
        if (c.in_len - skip < part)
            part = (uint32_t)(c.in_len - skip);
        if (!n)
            first = c;
        vq_in(v, &c, skip, d->frame + done, part);
        vq_fill(v, q, n++, c.head, skip + part);
        done += part;
    } while (done < d->held);
    put_le16(header + NUM_BUFFERS, (uint16_t)n);
    vq_in(v, &first, 0, header, hlen);
    vq_publish(v, q, n);
    return DELIVERED;
}

static void drop_received(struct virtio_net *d)
{
    d->held = 0;
    for (unsigned budget = QUEUE; budget && netq_get(&d->port->to_guest, d->frame, NET_FRAME_MAX); budget--)
        ;
}

static void receive(struct virtio_net *d)
{
    struct virtio *v = &d->v;
    struct vq *q = &v->vq[Q_RECEIVE];
    bool any = false;

    if (!vq_ready(v, q)) { /* nobody listens */
        drop_received(d);
        return;
    }
    for (unsigned budget = QUEUE;; budget--) {
        if (!budget) {
            virtio_later(v);
            break;
        }
        if (!d->held)
            d->held = netq_get(&d->port->to_guest, d->frame, NET_FRAME_MAX);
        if (!d->held)
            break;
        enum deliver done = deliver(d);
        if (done == NO_BUFFERS)
            break;
        any |= done == DELIVERED;
        d->held = 0;
    }
    if (any) {
        vq_signal(v, q);
        host_kick(&d->port->kick);
    }
}

static void port_event(struct vm_event *ev)
{
    receive(ev->opaque);
}

static void net_later(struct vm_event *ev)
{
    struct virtio_net *d = ev->opaque;
    transmit(d);
    receive(d);
}

/* ---- the device */
static void net_notify(struct virtio *v, unsigned n)
{
    if (n == Q_TRANSMIT)
        transmit((struct virtio_net *)v);
    else
        receive((struct virtio_net *)v);
}

static void net_reset(struct virtio *v)
{
    ((struct virtio_net *)v)->held = 0;
}

/* Legacy drivers set the MAC byte by byte; to modern ones it is read-only. */
static void net_config_write(struct virtio *v, unsigned off, uint32_t val, unsigned size)
{
    struct virtio_net *d = (struct virtio_net *)v;

    for (unsigned i = 0; i < size && off + i < MAC_LEN && !virtio_has(v, VIRTIO_F_VERSION_1); i++)
        d->config[off + i] = (uint8_t)(val >> 8 * i);
}

static const struct virtio_type net_type = {
    .id = VIRTIO_ID_NET,
    .pci_device = 0x1000,
    .class_code = 0x020000,
    .notify = net_notify,
    .reset = net_reset,
    .config_write = net_config_write,
};

static int net_loaded(void *dev, const char **why)
{
    struct virtio_net *d = dev;

    drop_received(d);
    return virtio_loaded(&d->v, why);
}

static const struct field net_fields[] = {
    VIRTIO_FIELDS(struct virtio_net),
    VQ_FIELDS(struct virtio_net, 0),
    VQ_FIELDS(struct virtio_net, 1),
    FIELD_BYTES(struct virtio_net, config),
    FIELD_END,
};
static const struct state_table net_table = {
    .name = "virtio-net",
    .version = 1,
    .fields = net_fields,
    .loaded = net_loaded,
};

void virtio_net_init(struct virtio_net *d, struct devctx *c, struct pci_bus *bus, unsigned devfn, const char *name,
                     const uint8_t mac[6], struct netport *port)
{
    static const uint16_t sizes[] = {QUEUE, QUEUE};

    d->port = port;
    port->rx_event.fn = port_event;
    port->rx_event.opaque = d;
    rt_memcpy(d->config, mac, MAC_LEN);
    put_le16(d->config + MAC_LEN, LINK_UP);
    virtio_init(&d->v, c, bus, devfn,
                &(struct virtio_setup){
                    .type = &net_type,
                    .offered = F_MAC | F_MRG_RXBUF | F_STATUS,
                    .config = d->config,
                    .config_len = sizeof(d->config),
                    .nvq = 2,
                    .vq_size = sizes,
                    .table = &net_table,
                    .dev = d,
                    .name = name,
                    .later = net_later,
                });
}
