#include "vmcore/dev/dma8237.h"

#include "vmcore/rt.h"

enum {
    CASCADE = 4, /* the channel that the first controller goes through */

    R_STATUS = 8, /* read; written: command */
    R_REQUEST,
    R_MASK_ONE,
    R_MODE,
    R_CLEAR_FLIP_FLOP,
    R_TEMP, /* read; written: master clear */
    R_CLEAR_MASK,
    R_MASK_ALL,

    CMD_MEM_TO_MEM = 0x01,
    CMD_HOLD_SOURCE = 0x02,
    CMD_DISABLE = 0x04,

    MODE_TYPE = 0x0c,
    TYPE_WRITE = 0x04, /* to memory */
    TYPE_READ = 0x08,
    MODE_AUTO = 0x10,
    MODE_DOWN = 0x20,
    MODE_CASCADE = 0xc0,
};

static unsigned ctl_of(unsigned ch)
{
    return ch / 4;
}
static uint8_t bit_of(unsigned ch)
{
    return (uint8_t)(1u << ch % 4);
}

static bool controller_runs(const struct dma8237 *d, unsigned ctl)
{
    return !(d->command[ctl] & CMD_DISABLE);
}

/* May a device's request on ch be served? The first controller needs the second one to pass its request on. */
static bool ready(const struct dma8237 *d, unsigned ch)
{
    unsigned ctl = ctl_of(ch);
    if (!controller_runs(d, ctl) || (d->mask[ctl] & bit_of(ch)) || (d->mode[ch] & MODE_CASCADE) == MODE_CASCADE)
        return false;
    return ctl || (controller_runs(d, 1) && !(d->mask[1] & bit_of(CASCADE)));
}

static void grant(struct dma8237 *d)
{
    for (unsigned ch = 0; ch < DMA_CHANNELS; ch++)
        if ((d->dreq >> ch & 1) && d->client[ch].granted && ready(d, ch))
            d->client[ch].granted(d->client[ch].opaque);
}

/* ---- moving */

static uint64_t address(const struct dma8237 *d, unsigned ch)
{
    static const uint8_t page_of[DMA_CHANNELS] = {0x7, 0x3, 0x1, 0x2, 0xf, 0xb, 0x9, 0xa};
    uint32_t page = d->page[page_of[ch]];
    return ctl_of(ch) ? (page & 0xfe) << 16 | (uint32_t)d->addr[ch] << 1 : page << 16 | d->addr[ch];
}

/* How many of n units lie in one run of rising addresses before the address register wraps. */
static uint32_t run_length(const struct dma8237 *d, unsigned ch, uint32_t n)
{
    uint32_t room = 0x10000u - d->addr[ch];
    if (d->mode[ch] & MODE_DOWN)
        return 1;
    return n < room ? n : room;
}

static void terminal_count(struct dma8237 *d, unsigned ch)
{
    unsigned ctl = ctl_of(ch);
    d->done[ctl] |= bit_of(ch);
    d->request[ctl] &= (uint8_t)~bit_of(ch);
    if (d->mode[ch] & MODE_AUTO) {
        d->addr[ch] = d->base_addr[ch];
        d->count[ch] = d->base_count[ch];
    } else {
        d->mask[ctl] |= bit_of(ch);
    }
}

/* n units were moved; true: they were the last ones. */
static bool advance(struct dma8237 *d, unsigned ch, uint32_t n)
{
    bool last = n > d->count[ch];
    d->addr[ch] = (uint16_t)(d->mode[ch] & MODE_DOWN ? d->addr[ch] - n : d->addr[ch] + n);
    d->count[ch] = (uint16_t)(d->count[ch] - n);
    if (last)
        terminal_count(d, ch);
    return last;
}

static void move(struct dma8237 *d, unsigned ch, uint8_t *buf, uint32_t bytes, enum dma_dir dir)
{
    uint8_t type = d->mode[ch] & MODE_TYPE;
    if (dir == DMA_TO_MEMORY) {
        if (type == TYPE_WRITE)
            dma_write(d->mem, address(d, ch), buf, bytes);
    } else if (type != TYPE_READ || !dma_read(d->mem, address(d, ch), buf, bytes)) {
        memset(buf, 0xff, bytes);
    }
}

uint32_t dma8237_transfer(struct dma8237 *d, unsigned ch, void *buf, uint32_t len, enum dma_dir dir, bool *ret_tc)
{
    unsigned shift = ctl_of(ch);
    uint32_t moved = 0;

    *ret_tc = false;
    if (!ready(d, ch))
        return 0;
    while (moved < len >> shift && !*ret_tc) {
        uint32_t n = (len >> shift) - moved;
        if (n > d->count[ch])
            n = d->count[ch] + 1u;
        n = run_length(d, ch, n);
        move(d, ch, (uint8_t *)buf + (moved << shift), n << shift, dir);
        moved += n;
        *ret_tc = advance(d, ch, n);
    }
    return moved << shift;
}

