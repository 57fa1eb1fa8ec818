/* The VGA at register level: what ports and memory do, the Bochs display interface, and its PCI function. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/dev/vga_modes.h"

enum { VGA = 2 << 3 };

static uint32_t next_random(uint64_t *s)
{
    *s = *s * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(*s >> 33);
}

/* ---- registers */

static void test_register_bits(void **state)
{
    struct rig *r = rig_new();
    static const uint8_t seq[5] = {0x03, 0x3d, 0x0f, 0x3f, 0x0e};
    static const uint8_t gc[9] = {0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff};

    for (uint8_t i = 0; i < 5; i++) {
        seq_set(r, i, 0xff);
        assert_int_equal(in8(r, 0x3c5), seq[i]);
    }
    for (uint8_t i = 0; i < 9; i++) {
        gc_set(r, i, 0xff);
        assert_int_equal(in8(r, 0x3cf), gc[i]);
    }
    for (uint8_t i = 0; i < 25; i++)
        if (i != 0x11) {
            crtc_set(r, i, (uint8_t)(0xa5 ^ i));
            assert_int_equal(in8(r, 0x3d5), 0xa5 ^ i);
        }
    bus_io_write(&r->bus, 0x3c4, 0x0a02, 2); /* a word is index and data */
    assert_int_equal(in8(r, 0x3c4), 2);
    assert_int_equal(in8(r, 0x3c5), 0x0a);
    out8(r, 0x3c2, 0xe3);
    assert_int_equal(in8(r, 0x3cc), 0xe3);
    r = rig_reload(r);
    assert_int_equal(in8(r, 0x3c5), 0x0a);
    rig_free(r);
}

static void test_crtc_protection(void **state)
{
    struct rig *r = rig_new();
    crtc_set(r, 0, 0x11);
    crtc_set(r, 7, 0x00);
    crtc_set(r, 0x11, 0x80);
    crtc_set(r, 0, 0x22);
    crtc_set(r, 7, 0xff);
    crtc_set(r, 8, 0x33);
    out8(r, 0x3d4, 0);
    assert_int_equal(in8(r, 0x3d5), 0x11);
    out8(r, 0x3d4, 7);
    assert_int_equal(in8(r, 0x3d5), 0x10); /* the line compare's bit only */
    out8(r, 0x3d4, 8);
    assert_int_equal(in8(r, 0x3d5), 0x33);
    rig_free(r);
}

static void test_colour_or_monochrome_ports(void **state)
{
    struct rig *r = rig_new();
    out8(r, 0x3c2, 0x67);
    crtc_set(r, 0x0e, 0x12);
    assert_int_equal(in8(r, 0x3b5), 0xff);
    out8(r, 0x3c2, 0x66);
    assert_int_equal(in8(r, 0x3d5), 0xff);
    assert_int_equal(in8(r, 0x3b5), 0x12);
    out8(r, 0x3b4, 0x0f);
    out8(r, 0x3b5, 0x34);
    out8(r, 0x3d4, 0x00); /* nobody there */
    assert_int_equal(in8(r, 0x3b4), 0x0f);
    out8(r, 0x3c0, 3); /* status 1 at 3BAh resets the flip-flop */
    in8(r, 0x3ba);
    out8(r, 0x3c0, 5);
    assert_int_equal(in8(r, 0x3c0), 5);
    rig_free(r);
}

static void test_attribute_flip_flop(void **state)
{
    struct rig *r = rig_new();
    attr_set(r, 0x02, 0x2a);
    in8(r, 0x3da);
    out8(r, 0x3c0, 0x02);
    assert_int_equal(in8(r, 0x3c1), 0x2a);
    r = rig_reload(r); /* in the middle: data is next */
    out8(r, 0x3c0, 0x15);
    assert_int_equal(in8(r, 0x3c1), 0x15);
    out8(r, 0x3c0, 0x22); /* palette on: the colours are the screen's */
    out8(r, 0x3c0, 0x3f);
    assert_int_equal(in8(r, 0x3c1), 0x15);
    assert_int_equal(in8(r, 0x3c0), 0x22);
    out8(r, 0x3c0, 0x32); /* the others stay writable */
    out8(r, 0x3c0, 0x07);
    assert_int_equal(in8(r, 0x3c1), 0x07);
    rig_free(r);
}

