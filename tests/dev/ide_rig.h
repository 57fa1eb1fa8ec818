/* An IDE function with drives on disks in memory, and the steps of a driver. The worker serves a request when the test
 * says so; interrupts are counted. */
#ifndef VT_IDE_RIG_H
#define VT_IDE_RIG_H

#include "tests/dev/virtio_rig.h"
#include "vmcore/dev/ide.h"

enum {
    PRI = 0x1f0,
    SEC = 0x170,
    CONTROL = 0x206, /* from a channel's first port */
    MASTER = 0xc000, /* bus master of the primary channel; the secondary one's is 8 further */

    BSY = 0x80,
    DRDY = 0x40,
    DSC = 0x10,
    DRQ = 0x08,
    ERR = 0x01,
    READY = DRDY | DSC,
};

struct ide_rig {
    struct rig r;
    struct ide ide;
    struct {
        struct ide_rig *rig;
        uint8_t *bytes;
        uint64_t size;
    } medium[IDE_DRIVES];
    struct blk_req *first, **last; /* submitted, not served */
    unsigned submitted, flushes, writes;
    int result; /* of what is served from now on */
    bool irq[2];
    unsigned irqs[2]; /* rising edges */
};

struct ide_rig_drive {
    uint8_t kind;
    uint32_t sectors; /* of 512 bytes */
    bool read_only;
};

/* Drives, decoding and bus mastering are on; every medium has its own pattern. */
struct ide_rig *ide_rig_new(const struct ide_rig_drive drives[IDE_DRIVES]);
void ide_rig_free(struct ide_rig *t);
bool ide_rig_serve(struct ide_rig *t);  /* the oldest request; false: there is none */
void ide_rig_settle(struct ide_rig *t); /* all of them, and events */
/* Saves, and loads into a new machine with the same drives, media and memory, which takes t's place. */
struct ide_rig *ide_rig_move(struct ide_rig *t);

uint8_t rd(struct ide_rig *t, unsigned port);
void wr(struct ide_rig *t, unsigned port, uint8_t val);
uint16_t rd16(struct ide_rig *t, unsigned port);
void wr16(struct ide_rig *t, unsigned port, uint16_t val);
uint32_t rd32(struct ide_rig *t, unsigned port);
void wr32(struct ide_rig *t, unsigned port, uint32_t val);

/* The task file (28 bits; device without LBA bit: cylinder, head, sector), then the command. */
void ide_command(struct ide_rig *t, unsigned base, uint8_t device, uint32_t lba, uint8_t count, uint8_t command);
void ide_command_ext(struct ide_rig *t, unsigned base, uint8_t device, uint64_t lba, uint16_t count, uint8_t command);
/* Settles, asserts that an interrupt came, and returns the status, which takes it back. */
uint8_t ide_wait(struct ide_rig *t, unsigned base);
void pio_in(struct ide_rig *t, unsigned base, void *dst, unsigned len);
void pio_out(struct ide_rig *t, unsigned base, const void *src, unsigned len);

/* A descriptor table for the channel of base, its address written to the bus master. len 0: 64 KiB. */
struct prd {
    uint32_t addr;
    uint16_t len;
    bool last;
};
void dma_table(struct ide_rig *t, unsigned base, const struct prd *prd, unsigned n);
void dma_start(struct ide_rig *t, unsigned base, bool to_memory);
uint8_t dma_stop(struct ide_rig *t, unsigned base); /* the status before it, whose bits are cleared */

#endif
