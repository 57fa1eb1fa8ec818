#include "vmcore/dev/floppy_impl.h"

#include "vmcore/rt.h"

enum {
    MSR_RQM = 0x80,
    MSR_DIO = 0x40,
    MSR_NONDMA = 0x20,
    MSR_CB = 0x10,
    DSR_RESET = 0x80,
    DSR_LASTING = 0x5f,
    RATE = 0x03,
    DIR_CHANGED = 0x80,
    VERSION_82077 = 0x90,
    RECALIBRATE_STEPS = 79,

    RESET_NS = 20000,
    SEEK_NS = 100000,
    STEP_NS = 20000, /* a cylinder */
};

enum { TYPE_EMPTY = 4 };

uint8_t floppy_cmos_types(const struct floppy *f)
{
    uint8_t types = 0;
    for (unsigned i = 0; i < FLOPPY_DRIVES; i++)
        if (f->drive[i].present)
            types |= (uint8_t)((f->drive[i].fmt ? f->drive[i].fmt->type : TYPE_EMPTY) << (i ? 0 : 4));
    return types;
}

const struct floppy_drive *floppy_turning(const struct floppy *f)
{
    unsigned unit = floppy_unit(f);
    if (unit >= FLOPPY_DRIVES || !f->drive[unit].fmt || !(f->dor >> (4 + unit) & 1))
        return NULL;
    return &f->drive[unit];
}

/* ---- lines and timers */

void floppy_update(struct floppy *f)
{
    irq_set(&f->out, f->intr && (f->dor & DOR_DMAGATE));
}

static void set_intr(struct floppy *f, bool on)
{
    f->intr = on;
    floppy_update(f);
}

void floppy_wait(struct floppy *f, unsigned step, uint64_t ns)
{
    f->step = (uint8_t)step;
    f->due = vclock_now(f->ctx->clock) + ns;
    vtimer_set(f->ctx->clock, &f->timer, f->due);
}

void floppy_stop_timer(struct floppy *f)
{
    f->due = UINT64_MAX;
    vtimer_set(f->ctx->clock, &f->timer, UINT64_MAX);
}

/* ---- phases */

static void idle(struct floppy *f)
{
    f->phase = PHASE_IDLE;
    f->cmd_pos = 0;
}

void floppy_result(struct floppy *f, const uint8_t *bytes, unsigned n, bool interrupt)
{
    memcpy(f->result, bytes, n);
    f->result_len = (uint8_t)n;
    f->result_pos = 0;
    f->result_intr = interrupt;
    f->phase = PHASE_RESULT;
    if (interrupt)
        set_intr(f, true);
}

static void result1(struct floppy *f, uint8_t byte)
{
    floppy_result(f, &byte, 1, false);
}

static void forget_all(struct floppy *f)
{
    floppy_data_forget(f);
    for (unsigned i = 0; i < 4; i++) {
        f->seek_due[i] = UINT64_MAX;
        vtimer_set(f->ctx->clock, &f->seek_timer[i], UINT64_MAX);
    }
    f->busy = f->ended = f->polled = 0;
    idle(f);
    set_intr(f, false);
}

/* Of the chip, by DOR or DSR. LOCK keeps the FIFO's settings over it; what SPECIFY set always stays. */
static void soft_reset(struct floppy *f)
{
    forget_all(f);
    if (!f->lock) {
        f->config = CONFIG_EFIFO;
        f->pretrk = 0;
    }
    f->config &= CONFIG_EFIFO | 15;
    f->perpendicular &= 0x3c;
    floppy_wait(f, STEP_RESET, RESET_NS);
}

/* After a reset each drive is found to have changed its state from not ready to ready. */
static void reset_ends(struct floppy *f)
{
    floppy_stop_timer(f);
    f->step = STEP_NONE;
    if (f->config & CONFIG_NPOLL)
        return;
    for (unsigned i = 0; i < 4; i++)
        f->ended_st0[i] = (uint8_t)(ST0_POLLED | i);
    f->ended = f->polled = 15;
    set_intr(f, true);
}

static void timer_fired(void *opaque)
{
    struct floppy *f = opaque;
    f->due = UINT64_MAX;
    if (f->step == STEP_RESET)
        reset_ends(f);
    else
        floppy_data_timer(f);
}

/* ---- heads */

