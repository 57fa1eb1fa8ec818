/* Virtio network device (virtio 1.1, section 5.1) on a netport: one pair of queues, MAC address, link status, mergeable
 * receive buffers; no offloads, so a frame is what is on the wire. */
#ifndef VT_VIRTIO_NET_H
#define VT_VIRTIO_NET_H

#include "vmcore/dev/virtio.h"

#define NET_CONFIG_SIZE 8
#define NET_FRAME_MAX   16384 /* bytes; longer ones are dropped */

struct virtio_net {
    struct virtio v;
    struct netport *port;
    uint8_t config[NET_CONFIG_SIZE]; /* saved: MAC (legacy drivers may change it), status */
    uint32_t held;                   /* bytes in frame: the next one for the guest, waiting for buffers */
    uint8_t frame[NET_FRAME_MAX];
    uint8_t sending[NET_FRAME_MAX];
};

/* name ("vnet0") names the saved state and is copied. port outlives the device, which takes its rx_event. Frames on
 * their way at a save are lost, as on a wire. */
void virtio_net_init(struct virtio_net *d, struct devctx *c, struct pci_bus *bus, unsigned devfn, const char *name,
                     const uint8_t mac[6], struct netport *port);

#endif
