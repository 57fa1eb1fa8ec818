#include "vmcore/dev/ide.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include "vmcore/dev/ata.h"
#include "vmcore/dev/atapi.h"
#include "vmcore/rt.h"

enum {
    TIMING = 0x40, /* IDETIM, a register of 16 bits a channel */
    TIMING_DECODE = 0x8000,
    SLAVE_TIMING = 0x44,
    MASTER_BAR = 4,

    CTL_NIEN = 0x02,
    CTL_SRST = 0x04,
    CTL_HOB = 0x80,

    DEVICE_RESET = 0x08,
    DIAGNOSTIC = 0x90,

    /* No drive drives the bus: the host's pull-down on DD7 makes it read as not busy (ATA-6, annex on the cable). */
    FLOATING = 0x7f,
};

/* ---- interrupts */

void ide_update_line(struct ide_channel *ch)
{
    bool level = ide_selected(ch)->intrq && !(ch->control & CTL_NIEN);

    if (level && !ch->line)
        ch->bm.status |= IDE_BM_INTERRUPT;
    if (level != ch->line) {
        ch->line = level;
        irq_set(&ch->irq, level);
    }
}

void ide_interrupt(struct ide_drive *d)
{
    d->intrq = true;
    ide_update_line(d->ch);
}

void ide_finish(struct ide_drive *d, uint8_t error, bool interrupt)
{
    d->ch->x.phase = IDE_IDLE;
    d->error = error;
    d->status = IDE_ST_OK | (error ? IDE_ST_ERR : 0);
    if (interrupt)
        ide_interrupt(d);
}

/* ---- resets */

void ide_signature(struct ide_drive *d)
{
    bool cd = d->kind == IDE_CD;

    memset(d->reg, 0, sizeof d->reg);
    d->reg[IDE_COUNT][0] = d->reg[IDE_LOW][0] = 1;
    d->reg[IDE_MID][0] = cd ? 0x14 : 0;
    d->reg[IDE_HIGH][0] = cd ? 0xeb : 0;
    d->error = 1; /* diagnostics passed */
    d->status = cd ? 0 : IDE_ST_OK;
}

void ide_soft_reset(struct ide_channel *ch)
{
    ide_abort(ch);
    ch->select = 0;
    for (unsigned n = 0; n < 2; n++) {
        struct ide_drive *d = &ch->drive[n];
        d->intrq = d->asleep = false;
        d->power = 0xff;
        if (d->kind != IDE_NONE)
            ide_signature(d);
    }
    ide_update_line(ch);
}

static void decode(struct ide *ide);

static void hard_reset(struct pci_dev *pci)
{
    struct ide *ide = (struct ide *)pci; /* pci is the first member */

    for (unsigned n = 0; n < 2; n++) {
        struct ide_channel *ch = &ide->ch[n];
        ch->control = 0;
        memset(&ch->bm, 0, sizeof ch->bm);
        ide_soft_reset(ch);
        for (unsigned i = 0; i < 2; i++) {
            if (ch->drive[i].kind == IDE_DISK)
                ata_reset(&ch->drive[i]);
            else if (ch->drive[i].kind == IDE_CD)
                atapi_reset(&ch->drive[i]);
        }
    }
    decode(ide);
}

/* ---- the registers */

/* Who answers a read: with one drive alone, drive 0 stands in for drive 1. NULL: nobody. */
static struct ide_drive *answering(struct ide_channel *ch)
{
    struct ide_drive *d = ide_selected(ch);
    if (d->kind == IDE_NONE)
        d = &ch->drive[0];
    return d->kind == IDE_NONE ? NULL : d;
}

static uint8_t status(struct ide_channel *ch)
{
    const struct ide_drive *d = answering(ch);

    if (!d)
        return FLOATING;
    if (d != ide_selected(ch))
        return 0;
    if (ch->control & CTL_SRST)
        return IDE_ST_BSY;
    switch (ch->x.phase) {
    case IDE_IDLE:
        return d->status;
    case IDE_PACKET:
    case IDE_PIO_IN:
    case IDE_PIO_OUT:
    case IDE_DMA_IN:
    case IDE_DMA_OUT:
        return d->status | IDE_ST_DRQ;
    default:
        return d->status | IDE_ST_BSY;
    }
}