uint64_t floppy_step_head(struct floppy *f, unsigned drive, int cyls)
{
    if (drive < FLOPPY_DRIVES && f->drive[drive].present) {
        int to = f->cyl[drive] + cyls;
        f->cyl[drive] = (uint8_t)(to < 0 ? 0 : to > CYL_MAX ? CYL_MAX : to);
        /* The first step pulse resets the line; so that a recalibration at cylinder 0 does too, as BIOSes expect of
         * drives whose heads are elsewhere at power-on, any seek counts. */
        if (f->drive[drive].fmt)
            f->changed[drive] = false;
    }
    return SEEK_NS + (uint64_t)(cyls < 0 ? -cyls : cyls) * STEP_NS;
}

static void start_seek(struct floppy *f, uint8_t st0, uint64_t ns)
{
    unsigned unit = floppy_unit(f);
    f->busy |= (uint8_t)(1u << unit);
    f->ended &= (uint8_t) ~(1u << unit);
    f->ended_st0[unit] = (uint8_t)(st0 | unit);
    f->seek_due[unit] = vclock_now(f->ctx->clock) + ns;
    vtimer_set(f->ctx->clock, &f->seek_timer[unit], f->seek_due[unit]);
    idle(f);
}

static void seek(struct floppy *f)
{
    unsigned unit = floppy_unit(f);
    int by = f->cmd[2] - f->pcn[unit];
    if (f->cmd[0] & 0x80) /* relative */
        by = f->cmd[0] & 0x40 ? f->cmd[2] : -(int)f->cmd[2];
    f->pcn[unit] = (uint8_t)(f->pcn[unit] + by);
    start_seek(f, ST0_SE, floppy_step_head(f, unit, by));
}

static void recalibrate(struct floppy *f)
{
    unsigned unit = floppy_unit(f);
    bool present = unit < FLOPPY_DRIVES && f->drive[unit].present;
    int from = present ? f->cyl[unit] : RECALIBRATE_STEPS + 1;
    int by = from < RECALIBRATE_STEPS ? from : RECALIBRATE_STEPS;
    uint64_t ns = floppy_step_head(f, unit, -by);
    f->pcn[unit] = 0;
    start_seek(f, by < from ? ST0_SE | ST0_ABNORMAL | ST0_EC : ST0_SE, ns);
}

static void seek_ends(struct floppy *f, unsigned unit)
{
    f->seek_due[unit] = UINT64_MAX;
    f->ended |= (uint8_t)(1u << unit);
    f->polled &= (uint8_t) ~(1u << unit);
    set_intr(f, true);
}
static void seek0(void *opaque)
{
    seek_ends(opaque, 0);
}
static void seek1(void *opaque)
{
    seek_ends(opaque, 1);
}
static void seek2(void *opaque)
{
    seek_ends(opaque, 2);
}
static void seek3(void *opaque)
{
    seek_ends(opaque, 3);
}

static void sense_interrupt(struct floppy *f)
{
    if (!f->ended) {
        result1(f, ST0_INVALID);
        return;
    }
    unsigned unit = (unsigned)__builtin_ctz(f->ended);
    uint8_t keep = (uint8_t) ~(1u << unit);
    f->ended &= keep;
    f->busy &= keep;
    set_intr(f, (f->ended & ~f->polled) != 0);
    floppy_result(f, (const uint8_t[]){f->ended_st0[unit], f->pcn[unit]}, 2, false);
}

/* ---- commands */

static void sense_drive(struct floppy *f)
{
    unsigned unit = floppy_unit(f);
    uint8_t st3 = (uint8_t)(0x28 | (f->cmd[1] & 7)); /* two sides and ready: not wired */
    if (unit < FLOPPY_DRIVES && f->drive[unit].present) {
        st3 |= f->cyl[unit] ? 0 : 0x10;
        st3 |= f->drive[unit].fmt && f->drive[unit].port.read_only ? 0x40 : 0;
    }
    result1(f, st3);
}

static void dump_registers(struct floppy *f)
{
    floppy_result(f,
                  (const uint8_t[]){f->pcn[0], f->pcn[1], f->pcn[2], f->pcn[3], f->srt_hut, f->hlt_nd, f->last_eot,
                                    (uint8_t)((f->lock ? 0x80 : 0) | f->perpendicular), f->config, f->pretrk},
                  10, false);
}

/* The drives' bits are written only with OW. */
static void perpendicular(struct floppy *f)
{
    if (f->cmd[1] & 0x80)
        f->perpendicular = f->cmd[1] & 0x3f;
    else
        f->perpendicular = (uint8_t)((f->perpendicular & 0x3c) | (f->cmd[1] & 3));
    idle(f);
}

