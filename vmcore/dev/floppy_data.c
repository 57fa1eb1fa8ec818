/* The commands that move data. A sector is looked for (STEP_BEGIN), read from the backend (STEP_IO) and handed to the
 * host (STEP_MOVE), or the other way round, until the terminal count, the last sector or an error ends the command. */
#include "vmcore/dev/floppy_impl.h"

#include "vmcore/rt.h"

enum {
    ID_BYTES = 4, /* of FORMAT TRACK, a sector: C, H, R, N */
    N_512 = 2,
    FIFO = 16,
    RATE = 0x03,

    SECTOR_NS = 50000,
    TURNS_NS = 2000000,
    OVERRUN_NS = 500000000, /* generous: the host that runs this machine may have other work */
    TURN_NS = 200000000,    /* for READ ID: which sector comes by */
};

static unsigned op(const struct floppy *f)
{
    return f->cmd[0] & OP_MASK;
}

bool floppy_to_host(const struct floppy *f)
{
    return op(f) != OP_WRITE && op(f) != OP_WRITE_DELETED && op(f) != OP_FORMAT;
}

bool floppy_pio(const struct floppy *f)
{
    return f->hlt_nd & HLT_ND;
}

/* ---- the end of a command */

void floppy_data_forget(struct floppy *f)
{
    f->era++;
    f->step = STEP_NONE;
    f->burst = 0;
    floppy_stop_timer(f);
    dma8237_dreq(f->dma, FLOPPY_DMA, 0);
}

static void finish(struct floppy *f)
{
    uint8_t result[] = {
        (uint8_t)(f->st0 | (f->head << 2) | floppy_unit(f)), f->st1, f->st2, f->c, f->h, f->r, f->n,
    };
    floppy_data_forget(f);
    floppy_result(f, result, sizeof result, true);
}

static void ask(struct floppy *f, enum blk_op io, uint32_t off);

/* What was written is on the medium before the host hears that it is. */
static void end(struct floppy *f, unsigned st0, unsigned st1, unsigned st2)
{
    f->st0 |= (uint8_t)st0;
    f->st1 |= (uint8_t)st1;
    f->st2 |= (uint8_t)st2;
    if (f->wrote) {
        f->wrote = false;
        ask(f, BLK_FLUSH, 0);
    } else {
        finish(f);
    }
}

/* Nothing of the kind came by while the disk turned twice. */
static void fail_late(struct floppy *f, unsigned st1, unsigned st2)
{
    f->st1 |= (uint8_t)st1;
    f->st2 |= (uint8_t)st2;
    floppy_wait(f, STEP_FAIL, TURNS_NS);
}

/* ---- the backend */

static void submit(struct floppy *f)
{
    const struct blkport *p = &f->drive[floppy_unit(f)].port;
    if (f->req_busy)
        return; /* an older one's event is on its way, and will come here */
    f->req_busy = true;
    f->req_era = f->era;
    f->req.op = f->io;
    f->req.off = f->io_off;
    f->req.len = f->io == BLK_FLUSH ? 0 : FLOPPY_SECTOR;
    f->req.result = 0;
    if (f->io == BLK_WRITE)
        memcpy(f->req_buf, f->buf, FLOPPY_SECTOR);
    p->submit(p->opaque, &f->req);
}

static void ask(struct floppy *f, enum blk_op io, uint32_t off)
{
    floppy_stop_timer(f);
    f->step = STEP_IO;
    f->io = (uint8_t)io;
    f->io_off = off;
    submit(f);
}

void floppy_data_restart(struct vm_event *ev)
{
    struct floppy *f = ev->opaque;
    if (f->step == STEP_IO)
        submit(f);
}

static uint32_t sector_offset(const struct floppy *f, unsigned sector)
{
    unsigned unit = floppy_unit(f);
    const struct floppy_format *fmt = f->drive[unit].fmt;
    return (((uint32_t)f->cyl[unit] * fmt->heads + f->head) * fmt->sectors + sector - 1) * FLOPPY_SECTOR;
}

/* ---- what is under the head */

/* Can the controller read this track at all? Else it finds no address mark. */
static bool track_readable(const struct floppy *f)
{
    const struct floppy_drive *d = floppy_turning(f);
    return d && (f->cmd[0] & CMD_MFM) && (f->dsr & RATE) == d->fmt->rate && f->cyl[floppy_unit(f)] < d->fmt->cyls &&
           f->head < d->fmt->heads;
}

