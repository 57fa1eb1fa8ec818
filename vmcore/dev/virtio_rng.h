/* Virtio entropy device (virtio 1.1, section 5.4): bytes of the host kernel's generator. */
#ifndef VT_VIRTIO_RNG_H
#define VT_VIRTIO_RNG_H

#include "vmcore/dev/virtio.h"

struct virtio_rng {
    struct virtio v;
};

/* name ("vrng0") names the saved state and is copied. */
void virtio_rng_init(struct virtio_rng *d, struct devctx *c, struct pci_bus *bus, unsigned devfn, const char *name);

#endif