static void run_command(struct floppy *f)
{
    switch (f->cmd[0] & OP_MASK) {
    case OP_SPECIFY:
        f->srt_hut = f->cmd[1];
        f->hlt_nd = f->cmd[2];
        idle(f);
        break;
    case OP_SENSE_DRIVE:
        sense_drive(f);
        break;
    case OP_RECALIBRATE:
        recalibrate(f);
        break;
    case OP_SENSE_INT:
        sense_interrupt(f);
        break;
    case OP_DUMPREG:
        dump_registers(f);
        break;
    case OP_SEEK:
        seek(f);
        break;
    case OP_VERSION:
        result1(f, VERSION_82077);
        break;
    case OP_PERPENDICULAR:
        perpendicular(f);
        break;
    case OP_CONFIGURE:
        f->config = f->cmd[2] & 0x7f;
        f->pretrk = f->cmd[3];
        idle(f);
        break;
    case OP_LOCK:
        f->lock = f->cmd[0] & 0x80;
        result1(f, f->lock ? 0x10 : 0);
        break;
    default:
        f->phase = PHASE_EXECUTE;
        floppy_data_start(f);
    }
}

/* Bytes that a command takes, the first one included; 0: there is none such. may: option bits that it has. */
static unsigned command_length(uint8_t first)
{
    static const struct {
        uint8_t op, may, len;
    } table[] = {
        {OP_READ_TRACK, 0x40, 9}, {OP_SPECIFY, 0, 3},         {OP_SENSE_DRIVE, 0, 2},   {OP_WRITE, 0xc0, 9},
        {OP_READ, 0xe0, 9},       {OP_RECALIBRATE, 0, 2},     {OP_SENSE_INT, 0, 1},     {OP_WRITE_DELETED, 0xc0, 9},
        {OP_READ_ID, 0x40, 2},    {OP_READ_DELETED, 0xe0, 9}, {OP_FORMAT, 0x40, 6},     {OP_DUMPREG, 0, 1},
        {OP_SEEK, 0xc0, 3},       {OP_VERSION, 0, 1},         {OP_PERPENDICULAR, 0, 2}, {OP_CONFIGURE, 0, 4},
        {OP_LOCK, 0x80, 1},       {OP_VERIFY, 0xe0, 9},
    };
    for (unsigned i = 0; i < sizeof table / sizeof table[0]; i++)
        if ((first & OP_MASK) == table[i].op)
            return (first & ~OP_MASK & ~table[i].may) ? 0 : table[i].len;
    return 0;
}

static void write_fifo(struct floppy *f, uint8_t v)
{
    if (f->step == STEP_RESET)
        return;
    if (f->phase == PHASE_EXECUTE) {
        floppy_pio_write(f, v);
        return;
    }
    if (f->phase == PHASE_RESULT)
        return;
    if (f->phase == PHASE_IDLE) {
        f->cmd_len = (uint8_t)command_length(v);
        f->cmd_pos = 0;
        f->phase = PHASE_COMMAND;
        if (!f->cmd_len) {
            result1(f, ST0_INVALID);
            return;
        }
    }
    f->cmd[f->cmd_pos++] = v;
    if (f->cmd_pos == f->cmd_len)
        run_command(f);
}

static uint8_t read_fifo(struct floppy *f)
{
    if (f->phase == PHASE_EXECUTE)
        return floppy_pio_read(f);
    if (f->phase != PHASE_RESULT)
        return 0xff;
    uint8_t v = f->result[f->result_pos++];
    if (f->result_pos == 1 && f->result_intr)
        set_intr(f, (f->ended & ~f->polled) != 0);
    if (f->result_pos == f->result_len)
        idle(f);
    return v;
}

static uint8_t main_status(const struct floppy *f)
{
    if (!(f->dor & DOR_NRESET) || f->step == STEP_RESET)
        return 0;
    switch (f->phase) {
    case PHASE_IDLE:
        return MSR_RQM | f->busy;
    case PHASE_COMMAND:
        return MSR_RQM | MSR_CB | f->busy;
    case PHASE_RESULT:
        return MSR_RQM | MSR_DIO | MSR_CB | f->busy;
    default:
        return (uint8_t)(MSR_CB | f->busy | (floppy_pio(f) ? MSR_NONDMA : 0) | (f->burst ? MSR_RQM : 0) |
                         (f->burst && floppy_to_host(f) ? MSR_DIO : 0));
    }
}

