/* The NE2000 at register level, as its drivers use it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "tests/dev/period_rig.h"

enum {
    BASE = 0xc000,
    CR = 0,
    PSTART = 1,
    PSTOP = 2,
    BNRY = 3,
    TPSR = 4, /* read: TSR */
    TBCR0 = 5,
    TBCR1 = 6, /* read: FIFO */
    ISR = 7,
    RSAR0 = 8,
    RSAR1 = 9,
    RBCR0 = 10,
    RBCR1 = 11,
    RCR = 12, /* read: RSR */
    TCR = 13, /* read: CNTR0 */
    DCR = 14,
    IMR = 15, /* read: CNTR2 */
    DATA = 16,
    RESET = 24,

    START = 0x40, /* pages of the ring */
    STOP = 0x50,
    TX = 0x60,

    PRX = 0x01,
    PTX = 0x02,
    TXE = 0x08,
    OVW = 0x10,
    CNT = 0x20,
    RDC = 0x40,
    RST = 0x80,
};
static const uint32_t no_disks[2] = {UINT32_MAX, UINT32_MAX};
static const uint8_t mac[6] = {0x52, 0x54, 0x00, 0xab, 0xcd, 0xef};
static const uint8_t host[6] = {0x02, 0x11, 0x22, 0x33, 0x44, 0x55};

static void out(struct rig *r, unsigned reg, unsigned v)
{
    rig_out(r, (uint16_t)(BASE + reg), (uint8_t)v);
}
static uint8_t in(struct rig *r, unsigned reg)
{
    return rig_in(r, (uint16_t)(BASE + reg));
}
static void out1(struct rig *r, unsigned reg, unsigned v) /* in page 1; the chip stays started or stopped */
{
    uint8_t cr = in(r, CR) & 3;
    out(r, CR, 0x60 | cr);
    out(r, reg, v);
    out(r, CR, 0x20 | cr);
}
static uint8_t in1(struct rig *r, unsigned reg)
{
    uint8_t cr = in(r, CR) & 3;
    out(r, CR, 0x60 | cr);
    uint8_t v = in(r, reg);
    out(r, CR, 0x20 | cr);
    return v;
}

static struct rig *plug(void)
{
    static const uint8_t lines[4] = {10, 10, 11, 11};
    struct rig *r = rig_new(no_disks);
    pci_assign(&r->pci, BASE, 0xf8000000u, lines);
    return r;
}

/* As a driver brings it up. */
static struct rig *start(unsigned rcr)
{
    struct rig *r = plug();
    in(r, RESET);
    assert_int_equal(in(r, ISR) & RST, RST);
    out(r, CR, 0x21);
    out(r, DCR, 0x49);
    out(r, RBCR0, 0);
    out(r, RBCR1, 0);
    out(r, RCR, 0x20);
    out(r, TCR, 0x02);
    out(r, PSTART, START);
    out(r, PSTOP, STOP);
    out(r, BNRY, START);
    out(r, ISR, 0xff);
    out(r, IMR, 0x3f);
    for (unsigned i = 0; i < 6; i++)
        out1(r, 1 + i, mac[i]);
    out1(r, 7, START + 1);
    out(r, CR, 0x22);
    out(r, TCR, 0);
    out(r, RCR, rcr);
    return r;
}

static void remote(struct rig *r, unsigned at, unsigned n, unsigned rd)
{
    out(r, RSAR0, at);
    out(r, RSAR1, at >> 8);
    out(r, RBCR0, n);
    out(r, RBCR1, n >> 8);
    out(r, CR, 0x02 | rd);
}

static void card_read(struct rig *r, unsigned at, uint8_t *dst, unsigned n)
{
    remote(r, at, n, 0x08);
    for (unsigned i = 0; i < n; i += 2) {
        uint32_t v = bus_io_read(&r->bus, BASE + DATA, 2);
        dst[i] = (uint8_t)v;
        if (i + 1 < n)
            dst[i + 1] = (uint8_t)(v >> 8);
    }
    assert_int_equal(in(r, ISR) & RDC, RDC);
    out(r, ISR, RDC);
}

