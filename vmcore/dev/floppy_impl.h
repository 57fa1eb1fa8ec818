/* Between the controller's two files: floppy.c has registers, phases, seeks and state, floppy_data.c the commands that
 * move data. */
#ifndef VT_FLOPPY_IMPL_H
#define VT_FLOPPY_IMPL_H

#include "vmcore/dev/floppy.h"

enum { PHASE_IDLE, PHASE_COMMAND, PHASE_EXECUTE, PHASE_RESULT };

/* What the execution phase waits for. All but STEP_IO have the timer running. */
enum {
    STEP_NONE,
    STEP_RESET, /* the end of a reset */
    STEP_BEGIN, /* the next sector comes by */
    STEP_ID,    /* READ ID: any sector comes by */
    STEP_FAIL,  /* two turns of the disk: what was looked for is not there */
    STEP_MOVE,  /* the host to take or give bytes */
    STEP_IO,    /* the backend */
    STEP_LAST = STEP_IO
};

enum {
    OP_READ_TRACK = 0x02,
    OP_SPECIFY = 0x03,
    OP_SENSE_DRIVE = 0x04,
    OP_WRITE = 0x05,
    OP_READ = 0x06,
    OP_RECALIBRATE = 0x07,
    OP_SENSE_INT = 0x08,
    OP_WRITE_DELETED = 0x09,
    OP_READ_ID = 0x0a,
    OP_READ_DELETED = 0x0c,
    OP_FORMAT = 0x0d,
    OP_DUMPREG = 0x0e,
    OP_SEEK = 0x0f,
    OP_VERSION = 0x10,
    OP_PERPENDICULAR = 0x12,
    OP_CONFIGURE = 0x13,
    OP_LOCK = 0x14,
    OP_VERIFY = 0x16,
    OP_MASK = 0x1f,
    CMD_MT = 0x80,
    CMD_MFM = 0x40,
    CMD_SK = 0x20,

    ST0_ABNORMAL = 0x40,
    ST0_INVALID = 0x80,
    ST0_POLLED = 0xc0,
    ST0_SE = 0x20,
    ST0_EC = 0x10,
    ST1_EN = 0x80,
    ST1_DE = 0x20,
    ST1_OR = 0x10,
    ST1_ND = 0x04,
    ST1_NW = 0x02,
    ST1_MA = 0x01,
    ST2_CM = 0x40,
    ST2_DD = 0x20,
    ST2_WC = 0x10,

    DOR_NRESET = 0x04,
    DOR_DMAGATE = 0x08,
    HLT_ND = 0x01, /* no DMA */
    CONFIG_EIS = 0x40,
    CONFIG_EFIFO = 0x20, /* set: off */
    CONFIG_NPOLL = 0x10,

    FLOPPY_DMA = 2,
    CYL_MAX = 83, /* where the head's carriage ends */
};

static inline unsigned floppy_unit(const struct floppy *f)
{
    return f->cmd[1] & 3;
}
/* NULL: no drive, no medium, or its motor stands still. */
const struct floppy_drive *floppy_turning(const struct floppy *f);
void floppy_wait(struct floppy *f, unsigned step, uint64_t ns);
void floppy_stop_timer(struct floppy *f);
void floppy_update(struct floppy *f); /* the interrupt line, from intr */
/* Puts the result phase's bytes up, with an interrupt or without. */
void floppy_result(struct floppy *f, const uint8_t *bytes, unsigned n, bool interrupt);
/* Moves the drive's head by so many cylinders at once; virtual ns that it would take. */
uint64_t floppy_step_head(struct floppy *f, unsigned drive, int cyls);

/* floppy_data.c */
void floppy_data_start(struct floppy *f);
void floppy_data_timer(struct floppy *f);
void floppy_data_granted(void *opaque);
void floppy_data_forget(struct floppy *f); /* the command is over, whatever is in flight */
void floppy_data_gone(struct floppy *f);   /* the command's medium was taken out */
void floppy_data_restart(struct vm_event *ev);
void floppy_data_done(struct vm_event *ev);
bool floppy_pio(const struct floppy *f);     /* does the processor move the bytes? */
bool floppy_to_host(const struct floppy *f); /* their direction */
uint8_t floppy_pio_read(struct floppy *f);
void floppy_pio_write(struct floppy *f, uint8_t v);
bool floppy_data_valid(const struct floppy *f); /* of what was loaded */

#endif