static void write_dor(struct floppy *f, uint8_t v)
{
    uint8_t was = f->dor;
    f->dor = v;
    if ((was & DOR_NRESET) && !(v & DOR_NRESET))
        forget_all(f);
    else if (!(was & DOR_NRESET) && (v & DOR_NRESET))
        soft_reset(f);
    floppy_update(f);
    if (f->step == STEP_MOVE && !floppy_pio(f))
        dma8237_dreq(f->dma, FLOPPY_DMA, v & DOR_DMAGATE);
}

static uint8_t change_line(const struct floppy *f)
{
    unsigned unit = f->dor & 3;
    return unit < FLOPPY_DRIVES && f->drive[unit].present && f->changed[unit] ? DIR_CHANGED : 0;
}

/* Status A and B exist in PS/2 modes only, which this board does not strap. */
static uint32_t regs_read(void *dev, uint32_t off, unsigned size)
{
    struct floppy *f = dev;
    switch (off) {
    case 2:
        return f->dor;
    case 3:
        return f->tdr;
    case 4:
        return main_status(f);
    case 5:
        return read_fifo(f);
    default:
        return 0xff;
    }
}

static void regs_write(void *dev, uint32_t off, uint32_t val, unsigned size)
{
    struct floppy *f = dev;
    switch (off) {
    case 2:
        write_dor(f, (uint8_t)val);
        break;
    case 3:
        f->tdr = val & 3;
        break;
    case 4:
        f->dsr = val & DSR_LASTING;
        if ((val & DSR_RESET) && (f->dor & DOR_NRESET))
            soft_reset(f);
        break;
    case 5:
        if (f->dor & DOR_NRESET)
            write_fifo(f, (uint8_t)val);
        break;
    default:
        break;
    }
}

static uint32_t dir_read(void *dev, uint32_t off, unsigned size)
{
    return change_line(dev);
}
static void ccr_write(void *dev, uint32_t off, uint32_t val, unsigned size)
{
    struct floppy *f = dev;
    f->dsr = (uint8_t)((f->dsr & ~RATE) | (val & RATE));
}

static const struct bus_ops regs_ops = {regs_read, regs_write, 1, 1};
static const struct bus_ops dir_ops = {dir_read, ccr_write, 1, 1};

/* ---- state */

static const struct field floppy_fields[] = {
    FIELD(struct floppy, dor, F_U8),
    FIELD(struct floppy, tdr, F_U8),
    FIELD(struct floppy, dsr, F_U8),
    FIELD(struct floppy, config, F_U8),
    FIELD(struct floppy, pretrk, F_U8),
    FIELD(struct floppy, srt_hut, F_U8),
    FIELD(struct floppy, hlt_nd, F_U8),
    FIELD(struct floppy, perpendicular, F_U8),
    FIELD(struct floppy, last_eot, F_U8),
    FIELD(struct floppy, lock, F_BOOL),
    FIELD(struct floppy, phase, F_U8),
    FIELD_BYTES(struct floppy, cmd),
    FIELD(struct floppy, cmd_pos, F_U8),
    FIELD(struct floppy, cmd_len, F_U8),
    FIELD_BYTES(struct floppy, result),
    FIELD(struct floppy, result_pos, F_U8),
    FIELD(struct floppy, result_len, F_U8),
    FIELD(struct floppy, result_intr, F_BOOL),
    FIELD(struct floppy, intr, F_BOOL),
    FIELD(struct floppy, busy, F_U8),
    FIELD(struct floppy, ended, F_U8),
    FIELD(struct floppy, polled, F_U8),
    FIELD_ARRAY(struct floppy, ended_st0, F_U8),
    FIELD_ARRAY(struct floppy, pcn, F_U8),
    FIELD_ARRAY(struct floppy, cyl, F_U8),
    FIELD_ARRAY(struct floppy, changed, F_BOOL),
    FIELD_ARRAY(struct floppy, seek_due, F_U64),
    FIELD(struct floppy, step, F_U8),
    FIELD(struct floppy, st0, F_U8),
    FIELD(struct floppy, st1, F_U8),
    FIELD(struct floppy, st2, F_U8),
    FIELD(struct floppy, c, F_U8),
    FIELD(struct floppy, h, F_U8),
    FIELD(struct floppy, r, F_U8),
    FIELD(struct floppy, n, F_U8),
    FIELD(struct floppy, head, F_U8),
    FIELD(struct floppy, seq, F_U8),
    FIELD(struct floppy, left, F_U8),
    FIELD(struct floppy, tc, F_BOOL),
    FIELD(struct floppy, wrote, F_BOOL),
    FIELD(struct floppy, due, F_U64),
    FIELD_BYTES(struct floppy, buf),
    FIELD(struct floppy, pos, F_U16),
    FIELD(struct floppy, len, F_U16),
    FIELD(struct floppy, burst, F_U16),
    FIELD(struct floppy, io, F_U8),
    FIELD(struct floppy, io_off, F_U32),
    FIELD_END,
};