static uint8_t register_read(struct ide_channel *ch, unsigned off)
{
    struct ide_drive *d = answering(ch);
    uint8_t v;

    if (!d)
        return FLOATING;
    switch (off) {
    case IDE_COMMAND_PORT:
        v = status(ch);
        if (d == ide_selected(ch)) {
            d->intrq = false;
            ide_update_line(ch);
        }
        return v;
    case IDE_FEATURE:
        return d->error;
    case IDE_DEVICE:
        return d->reg[IDE_DEVICE][0] | 0xa0;
    default:
        return d->reg[off][ch->control & CTL_HOB ? 1 : 0];
    }
}

static void command(struct ide_channel *ch, uint8_t code)
{
    struct ide_drive *d;

    if (ch->control & CTL_SRST)
        return;
    ch->control &= (uint8_t)~CTL_HOB;
    if (code == DIAGNOSTIC && ch->x.phase == IDE_IDLE) { /* both drives', whichever is selected */
        ch->select = 0;
        ide_update_line(ch);
    }
    d = ide_selected(ch);
    if (d->kind == IDE_NONE)
        return;
    if (code == DEVICE_RESET && d->kind == IDE_CD) {
        ide_abort(ch);
        d->intrq = d->asleep = false;
        ide_signature(d);
        d->reg[IDE_DEVICE][0] = ch->select ? IDE_DEV_SELECT : 0;
        ide_update_line(ch);
        return;
    }
    if (ch->x.phase != IDE_IDLE || d->asleep)
        return;
    d->intrq = false;
    ide_update_line(ch);
    d->error = 0;
    d->status = IDE_ST_OK;
    ch->x.command = code;
    ch->x.phase = IDE_COMMAND;
    ide_resume(&ch->resume);
}

static void register_write(struct ide_channel *ch, unsigned off, uint8_t val)
{
    if (off == IDE_COMMAND_PORT) {
        command(ch, val);
        return;
    }
    if (ch->x.phase != IDE_IDLE || (ch->control & CTL_SRST))
        return;
    ch->control &= (uint8_t)~CTL_HOB;
    for (unsigned n = 0; n < 2; n++) {
        uint8_t *reg = ch->drive[n].reg[off];
        reg[1] = reg[0];
        reg[0] = val;
    }
    if (off == IDE_DEVICE) {
        ch->select = val & IDE_DEV_SELECT ? 1 : 0;
        ide_update_line(ch);
    }
}

static uint32_t command_read(void *dev, uint32_t off, unsigned size)
{
    struct ide_channel *ch = dev;
    uint32_t v = 0;

    if (off == IDE_DATA)
        return ide_data_read(ch, size);
    for (unsigned i = 0; i < size; i++)
        v |= (uint32_t)register_read(ch, off + i) << i * 8;
    return v;
}

static void command_write(void *dev, uint32_t off, uint32_t val, unsigned size)
{
    struct ide_channel *ch = dev;

    if (off == IDE_DATA) {
        ide_data_write(ch, val, size);
        return;
    }
    for (unsigned i = 0; i < size; i++)
        register_write(ch, off + i, (uint8_t)(val >> i * 8));
}

static uint32_t control_read(void *dev, uint32_t off, unsigned size)
{
    return status(dev);
}

static void control_write(void *dev, uint32_t off, uint32_t val, unsigned size)
{
    struct ide_channel *ch = dev;
    uint8_t was = ch->control;

    ch->control = val & (CTL_NIEN | CTL_SRST | CTL_HOB);
    if ((ch->control ^ was) & CTL_SRST) /* both edges: nothing goes on while it is held */
        ide_soft_reset(ch);
    ide_update_line(ch);
}

static const struct bus_ops command_ops = {command_read, command_write, 1, 4};
static const struct bus_ops control_ops = {control_read, control_write, 1, 1};
static const struct bus_ops master_ops = {ide_master_read, ide_master_write, 1, 4};

/* ---- PCI */

static void decode(struct ide *ide)
{
    static const uint16_t command_base[] = {0x1f0, 0x170}, control_base[] = {0x3f6, 0x376};

    for (unsigned n = 0; n < 2; n++) {
        struct ide_channel *ch = &ide->ch[n];
        struct bus *bus = ide->ctx->bus;
        bool on = (pci_get(&ide->pci, PCI_COMMAND, 2) & PCI_CMD_IO) &&
                  (pci_get(&ide->pci, TIMING + 2 * n, 2) & TIMING_DECODE);

        if (on && !ch->command_win.mapped) {
            bus_map(bus, &ch->command_win, false, command_base[n], 8, &command_ops, ch, "ide-command");
            bus_map(bus, &ch->control_win, false, control_base[n], 1, &control_ops, ch, "ide-control");
        } else if (!on) {
            bus_unmap(bus, &ch->command_win);
            bus_unmap(bus, &ch->control_win);
        }
    }
}