static void card_write(struct rig *r, unsigned at, const uint8_t *src, unsigned n)
{
    remote(r, at, n, 0x10);
    for (unsigned i = 0; i < n; i += 2)
        bus_io_write(&r->bus, BASE + DATA, src[i] | (i + 1 < n ? src[i + 1] : 0) << 8, 2);
    assert_int_equal(in(r, ISR) & RDC, RDC);
    out(r, ISR, RDC);
}

static void make_frame(uint8_t *f, const uint8_t *to, unsigned len, unsigned salt)
{
    memcpy(f, to, 6);
    memcpy(f + 6, host, 6);
    for (unsigned i = 12; i < len; i++)
        f[i] = (uint8_t)(i * 3 + salt);
}

static void from_wire(struct rig *r, const uint8_t *to, unsigned len, unsigned salt)
{
    uint8_t f[2000];
    make_frame(f, to, len, salt);
    assert_true(netq_put(&r->net.to_guest, f, len));
    vm_post(&r->vm, &r->net.rx_event);
    rig_events(r);
}

static bool ring_empty(struct rig *r)
{
    unsigned next = in(r, BNRY) + 1u;
    return in1(r, 7) == (next == STOP ? START : next);
}

/* Takes the next frame as Linux does: header, data with the wrap, boundary. */
static void receive(struct rig *r, const uint8_t *to, unsigned len, unsigned salt, unsigned status)
{
    uint8_t want[2000], got[2000], header[4];
    unsigned page = in(r, BNRY) + 1u;

    if (page == STOP)
        page = START;
    assert_false(ring_empty(r));
    card_read(r, page << 8, header, 4);
    assert_int_equal(header[0], status);
    assert_int_equal(header[2] | header[3] << 8, len + 4);
    make_frame(want, to, len, salt);
    card_read(r, (page << 8) + 4, got, len); /* the remote channel goes round in the ring as well */
    assert_memory_equal(got, want, len);
    out(r, BNRY, header[1] == START ? STOP - 1 : header[1] - 1u);
}

static unsigned sent(struct rig *r, uint8_t *dst, unsigned max)
{
    return netq_get(&r->net.to_host, dst, max);
}

static void test_probe(void **state)
{
    struct rig *r = plug();
    uint8_t prom[32];

    assert_int_equal(pci_config_read(&r->ne.pci, 0, 4), 0x802910ec);
    assert_int_equal(pci_config_read(&r->ne.pci, 8, 4) >> 8, 0x020000);
    assert_int_equal(pci_config_read(&r->ne.pci, 0x10, 4), BASE | 1);
    in(r, RESET);
    assert_int_equal(in(r, CR), 0x21);
    assert_int_equal(in(r, ISR), RST);
    assert_int_equal(in(r, 10), 0x50); /* 'P', 'C' */
    assert_int_equal(in(r, 11), 0x43);
    /* in a byte-wide chip each byte of the PROM shows twice; in a word-wide one, a word of two equal bytes */
    out(r, DCR, 0x48);
    remote(r, 0, 32, 0x08);
    for (unsigned i = 0; i < 32; i++)
        prom[i] = in(r, DATA);
    for (unsigned i = 0; i < 6; i++) {
        assert_int_equal(prom[2 * i], mac[i]);
        assert_int_equal(prom[2 * i + 1], mac[i]);
    }
    for (unsigned i = 28; i < 32; i++)
        assert_int_equal(prom[i], 0x57);
    assert_int_equal(in(r, ISR) & RDC, RDC);
    out(r, DCR, 0x49);
    remote(r, 0, 32, 0x08);
    for (unsigned i = 0; i < 16; i++)
        assert_int_equal(in(r, DATA), prom[2 * i]); /* byte accesses take a word each */
    assert_int_equal(in(r, DATA), 0xff);            /* the channel is done */
    /* the PROM is no memory */
    card_write(r, 0, host, 6);
    card_read(r, 0, prom, 2);
    assert_int_equal(prom[0], mac[0]);
    rig_free(r);
}