/* Is there a sector of this ID on the track? Else the status bits say what was wrong. */
static bool id_found(const struct floppy *f, unsigned *ret_st2)
{
    unsigned unit = floppy_unit(f);
    *ret_st2 = f->c != f->cyl[unit] ? ST2_WC : 0;
    return f->c == f->cyl[unit] && f->h == f->head && f->n == N_512 && f->r && f->r <= f->drive[unit].fmt->sectors;
}

/* ---- moving bytes */

/* The FIFO is full, or empty, as far as its threshold: the processor's turn. */
static void next_burst(struct floppy *f)
{
    unsigned depth = f->config & CONFIG_EFIFO ? 1 : FIFO - (f->config & 15u), left = (unsigned)f->len - f->pos;
    f->burst = (uint16_t)(left < depth ? left : depth);
    f->intr = true;
    floppy_update(f);
}

static void start_move(struct floppy *f, unsigned len)
{
    f->pos = 0;
    f->len = (uint16_t)len;
    floppy_wait(f, STEP_MOVE, OVERRUN_NS);
    if (floppy_pio(f))
        next_burst(f);
    else if (f->dor & DOR_DMAGATE)
        dma8237_dreq(f->dma, FLOPPY_DMA, 1);
}

static void stop_moving(struct floppy *f)
{
    dma8237_dreq(f->dma, FLOPPY_DMA, 0);
    if (f->burst) {
        f->burst = 0;
        f->intr = false;
        floppy_update(f);
    }
}

static void moved(struct floppy *f);

void floppy_data_granted(void *opaque)
{
    struct floppy *f = opaque;
    bool tc = false;

    if (f->step != STEP_MOVE || floppy_pio(f) || !(f->dor & DOR_DMAGATE))
        return;
    f->pos = (uint16_t)(f->pos + dma8237_transfer(f->dma, FLOPPY_DMA, f->buf + f->pos, (uint32_t)f->len - f->pos,
                                                  floppy_to_host(f) ? DMA_TO_MEMORY : DMA_FROM_MEMORY, &tc));
    f->tc = f->tc || tc;
    if (f->tc || f->pos == f->len) {
        dma8237_dreq(f->dma, FLOPPY_DMA, 0);
        moved(f);
    }
}

static void pio_moved_one(struct floppy *f)
{
    if (--f->burst)
        return;
    f->intr = false;
    floppy_update(f);
    if (f->pos < f->len)
        next_burst(f);
    else
        moved(f);
}

uint8_t floppy_pio_read(struct floppy *f)
{
    if (!f->burst || !floppy_to_host(f))
        return 0xff;
    uint8_t v = f->buf[f->pos++];
    pio_moved_one(f);
    return v;
}

void floppy_pio_write(struct floppy *f, uint8_t v)
{
    if (!f->burst || floppy_to_host(f))
        return;
    f->buf[f->pos++] = v;
    pio_moved_one(f);
}

/* ---- the next sector */

/* Steps the ID as the result phase reports it; true: there is another sector to the command. */
static bool next_id(struct floppy *f)
{
    if (f->r != f->last_eot) {
        f->r++;
        return true;
    }
    f->r = 1;
    if (!(f->cmd[0] & CMD_MT) || op(f) == OP_READ_TRACK) {
        f->c++;
        return false;
    }
    f->h ^= 1;
    f->head ^= 1;
    if (f->head)
        return true;
    f->c++;
    return false;
}

static void sector_done(struct floppy *f)
{
    bool verify = op(f) == OP_VERIFY, more;
    uint8_t head = f->head; /* status 0 says which one read last */

    if (f->st2 & ST2_CM) { /* a mark of the other kind: the command ends with this sector, whose ID it reports */
        end(f, 0, 0, 0);
        return;
    }
    if (op(f) == OP_READ_TRACK) {
        more = f->seq++ != f->last_eot;
        f->r++;
    } else {
        more = next_id(f);
    }
    bool counted = f->cmd[1] & 0x80; /* VERIFY: so many sectors, rather than up to the last */
    bool complete = f->tc || (verify && (counted ? !--f->left : !more));
    if (more && !complete) {
        floppy_wait(f, STEP_BEGIN, SECTOR_NS);
        return;
    }
    f->head = head;
    end(f, complete ? 0 : ST0_ABNORMAL, complete ? 0 : ST1_EN, 0);
}

