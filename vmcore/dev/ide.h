/* The PIIX3's IDE function (Intel 82371SB data sheet, function 1): two channels at the compatibility ports, and a bus
 * master for each. Behind each channel two drives share the registers; their command sets are in ata.c (disks) and
 * atapi.c (CD-ROM), the movement of data between medium, buffer and guest in ide_xfer.c.
 *
 * A channel runs one command at a time, the selected drive's. Its phase says what the registers show:
 *  1. BSY and DRQ follow from the phase; while it is not IDE_IDLE, writes to the task file and its selection are
 * dropped.
 *  2. The buffer belongs to the worker while `lent`. A command that is aborted leaves it lent, and `stale`; the next
 * one waits in IDE_COMMAND until it is back.
 *  3. A saved state holds at most one DRQ block of data; what else the buffer held is read again, from the medium or
 *     from the guest's memory, by the position of the last piece that was done.
 */
#ifndef VT_IDE_H
#define VT_IDE_H

#include "vmcore/dev/pci.h"
#include "vmcore/port.h"

#define IDE_DRIVES 4            /* primary 0 and 1, secondary 0 and 1 */
#define IDE_PIECE  (128u << 10) /* bytes of one request to the medium, at most */
#define IDE_BLOCK  8192u        /* bytes of a DRQ block, and of a reply that is not read from the medium, at most */
#define IDE_SECTOR 512u

enum ide_kind { IDE_NONE, IDE_DISK, IDE_CD };

/* Ports of the command block by offset */
enum { IDE_DATA, IDE_FEATURE, IDE_COUNT, IDE_LOW, IDE_MID, IDE_HIGH, IDE_DEVICE, IDE_COMMAND_PORT };

enum {
    IDE_ST_ERR = 0x01,
    IDE_ST_DRQ = 0x08,
    IDE_ST_DSC = 0x10,
    IDE_ST_DRDY = 0x40,
    IDE_ST_BSY = 0x80,
    IDE_ST_OK = IDE_ST_DRDY | IDE_ST_DSC,

    IDE_ERR_ABRT = 0x04,
    IDE_ERR_IDNF = 0x10,
    IDE_ERR_UNC = 0x40,

    IDE_DEV_SELECT = 0x10,
    IDE_DEV_LBA = 0x40,

    IDE_BM_INTERRUPT = 0x04, /* the bus master's status: the drive has asked for an interrupt */
};

enum ide_phase {
    IDE_IDLE,
    IDE_COMMAND, /* BSY: a command waits for the buffer */
    IDE_PACKET,  /* DRQ: takes the bytes of a command packet */
    IDE_FETCH,   /* BSY: from the medium into the buffer */
    IDE_PIO_IN,  /* DRQ: the guest reads a block from the data port */
    IDE_PIO_OUT, /* DRQ: the guest writes one */
    IDE_DMA_IN,  /* DRQ: the bus master is to take the buffer */
    IDE_DMA_OUT, /* DRQ: the bus master is to fill it */
    IDE_STORE,   /* BSY: from the buffer to the medium */
    IDE_FLUSH,   /* BSY: what was written becomes durable */
    IDE_PHASES,
};

struct ide_channel;

struct ide_drive {
    struct ide_channel *ch;
    uint8_t kind;        /* enum ide_kind */
    struct blkport port; /* a CD drive without a disc: size 0 */
    struct state_entry state;
    uint8_t reg[8][2]; /* task file by offset; [1]: what it held before the last write */
    uint8_t error, status;
    bool intrq;            /* wants an interrupt */
    uint8_t power;         /* what CHECK POWER MODE says */
    bool asleep;           /* only a reset wakes it */
    uint8_t transfer_mode; /* of SET FEATURES */
    /* disk */
    uint16_t cylinders; /* the present translation */
    uint8_t heads, sectors;
    uint8_t multiple; /* sectors a block of READ and WRITE MULTIPLE; 0: off */
    bool write_cache, look_ahead;
    /* CD */
    uint8_t sense_key, asc, ascq;
    uint8_t attention; /* additional sense code of the unit attention that waits; 0: none */
    uint8_t event;     /* media event that waits; 0: none */
    bool tray_open, locked;
    uint64_t disc_size; /* as saved */
};

struct ide_xfer {
    uint8_t phase, command;
    bool dma, out, reply, verify; /* reply: the buffer did not come from the medium */
    uint64_t at, left;            /* bytes: of the medium, the next to fetch or to store, and how many are left */
    uint32_t unit;                /* bytes of a DRQ block */
    uint32_t len, pos, end;       /* the buffer holds len bytes; the guest has moved pos, the block ends at end */
    uint8_t packet[12];
};