static void config_written(struct pci_dev *pci, unsigned off, unsigned size)
{
    struct ide *ide = (struct ide *)pci;

    decode(ide);
    for (unsigned n = 0; n < 2; n++)
        ide_master_run(&ide->ch[n]); /* perhaps it has become a bus master */
}

void ide_direct_boot(struct ide *ide)
{
    for (unsigned n = 0; n < 2; n++)
        if (ide->ch[n].buf)
            pci_config_write(&ide->pci, TIMING + 2 * n, TIMING_DECODE, 2);
}

bool ide_change_disc(struct ide *ide, unsigned n, const struct blkport *port)
{
    struct ide_drive *d;

    if (n >= IDE_DRIVES || ide->ch[n / 2].drive[n % 2].kind != IDE_CD)
        return false;
    d = &ide->ch[n / 2].drive[n % 2];
    d->port = port ? *port : (struct blkport){0};
    atapi_disc_changed(d);
    return true;
}

/* ---- state */

static void drive_before_save(void *dev)
{
    struct ide_drive *d = dev;
    d->disc_size = d->kind == IDE_CD ? d->port.size : 0;
}

static int drive_loaded(void *dev, const char **why)
{
    struct ide_drive *d = dev;
    return d->kind == IDE_CD ? atapi_loaded(d, why) : ata_loaded(d, why);
}

static const struct field drive_fields[] = {
    FIELD_BYTES(struct ide_drive, reg),           FIELD(struct ide_drive, error, F_U8),
    FIELD(struct ide_drive, status, F_U8),        FIELD(struct ide_drive, intrq, F_BOOL),
    FIELD(struct ide_drive, power, F_U8),         FIELD(struct ide_drive, asleep, F_BOOL),
    FIELD(struct ide_drive, transfer_mode, F_U8), FIELD(struct ide_drive, cylinders, F_U16),
    FIELD(struct ide_drive, heads, F_U8),         FIELD(struct ide_drive, sectors, F_U8),
    FIELD(struct ide_drive, multiple, F_U8),      FIELD(struct ide_drive, write_cache, F_BOOL),
    FIELD(struct ide_drive, look_ahead, F_BOOL),  FIELD(struct ide_drive, sense_key, F_U8),
    FIELD(struct ide_drive, asc, F_U8),           FIELD(struct ide_drive, ascq, F_U8),
    FIELD(struct ide_drive, attention, F_U8),     FIELD(struct ide_drive, event, F_U8),
    FIELD(struct ide_drive, tray_open, F_BOOL),   FIELD(struct ide_drive, locked, F_BOOL),
    FIELD(struct ide_drive, disc_size, F_U64),    FIELD_END,
};
static const struct state_table disk_table = {"ide-disk", 1, drive_fields, drive_loaded, drive_before_save};
static const struct state_table cd_table = {"ide-cd", 1, drive_fields, drive_loaded, drive_before_save};

static void channel_before_save(void *dev)
{
    ide_save_transfer(dev);
}

static int channel_loaded(void *dev, const char **why)
{
    struct ide_channel *ch = dev;

    if (ide_load_transfer(ch, why))
        return -1;
    ch->control &= CTL_NIEN | CTL_SRST | CTL_HOB;
    ch->line = ide_selected(ch)->intrq && !(ch->control & CTL_NIEN); /* as the board has it */
    decode(ch->ide);
    return 0;
}