static void test_registers(void **state)
{
    struct rig *r = start(0x04);
    r = rig_reload(r);
    out(r, CR, 0xa2); /* page 2 shows what page 0 takes */
    assert_int_equal(in(r, 1), START);
    assert_int_equal(in(r, 2), STOP);
    assert_int_equal(in(r, 12), 0xc4);
    assert_int_equal(in(r, 13), 0xe0);
    assert_int_equal(in(r, 14), 0xc9);
    assert_int_equal(in(r, 15), 0xbf);
    out(r, CR, 0xe2); /* page 3: Realtek's */
    assert_int_equal(in(r, 14), 0x29);
    assert_int_equal(in(r, 15), 0x80);
    out(r, 6, 0x40);
    assert_int_equal(in(r, 6), 0);
    out(r, 1, 0xc0);
    out(r, 6, 0x40);
    assert_int_equal(in(r, 6), 0x40);
    out(r, CR, 0x22);
    for (unsigned i = 1; i < 16; i++)
        out1(r, i, 0x80 + i);
    for (unsigned i = 1; i < 16; i++)
        assert_int_equal(in1(r, i), 0x80 + i);
    rig_free(r);
}

static void test_memory(void **state)
{
    struct rig *r = start(0x04);
    uint8_t a[600], b[600];

    for (unsigned i = 0; i < sizeof a; i++)
        a[i] = (uint8_t)(i * 7 + 1);
    card_write(r, 0x6000, a, 600);
    r = rig_reload(r);
    card_read(r, 0x6000, b, 600);
    assert_memory_equal(a, b, 600);
    /* four bytes at once, saved in the middle */
    remote(r, 0x6000, 16, 0x08);
    assert_int_equal(bus_io_read(&r->bus, BASE + DATA, 4), 0x160f0801);
    r = rig_reload(r);
    assert_int_equal(bus_io_read(&r->bus, BASE + DATA, 4), 0x322b241d);
    assert_int_equal(in(r, RSAR0), 0x08);
    assert_int_equal(in(r, ISR) & RDC, 0);
    bus_io_read(&r->bus, BASE + DATA, 4);
    bus_io_read(&r->bus, BASE + DATA, 4);
    assert_int_equal(in(r, ISR) & RDC, RDC);
    /* the ring's end leads to its beginning */
    card_write(r, (STOP << 8) - 4, a, 8);
    card_read(r, START << 8, b, 4);
    assert_memory_equal(b, a + 4, 4);
    /* outside of the memory: nothing there */
    card_write(r, 0x8000, a, 8);
    card_read(r, 0x8000, b, 8);
    assert_int_equal(b[0] & b[7], 0xff);
    card_read(r, 0x4000 + 8, b, 2);
    rig_free(r);
}

static void test_sending(void **state)
{
    struct rig *r = start(0x04);
    uint8_t f[1514], got[1600];

    make_frame(f, host, sizeof f, 5);
    for (unsigned len = 60; len <= 1514; len += 727) {
        card_write(r, TX << 8, f, len);
        out(r, TPSR, TX);
        out(r, TBCR0, len);
        out(r, TBCR1, len >> 8);
        out(r, CR, 0x26);
        assert_int_equal(sent(r, got, sizeof got), len);
        assert_memory_equal(got, f, len);
        assert_int_equal(in(r, CR), 0x22);
        assert_int_equal(in(r, TPSR), 0x01);
        assert_int_equal(in(r, ISR), PTX);
        assert_true(r->ne.pci.intx);
        r = rig_reload(r);
        out(r, ISR, PTX);
        assert_false(r->ne.pci.intx);
    }
    out(r, TBCR1, 0x10); /* longer than a frame may be */
    out(r, CR, 0x26);
    assert_int_equal(in(r, ISR), TXE);
    assert_int_equal(in(r, TPSR), 0x80);
    assert_int_equal(sent(r, got, sizeof got), 0);
    out(r, IMR, 0);
    assert_false(r->ne.pci.intx);
    out(r, TBCR1, 0);
    out(r, CR, 0x25); /* stopped: it does not send */
    assert_int_equal(sent(r, got, sizeof got), 0);
    rig_free(r);
}

