/* The PC's two 8237A DMA controllers and their page registers (Intel 8237A data sheet; PIIX3, section 4.2): channels
 * 0..3 move bytes, 5..7 move words, and channel 4 is where the first controller hangs on the second.
 *
 * A device asks with dma8237_dreq() and moves its bytes with dma8237_transfer() as soon as the channel is granted: the
 * controller calls its client then, at once or when the guest unmasks the channel. */
#ifndef VT_DMA8237_H
#define VT_DMA8237_H

#include "vmcore/dev/dev.h"

#define DMA_CHANNELS 8

struct dma_client {
    void (*granted)(void *opaque); /* DREQ is up and the channel may run */
    void *opaque;
};

struct dma8237 {
    /* by channel */
    uint16_t base_addr[DMA_CHANNELS], base_count[DMA_CHANNELS], addr[DMA_CHANNELS], count[DMA_CHANNELS];
    uint8_t mode[DMA_CHANNELS];
    uint8_t page[16]; /* ports 80h..8Fh */
    /* by controller */
    uint8_t command[2], request[2], mask[2], done[2], temp[2]; /* done: terminal counts that nobody has read */
    bool high_byte[2];                                         /* the flip-flop */
    uint8_t dreq;                                              /* lines of the devices, by channel */
    struct dma_client client[DMA_CHANNELS];
    struct mem *mem;
    struct bus_window win[3];
    struct state_entry state;
};

enum dma_dir { DMA_TO_MEMORY, DMA_FROM_MEMORY };

void dma8237_init(struct dma8237 *d, struct devctx *c);
void dma8237_reset(struct dma8237 *d);
void dma8237_connect(struct dma8237 *d, unsigned ch, void (*granted)(void *opaque), void *opaque);
/* The device's request line; going up on a channel that may run calls its client before this returns. */
void dma8237_dreq(struct dma8237 *d, unsigned ch, int level);
/* Moves up to len bytes (even on channels 5..7) between buf and memory, as the channel is programmed: up to its count,
 * in either direction of addresses, with no carry into the page. Returns the bytes moved, 0 while the channel is masked
 * or disabled; *ret_tc says that the count ran out with the last of them. A channel that is set to verify, or to the
 * other direction, counts but leaves memory alone; from memory it then gives FFh, as a bus that nobody drives. */
uint32_t dma8237_transfer(struct dma8237 *d, unsigned ch, void *buf, uint32_t len, enum dma_dir dir, bool *ret_tc);

#endif