static const struct field channel_fields[] = {
    FIELD(struct ide_channel, select, F_U8),
    FIELD(struct ide_channel, control, F_U8),
    FIELD(struct ide_channel, x.command, F_U8),
    FIELD(struct ide_channel, x.dma, F_BOOL),
    FIELD(struct ide_channel, x.out, F_BOOL),
    FIELD(struct ide_channel, x.reply, F_BOOL),
    FIELD(struct ide_channel, x.verify, F_BOOL),
    FIELD(struct ide_channel, x.unit, F_U32),
    FIELD_BYTES(struct ide_channel, x.packet),
    FIELD(struct ide_channel, saved.phase, F_U8),
    FIELD(struct ide_channel, saved.at, F_U64),
    FIELD(struct ide_channel, saved.left, F_U64),
    FIELD(struct ide_channel, saved.len, F_U32),
    FIELD(struct ide_channel, saved.pos, F_U32),
    FIELD(struct ide_channel, saved.end, F_U32),
    FIELD(struct ide_channel, bm.command, F_U8),
    FIELD(struct ide_channel, bm.status, F_U8),
    FIELD(struct ide_channel, bm.table, F_U32),
    FIELD(struct ide_channel, bm.region.next, F_U32),
    FIELD(struct ide_channel, bm.region.addr, F_U32),
    FIELD(struct ide_channel, bm.region.left, F_U32),
    FIELD(struct ide_channel, bm.region.last, F_BOOL),
    FIELD_END,
};
/* The data of a transfer are an entry of their own, that a channel without drives has not. */
static const struct field data_fields[] = {
    FIELD_BYTES(struct ide_channel, saved.buf),
    FIELD_END,
};

static const struct state_table data_table = {"ide-data", 1, data_fields, NULL, NULL};
static const struct state_table channel_table = {"ide-channel", 1, channel_fields, channel_loaded, channel_before_save};

/* ---- wiring */

static uint8_t *map_buffer(void)
{
    long map = rt_syscall6(SYS_mmap, 0, IDE_PIECE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return map < 0 && map > -4096 ? NULL : (uint8_t *)map;
}

static void init_function(struct ide *ide, struct pci_bus *bus, unsigned devfn)
{
    static const struct pci_id id = {.vendor = 0x8086, .device = 0x7010, .class_code = 0x010180};

    ide->pci.config_written = config_written;
    ide->pci.reset = hard_reset;
    pci_add(bus, &ide->pci, "ide.pci", devfn, &id);
    pci_fix(&ide->pci, PCI_STATUS, 0x0280, 2); /* fast back-to-back, medium DEVSEL */
    pci_bar(&ide->pci, MASTER_BAR, false, 16, &master_ops, ide, "ide-master");
    pci_writable(&ide->pci, TIMING, 0xffffffff, 4);
    pci_writable(&ide->pci, SLAVE_TIMING, 0xff, 1);
}

int ide_init(struct ide *ide, struct devctx *c, struct pci_bus *bus, unsigned devfn,
             const struct ide_config drives[IDE_DRIVES], const struct irq_line irq[2])
{
    static const char *const channel_names[] = {"ide0", "ide1"};
    static const char *const data_names[] = {"ide0.data", "ide1.data"};
    static const char *const drive_names[] = {"ide0.0", "ide0.1", "ide1.0", "ide1.1"};

    memset(ide, 0, sizeof *ide);
    ide->ctx = c;
    init_function(ide, bus, devfn);
    for (unsigned n = 0; n < IDE_DRIVES; n++) {
        struct ide_channel *ch = &ide->ch[n / 2];
        struct ide_drive *d = &ch->drive[n % 2];

        ch->ide = ide;
        d->ch = ch;
        d->kind = drives[n].kind;
        d->port = drives[n].port;
        if (d->kind == IDE_NONE)
            continue;
        c->add_state(c, &d->state, drive_names[n], d->kind == IDE_CD ? &cd_table : &disk_table, d);
        if (!ch->buf)
            ch->buf = map_buffer();
        if (!ch->buf)
            return -1;
        ch->req.buf = ch->buf;
    }
    for (unsigned n = 0; n < 2; n++) {
        struct ide_channel *ch = &ide->ch[n];
        ch->irq = irq[n];
        ch->x.unit = IDE_SECTOR;
        ch->req.done = (struct vm_event){.fn = ide_request_done, .opaque = ch};
        ch->resume = (struct vm_event){.fn = ide_resume, .opaque = ch};
        c->add_state(c, &ch->state, channel_names[n], &channel_table, ch);
        if (ch->buf)
            c->add_state(c, &ch->data_state, data_names[n], &data_table, ch);
    }
    hard_reset(&ide->pci);
    return 0;
}

void ide_release(struct ide *ide)
{
    for (unsigned n = 0; n < 2; n++) {
        if (ide->ch[n].buf)
            rt_syscall3(SYS_munmap, (long)ide->ch[n].buf, IDE_PIECE, 0);
        ide->ch[n].buf = NULL;
    }
}