static void test_receiving_with_wrap(void **state)
{
    static const uint16_t lens[] = {60, 64, 244, 245, 247, 248, 249, 252, 253, 500, 504, 505, 1000, 1514};
    struct rig *r = start(0x04);
    unsigned wraps = 0;

    for (unsigned i = 0; i < 60; i++) {
        unsigned len = lens[i % 14], before = in1(r, 7);
        from_wire(r, mac, len, i);
        assert_int_equal(in(r, ISR), PRX);
        assert_true(r->ne.pci.intx);
        assert_int_equal(in(r, RCR), 0x01);
        wraps += in1(r, 7) < before;
        out(r, ISR, PRX);
        if (i % 7 == 0)
            r = rig_reload(r);
        receive(r, mac, len, i, 0x01);
        assert_true(ring_empty(r));
    }
    assert_true(wraps > 5);
    /* the CRC of Ethernet follows the frame */
    uint8_t f[64] = {0}, tail[4];
    memcpy(f, mac, 6);
    unsigned page = in1(r, 7);
    assert_true(netq_put(&r->net.to_guest, f, 60));
    vm_post(&r->vm, &r->net.rx_event);
    rig_events(r);
    card_read(r, (page << 8) + 4 + 60, tail, 4);
    uint32_t crc = UINT32_MAX; /* bit by bit, by the standard's polynomial */
    for (unsigned i = 0; i < 60 * 8; i++)
        crc = crc >> 1 ^ ((crc ^ f[i / 8] >> i % 8) & 1 ? 0xedb88320u : 0);
    crc = ~crc;
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(tail[i], (uint8_t)(crc >> 8 * i));
    rig_free(r);
}

static bool accepted(struct rig *r, const uint8_t *to, unsigned len)
{
    from_wire(r, to, len, 1);
    bool yes = !ring_empty(r);
    out(r, BNRY, in1(r, 7) == START ? STOP - 1 : in1(r, 7) - 1u);
    out(r, ISR, 0x7f);
    return yes;
}

static void test_address_filter(void **state)
{
    static const uint8_t all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    static const uint8_t group[6] = {0x01, 0x00, 0x5e, 0x00, 0x00, 0x01}; /* 224.0.0.1 */
    static const uint8_t other_group[6] = {0x33, 0x33, 0x00, 0x00, 0x00, 0x01};
    struct rig *r = start(0x00);
    unsigned bits = 0, bit = 0;

    assert_true(accepted(r, mac, 60));
    assert_false(accepted(r, host, 60));
    assert_false(accepted(r, all, 60));
    assert_false(accepted(r, mac, 13)); /* no frame */
    out(r, RCR, 0x04);
    assert_true(accepted(r, all, 60));
    assert_false(accepted(r, group, 60));
    out(r, RCR, 0x08);
    assert_false(accepted(r, group, 60)); /* the hash table is empty */
    for (unsigned i = 0; i < 64; i++) {
        out1(r, 8 + i / 8, 1u << i % 8);
        if (accepted(r, group, 60)) {
            bits++;
            bit = i;
        }
        out1(r, 8 + i / 8, 0);
    }
    assert_int_equal(bits, 1);
    /* the six upper bits of the CRC, as drivers compute it: most significant bit first */
    uint32_t crc = UINT32_MAX;
    for (unsigned i = 0; i < 48; i++)
        crc = crc << 1 ^ (((crc >> 31) ^ (group[i / 8] >> i % 8 & 1)) ? 0x04c11db7u : 0);
    assert_int_equal(bit, crc >> 26);
    for (unsigned i = 0; i < 8; i++)
        out1(r, 8 + i, 0xff);
    assert_true(accepted(r, other_group, 60));
    assert_false(accepted(r, host, 60));
    assert_false(accepted(r, all, 60)); /* broadcast has a bit of its own */
    out(r, RCR, 0x10);
    assert_true(accepted(r, host, 60));
    assert_false(accepted(r, group, 60));
    /* monitor: looks, counts, keeps nothing */
    out(r, RCR, 0x20);
    in(r, IMR);
    assert_false(accepted(r, mac, 60));
    assert_int_equal(in(r, IMR), 1);
    assert_int_equal(in(r, IMR), 0);
    for (unsigned i = 0; i < 127; i++)
        accepted(r, mac, 60);
    assert_int_equal(in(r, ISR), 0);
    from_wire(r, mac, 60, 0);
    assert_int_equal(in(r, ISR), CNT);
    from_wire(r, host, 60, 0);
    assert_int_equal(in(r, IMR), 128);
    rig_free(r);
}

/* Hosts give frames as they are before an adapter fills them up; what comes from a wire has 60 bytes at least. */
static void test_short_frames_are_filled_up(void **state)
{
    struct rig *r = start(0x04);
    uint8_t header[4], got[60];

    from_wire(r, mac, 58, 7);
    card_read(r, (START + 1) << 8, header, 4);
    assert_int_equal(header[2] | header[3] << 8, 64);
    card_read(r, ((START + 1) << 8) + 4, got, 60);
    assert_int_equal(got[57], (uint8_t)(57 * 3 + 7));
    assert_int_equal(got[58] | got[59], 0);
    rig_free(r);
}

