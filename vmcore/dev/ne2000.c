#include "vmcore/dev/ne2000.h"

#include "vmcore/rt.h"

enum {
    PORTS = 32,
    ASIC_DATA = 0x10,
    ASIC_RESET = 0x18,
    MEMORY_AT = 0x4000,
    PAGE = 256,
    HEADER = 4, /* of a frame in the ring: status, next page, byte count */
    CRC = 4,
    MIN_FRAME = 60, /* without the CRC */
    ADDRESSES = 14, /* and type: shorter is no frame */

    CR_STP = 0x01,
    CR_STA = 0x02,
    CR_TXP = 0x04,
    CR_RD = 0x38,
    RD_READ = 0x08,
    RD_WRITE = 0x10,
    RD_SEND = 0x18,
    RD_ABORT = 0x20, /* and all above it */
    CR_PAGE = 0xc0,

    ISR_PRX = 0x01,
    ISR_PTX = 0x02,
    ISR_TXE = 0x08,
    ISR_OVW = 0x10,
    ISR_CNT = 0x20,
    ISR_RDC = 0x40,
    ISR_RST = 0x80,

    DCR_WTS = 0x01,
    RCR_BROADCAST = 0x04,
    RCR_MULTICAST = 0x08,
    RCR_PROMISCUOUS = 0x10,
    RCR_MONITOR = 0x20,
    TCR_NO_CRC = 0x01,
    TCR_LOOP = 0x06,
    TSR_PTX = 0x01,
    TSR_OWC = 0x80,
    RSR_PRX = 0x01,
    RSR_CRC = 0x02,
    RSR_MPA = 0x10,
    RSR_PHY = 0x20,
    RSR_DIS = 0x40,

    CNTR_MISSED = 2,
    EEM_CONFIG = 0xc0, /* 9346CR: configuration registers may be written */
    CONFIG3_FUDUP = 0x40,
};
#define OVERFLOW_NS 500000000u /* long, since the guest may have to wait for a core of the host */

static void update(struct ne2000 *d)
{
    pci_irq(&d->pci, (d->isr & d->imr & 0x7f) != 0);
}

static void raise(struct ne2000 *d, uint8_t isr)
{
    d->isr |= isr;
    update(d);
}

static void count(struct ne2000 *d, unsigned n)
{
    if (d->cntr[n] < 0xff)
        d->cntr[n]++;
    if (d->cntr[n] & 0x80)
        raise(d, ISR_CNT);
}