/* Memory to memory: channel 0 reads, channel 1 writes and counts; each byte passes through the temporary register. */
static void memory_to_memory(struct dma8237 *d)
{
    bool last = false;
    while (!last) {
        uint8_t byte = 0xff;
        dma_read(d->mem, address(d, 0), &byte, 1);
        dma_write(d->mem, address(d, 1), &byte, 1);
        d->temp[0] = byte;
        if (!(d->command[0] & CMD_HOLD_SOURCE))
            d->addr[0] = (uint16_t)(d->mode[0] & MODE_DOWN ? d->addr[0] - 1 : d->addr[0] + 1);
        d->count[0]--;
        last = advance(d, 1, 1);
    }
    d->request[0] &= (uint8_t)~bit_of(0);
}

/* A request by software runs the channel down with no device on the other side of it. */
static void run_requests(struct dma8237 *d)
{
    uint8_t floating[256];
    for (unsigned ch = 0; ch < DMA_CHANNELS; ch++) {
        unsigned ctl = ctl_of(ch);
        bool tc = false;
        if (!(d->request[ctl] & bit_of(ch)) || !controller_runs(d, ctl) || ch == CASCADE)
            continue;
        if (ch == 0 && (d->command[0] & CMD_MEM_TO_MEM)) {
            memory_to_memory(d);
            continue;
        }
        uint8_t masked = d->mask[ctl] & bit_of(ch); /* a software request passes the mask */
        d->mask[ctl] &= (uint8_t)~bit_of(ch);
        memset(floating, 0xff, sizeof floating);
        while (!tc && dma8237_transfer(d, ch, floating, sizeof floating,
                                       (d->mode[ch] & MODE_TYPE) == TYPE_READ ? DMA_FROM_MEMORY : DMA_TO_MEMORY, &tc))
            ;
        d->mask[ctl] |= masked;
    }
}

void dma8237_dreq(struct dma8237 *d, unsigned ch, int level)
{
    uint8_t bit = (uint8_t)(1u << ch);
    d->dreq = level ? d->dreq | bit : d->dreq & (uint8_t)~bit;
    if (level && d->client[ch].granted && ready(d, ch))
        d->client[ch].granted(d->client[ch].opaque);
}

void dma8237_connect(struct dma8237 *d, unsigned ch, void (*granted)(void *opaque), void *opaque)
{
    d->client[ch] = (struct dma_client){granted, opaque};
}

/* ---- registers */

static void master_clear(struct dma8237 *d, unsigned ctl)
{
    d->command[ctl] = d->request[ctl] = d->done[ctl] = d->temp[ctl] = 0;
    d->high_byte[ctl] = false;
    d->mask[ctl] = 15;
}

static void put_half(uint16_t *v, bool high, uint8_t byte)
{
    *v = (uint16_t)(high ? (*v & 0x00ff) | byte << 8 : (*v & 0xff00) | byte);
}

static void set_bit(uint8_t *reg, uint8_t val)
{
    uint8_t bit = (uint8_t)(1u << (val & 3));
    *reg = val & 4 ? *reg | bit : *reg & (uint8_t)~bit;
}

static uint8_t read_reg(struct dma8237 *d, unsigned ctl, unsigned reg)
{
    uint8_t v;

    if (reg < R_STATUS) {
        unsigned ch = ctl * 4 + reg / 2;
        uint16_t word = reg & 1 ? d->count[ch] : d->addr[ch];
        v = (uint8_t)(d->high_byte[ctl] ? word >> 8 : word);
        d->high_byte[ctl] = !d->high_byte[ctl];
        return v;
    }
    switch (reg) {
    case R_STATUS:
        v = (uint8_t)(d->done[ctl] | ((d->dreq >> ctl * 4 & 15) | d->request[ctl]) << 4);
        d->done[ctl] = 0;
        return v;
    case R_TEMP:
        return d->temp[ctl];
    case R_MASK_ALL:
        return d->mask[ctl];
    default:
        return 0xff;
    }
}