static void test_stopped_or_looping_hears_nothing(void **state)
{
    struct rig *r = start(0x04);
    out(r, TCR, 0x02);
    assert_false(accepted(r, mac, 60));
    out(r, TCR, 0x00);
    out(r, CR, 0x21);
    from_wire(r, mac, 60, 1);
    out(r, CR, 0x22);
    assert_true(ring_empty(r));
    assert_int_equal(byteq_used(&r->net.to_guest), 0);
    /* a command with neither START nor STOP leaves it running: Linux looks at CURR so */
    out(r, CR, 0x60);
    from_wire(r, mac, 60, 1);
    out(r, CR, 0x22);
    assert_false(ring_empty(r));
    rig_free(r);
}

/* A full ring holds frames back for a while, and then loses them and says so; the recovery of the data sheet brings the
 * chip back. */
static void test_overflow(void **state)
{
    struct rig *r = start(0x04);

    for (unsigned i = 0; i < 12; i++)
        from_wire(r, mac, 500, i); /* two pages each: seven fit into fifteen */
    assert_true(byteq_used(&r->net.to_guest) > 0);
    assert_int_equal(in(r, ISR), PRX);
    receive(r, mac, 500, 0, 0x01);
    receive(r, mac, 500, 1, 0x01); /* room again: nothing was lost yet */
    vclock_advance(&r->clock, 400 * MS);
    receive(r, mac, 500, 2, 0x01);
    vclock_advance(&r->clock, 400 * MS); /* the wait began anew */
    assert_int_equal(in(r, ISR) & OVW, 0);
    vclock_advance(&r->clock, 200 * MS);
    assert_int_equal(in(r, ISR) & OVW, OVW);
    assert_true(r->ne.pci.intx);
    assert_int_equal(in(r, RCR), 0x10); /* missed */
    /* the recovery: stop, clear, loop back, start, empty the ring, acknowledge, go on */
    out(r, CR, 0x21);
    out(r, RBCR0, 0);
    out(r, RBCR1, 0);
    out(r, TCR, 0x02);
    out(r, CR, 0x22);
    for (unsigned i = 3; i < 10; i++)
        receive(r, mac, 500, i, 0x01);
    assert_true(ring_empty(r));
    out(r, ISR, OVW | PRX);
    out(r, TCR, 0);
    assert_int_equal(in(r, IMR), 1); /* frame 10; 11 came while it was looping */
    from_wire(r, mac, 500, 20);
    receive(r, mac, 500, 20, 0x01);
    rig_free(r);
}

static void test_send_command(void **state)
{
    struct rig *r = start(0x04);
    uint8_t f[600], got[600];

    from_wire(r, mac, 300, 9);
    out(r, BNRY, START + 1); /* here the driver lets the boundary point at the frame itself */
    out(r, CR, 0x1a);
    assert_int_equal(in(r, RSAR1), START + 1);
    for (unsigned i = 0; i < 304; i += 2) {
        uint32_t v = bus_io_read(&r->bus, BASE + DATA, 2);
        got[i] = (uint8_t)v;
        got[i + 1] = (uint8_t)(v >> 8);
        if (i == 100)
            r = rig_reload(r);
    }
    make_frame(f, mac, 300, 9);
    assert_memory_equal(got + 4, f, 300);
    assert_int_equal(in(r, ISR) & RDC, RDC);
    assert_int_equal(in(r, BNRY), START + 3); /* moved on by the chip */
    rig_free(r);
}

