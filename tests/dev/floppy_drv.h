/* A driver of the floppy controller, for its tests. */
#ifndef VT_FLOPPY_DRV_H
#define VT_FLOPPY_DRV_H

#include "tests/dev/period_rig.h"

enum {
    DOR = 0x3f2,
    TDR = 0x3f3,
    MSR = 0x3f4,
    DSR = 0x3f4,
    FIFO = 0x3f5,
    DIR = 0x3f7,
    CCR = 0x3f7,

    RQM = 0x80,
    DIO = 0x40,
    CB = 0x10,

    READ = 0xe6, /* multi-track, MFM, skip */
    WRITE = 0xc5,
    READ_ID = 0x4a,
    FORMAT = 0x4d,
    DMA_TO_MEM = 0x46, /* single, channel 2 */
    DMA_FROM_MEM = 0x4a,
};
#define M144   1474560u
#define BUFFER 0x10000u

extern const uint32_t one_disk[2]; /* 1.44M in drive 0, no drive 1 */

/* Writes a command's bytes; asserts that the controller asks for each. */
void floppy_command(struct rig *r, const uint8_t *bytes, unsigned n);
/* Reads a result and asserts that it is this, and all. */
void floppy_results(struct rig *r, const uint8_t *want, unsigned n);
#define COMMAND(r, ...) floppy_command(r, (const uint8_t[]){__VA_ARGS__}, (unsigned)sizeof((uint8_t[]){__VA_ARGS__}))
#define RESULTS(r, ...) floppy_results(r, (const uint8_t[]){__VA_ARGS__}, (unsigned)sizeof((uint8_t[]){__VA_ARGS__}))
/* Sets DMA channel 2 up. */
void floppy_dma(struct rig *r, unsigned mode, uint32_t pa, unsigned bytes);
/* As a BIOS leaves it: reset, four interrupts taken, motors on, drive 0 selected, heads at cylinder 0. */
struct rig *floppy_start(const uint32_t sizes[2]);
void floppy_seek(struct rig *r, unsigned drive, unsigned cyl);
/* A sector of the 1.44M image in drive 0. */
const uint8_t *floppy_sector(struct rig *r, unsigned c, unsigned h, unsigned s);

#endif