static void format_next(struct floppy *f)
{
    if (f->left)
        start_move(f, ID_BYTES);
    else
        end(f, 0, 0, 0);
}

/* One ID of FORMAT TRACK has come. A track of other sectors than the image has room for ends like a write fault. */
static void format_id(struct floppy *f)
{
    unsigned st2, filler = f->cmd[5];
    f->c = f->buf[0];
    f->h = f->buf[1];
    f->r = f->buf[2];
    f->n = f->buf[3];
    if (f->pos < ID_BYTES || !id_found(f, &st2)) {
        end(f, ST0_ABNORMAL | ST0_EC, 0, 0);
        return;
    }
    f->left--;
    f->wrote = true;
    memset(f->buf, (int)filler, FLOPPY_SECTOR);
    ask(f, BLK_WRITE, sector_offset(f, f->r));
}

/* The host has all of the sector, or gave all of it, or hit the terminal count on the way. */
static void moved(struct floppy *f)
{
    if (op(f) == OP_FORMAT) {
        format_id(f);
    } else if (floppy_to_host(f)) {
        sector_done(f);
    } else {
        memset(f->buf + f->pos, 0, (size_t)(f->len - f->pos));
        f->wrote = true;
        ask(f, BLK_WRITE, sector_offset(f, f->r));
    }
}

void floppy_data_done(struct vm_event *ev)
{
    struct floppy *f = ev->opaque;

    f->req_busy = false;
    if (f->req_era != f->era || f->step != STEP_IO) {
        floppy_data_restart(ev);
        return;
    }
    if (f->req.result < 0) {
        f->wrote = f->wrote && f->io != BLK_FLUSH;
        end(f, ST0_ABNORMAL, ST1_DE, f->io == BLK_READ ? ST2_DD : 0);
    } else if (f->io == BLK_FLUSH) {
        finish(f);
    } else if (op(f) == OP_FORMAT) {
        format_next(f);
    } else if (f->io == BLK_WRITE || op(f) == OP_VERIFY) {
        sector_done(f);
    } else {
        memcpy(f->buf, f->req_buf, FLOPPY_SECTOR);
        start_move(f, FLOPPY_SECTOR);
    }
}

/* ---- the steps that time ends */

/* An implied seek goes where the ID field says. */
static void implied_seek(struct floppy *f)
{
    unsigned unit = floppy_unit(f);
    int by = f->c - f->pcn[unit];
    uint64_t ns = SECTOR_NS;
    if ((f->config & CONFIG_EIS) && by) {
        ns += floppy_step_head(f, unit, by);
        f->pcn[unit] = f->c;
    }
    floppy_wait(f, STEP_BEGIN, ns);
}

static void begin_format(struct floppy *f)
{
    const struct floppy_format *fmt = f->drive[floppy_unit(f)].fmt;
    if (f->n != N_512 || f->cmd[3] != fmt->sectors)
        end(f, ST0_ABNORMAL | ST0_EC, 0, 0);
    else
        format_next(f);
}

static void begin_sector(struct floppy *f)
{
    unsigned st2 = 0, sector = f->r;

    f->st0 = 0;
    if (!track_readable(f)) {
        fail_late(f, ST1_MA, 0);
        return;
    }
    if (!floppy_to_host(f) && f->drive[floppy_unit(f)].port.read_only) {
        end(f, ST0_ABNORMAL, ST1_NW, 0);
        return;
    }
    if (op(f) == OP_FORMAT) {
        begin_format(f);
        return;
    }
    if (op(f) == OP_READ_TRACK) { /* takes the sectors as they come, and only notes where IDs differ */
        sector = f->seq;
        if (sector > f->drive[floppy_unit(f)].fmt->sectors) {
            fail_late(f, ST1_ND, 0);
            return;
        }
        if (!id_found(f, &st2) || f->r != sector)
            f->st1 |= ST1_ND;
    } else if (!id_found(f, &st2)) {
        fail_late(f, ST1_ND, st2);
        return;
    }
    if (op(f) == OP_READ_DELETED) {
        if (f->cmd[0] & CMD_SK) {
            if (next_id(f))
                floppy_wait(f, STEP_BEGIN, SECTOR_NS);
            else
                end(f, ST0_ABNORMAL, ST1_EN, ST2_CM);
            return;
        }
        f->st2 |= ST2_CM;
    }
    if (floppy_to_host(f))
        ask(f, BLK_READ, sector_offset(f, sector));
    else
        start_move(f, FLOPPY_SECTOR);
}