static void test_dac(void **state)
{
    struct rig *r = rig_new();
    dac_set(r, 10, 1, 2, 3);
    out8(r, 0x3c9, 0xff); /* goes on with 11; six bits each */
    out8(r, 0x3c9, 0x41);
    assert_int_equal(in8(r, 0x3c8), 11);
    r = rig_reload(r);
    out8(r, 0x3c9, 5);
    assert_int_equal(in8(r, 0x3c8), 12);
    assert_int_equal(in8(r, 0x3c7), 0);
    out8(r, 0x3c7, 10);
    assert_int_equal(in8(r, 0x3c7), 3);
    static const uint8_t want[] = {1, 2, 3, 0x3f, 0x01, 5};
    for (unsigned i = 0; i < sizeof want; i++)
        assert_int_equal(in8(r, 0x3c9), want[i]);
    out8(r, 0x3c8, 20); /* a triple that is not complete changes nothing */
    out8(r, 0x3c9, 9);
    out8(r, 0x3c9, 9);
    out8(r, 0x3c7, 20);
    assert_int_equal(in8(r, 0x3c9), 0);
    dac_set(r, 255, 7, 8, 9); /* and around */
    assert_int_equal(in8(r, 0x3c8), 0);
    out8(r, 0x3c6, 0x0f);
    assert_int_equal(in8(r, 0x3c6), 0x0f);
    rig_free(r);
}

/* Mode 12h: 525 lines of 31.78 us (25.175 MHz), 59.94 Hz, retrace of 2 lines. */
static void test_retrace(void **state)
{
    struct rig *r = rig_new();
    set_mode(r, &mode_12);
    unsigned frames = 0, retrace = 0, blank = 0, samples = 0;
    bool was = false;
    for (uint64_t ns = 0; ns < 1000 * MS; ns += 5000, samples++) {
        vclock_advance(&r->clock, 5000);
        uint8_t s = in8(r, 0x3da);
        assert_false(s & ~9u);
        frames += (s & 8) && !was;
        was = s & 8;
        retrace += was;
        blank += s & 1;
    }
    assert_in_range(frames, 59, 61);
    assert_in_range(retrace * 1000 / samples, 3, 5); /* 2 of 525 lines */
    assert_in_range(blank * 100 / samples, 24, 28);  /* 1 - (480 * 80) / (525 * 100) */
    rig_free(r);
}

static void test_retrace_without_a_mode(void **state)
{
    struct rig *r = rig_new();
    unsigned seen = 0;
    for (unsigned i = 0; i < 1000; i++) {
        vclock_advance(&r->clock, 20000);
        seen |= in8(r, 0x3da) & 8 ? 2 : 1;
    }
    assert_int_equal(seen, 3); /* comes and goes: who polls for it is not left waiting */
    rig_free(r);
}

/* ---- memory, against a model that does it a bit at a time */

struct model {
    uint8_t plane[4][65536], latch[4];
    uint8_t seq[5], gc[9];
    bool ram;
};

static bool model_at(const struct model *m, uint32_t off, uint32_t *ret)
{
    static const uint32_t lo[4] = {0, 0, 0x10000, 0x18000}, hi[4] = {0x20000, 0x10000, 0x18000, 0x20000};
    unsigned map = m->gc[6] >> 2 & 3;
    if (!m->ram || off < lo[map] || off >= hi[map])
        return false;
    *ret = off - lo[map];
    return true;
}

static uint32_t model_offset(const struct model *m, uint32_t a)
{
    if (m->seq[4] & 8)
        return a / 4 % 65536;
    if (m->gc[6] & 2)
        return (a % 65536 / 2 * 2) + ((m->gc[6] >> 2 & 3) == 0 ? a / 65536 % 2 : 0);
    return a % 65536;
}

static uint8_t model_read(struct model *m, uint32_t off)
{
    uint32_t a;
    if (!model_at(m, off, &a))
        return 0xff;
    uint32_t o = model_offset(m, a);
    for (unsigned p = 0; p < 4; p++)
        m->latch[p] = m->plane[p][o];
    if (m->gc[5] & 8) {
        uint8_t v = 0;
        for (unsigned bit = 0; bit < 8; bit++) {
            bool same = true;
            for (unsigned p = 0; p < 4; p++)
                if (m->gc[7] >> p & 1)
                    same &= (m->latch[p] >> bit & 1) == (m->gc[2] >> p & 1);
            v |= (uint8_t)(same << bit);
        }
        return v;
    }
    if (m->seq[4] & 8)
        return m->latch[a % 4];
    if (m->gc[5] & 0x10)
        return m->latch[(m->gc[4] & 2) + a % 2];
    return m->latch[m->gc[4] & 3];
}