static bool phase_valid(const struct floppy *f)
{
    switch (f->phase) {
    case PHASE_IDLE:
        return f->step == STEP_NONE || f->step == STEP_RESET;
    case PHASE_COMMAND:
        return f->step == STEP_NONE && f->cmd_pos && f->cmd_pos < f->cmd_len && f->cmd_len <= sizeof f->cmd &&
               f->cmd_len == command_length(f->cmd[0]);
    case PHASE_EXECUTE:
        return f->step != STEP_NONE && f->step != STEP_RESET && f->step <= STEP_LAST && floppy_data_valid(f);
    case PHASE_RESULT:
        return f->step == STEP_NONE && f->result_pos < f->result_len && f->result_len <= sizeof f->result;
    default:
        return false;
    }
}

static int floppy_loaded(void *dev, const char **why)
{
    struct floppy *f = dev;
    bool times = f->due >> 62 == 0 || f->due == UINT64_MAX;

    f->era++;
    for (unsigned i = 0; i < 4; i++)
        times = times && (f->seek_due[i] >> 62 == 0 || f->seek_due[i] == UINT64_MAX);
    if (!phase_valid(f)) {
        *why = "a phase that cannot be";
        return -1;
    }
    if (!times || (f->busy | f->ended | f->polled) > 15 || f->cyl[0] > CYL_MAX || f->cyl[1] > CYL_MAX) {
        *why = "a drive, a time or a head out of range";
        return -1;
    }
    vtimer_set(f->ctx->clock, &f->timer, f->due);
    for (unsigned i = 0; i < 4; i++)
        vtimer_set(f->ctx->clock, &f->seek_timer[i], f->seek_due[i]);
    floppy_update(f);
    if (f->step == STEP_IO)
        vm_post(f->ctx->opaque, &f->restart); /* not before the machine runs: the backend may not be ready */
    return 0;
}

static const struct state_table floppy_table = {"82077aa", 1, floppy_fields, floppy_loaded, NULL};

void floppy_reset(struct floppy *f)
{
    f->lock = false;
    f->dor = f->tdr = 0;
    f->dsr = 2; /* 250 Kbit/s */
    f->config = CONFIG_EFIFO;
    f->pretrk = f->srt_hut = f->hlt_nd = f->perpendicular = f->last_eot = 0;
    forget_all(f);
}

void floppy_change(struct floppy *f, unsigned drive, const struct blkport *p)
{
    struct floppy_drive *d = &f->drive[drive];
    if (f->phase == PHASE_EXECUTE && floppy_unit(f) == drive)
        floppy_data_gone(f);
    d->fmt = p ? floppy_format(p->size) : NULL;
    d->port = d->fmt ? *p : (struct blkport){0};
    f->changed[drive] = true;
}

void floppy_init(struct floppy *f, struct devctx *c, struct dma8237 *dma, struct irq_line out,
                 const struct blkport *port[FLOPPY_DRIVES])
{
    static void (*const ends[4])(void *) = {seek0, seek1, seek2, seek3};

    memset(f, 0, sizeof *f);
    for (unsigned i = 0; i < FLOPPY_DRIVES; i++) {
        f->drive[i].present = port[i] != NULL;
        floppy_change(f, i, port[i]);
    }
    f->ctx = c;
    f->dma = dma;
    f->out = out;
    f->req.buf = f->req_buf;
    f->req.done = (struct vm_event){.fn = floppy_data_done, .opaque = f};
    f->restart = (struct vm_event){.fn = floppy_data_restart, .opaque = f};
    vtimer_init(c->clock, &f->timer, timer_fired, f);
    for (unsigned i = 0; i < 4; i++)
        vtimer_init(c->clock, &f->seek_timer[i], ends[i], f);
    dma8237_connect(dma, FLOPPY_DMA, floppy_data_granted, f);
    bus_map(c->bus, &f->win[0], false, 0x3f0, 6, &regs_ops, f, "floppy");
    bus_map(c->bus, &f->win[1], false, 0x3f7, 1, &dir_ops, f, "floppy-dir");
    c->add_state(c, &f->state, "floppy", &floppy_table, f);
    floppy_reset(f);
}
