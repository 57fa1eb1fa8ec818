/* Virtio entropy device. A request is answered at once, so nothing is ever in flight. */
#include <sys/syscall.h>
#include "vmcore/dev/virtio_rng.h"
#include "vmcore/rt.h"

enum {
    QUEUE = 64,
    CHUNK = 256,       /* getrandom gives so much without being interrupted */
    ANSWER_MAX = 4096, /* bytes; the driver asks again for more */

    RND_NONBLOCK = 1,
    RND_INSECURE = 4,
};

/* The host's pool is ready long before we run; the second call is for hosts that are still booting. */
static long entropy(uint8_t *buf, long len)
{
    long n = rt_syscall3(SYS_getrandom, (long)buf, len, RND_NONBLOCK);
    return n > 0 ? n : rt_syscall3(SYS_getrandom, (long)buf, len, RND_INSECURE);
}

static void answer(struct virtio_rng *d, struct vq *q, const struct vq_chain *c)
{
    uint64_t want = c->in_len < ANSWER_MAX ? c->in_len : ANSWER_MAX, done = 0;
    uint8_t buf[CHUNK];

    while (done < want) {
        long n = entropy(buf, (long)(want - done < CHUNK ? want - done : CHUNK));
        if (n <= 0 || vq_in(&d->v, c, done, buf, (uint64_t)n) != (uint64_t)n)
            break;
        done += (uint64_t)n;
    }
    vq_push(&d->v, q, c->head, (uint32_t)done);
}

static void rng_notify(struct virtio *v, unsigned n)
{
    struct vq *q = &v->vq[0];
    struct vq_chain c;
    bool any = false;

    for (unsigned budget = QUEUE; vq_pop(v, q, &c); any = true) {
        answer((struct virtio_rng *)v, q, &c);
        if (!--budget) {
            virtio_later(v);
            break;
        }
    }
    if (any)
        vq_signal(v, q);
}

static void rng_later(struct vm_event *ev)
{
    rng_notify(ev->opaque, 0);
}

static void rng_reset(struct virtio *v)
{
}

static const struct virtio_type rng_type = {
    .id = VIRTIO_ID_RNG,
    .pci_device = 0x1005,
    .class_code = 0x00ff00,
    .notify = rng_notify,
    .reset = rng_reset,
};

static int rng_loaded(void *dev, const char **why)
{
    return virtio_loaded(dev, why);
}

static const struct field rng_fields[] = {
    VIRTIO_FIELDS(struct virtio_rng),
    VQ_FIELDS(struct virtio_rng, 0),
    FIELD_END,
};
static const struct state_table rng_table = {
    .name = "virtio-rng",
    .version = 1,
    .fields = rng_fields,
    .loaded = rng_loaded,
};

void virtio_rng_init(struct virtio_rng *d, struct devctx *c, struct pci_bus *bus, unsigned devfn, const char *name)
{
    static const uint16_t sizes[] = {QUEUE};

    virtio_init(&d->v, c, bus, devfn,
                &(struct virtio_setup){
                    .type = &rng_type,
                    .nvq = 1,
                    .vq_size = sizes,
                    .table = &rng_table,
                    .dev = d,
                    .name = name,
                    .later = rng_later,
                });
}