static void model_write(struct model *m, uint32_t off, uint8_t val)
{
    uint32_t a;
    if (!model_at(m, off, &a))
        return;
    uint32_t o = model_offset(m, a);
    unsigned turn = m->gc[3] & 7, mode = m->gc[5] & 3;
    uint8_t turned = val;
    while (turn--)
        turned = (uint8_t)(turned >> 1 | (turned & 1) << 7);
    for (unsigned p = 0; p < 4; p++) {
        if (!(m->seq[2] >> p & 1))
            continue;
        if (m->seq[4] & 8 ? a % 4 != p : !(m->seq[4] & 4) && a % 2 != p % 2)
            continue;
        uint8_t result = 0;
        for (unsigned bit = 0; bit < 8; bit++) {
            unsigned latch = m->latch[p] >> bit & 1, cpu = turned >> bit & 1, set = m->gc[0] >> p & 1;
            unsigned pass = m->gc[8] >> bit & 1, data;
            if (mode == 1) {
                result |= (uint8_t)(latch << bit);
                continue;
            }
            if (mode == 0)
                data = m->gc[1] >> p & 1 ? set : cpu;
            else if (mode == 2)
                data = val >> p & 1;
            else {
                data = set;
                pass &= cpu;
            }
            switch (m->gc[3] >> 3 & 3) {
            case 1:
                data &= latch;
                break;
            case 2:
                data |= latch;
                break;
            case 3:
                data ^= latch;
                break;
            }
            result |= (uint8_t)((pass ? data : latch) << bit);
        }
        m->plane[p][o] = result;
    }
}

static void model_same(const struct model *m, struct rig *r)
{
    for (uint32_t o = 0; o < 65536; o++)
        for (unsigned p = 0; p < 4; p++)
            if (r->mem.vram[o * 4 + p] != m->plane[p][o])
                fail_msg("plane %u byte %x is %x, not %x", p, o, r->mem.vram[o * 4 + p], m->plane[p][o]);
}

static void set_both(struct model *m, struct rig *r, uint64_t *s)
{
    static const uint8_t gc_bits[9] = {0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff};
    static const uint8_t chains[] = {0x02, 0x06, 0x0e, 0x06, 0x0a, 0x00};
    uint32_t n = next_random(s), v = next_random(s);

    switch (n % 12) {
    case 9:
        m->seq[2] = v & 15;
        seq_set(r, 2, m->seq[2]);
        break;
    case 10:
        m->seq[4] = chains[v % sizeof chains];
        seq_set(r, 4, m->seq[4]);
        break;
    case 11:
        m->ram = v % 16 != 0;
        out8(r, 0x3c2, m->ram ? 0x63 : 0x61);
        break;
    default: /* plain values come often, so that states meet */
        v = v & 0x10000 ? v : n % 12 == 8 ? 0xff : 0;
        m->gc[n % 12] = (uint8_t)v & gc_bits[n % 12];
        gc_set(r, (uint8_t)(n % 12), (uint8_t)v);
        break;
    }
}

static void run_model(uint64_t seed, unsigned steps)
{
    struct rig *r = rig_new();
    struct model *m = calloc(1, sizeof *m);
    uint64_t s = seed;

    assert_non_null(m);
    m->ram = true;
    out8(r, 0x3c2, 0x63);
    for (unsigned i = 0; i < steps; i++) {
        uint32_t n = next_random(&s), off = next_random(&s);
        off = n & 0x100 ? off % 0x20000 : (off & 0x1801f) + (n & 0x200 ? 0x10000 : 0);
        off %= 0x20000;
        if (n % 8 == 0) {
            set_both(m, r, &s);
        } else if (n % 8 < 4) {
            uint8_t want = model_read(m, off), got = peek(r, 0xa0000 + off);
            if (want != got)
                fail_msg("seed %llx step %u: read of %x gave %x, not %x", (unsigned long long)seed, i, off, got, want);
        } else {
            model_write(m, off, (uint8_t)(n >> 16));
            poke(r, 0xa0000 + off, (uint8_t)(n >> 16));
        }
        if (i % 20000 == 19999)
            model_same(m, r);
    }
    model_same(m, r);
    r->mem.vram[5] ^= 0xff; /* the comparison is one that can fail */
    assert_int_not_equal(r->mem.vram[5], m->plane[1][1]);
    free(m);
    rig_free(r);
}