static void read_id(struct floppy *f)
{
    unsigned unit = floppy_unit(f);
    if (!track_readable(f)) {
        fail_late(f, ST1_MA, 0);
        return;
    }
    unsigned sectors = f->drive[unit].fmt->sectors;
    f->c = f->cyl[unit];
    f->h = f->head;
    f->r = (uint8_t)(vclock_now(f->ctx->clock) % TURN_NS / (TURN_NS / sectors + 1) + 1);
    f->n = N_512;
    end(f, 0, 0, 0);
}

void floppy_data_timer(struct floppy *f)
{
    switch (f->step) {
    case STEP_BEGIN:
        begin_sector(f);
        break;
    case STEP_ID:
        read_id(f);
        break;
    case STEP_FAIL:
        end(f, ST0_ABNORMAL, 0, 0);
        break;
    case STEP_MOVE:
        stop_moving(f);
        end(f, ST0_ABNORMAL, ST1_OR, 0);
        break;
    default:
        break;
    }
}

void floppy_data_gone(struct floppy *f)
{
    f->era++;
    f->wrote = false;
    stop_moving(f);
    fail_late(f, ST1_MA, 0);
}

void floppy_data_start(struct floppy *f)
{
    f->st0 = f->st1 = f->st2 = 0;
    f->tc = f->wrote = false;
    f->head = f->cmd[1] >> 2 & 1;
    f->seq = 1;
    f->burst = 0;
    f->c = f->cyl[floppy_unit(f) < FLOPPY_DRIVES ? floppy_unit(f) : 0];
    f->h = f->head;
    f->r = 1;
    f->n = op(f) == OP_FORMAT ? f->cmd[2] : 0;
    if (op(f) == OP_READ_ID) {
        floppy_wait(f, STEP_ID, SECTOR_NS);
    } else if (op(f) == OP_FORMAT) {
        f->left = f->last_eot = f->cmd[3];
        floppy_wait(f, STEP_BEGIN, SECTOR_NS);
    } else {
        f->c = f->cmd[2];
        f->h = f->cmd[3];
        f->r = f->cmd[4];
        f->n = f->cmd[5];
        f->last_eot = f->cmd[6];
        f->left = f->cmd[8];
        implied_seek(f);
    }
}

/* ---- what was loaded */

static bool medium_there(const struct floppy *f)
{
    return floppy_unit(f) < FLOPPY_DRIVES && f->drive[floppy_unit(f)].fmt && f->head < 2;
}

static bool io_valid(const struct floppy *f)
{
    if (!medium_there(f))
        return false;
    switch (f->io) {
    case BLK_READ:
    case BLK_WRITE:
        return f->io_off % FLOPPY_SECTOR == 0 && f->io_off < f->drive[floppy_unit(f)].fmt->bytes;
    default:
        return f->io == BLK_FLUSH;
    }
}

/* A step may come to sector_offset() without another look at the track, so where it is must be on the medium. */
static bool place_valid(const struct floppy *f)
{
    unsigned unit = floppy_unit(f);
    const struct floppy_format *fmt = f->drive[unit].fmt;
    return f->cyl[unit] < fmt->cyls && f->head < fmt->heads && (op(f) == OP_FORMAT || (f->r && f->r <= fmt->sectors));
}

bool floppy_data_valid(const struct floppy *f)
{
    bool moving = op(f) == OP_FORMAT ? f->len == ID_BYTES : f->len == FLOPPY_SECTOR;
    if (f->head > 1)
        return false;
    switch (f->step) {
    case STEP_MOVE:
        return medium_there(f) && moving && f->pos < f->len && f->burst <= f->len - f->pos &&
               (floppy_to_host(f) || place_valid(f));
    case STEP_IO:
        return !f->burst && io_valid(f);
    default:
        return !f->burst;
    }
}
