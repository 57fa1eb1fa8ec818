/* Virtio block device (virtio 1.1, section 5.2) on a blkport: read, write, flush, discard, write zeroes, id. */
#ifndef VT_VIRTIO_BLK_H
#define VT_VIRTIO_BLK_H

#include "vmcore/dev/virtio.h"

#define BLK_CONFIG_SIZE 60

struct blk_slot;
struct virtio_blk {
    struct virtio v;
    struct blkport port;
    uint8_t config[BLK_CONFIG_SIZE];
    /* Requests in flight. A slot belongs to the host worker from submit until its event has run, whatever the guest
     * does meanwhile; era tells those of before a reset or a restore, whose result nobody waits for. */
    struct blk_slot *slots; /* one mapping: slots, then their buffers */
    struct blk_slot *free, *oldest, *newest;
    uint32_t era;
    /* saved: heads of the chains in flight, oldest first; and, after a load, those still to be started again */
    uint16_t inflight_count, inflight[VQ_SIZE_MAX];
    uint16_t restart_next, restart_count, restart[VQ_SIZE_MAX];
};

/* name ("vblk0") names the saved state and is copied, as is *p. 0, or -1: no memory. Before a load or release the host
 * side waits until the worker is idle. */
int virtio_blk_init(struct virtio_blk *b, struct devctx *c, struct pci_bus *bus, unsigned devfn, const char *name,
                    const struct blkport *p);
void virtio_blk_release(struct virtio_blk *b);

#endif