static void test_memory_model(void **state)
{
    for (uint64_t seed = 1; seed <= 30; seed++)
        run_model(seed, 60000);
}

/* The window becomes memory once it is nothing else, and stops being it at once. */
static void test_window_map(void **state)
{
    struct rig *r = rig_new();
    uint32_t n = 0;

    set_mode(r, &mode_13);
    for (; n < 5000 && !r->mem.slot[VRAM_WINDOW].pages; n++)
        poke(r, 0xa0000 + n, (uint8_t)n);
    assert_in_range(n, 2, 4999);
    assert_int_equal(r->mem.slot[VRAM_WINDOW].pa, 0xa0000);
    assert_int_equal(r->mem.slot[VRAM_WINDOW].pages, 16);
    assert_int_equal(r->mem.slot[VRAM_WINDOW].first, 0);
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(r->mem.vram[i], (uint8_t)i); /* what was written is where the map shows it */
    r->mem.vram[64000] = 0x5a;
    assert_int_equal(peek(r, 0xa0000 + 64000), 0x5a);
    seq_set(r, 4, 6); /* mode X */
    assert_int_equal(r->mem.slot[VRAM_WINDOW].pages, 0);
    set_mode(r, &mode_13);
    for (unsigned i = 0; i < 100; i++)
        peek(r, 0xa0000);
    gc_set(r, 8, 0x0f); /* a bit mask: no longer plain */
    for (unsigned i = 0; i < 5000; i++)
        peek(r, 0xa0000);
    assert_int_equal(r->mem.slot[VRAM_WINDOW].pages, 0);
    rig_free(r);
}

/* ---- the Bochs display interface */

static void test_dispi_registers(void **state)
{
    struct rig *r = rig_new();
    assert_int_equal(dispi_get(r, VBE_ID), 0xb0c5);
    dispi_set(r, VBE_ID, 0xb0c0);
    assert_int_equal(dispi_get(r, VBE_ID), 0xb0c0);
    dispi_set(r, VBE_ID, 0xb0c6);
    assert_int_equal(dispi_get(r, VBE_ID), 0xb0c0);
    assert_int_equal(dispi_get(r, VBE_MEMORY_64K), 256);
    dispi_set(r, VBE_ENABLE, VBE_GETCAPS);
    assert_int_equal(dispi_get(r, VBE_XRES), 2560);
    assert_int_equal(dispi_get(r, VBE_YRES), 1600);
    assert_int_equal(dispi_get(r, VBE_BPP), 32);
    set_vbe(r, 1024, 768, 32, VBE_LFB);
    assert_int_equal(dispi_get(r, VBE_XRES), 1024);
    assert_int_equal(dispi_get(r, VBE_VIRT_WIDTH), 1024);
    assert_int_equal(dispi_get(r, VBE_VIRT_HEIGHT), 4096); /* 16 MiB of 4 KiB lines */
    dispi_set(r, VBE_VIRT_WIDTH, 2048);
    assert_int_equal(dispi_get(r, VBE_VIRT_HEIGHT), 2048);
    dispi_set(r, VBE_X_OFFSET, 2000);
    assert_int_equal(dispi_get(r, VBE_X_OFFSET), 1024);
    dispi_set(r, VBE_Y_OFFSET, 0xffff);
    assert_int_equal(dispi_get(r, VBE_Y_OFFSET), 2048 - 768);
    r = rig_reload(r);
    assert_int_equal(dispi_get(r, VBE_Y_OFFSET), 2048 - 768);
    dispi_set(r, VBE_BANK, 255);
    dispi_set(r, VBE_BANK, 256); /* there is none */
    assert_int_equal(dispi_get(r, VBE_BANK), 255);
    set_vbe(r, 2560, 1600, 32, VBE_LFB);
    assert_int_equal(dispi_get(r, VBE_YRES), 1600);
    set_vbe(r, 9999, 9999, 7, 0); /* brought to what there is */
    assert_int_equal(dispi_get(r, VBE_XRES), 2560);
    assert_int_equal(dispi_get(r, VBE_BPP), 8);
    rig_free(r);
}

