/* The 82077AA floppy controller of an AT (Intel data sheet, order number 290166) with two drives, on block ports.
 *
 * A drive is of the kind that its medium asks for; media are known by their size. Disks are as DOS formats them:
 * sectors of 512 bytes, numbered from 1, whose ID fields name their own track, MFM; the image has no room for other ID
 * fields or for deleted-data marks: writing the latter writes data. Seeks and sectors take microseconds of virtual
 * time, not milliseconds; a host that does not move a sector's bytes within OVERRUN_NS has lost them.
 *
 * What the guest was told is written has been flushed: a real drive has no cache. */
#ifndef VT_FLOPPY_H
#define VT_FLOPPY_H

#include "src/base/floppyformat.h"
#include "vmcore/dev/dma8237.h"
#include "vmcore/port.h"

struct floppy_drive {
    bool present;
    struct blkport port;
    const struct floppy_format *fmt; /* NULL: no medium */
};
struct floppy {
    struct floppy_drive drive[FLOPPY_DRIVES];
    /* registers and settings; saved, as is all up to io_off */
    uint8_t dor, tdr, dsr;
    uint8_t config, pretrk, srt_hut, hlt_nd, perpendicular, last_eot;
    bool lock;
    /* the command under way */
    uint8_t phase, cmd[9], cmd_pos, cmd_len, result[10], result_pos, result_len;
    bool result_intr; /* reading the result ends the interrupt */
    /* interrupts and heads; bit masks are of drives */
    bool intr;
    uint8_t busy, ended, polled, ended_st0[4];
    uint8_t pcn[4], cyl[FLOPPY_DRIVES]; /* where the controller believes the heads are, and where they are */
    bool changed[FLOPPY_DRIVES];        /* the disk change line */
    uint64_t seek_due[4];               /* virtual ns; UINT64_MAX: no seek */
    /* the execution phase */
    uint8_t step, st0, st1, st2, c, h, r, n, head, seq, left;
    bool tc, wrote;
    uint64_t due; /* of the step's timer */
    uint8_t buf[FLOPPY_SECTOR];
    uint16_t pos, len; /* bytes of buf moved, and to be moved */
    uint16_t burst;    /* PIO: how many of them the FIFO holds or takes now */
    uint8_t io;        /* enum blk_op of the request in flight */
    uint32_t io_off;
    /* The request belongs to the host worker from submit until its event has run, whatever the guest does meanwhile;
     * era tells one of before a reset or a restore, whose result nobody waits for. */
    struct blk_req req;
    bool req_busy;
    uint32_t era, req_era;
    uint8_t req_buf[FLOPPY_SECTOR];

    struct devctx *ctx;
    struct dma8237 *dma;
    struct irq_line out;
    struct vtimer timer, seek_timer[4];
    struct vm_event restart;
    struct bus_window win[2];
    struct state_entry state;
};

/* port[i] NULL: no such drive; of a size that no disk has: a 1.44M drive without a medium. Ports are copied. Before a
 * load the host side waits until the worker is idle. */
void floppy_init(struct floppy *f, struct devctx *c, struct dma8237 *dma, struct irq_line out,
                 const struct blkport *port[FLOPPY_DRIVES]);
void floppy_reset(struct floppy *f);
/* Takes the medium out, and puts another in where p is not NULL and of a known size. */
void floppy_change(struct floppy *f, unsigned drive, const struct blkport *p);
/* The drives' kinds as CMOS byte 10h has them. */
uint8_t floppy_cmos_types(const struct floppy *f);

#endif
