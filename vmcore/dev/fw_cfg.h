/* The firmware configuration device of virtual PCs (QEMU's docs/specs/fw_cfg): numbered items and named files that
 * firmware reads at ports 510h (selector) and 511h (data), or by DMA at 514h. Items are read-only and belong to who
 * adds them, before the machine runs; only the position in them is the device's state. */
#ifndef VT_FW_CFG_H
#define VT_FW_CFG_H

#include "vmcore/dev/dev.h"

/* Numbers of items */
enum {
    FW_CFG_SIGNATURE = 0x00,
    FW_CFG_ID = 0x01,
    FW_CFG_RAM_SIZE = 0x03,
    FW_CFG_NOGRAPHIC = 0x04,
    FW_CFG_NB_CPUS = 0x05,
    FW_CFG_MACHINE_ID = 0x06,
    FW_CFG_NUMA = 0x0d,
    FW_CFG_BOOT_MENU = 0x0e,
    FW_CFG_MAX_CPUS = 0x0f,
    FW_CFG_FILE_DIR = 0x19,
    FW_CFG_FILE_FIRST = 0x20,
    FW_CFG_KEYS = 0x20,
    FW_CFG_FILES = 32,
    FW_CFG_NAME = 56, /* the end of the string included */
    FW_CFG_ARCH = 0x8000,
    FW_CFG_IRQ0_OVERRIDE = FW_CFG_ARCH + 2,
    FW_CFG_ARCH_KEYS = 4,
};

struct fw_cfg_item {
    const uint8_t *data;
    uint32_t len;
};
struct fw_cfg {
    struct fw_cfg_item key[FW_CFG_KEYS], arch[FW_CFG_ARCH_KEYS], file[FW_CFG_FILES];
    unsigned nfiles;
    uint8_t dir[4 + FW_CFG_FILES * (8 + FW_CFG_NAME)];
    uint8_t numbers[FW_CFG_KEYS + FW_CFG_ARCH_KEYS][8]; /* what fw_cfg_number() set */
    uint16_t selected;
    uint32_t pos;
    uint64_t dma_address; /* of the request; its low half starts it */
    struct mem *mem;
    struct bus_window win, dma_win;
    struct state_entry state;
};
void fw_cfg_init(struct fw_cfg *f, struct devctx *c);
void fw_cfg_reset(struct fw_cfg *f);
/* An item that is a number of size (2, 4 or 8) bytes; key is one of those above. */
void fw_cfg_number(struct fw_cfg *f, unsigned key, uint64_t value, unsigned size);
/* Adds a file; name and data live as long as f. A name that is too long, or one file too many, is our bug. */
void fw_cfg_file(struct fw_cfg *f, const char *name, const void *data, uint32_t len);

#endif