static void test_loopback(void **state)
{
    struct rig *r = start(0x04);
    uint8_t f[64], got[100], fifo[8];

    make_frame(f, mac, 60, 3);
    card_write(r, TX << 8, f, 60);
    out(r, TPSR, TX);
    out(r, TBCR0, 60);
    out(r, TBCR1, 0);
    for (unsigned mode = 1; mode < 4; mode++) {
        out(r, TCR, mode << 1);
        out(r, CR, 0x26);
        assert_int_equal(in(r, TPSR), mode == 1 ? 0x53 : mode == 2 ? 0x43 : 0x03);
        assert_int_equal(in(r, ISR), PTX);
        assert_int_equal(in(r, RCR), 0x02);
        for (unsigned i = 0; i < 8; i++)
            fifo[i] = in(r, TBCR1);
        assert_int_equal(fifo[0], 64);
        assert_int_equal(fifo[1] | fifo[2], 0);
        assert_int_equal(fifo[3], f[59]);
        out(r, ISR, PTX);
    }
    /* with the CRC that the chip made, the receiver is content */
    memcpy(f + 60, fifo + 4, 4);
    card_write(r, TX << 8, f, 64);
    out(r, TBCR0, 64);
    out(r, TCR, 0x03);
    out(r, CR, 0x26);
    assert_int_equal(in(r, RCR), 0x01);
    f[20] ^= 1;
    card_write(r, TX << 8, f, 64);
    out(r, CR, 0x26);
    assert_int_equal(in(r, RCR), 0x02);
    assert_int_equal(sent(r, got, sizeof got), 0);
    assert_true(ring_empty(r));
    rig_free(r);
}

/* Any accesses, with frames coming in: nothing outside of the packet memory is touched (the sanitizers' task), and
 * every state that comes of it can be saved and loaded. */
static void test_random(void **state)
{
    struct rig *r = start(0x1c);
    uint64_t seed = 8390;
    unsigned got = 0, came = 0;
    uint8_t frame[1600];

    for (unsigned i = 0; i < 300000; i++) {
        uint32_t v = rig_random(&seed);
        unsigned reg = v & 31, size = 1u << (v >> 5 & 15) % 3;
        if (reg >= RESET && (v >> 12 & 63))
            reg = v >> 18 & 1 ? CR : DATA;
        if (v >> 9 & 1)
            bus_io_read(&r->bus, (uint16_t)(BASE + reg), size);
        else
            bus_io_write(&r->bus, (uint16_t)(BASE + reg), reg || v >> 24 & 1 ? rig_random(&seed) : v >> 10 | 2, size);
        if (!(v >> 13 & 31)) {
            make_frame(frame, mac, 1518, i);
            netq_put(&r->net.to_guest, frame, 60 + (v >> 18) % 1459);
            vm_post(&r->vm, &r->net.rx_event);
            rig_events(r);
        }
        if (!(v >> 13 & 255))
            vclock_advance(&r->clock, 600 * MS);
        if (i % 200 == 0) { /* sane again for a while */
            out(r, CR, 0x22);
            out(r, PSTART, START);
            out(r, PSTOP, STOP);
            out(r, TCR, 0);
            out(r, BNRY, START);
            out1(r, 7, START + 1);
            out(r, TBCR1, v >> 20 & 7);
            out(r, CR, 0x26);
        }
        came += (in(r, ISR) & PRX) != 0 && !(in(r, CR) & 0xc0);
        while (sent(r, frame, sizeof frame))
            got++;
        if (i % 5000 == 0 && !r->ne.held)
            r = rig_reload(r);
    }
    assert_true(got > 100);
    assert_true(came > 100);
    rig_free(r);
}

static void test_any_byte_of_a_state(void **state)
{
    struct rig *r = start(0x1c);
    uint64_t seed = 8029;
    unsigned taken = 0;

    from_wire(r, mac, 300, 9);
    remote(r, START << 8, 300, 0x08);
    for (unsigned i = 0; i < 5000; i++)
        taken += rig_survives(r, rig_random(&seed), (uint8_t)(1u << rig_random(&seed) % 8));
    assert_true(taken > 1000);
    rig_free(r);
}

static void test_bad_state(void **state)
{
    struct rig *r = start(0x04);
    rig_refuses(r, "ne2k0", "fifo_at", 0, 8);
    rig_refuses(r, "ne2k0", "send_packet", 0, 2);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_probe),
        cmocka_unit_test(test_registers),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_sending),
        cmocka_unit_test(test_receiving_with_wrap),
        cmocka_unit_test(test_address_filter),
        cmocka_unit_test(test_short_frames_are_filled_up),
        cmocka_unit_test(test_stopped_or_looping_hears_nothing),
        cmocka_unit_test(test_overflow),
        cmocka_unit_test(test_send_command),
        cmocka_unit_test(test_loopback),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_any_byte_of_a_state),
        cmocka_unit_test(test_bad_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