/* ---- the CRC of Ethernet, as its register stands after the bytes: least significant bit first */
static uint32_t crc32(const uint8_t *p, uint32_t n)
{
    static const uint32_t nibble[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
        0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    uint32_t c = UINT32_MAX;
    while (n--) {
        c ^= *p++;
        c = c >> 4 ^ nibble[c & 15];
        c = c >> 4 ^ nibble[c & 15];
    }
    return c;
}

/* The hash is the CRC's upper six bits in the order in which the chip shifts them out: most significant first. */
static unsigned multicast_hash(const uint8_t *addr)
{
    uint32_t c = crc32(addr, 6);
    unsigned hash = 0;
    for (unsigned i = 0; i < 6; i++)
        hash |= (c >> i & 1) << (5 - i);
    return hash;
}

/* ---- the chip's memory */

static uint8_t load(const struct ne2000 *d, uint16_t at)
{
    if (at < 2 * NE_PROM) /* eight bits wide on a bus of sixteen: each byte twice */
        return d->prom[at / 2];
    return at >= MEMORY_AT && at < MEMORY_AT + NE_MEMORY ? d->memory[at - MEMORY_AT] : 0xff;
}

static void store(struct ne2000 *d, uint16_t at, uint8_t v)
{
    if (at >= MEMORY_AT && at < MEMORY_AT + NE_MEMORY)
        d->memory[at - MEMORY_AT] = v;
}

/* The next address in the ring. */
static uint16_t ring_next(const struct ne2000 *d, uint16_t at)
{
    at++;
    return at == (uint16_t)(d->pstop << 8) ? (uint16_t)(d->pstart << 8) : at;
}

static uint16_t ring_store(struct ne2000 *d, uint16_t at, const uint8_t *p, uint32_t n)
{
    while (n--) {
        store(d, at, *p++);
        at = ring_next(d, at);
    }
    return at;
}

/* ---- receiving */

static bool receiver_on(const struct ne2000 *d)
{
    return d->started && !(d->tcr & TCR_LOOP) && d->pstart < d->pstop;
}

static bool accepts(const struct ne2000 *d, const uint8_t *frame)
{
    static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

    if (!memcmp(frame, broadcast, 6))
        return (d->rcr & RCR_BROADCAST) != 0;
    if (frame[0] & 1) {
        unsigned hash = multicast_hash(frame);
        return (d->rcr & RCR_MULTICAST) && (d->mar[hash / 8] >> hash % 8 & 1);
    }
    return (d->rcr & RCR_PROMISCUOUS) || !memcmp(frame, d->par, 6);
}

static unsigned pages_for(uint32_t len)
{
    return (HEADER + len + CRC + PAGE - 1) / PAGE;
}

/* The ring is empty where CURR has come to BNRY, so it is never filled up to there. */
static bool has_room(const struct ne2000 *d, uint32_t len)
{
    unsigned size = (unsigned)(d->pstop - d->pstart), free = size;
    if (d->curr < d->bnry)
        free = (unsigned)(d->bnry - d->curr);
    else if (d->curr > d->bnry)
        free = size - (unsigned)(d->curr - d->bnry);
    return pages_for(len) < free;
}

static void put_in_ring(struct ne2000 *d, const uint8_t *frame, uint32_t len)
{
    unsigned next = d->curr + pages_for(len), size = (unsigned)(d->pstop - d->pstart);
    uint32_t crc = ~crc32(frame, len), total = len + CRC;
    uint8_t tail[CRC] = {(uint8_t)crc, (uint8_t)(crc >> 8), (uint8_t)(crc >> 16), (uint8_t)(crc >> 24)};

    if (next >= d->pstop)
        next -= size;
    d->rsr = (uint8_t)(RSR_PRX | (frame[0] & 1 ? RSR_PHY : 0));
    uint8_t header[HEADER] = {d->rsr, (uint8_t)next, (uint8_t)total, (uint8_t)(total >> 8)};
    uint16_t at = ring_store(d, (uint16_t)(d->curr << 8), header, HEADER);
    at = ring_store(d, at, frame, len);
    d->clda = ring_store(d, at, tail, CRC);
    d->curr = (uint8_t)next;
    raise(d, ISR_PRX);
}

static void arm_overflow(struct ne2000 *d, uint64_t due)
{
    d->overflow_due = due;
    vtimer_set(d->ctx->clock, &d->overflow, due);
}

/* The next frame from the port; there is none in d->frame. Whoever had put it on a wire would have filled it up to the
 * least length of a frame: there are no runts to be told from others. */
static void fetch(struct ne2000 *d)
{
    d->held = netq_get(&d->port->to_guest, d->frame, sizeof d->frame);
    if (d->held >= ADDRESSES && d->held < MIN_FRAME) {
        memset(d->frame + d->held, 0, MIN_FRAME - d->held);
        d->held = MIN_FRAME;
    }
}

/* A frame from the wire. False: it has to wait for room. */
static bool take(struct ne2000 *d, const uint8_t *frame, uint32_t len)
{
    if (len < ADDRESSES || len > NE_FRAME_MAX || !accepts(d, frame))
        return true;
    if (d->rcr & RCR_MONITOR) {
        d->rsr = RSR_MPA | RSR_DIS;
        count(d, CNTR_MISSED);
        return true;
    }
    if (!has_room(d, len))
        return false;
    put_in_ring(d, frame, len);
    return true;
}

static void receive(struct ne2000 *d)
{
    bool any = false;

    for (unsigned budget = 256; budget; budget--) {
        if (!d->held)
            fetch(d);
        if (!d->held)
            break;
        if (receiver_on(d) && !take(d, d->frame, d->held)) {
            if (d->overflow_due == UINT64_MAX)
                arm_overflow(d, vclock_now(d->ctx->clock) + OVERFLOW_NS);
            break;
        }
        d->held = 0; /* a receiver that is off hears nothing */
        any = true;
        arm_overflow(d, UINT64_MAX);
    }
    if (any)
        host_kick(&d->port->kick);
    if (any && byteq_used(&d->port->to_guest) && !d->held) /* the budget is used up */
        vm_post(d->ctx->opaque, &d->port->rx_event);
}

static void overflow(void *opaque)
{
    struct ne2000 *d = opaque;
    d->overflow_due = UINT64_MAX;
    if (d->held) {
        d->held = 0;
        d->rsr = RSR_MPA;
        count(d, CNTR_MISSED);
        raise(d, ISR_OVW);
    }
    receive(d);
}

static void port_event(struct vm_event *ev)
{
    receive(ev->opaque);
}

/* ---- sending */

/* Loopback: the frame comes back to the FIFO, whose last eight bytes the host may read, and not to memory. */
static void loop_back(struct ne2000 *d, const uint8_t *p, uint32_t len)
{
    static const uint8_t status[4] = {0, 0x53, 0x43, 0x03};
    uint32_t crc = ~crc32(p, len), total = len + CRC;
    bool good = false;

    d->tsr = status[(d->tcr & TCR_LOOP) >> 1];
    if (d->tcr & TCR_NO_CRC) { /* the frame brings its own, which the receiver checks */
        good = len > CRC && crc32(p, len) == 0xdebb20e3u;
        total = len;
        crc = 0;
        for (unsigned i = 0; i < CRC && i < len; i++)
            crc |= (uint32_t)p[len - 1 - i] << (24 - 8 * i);
    }
    d->fifo[0] = (uint8_t)total;
    d->fifo[1] = d->fifo[2] = (uint8_t)(total >> 8);
    d->fifo[3] = total > CRC ? p[total - CRC - 1] : 0;
    for (unsigned i = 0; i < CRC; i++)
        d->fifo[4 + i] = (uint8_t)(crc >> 8 * i);
    d->fifo_at = 0;
    d->rsr = good ? RSR_PRX : RSR_CRC;
}

static void transmit(struct ne2000 *d)
{
    uint32_t len = d->tbcr;

    d->cr &= (uint8_t)~CR_TXP;
    if (len > NE_FRAME_MAX) { /* still sending when others may begin: out of window, and nobody takes it */
        d->tsr = TSR_OWC;
        raise(d, ISR_TXE);
        return;
    }
    for (uint32_t i = 0; i < len; i++)
        d->sending[i] = load(d, (uint16_t)((d->tpsr << 8) + i));
    if (d->tcr & TCR_LOOP) {
        loop_back(d, d->sending, len);
    } else {
        d->tsr = TSR_PTX;
        if (len && netq_put(&d->port->to_host, d->sending, len)) /* no room: lost, as on a busy wire */
            host_kick(&d->port->kick);
    }
    raise(d, ISR_PTX);
}

/* ---- remote DMA: what the data port reads and writes */

static void remote_done(struct ne2000 *d)
{
    if (d->send_packet)
        d->bnry = load(d, (uint16_t)((d->bnry << 8) + 1));
    d->send_packet = false;
    raise(d, ISR_RDC);
}

/* n bytes were moved. */
static void remote_step(struct ne2000 *d, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        d->rsar = ring_next(d, d->rsar);
    d->rbcr = (uint16_t)(d->rbcr > n ? d->rbcr - n : 0);
    if (!d->rbcr)
        remote_done(d);
}

static bool remote_runs(const struct ne2000 *d, unsigned rd)
{
    return d->rbcr && (d->cr & CR_RD) == rd;
}

/* Bytes that the chip moves for an access of size: its own bus is a word wide, or a byte. */
static unsigned remote_width(const struct ne2000 *d, unsigned size)
{
    unsigned word = d->dcr & DCR_WTS ? 2 : 1;
    return size > word ? size : word;
}

static uint32_t data_read(struct ne2000 *d, unsigned size)
{
    uint32_t v = 0;
    uint16_t at = d->rsar;

    if (!remote_runs(d, RD_READ) && !(d->send_packet && remote_runs(d, RD_SEND)))
        return UINT32_MAX;
    for (unsigned i = 0; i < size; i++) {
        v |= (uint32_t)load(d, at) << 8 * i;
        at = ring_next(d, at);
    }
    remote_step(d, remote_width(d, size));
    return v;
}

static void data_write(struct ne2000 *d, uint32_t val, unsigned size)
{
    unsigned width = remote_width(d, size);
    uint16_t at = d->rsar;

    if (!remote_runs(d, RD_WRITE))
        return;
    for (unsigned i = 0; i < width && i < d->rbcr; i++) {
        store(d, at, (uint8_t)(i < size ? val >> 8 * i : 0xff));
        at = ring_next(d, at);
    }
    remote_step(d, width);
}

/* The send command: a remote read of the frame at the boundary, by its own header. */
static void start_send_packet(struct ne2000 *d)
{
    uint16_t at = (uint16_t)(d->bnry << 8);
    d->rsar = at;
    d->rbcr = (uint16_t)(load(d, (uint16_t)(at + 2)) | load(d, (uint16_t)(at + 3)) << 8);
    d->send_packet = true;
}

/* ---- registers */

static void reset(struct ne2000 *d)
{
    d->cr = CR_STP | RD_ABORT;
    d->isr = ISR_RST;
    d->imr = d->dcr = d->tcr = 0;
    d->rbcr = 0;
    d->started = d->send_packet = false;
    d->held = 0;
    arm_overflow(d, UINT64_MAX);
    update(d);
}

static void write_cr(struct ne2000 *d, uint8_t v)
{
    uint8_t rd = v & CR_RD;

    d->cr = v;
    /* Neither bit leaves it as it is: drivers write so to change the page. */
    d->started = !(v & CR_STP) && ((v & CR_STA) || d->started);
    if (v & CR_STP) { /* what was on its way has ended */
        d->isr |= ISR_RST;
        d->cr &= (uint8_t)~CR_TXP;
    } else if (v & CR_STA) {
        d->isr &= (uint8_t)~ISR_RST;
    }
    d->send_packet = false;
    if (rd == RD_SEND)
        start_send_packet(d);
    if (rd && !(rd & RD_ABORT) && !d->rbcr)
        remote_done(d);
    if ((d->cr & CR_TXP) && d->started)
        transmit(d);
    update(d);
    receive(d);
}

static uint8_t read_page0(struct ne2000 *d, unsigned reg)
{
    uint8_t v;

    switch (reg) {
    case 0x1:
        return (uint8_t)d->clda;
    case 0x2:
        return (uint8_t)(d->clda >> 8);
    case 0x3:
        return d->bnry;
    case 0x4:
        return d->tsr;
    case 0x5: /* collisions: there are none */
        return 0;
    case 0x6:
        v = d->fifo[d->fifo_at];
        d->fifo_at = (d->fifo_at + 1) & 7;
        return v;
    case 0x7:
        return d->isr;
    case 0x8:
        return (uint8_t)d->rsar;
    case 0x9:
        return (uint8_t)(d->rsar >> 8);
    case 0xa: /* the RTL8029's mark */
        return 0x50;
    case 0xb:
        return 0x43;
    case 0xc:
        return d->rsr;
    default:
        v = d->cntr[reg - 0xd];
        d->cntr[reg - 0xd] = 0;
        return v;
    }
}

static void put_half(uint16_t *v, bool high, uint8_t byte)
{
    *v = (uint16_t)(high ? (*v & 0x00ff) | byte << 8 : (*v & 0xff00) | byte);
}

static void write_page0(struct ne2000 *d, unsigned reg, uint8_t v)
{
    switch (reg) {
    case 0x1:
        d->pstart = v;
        break;
    case 0x2:
        d->pstop = v;
        break;
    case 0x3:
        d->bnry = v;
        break;
    case 0x4:
        d->tpsr = v;
        break;
    case 0x5:
    case 0x6:
        put_half(&d->tbcr, reg == 0x6, v);
        break;
    case 0x7:
        d->isr &= (uint8_t)(~v | ISR_RST);
        break;
    case 0x8:
    case 0x9:
        put_half(&d->rsar, reg == 0x9, v);
        break;
    case 0xa:
    case 0xb:
        put_half(&d->rbcr, reg == 0xb, v);
        break;
    case 0xc:
        d->rcr = v & 0x3f;
        break;
    case 0xd:
        d->tcr = v & 0x1f;
        break;
    case 0xe:
        d->dcr = v & 0x7f;
        break;
    default:
        d->imr = v & 0x7f;
    }
    update(d);
    receive(d);
}

static uint8_t read_page1(const struct ne2000 *d, unsigned reg)
{
    return reg < 7 ? d->par[reg - 1] : reg == 7 ? d->curr : d->mar[reg - 8];
}

static void write_page1(struct ne2000 *d, unsigned reg, uint8_t v)
{
    if (reg < 7)
        d->par[reg - 1] = v;
    else if (reg == 7)
        d->curr = v;
    else
        d->mar[reg - 8] = v;
}

/* What page 0 writes, for diagnosis. */
static uint8_t read_page2(const struct ne2000 *d, unsigned reg)
{
    switch (reg) {
    case 0x1:
        return d->pstart;
    case 0x2:
        return d->pstop;
    case 0x4:
        return d->tpsr;
    case 0xc:
        return d->rcr | 0xc0;
    case 0xd:
        return d->tcr | 0xe0;
    case 0xe:
        return d->dcr | 0x80;
    case 0xf:
        return d->imr | 0x80;
    default:
        return 0xff;
    }
}

/* Realtek's own: no EEPROM to clock, 10BaseT with link, and full duplex as a switch without further effect. */
static uint8_t read_page3(const struct ne2000 *d, unsigned reg)
{
    switch (reg) {
    case 0x1:
        return d->cr9346;
    case 0x6:
        return d->config3;
    case 0xe:
        return 0x29;
    case 0xf:
        return 0x80;
    default:
        return 0;
    }
}

static void write_page3(struct ne2000 *d, unsigned reg, uint8_t v)
{
    if (reg == 0x1)
        d->cr9346 = v & 0xce;
    else if (reg == 0x6 && (d->cr9346 & EEM_CONFIG) == EEM_CONFIG)
        d->config3 = v & CONFIG3_FUDUP;
}

static uint8_t reg_read(struct ne2000 *d, unsigned reg)
{
    if (!reg)
        return d->cr;
    switch (d->cr & CR_PAGE) {
    case 0x00:
        return read_page0(d, reg);
    case 0x40:
        return read_page1(d, reg);
    case 0x80:
        return read_page2(d, reg);
    default:
        return read_page3(d, reg);
    }
}

static void reg_write(struct ne2000 *d, unsigned reg, uint8_t v)
{
    if (!reg) {
        write_cr(d, v);
        return;
    }
    switch (d->cr & CR_PAGE) {
    case 0x00:
        write_page0(d, reg, v);
        break;
    case 0x40:
        write_page1(d, reg, v);
        break;
    case 0xc0:
        write_page3(d, reg, v);
        break;
    default: /* page 2 is for diagnosis */
        break;
    }
}

static uint32_t ne_read(void *dev, uint32_t off, unsigned size)
{
    struct ne2000 *d = dev;
    uint32_t v = 0;

    if (off >= ASIC_DATA && off < ASIC_RESET)
        return data_read(d, size);
    if (off >= ASIC_RESET) {
        reset(d);
        return 0;
    }
    for (unsigned i = 0; i < size; i++)
        v |= (uint32_t)reg_read(d, (off + i) & 15) << 8 * i;
    return v;
}

static void ne_write(void *dev, uint32_t off, uint32_t val, unsigned size)
{
    struct ne2000 *d = dev;

    if (off >= ASIC_DATA && off < ASIC_RESET)
        data_write(d, val, size);
    else if (off < ASIC_DATA)
        for (unsigned i = 0; i < size; i++)
            reg_write(d, (off + i) & 15, (uint8_t)(val >> 8 * i));
    /* a write to the reset port ends the reset, which takes no time here */
}

static const struct bus_ops ne_ops = {ne_read, ne_write, 1, 4};

/* ---- state */

static const struct field ne_fields[] = {
    FIELD(struct ne2000, cr, F_U8),
    FIELD(struct ne2000, isr, F_U8),
    FIELD(struct ne2000, imr, F_U8),
    FIELD(struct ne2000, rcr, F_U8),
    FIELD(struct ne2000, tcr, F_U8),
    FIELD(struct ne2000, dcr, F_U8),
    FIELD(struct ne2000, tsr, F_U8),
    FIELD(struct ne2000, rsr, F_U8),
    FIELD(struct ne2000, pstart, F_U8),
    FIELD(struct ne2000, pstop, F_U8),
    FIELD(struct ne2000, bnry, F_U8),
    FIELD(struct ne2000, curr, F_U8),
    FIELD(struct ne2000, tpsr, F_U8),
    FIELD(struct ne2000, tbcr, F_U16),
    FIELD(struct ne2000, rsar, F_U16),
    FIELD(struct ne2000, rbcr, F_U16),
    FIELD(struct ne2000, clda, F_U16),
    FIELD_BYTES(struct ne2000, par),
    FIELD_BYTES(struct ne2000, mar),
    FIELD_BYTES(struct ne2000, cntr),
    FIELD_BYTES(struct ne2000, fifo),
    FIELD(struct ne2000, fifo_at, F_U8),
    FIELD(struct ne2000, cr9346, F_U8),
    FIELD(struct ne2000, config3, F_U8),
    FIELD(struct ne2000, started, F_BOOL),
    FIELD(struct ne2000, send_packet, F_BOOL),
    FIELD_BYTES(struct ne2000, prom),
    FIELD_BYTES(struct ne2000, memory),
    FIELD_END,
};

static int ne_loaded(void *dev, const char **why)
{
    struct ne2000 *d = dev;

    if (d->fifo_at > 7) {
        *why = "position in the FIFO";
        return -1;
    }
    d->held = 0;
    for (unsigned budget = 256; budget && netq_get(&d->port->to_guest, d->frame, sizeof d->frame); budget--)
        ;
    arm_overflow(d, UINT64_MAX);
    update(d);
    return 0;
}

static const struct state_table ne_table = {"rtl8029", 1, ne_fields, ne_loaded, NULL};

/* PCI RST#: all that a power-on gives but for memory. */
static void bus_reset(struct pci_dev *p)
{
    struct ne2000 *d = (struct ne2000 *)p; /* pci is the first member */
    d->rcr = d->tsr = d->rsr = 0;
    d->cr9346 = d->config3 = 0;
    reset(d);
}

static void make_name(char dst[16], const char *name, const char *suffix)
{
    unsigned n = 0;
    while (*name && n < 10)
        dst[n++] = *name++;
    while (*suffix)
        dst[n++] = *suffix++;
    dst[n] = 0;
}

void ne2000_init(struct ne2000 *d, struct devctx *c, struct pci_bus *bus, unsigned devfn, const char *name,
                 const uint8_t mac[6], struct netport *port)
{
    static const struct pci_id id = {
        .vendor = 0x10ec,
        .device = 0x8029,
        .class_code = 0x020000,
        .sub_vendor = 0x10ec,
        .sub_device = 0x8029,
        .int_pin = 1,
    };

    memset(d, 0, sizeof *d);
    d->ctx = c;
    d->port = port;
    port->rx_event.fn = port_event;
    port->rx_event.opaque = d;
    memcpy(d->prom, mac, 6);
    d->prom[14] = d->prom[15] = 'W'; /* of sixteen bits */
    vtimer_init(c->clock, &d->overflow, overflow, d);
    make_name(d->names[0], name, "");
    make_name(d->names[1], name, ".pci");
    d->pci.reset = bus_reset;
    pci_add(bus, &d->pci, d->names[1], devfn, &id);
    pci_bar(&d->pci, 0, false, PORTS, &ne_ops, d, d->names[0]);
    c->add_state(c, &d->state, d->names[0], &ne_table, d);
    bus_reset(&d->pci);
}