static void test_dispi_clears(void **state)
{
    struct rig *r = rig_new();
    memset(r->mem.vram, 0xaa, RIG_VRAM);
    set_vbe(r, 640, 480, 16, VBE_LFB | VBE_NOCLEAR);
    assert_int_equal(r->mem.vram[0], 0xaa);
    set_vbe(r, 640, 480, 16, VBE_LFB);
    for (unsigned i = 0; i < 640 * 480 * 2; i++)
        assert_int_equal(r->mem.vram[i], 0);
    assert_int_equal(r->mem.vram[640 * 480 * 2], 0xaa);
    rig_free(r);
}

static void test_banks(void **state)
{
    struct rig *r = rig_new();
    set_vbe(r, 800, 600, 8, 0);
    for (unsigned bank = 0; bank < 256; bank++) {
        dispi_set(r, VBE_BANK, (uint16_t)bank);
        poke(r, 0xa0000, (uint8_t)bank);
        poke(r, 0xaffff, (uint8_t)~bank);
    }
    for (unsigned bank = 0; bank < 256; bank++) {
        assert_int_equal(r->mem.vram[bank << 16], bank);
        assert_int_equal(r->mem.vram[(bank << 16) + 0xffff], (uint8_t)~bank);
    }
    assert_int_equal(r->mem.slot[VRAM_WINDOW].pages, 16); /* after as many accesses it is mapped */
    assert_int_equal(r->mem.slot[VRAM_WINDOW].first, 255 * 16);
    dispi_set(r, VBE_BANK, 3);
    assert_int_equal(r->mem.slot[VRAM_WINDOW].first, 3 * 16);
    assert_int_equal(peek(r, 0xa0000), 3);
    assert_int_equal(peek(r, 0xb0000), 0xff);
    dispi_set(r, VBE_ENABLE, 0);
    assert_int_equal(r->mem.slot[VRAM_WINDOW].pages, 0);
    rig_free(r);
}

static void test_wide_dac(void **state)
{
    struct rig *r = rig_new();
    dac_set(r, 1, 0x3f, 0x20, 0x01);
    set_vbe(r, 640, 480, 8, VBE_8BIT_DAC);
    out8(r, 0x3c7, 1); /* the same colours in the wider form */
    assert_int_equal(in8(r, 0x3c9), 0xff);
    assert_int_equal(in8(r, 0x3c9), 0x82);
    assert_int_equal(in8(r, 0x3c9), 0x04);
    dac_set(r, 2, 0xfe, 0x81, 0x42);
    out8(r, 0x3c7, 2);
    assert_int_equal(in8(r, 0x3c9), 0xfe);
    dispi_set(r, VBE_ENABLE, VBE_ENABLED);
    out8(r, 0x3c7, 1);
    assert_int_equal(in8(r, 0x3c9), 0x3f);
    assert_int_equal(in8(r, 0x3c9), 0x20);
    assert_int_equal(in8(r, 0x3c9), 0x01);
    rig_free(r);
}

/* ---- PCI */

static void test_frame_buffer(void **state)
{
    struct rig *r = rig_new();
    assert_int_equal(cfg_read(r, VGA, 0, 4), 0x11111234);
    assert_int_equal(cfg_read(r, VGA, 8, 4), 0x03000002);
    cfg_write(r, VGA, 0x10, 0xffffffff, 4);
    assert_int_equal(cfg_read(r, VGA, 0x10, 4), 0xff000008);
    cfg_write(r, VGA, 0x10, 0xe1000000, 4);
    assert_int_equal(r->mem.slot[VRAM_FRAME_BUFFER].pages, 0);
    cfg_write(r, VGA, 4, 2, 2);
    assert_int_equal(r->mem.slot[VRAM_FRAME_BUFFER].pa, 0xe1000000);
    assert_int_equal(r->mem.slot[VRAM_FRAME_BUFFER].pages, 4096);
    bus_mmio_write(&r->bus, 0xe1000000 + 0x123456, 0xcafef00d, 4); /* whoever comes by the bus sees the same */
    assert_memory_equal(r->mem.vram + 0x123456, "\x0d\xf0\xfe\xca", 4);
    r = rig_reload(r);
    assert_int_equal(r->mem.slot[VRAM_FRAME_BUFFER].pa, 0xe1000000);
    cfg_write(r, VGA, 4, 0, 2);
    assert_int_equal(r->mem.slot[VRAM_FRAME_BUFFER].pages, 0);
    cfg_write(r, VGA, 4, 2, 2);
    board_reset(&r->board);
    assert_int_equal(r->mem.slot[VRAM_FRAME_BUFFER].pages, 0);
    rig_free(r);
}

