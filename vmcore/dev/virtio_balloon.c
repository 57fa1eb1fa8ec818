/* Virtio memory balloon: see virtio_balloon.h.
 *
 * The reporting queue is the fifth by the specification (5.5.2). Drivers, Linux up to 6.10 among them, that leave
 * queues of features without which the device comes out of the count have it as the third. No feature of ours has
 * queues between them, so both are taken for it.
 *
 * A page that is deflated comes back as it was left: zero. Nothing is to be done. */
#include "vmcore/dev/virtio_balloon.h"
#include "vmcore/rt.h"

enum {
    Q_INFLATE,
    Q_DEFLATE,
    Q_REPORTING_COMPACT,
    Q_NONE,
    Q_REPORTING,
    QUEUES,

    QUEUE = 128,         /* Linux reports up to 32 ranges by one chain */
    PFNS = 64,           /* read at a time */
    PFNS_MAX = 1 << 16,  /* of one chain: pages that come after these are not given back */
    RUN_PAGES = 1 << 18, /* about so many in one go, then the vCPU's other business is looked after */

    CONFIG_ACTUAL = 4,
};
#define F_REPORTING (1ull << 5)

/* Page frame numbers of 32 bits each. Linux lists neighbours downwards as often as upwards. */
static void inflate(struct virtio *v, const struct vq_chain *c)
{
    uint64_t n = c->out_len / 4 < PFNS_MAX ? c->out_len / 4 : PFNS_MAX, first = 0, end = 0;
    uint8_t buf[4 * PFNS];

    for (uint64_t done = 0; done < n;) {
        uint64_t part = n - done < PFNS ? n - done : PFNS;
        if (vq_out(v, c, 4 * done, buf, 4 * part) != 4 * part)
            return;
        for (unsigned i = 0; i < part; i++) {
            uint64_t pfn = get_le32(buf + 4ull * i);
            if (first != end && pfn == end) {
                end++;
            } else if (first != end && pfn + 1 == first) {
                first--;
            } else {
                dma_discard(v->mem, first << 12, (end - first) << 12);
                first = pfn;
                end = pfn + 1;
            }
        }
        done += part;
    }
    dma_discard(v->mem, first << 12, (end - first) << 12);
}

/* The free pages are the chain's buffers themselves. */
static void report(struct virtio *v, const struct vq_chain *c)
{
    for (unsigned i = c->nout; i < (unsigned)c->nout + c->nin; i++)
        dma_discard(v->mem, c->seg[i].pa, c->seg[i].len);
}

static void balloon_notify(struct virtio *v, unsigned n)
{
    struct vq *q = &v->vq[n];
    struct vq_chain c;
    uint64_t work = 0;
    bool any = false;

    for (; vq_pop(v, q, &c); any = true) {
        if (n == Q_INFLATE)
            inflate(v, &c);
        else if (n >= Q_REPORTING_COMPACT && virtio_has(v, F_REPORTING))
            report(v, &c);
        vq_push(v, q, c.head, 0);
        work += 1 + (c.out_len >> 2) + (c.in_len >> 12);
        if (work > RUN_PAGES) {
            any = true;
            virtio_later(v);
            break;
        }
    }
    if (any)
        vq_signal(v, q);
}

static void balloon_later(struct vm_event *ev)
{
    struct virtio *v = ev->opaque;

    for (unsigned n = 0; n < QUEUES; n++)
        if (vq_ready(v, &v->vq[n]))
            balloon_notify(v, n);
}

static void balloon_reset(struct virtio *v)
{
    put_le32(v->config + CONFIG_ACTUAL, 0);
}

static void balloon_config_write(struct virtio *v, unsigned off, uint32_t val, unsigned size)
{
    for (unsigned i = 0; i < size; i++)
        if (off + i >= CONFIG_ACTUAL)
            v->config[off + i] = (uint8_t)(val >> 8 * i);
}

static const struct virtio_type balloon_type = {
    .id = VIRTIO_ID_BALLOON,
    .pci_device = 0x1045,
    .class_code = 0x00ff00,
    .notify = balloon_notify,
    .reset = balloon_reset,
    .config_write = balloon_config_write,
};

static int balloon_loaded(void *dev, const char **why)
{
    struct virtio_balloon *d = dev;

    if (get_le32(d->config)) {
        *why = "pages that the device never asks for";
        return -1;
    }
    return virtio_loaded(&d->v, why);
}

static const struct field balloon_fields[] = {
    VIRTIO_FIELDS(struct virtio_balloon),
    VQ_FIELDS(struct virtio_balloon, Q_INFLATE),
    VQ_FIELDS(struct virtio_balloon, Q_DEFLATE),
    VQ_FIELDS(struct virtio_balloon, Q_REPORTING_COMPACT),
    VQ_FIELDS(struct virtio_balloon, Q_REPORTING),
    FIELD_BYTES(struct virtio_balloon, config),
    FIELD_END,
};
static const struct state_table balloon_table = {
    .name = "virtio-balloon",
    .version = 1,
    .fields = balloon_fields,
    .loaded = balloon_loaded,
};

void virtio_balloon_init(struct virtio_balloon *d, struct devctx *c, struct pci_bus *bus, unsigned devfn,
                         const char *name)
{
    static const uint16_t sizes[QUEUES] = {QUEUE, QUEUE, QUEUE, 0, QUEUE};

    virtio_init(&d->v, c, bus, devfn,
                &(struct virtio_setup){
                    .type = &balloon_type,
                    .offered = F_REPORTING,
                    .config = d->config,
                    .config_len = sizeof d->config,
                    .nvq = QUEUES,
                    .vq_size = sizes,
                    .table = &balloon_table,
                    .dev = d,
                    .name = name,
                    .later = balloon_later,
                });
}