static void write_reg(struct dma8237 *d, unsigned ctl, unsigned reg, uint8_t val)
{
    if (reg < R_STATUS) {
        unsigned ch = ctl * 4 + reg / 2;
        put_half(reg & 1 ? &d->base_count[ch] : &d->base_addr[ch], d->high_byte[ctl], val);
        put_half(reg & 1 ? &d->count[ch] : &d->addr[ch], d->high_byte[ctl], val);
        d->high_byte[ctl] = !d->high_byte[ctl];
        return;
    }
    switch (reg) {
    case R_STATUS:
        d->command[ctl] = val;
        break;
    case R_REQUEST:
        set_bit(&d->request[ctl], val);
        break;
    case R_MASK_ONE:
        set_bit(&d->mask[ctl], val);
        break;
    case R_MODE:
        d->mode[ctl * 4 + (val & 3)] = val & 0xfc;
        break;
    case R_CLEAR_FLIP_FLOP:
        d->high_byte[ctl] = false;
        break;
    case R_TEMP:
        master_clear(d, ctl);
        break;
    case R_CLEAR_MASK:
        d->mask[ctl] = 0;
        break;
    default:
        d->mask[ctl] = val & 15;
    }
    run_requests(d);
    grant(d);
}

static uint32_t low_read(void *dev, uint32_t off, unsigned size)
{
    return read_reg(dev, 0, off);
}
static void low_write(void *dev, uint32_t off, uint32_t val, unsigned size)
{
    write_reg(dev, 0, off, (uint8_t)val);
}
/* The second controller hangs on A1..A4: each register has two ports. */
static uint32_t high_read(void *dev, uint32_t off, unsigned size)
{
    return read_reg(dev, 1, off / 2);
}
static void high_write(void *dev, uint32_t off, uint32_t val, unsigned size)
{
    write_reg(dev, 1, off / 2, (uint8_t)val);
}
static uint32_t page_read(void *dev, uint32_t off, unsigned size)
{
    return ((struct dma8237 *)dev)->page[off];
}
static void page_write(void *dev, uint32_t off, uint32_t val, unsigned size)
{
    ((struct dma8237 *)dev)->page[off] = (uint8_t)val;
}

static const struct bus_ops low_ops = {low_read, low_write, 1, 1};
static const struct bus_ops high_ops = {high_read, high_write, 1, 1};
static const struct bus_ops page_ops = {page_read, page_write, 1, 1};

/* ---- state */

static const struct field dma_fields[] = {
    FIELD_ARRAY(struct dma8237, base_addr, F_U16),
    FIELD_ARRAY(struct dma8237, base_count, F_U16),
    FIELD_ARRAY(struct dma8237, addr, F_U16),
    FIELD_ARRAY(struct dma8237, count, F_U16),
    FIELD_ARRAY(struct dma8237, mode, F_U8),
    FIELD_ARRAY(struct dma8237, page, F_U8),
    FIELD_ARRAY(struct dma8237, command, F_U8),
    FIELD_ARRAY(struct dma8237, request, F_U8),
    FIELD_ARRAY(struct dma8237, mask, F_U8),
    FIELD_ARRAY(struct dma8237, done, F_U8),
    FIELD_ARRAY(struct dma8237, temp, F_U8),
    FIELD_ARRAY(struct dma8237, high_byte, F_BOOL),
    FIELD(struct dma8237, dreq, F_U8),
    FIELD_END,
};

static int dma_loaded(void *dev, const char **why)
{
    struct dma8237 *d = dev;
    for (unsigned ctl = 0; ctl < 2; ctl++)
        if ((d->request[ctl] | d->mask[ctl] | d->done[ctl]) > 15) {
            *why = "a channel that is not there";
            return -1;
        }
    for (unsigned ch = 0; ch < DMA_CHANNELS; ch++)
        if (d->mode[ch] & 3) {
            *why = "mode";
            return -1;
        }
    return 0; /* devices that wait raise their requests again when they are loaded */
}

static const struct state_table dma_table = {"8237a", 1, dma_fields, dma_loaded, NULL};

void dma8237_reset(struct dma8237 *d)
{
    for (unsigned ctl = 0; ctl < 2; ctl++)
        master_clear(d, ctl);
    memset(d->mode, 0, sizeof d->mode);
}

void dma8237_init(struct dma8237 *d, struct devctx *c)
{
    memset(d, 0, sizeof *d);
    d->mem = c->mem;
    bus_map(c->bus, &d->win[0], false, 0x00, 16, &low_ops, d, "dma-low");
    bus_map(c->bus, &d->win[1], false, 0xc0, 32, &high_ops, d, "dma-high");
    bus_map(c->bus, &d->win[2], false, 0x80, 16, &page_ops, d, "dma-page");
    c->add_state(c, &d->state, "dma", &dma_table, d);
    dma8237_reset(d);
}