static void test_register_bar(void **state)
{
    struct rig *r = rig_new();
    cfg_write(r, VGA, 0x18, 0xe2000000, 4);
    cfg_write(r, VGA, 4, 2, 2);
    assert_int_equal(bus_mmio_read(&r->bus, 0xe2000500, 2), 0xb0c5);
    bus_mmio_write(&r->bus, 0xe2000502, 1280, 2);
    assert_int_equal(dispi_get(r, VBE_XRES), 1280);
    assert_int_equal(bus_mmio_read(&r->bus, 0xe2000514, 2), 256);
    bus_mmio_write(&r->bus, 0xe2000404, 0x0802, 2); /* 3C4h, 3C5h */
    assert_int_equal(in8(r, 0x3c5), 8);
    assert_int_equal(bus_mmio_read(&r->bus, 0xe2000404, 1), 2);
    assert_int_equal(bus_mmio_read(&r->bus, 0xe2000600, 4), 8);
    assert_int_equal(bus_mmio_read(&r->bus, 0xe2000604, 4), 0x1e1e1e1e);
    assert_int_equal(bus_mmio_read(&r->bus, 0xe2000000, 4), 0xffffff00); /* the EDID */
    assert_int_equal(bus_mmio_read(&r->bus, 0xe2000004, 4), 0x00ffffff);
    uint8_t total = 0;
    for (unsigned i = 0; i < 128; i++)
        total += (uint8_t)bus_mmio_read(&r->bus, 0xe2000000 + i, 1);
    assert_int_equal(total, 0);
    /* the preferred mode: 1024 + 320 by 768 + 38 at 65 MHz is 60 Hz */
    assert_int_equal(bus_mmio_read(&r->bus, 0xe2000036, 2), 6500);
    assert_int_equal(bus_mmio_read(&r->bus, 0xe2000038, 4), 0x00414000);
    assert_int_equal(bus_mmio_read(&r->bus, 0xe200003b, 4), 0x18302600);
    assert_int_equal(bus_mmio_read(&r->bus, 0xe200007e, 1), 0); /* no extension */
    assert_int_equal(bus_mmio_read(&r->bus, 0xe2000080, 4), 0); /* and so nothing behind it */
    rig_free(r);
}

static void test_rom(void **state)
{
    struct rig *r = rig_new();
    uint8_t *image = malloc(RIG_ROM);

    assert_non_null(image);
    cfg_write(r, VGA, 0x30, 0xfffffffe, 4);
    assert_int_equal(cfg_read(r, VGA, 0x30, 4), 0xffff0000); /* 64 KiB hold it */
    cfg_write(r, VGA, 0x30, 0xe3000001, 4);
    assert_int_equal(bus_mmio_read(&r->bus, 0xe3000000, 4), 0xffffffff); /* memory decoding is off */
    cfg_write(r, VGA, 4, 2, 2);
    rig_rom(image);
    for (uint32_t i = 0; i < RIG_ROM; i++)
        assert_int_equal(peek(r, 0xe3000000 + i), image[i]);
    assert_int_equal(peek(r, 0xe3000000 + RIG_ROM), 0);
    poke(r, 0xe3000000, 1);
    assert_int_equal(peek(r, 0xe3000000), image[0]);
    r = rig_reload(r);
    assert_int_equal(peek(r, 0xe3000001), image[1]);
    cfg_write(r, VGA, 0x30, 0xe3000000, 4);
    assert_int_equal(peek(r, 0xe3000000), 0xff);
    free(image);
    rig_free(r);
}

/* ---- a machine without firmware */

