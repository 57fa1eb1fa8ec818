/* What all virtio devices share beside their rings: features, status, interrupts, saved state (virtio 1.1, sections 2.1
 * to 2.5, and 3.1 for the order in which a driver goes). */
#include "vmcore/dev/virtio.h"
#include "vmcore/rt.h"

static void reset_queue(struct vq *q)
{
    uint16_t max = q->max_size;
    *q = (struct vq){.size = max, .max_size = max, .vector = VIRTIO_NO_VECTOR};
}

/* The driver's reset: all but the PCI side, which only a bus reset touches. */
void virtio_reset(struct virtio *v)
{
    v->features = 0;
    v->device_select = v->driver_select = 0;
    v->queue_select = 0;
    v->config_vector = VIRTIO_NO_VECTOR;
    v->status = 0;
    v->isr = 0;
    v->generation = 0;
    v->broken = false;
    for (unsigned i = 0; i < v->nvq; i++)
        reset_queue(&v->vq[i]);
    v->type->reset(v);
    pci_irq(&v->pci, 0);
}

void virtio_later(struct virtio *v)
{
    vm_post(v->ctx->opaque, &v->later);
}

void virtio_accept(struct virtio *v, unsigned half, uint32_t bits)
{
    if ((v->status & (VIRTIO_S_FEATURES_OK | VIRTIO_S_DRIVER_OK)) || half > 1)
        return;
    v->features &= ~(0xffffffffull << 32 * half);
    v->features |= (uint64_t)bits << 32 * half;
}

void virtio_set_status(struct virtio *v, uint8_t status)
{
    uint8_t old = v->status;

    if (!status) {
        virtio_reset(v);
        return;
    }
    if ((status & VIRTIO_S_FEATURES_OK) &&
        ((v->features & ~v->offered) || (virtio_modern_only(v) && !virtio_has(v, VIRTIO_F_VERSION_1))))
        status &= (uint8_t)~VIRTIO_S_FEATURES_OK;
    v->status = status | (old & VIRTIO_S_NEEDS_RESET);
    if ((old & VIRTIO_S_DRIVER_OK) || !(status & VIRTIO_S_DRIVER_OK))
        return;
    if (v->type->driver_ok)
        v->type->driver_ok(v);
    for (unsigned i = 0; i < v->nvq; i++)
        if (vq_ready(v, &v->vq[i]))
            v->type->notify(v, i);
}

void virtio_signal(struct virtio *v, uint8_t isr, uint16_t vector)
{
    if (pci_msix_enabled(&v->pci)) {
        if (vector != VIRTIO_NO_VECTOR)
            pci_msix_notify(&v->pci, vector);
        return;
    }
    v->isr |= isr;
    pci_irq(&v->pci, 1);
}

uint8_t virtio_take_isr(struct virtio *v)
{
    uint8_t isr = v->isr;
    v->isr = 0;
    pci_irq(&v->pci, 0);
    return isr;
}

void virtio_config_changed(struct virtio *v)
{
    v->generation++;
    if (v->status & VIRTIO_S_DRIVER_OK)
        virtio_signal(v, VIRTIO_ISR_CONFIG, v->config_vector);
}

void virtio_break(struct virtio *v, const char *why)
{
    if (v->broken)
        return;
    rt_log(v->ctx->opaque, "%s: driver error, device stopped until reset: %s", v->state.instance, why);
    v->broken = true;
    v->status |= VIRTIO_S_NEEDS_RESET;
    if (v->status & VIRTIO_S_DRIVER_OK)
        virtio_signal(v, VIRTIO_ISR_CONFIG, v->config_vector);
}

int virtio_loaded(struct virtio *v, const char **why)
{
    if (v->features & ~v->offered && (v->status & VIRTIO_S_FEATURES_OK)) {
        *why = "features that the device does not offer";
        return -1;
    }
    for (unsigned i = 0; i < v->nvq; i++) {
        struct vq *q = &v->vq[i];
        if (q->size > q->max_size || (q->size & (q->size - 1))) {
            *why = "queue size";
            return -1;
        }
        if (q->vector != VIRTIO_NO_VECTOR && q->vector >= v->msix.n) {
            *why = "interrupt vector";
            return -1;
        }
    }
    if (v->config_vector != VIRTIO_NO_VECTOR && v->config_vector >= v->msix.n) {
        *why = "interrupt vector";
        return -1;
    }
    pci_irq(&v->pci, v->isr != 0);
    virtio_later(v);
    return 0;
}

static void copy_name(char *dst, size_t size, const char *name, const char *suffix)
{
    size_t n = 0;
    for (; *name && n < size - 1; name++)
        dst[n++] = *name;
    for (; *suffix && n < size - 1; suffix++)
        dst[n++] = *suffix;
    dst[n] = 0;
}

void virtio_init(struct virtio *v, struct devctx *c, struct pci_bus *bus, unsigned devfn, const struct virtio_setup *s)
{
    v->type = s->type;
    v->ctx = c;
    v->mem = c->mem;
    v->offered = s->offered | VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX | VIRTIO_F_ANY_LAYOUT;
    v->config = s->config;
    v->config_len = s->config_len;
    v->nvq = s->nvq;
    for (unsigned i = 0; i < s->nvq; i++)
        v->vq[i].max_size = s->vq_size[i];
    v->later = (struct vm_event){.fn = s->later, .opaque = v};
    copy_name(v->name, sizeof(v->name), s->name, "");
    copy_name(v->pci_name, sizeof(v->pci_name), s->name, ".pci");
    copy_name(v->msix_name, sizeof(v->msix_name), s->name, ".msix");
    virtio_pci_init(v, bus, devfn);
    virtio_reset(v);
    c->add_state(c, &v->state, v->name, s->table, s->dev);
}
