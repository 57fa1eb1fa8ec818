/* Virtio memory balloon (virtio 1.2, section 5.5): the guest tells of pages that it has no use for, and they cost
 * nothing then. No page is ever asked for: what counts is the reporting of free pages. */
#ifndef VT_VIRTIO_BALLOON_H
#define VT_VIRTIO_BALLOON_H

#include "vmcore/dev/virtio.h"

struct virtio_balloon {
    struct virtio v;
    uint8_t config[8]; /* pages that are asked for (0), and that the driver says it has given */
};

/* name ("vballoon0") names the saved state and is copied. */
void virtio_balloon_init(struct virtio_balloon *d, struct devctx *c, struct pci_bus *bus, unsigned devfn,
                         const char *name);

#endif