static void test_direct_boot(void **state)
{
    struct rig *r = rig_new();
    uint8_t glyph[32];

    board_direct_boot(&r->board);
    poke(r, 0xb8000, 'X');
    assert_int_equal(peek(r, 0xb8000), 'X');
    assert_int_equal(peek(r, 0xb8001), 7);
    assert_int_equal(peek(r, 0xb8f9e), ' ');
    assert_int_equal(peek(r, 0xa0000), 0xff); /* the window is at B8000h */
    seq_set(r, 4, 6);                         /* plane 2 in sequence: the font */
    gc_set(r, 4, 2);
    gc_set(r, 5, 0);
    gc_set(r, 6, 4);
    for (unsigned i = 0; i < 32; i++)
        glyph[i] = peek(r, 0xa0000 + 'A' * 32 + i);
    assert_memory_equal(glyph, "\0\0\x10\x38\x6c\xc6\xc6\xfe\xc6\xc6\xc6\xc6\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
                        32);
    out8(r, 0x3c7, 0x14); /* brown: bright green's share is halved */
    assert_int_equal(in8(r, 0x3c9), 42);
    assert_int_equal(in8(r, 0x3c9), 21);
    assert_int_equal(in8(r, 0x3c9), 0);
    rig_free(r);
}

/* ---- hostile input */

static void test_bad_state(void **state)
{
    struct rig *r = rig_new();
    rig_refuses(r, "vga", "regs.dac_part", 0, 3);
    rig_refuses(r, "vga", "regs.attr_index", 0, 64);
    rig_refuses(r, "vga", "regs.gc_index", 0, 16);
    rig_refuses(r, "vga", "regs.seq_index", 0, 8);
    rig_refuses(r, "vga", "regs.crtc_index", 0, 32);
    rig_refuses(r, "vga", "regs.vbe", 2 * VBE_BANK + 1, 1);
    rig_refuses(r, "vga", "regs.vbe", 2 * VBE_ENABLE, VBE_ENABLED); /* 0 by 0 */
    set_vbe(r, 1600, 1200, 32, VBE_LFB);
    rig_refuses(r, "vga", "regs.vbe", 2 * VBE_BPP, 31);
    rig_refuses(r, "vga", "regs.vbe", 2 * VBE_VIRT_WIDTH + 1, 0xff); /* lines longer than memory has room for */
    rig_refuses(r, "vga", "regs.vbe", 2 * VBE_Y_OFFSET + 1, 0xff);
    rig_free(r);
}

/* Whatever ports and memory are told: no access outside of video RAM (the rig looks), and states that load again. */
static void test_random_accesses(void **state)
{
    static const uint16_t ports[] = {0x3c0, 0x3c2, 0x3c4, 0x3c5, 0x3c6, 0x3c7, 0x3c8, 0x3c9, 0x3ce,
                                     0x3cf, 0x3d4, 0x3d5, 0x3da, 0x1ce, 0x1cf, 0x1d0, 0x3b4, 0x3bf};
    struct rig *r = rig_new();
    uint64_t s = 4711;

    board_direct_boot(&r->board);
    for (unsigned i = 0; i < 400000; i++) {
        uint32_t n = next_random(&s), v = next_random(&s), size = 1u << n % 3;
        if (n & 0x100) {
            uint16_t port = ports[(n >> 16) % (sizeof ports / sizeof ports[0])];
            if (n & 0x200)
                bus_io_write(&r->bus, port, v, size);
            else
                bus_io_read(&r->bus, port, size);
        } else if (n & 0x400) {
            bus_mmio_write(&r->bus, 0xa0000 + v % 0x20000, n, size);
        } else {
            bus_mmio_read(&r->bus, 0xa0000 + v % 0x20000, size);
        }
        if (n % 64 == 3)
            dispi_set(r, (uint16_t)(v % 12), (uint16_t)(n & 0x800 ? v >> 16 : v >> 24));
        if (i % 40000 == 39999)
            r = rig_reload(r);
    }
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_register_bits),
        cmocka_unit_test(test_crtc_protection),
        cmocka_unit_test(test_colour_or_monochrome_ports),
        cmocka_unit_test(test_attribute_flip_flop),
        cmocka_unit_test(test_dac),
        cmocka_unit_test(test_retrace),
        cmocka_unit_test(test_retrace_without_a_mode),
        cmocka_unit_test(test_memory_model),
        cmocka_unit_test(test_window_map),
        cmocka_unit_test(test_dispi_registers),
        cmocka_unit_test(test_dispi_clears),
        cmocka_unit_test(test_banks),
        cmocka_unit_test(test_wide_dac),
        cmocka_unit_test(test_frame_buffer),
        cmocka_unit_test(test_register_bar),
        cmocka_unit_test(test_rom),
        cmocka_unit_test(test_direct_boot),
        cmocka_unit_test(test_bad_state),
        cmocka_unit_test(test_random_accesses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