/* Where the bus master is in its table: what is left of the region at addr, and where the next descriptor lies. */
struct ide_region {
    uint32_t next, addr, left;
    bool last;
};

struct ide_master {
    uint8_t command, status;
    uint32_t table;
    struct ide_region region;
    struct ide_region after; /* where it will be once the piece on its way to the medium is there */
};

/* What a load starts from: the transfer as it was after the last piece. */
struct ide_saved {
    uint8_t phase;
    uint64_t at, left;
    uint32_t len, pos, end;
    uint8_t buf[IDE_BLOCK];
};

struct ide;
struct ide_channel {
    struct ide *ide;
    struct ide_drive drive[2];
    uint8_t select, control;
    bool line; /* of the interrupt, as it is driven */
    struct irq_line irq;
    struct ide_xfer x;
    struct ide_master bm;
    struct ide_saved saved;
    uint8_t *buf; /* IDE_PIECE bytes; NULL: no drive on this channel */
    struct blk_req req;
    bool lent, stale;
    struct vm_event resume;
    struct bus_window command_win, control_win;
    struct state_entry state, data_state;
};

struct ide {
    struct pci_dev pci;
    struct devctx *ctx;
    struct ide_channel ch[2];
};

struct ide_config {
    uint8_t kind;
    struct blkport port; /* copied */
};

/* irq: of the primary and the secondary channel. 0, or -1: no memory. As with all block devices the host side waits
 * until the worker is idle before a load or release. */
int ide_init(struct ide *ide, struct devctx *c, struct pci_bus *bus, unsigned devfn,
             const struct ide_config drives[IDE_DRIVES], const struct irq_line irq[2]);
void ide_release(struct ide *ide);
/* What firmware does: decoding of the channels that have drives. */
void ide_direct_boot(struct ide *ide);
/* [worker idle] Another disc in CD drive n, with the tray closed; NULL: none. False: n is no CD drive. */
bool ide_change_disc(struct ide *ide, unsigned n, const struct blkport *port);

/* ---- for the command sets */

static inline struct ide_drive *ide_selected(struct ide_channel *ch)
{
    return &ch->drive[ch->select];
}
/* The command is over: status and interrupt. */
void ide_finish(struct ide_drive *d, uint8_t error, bool interrupt);
/* Task file as after a reset or diagnostics. */
void ide_signature(struct ide_drive *d);
/* Drives the channel's interrupt line by what the selected drive wants. */
void ide_interrupt(struct ide_drive *d);
void ide_update_line(struct ide_channel *ch);
/* All the channel's drives as after a soft reset; what is under way is forgotten. */
void ide_soft_reset(struct ide_channel *ch);

/* ---- ide_xfer.c */

/* From the medium to the guest, from the guest to the medium; unit: of a DRQ block in PIO. [at, at + len) was checked
 * against the medium, and is checked again at each piece. */
void ide_read_medium(struct ide_channel *ch, uint64_t at, uint64_t len, uint32_t unit, bool dma);
void ide_write_medium(struct ide_channel *ch, uint64_t at, uint64_t len, uint32_t unit, bool dma);
void ide_verify_medium(struct ide_channel *ch, uint64_t at, uint64_t len);
void ide_flush_medium(struct ide_channel *ch);
/* buf holds len bytes, 1 to IDE_BLOCK, for the guest. */
void ide_send_reply(struct ide_channel *ch, uint32_t len, uint32_t unit, bool dma);
void ide_take_packet(struct ide_channel *ch);
/* Forgets the transfer. */
void ide_abort(struct ide_channel *ch);

uint32_t ide_data_read(struct ide_channel *ch, unsigned size);
void ide_data_write(struct ide_channel *ch, uint32_t val, unsigned size);
void ide_request_done(struct vm_event *ev);
/* Goes on with what a load found under way. */
void ide_resume(struct vm_event *ev);
void ide_save_transfer(struct ide_channel *ch);
int ide_load_transfer(struct ide_channel *ch, const char **why);

uint32_t ide_master_read(void *ide, uint32_t off, unsigned size);
void ide_master_write(void *ide, uint32_t off, uint32_t val, unsigned size);
/* The bus master may go on, if there is something to move. */
void ide_master_run(struct ide_channel *ch);

#endif
