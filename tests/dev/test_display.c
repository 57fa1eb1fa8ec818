/* What the display shows: modes are set and pixels written through ports and memory as a guest does, and single dots
 * of the picture are compared with what the mode's definition says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "src/base/util.h"
#include "src/display/display.h"
#include "tests/dev/vga_modes.h"

#define WHITE 0xffffff
#define GREY  0xaaaaaa

/* The device's registers and memory, in a block of its own so that a sanitizer sees what reads behind it. */
static struct display shown(struct rig *r)
{
    struct display d = {.regs = r->board.vga.regs};
    d.vram_len = display_extent(&d.regs);
    d.vram = malloc(d.vram_len);
    assert_non_null(d.vram);
    memcpy(d.vram, r->mem.vram, d.vram_len);
    return d;
}

static struct picture picture(struct rig *r)
{
    struct display d = shown(r);
    struct picture p = {0};
    assert_int_equal(display_render(&d, &p, NULL), 0);
    free(d.vram);
    return p;
}

static uint32_t dot(const struct picture *p, unsigned x, unsigned y)
{
    assert_true(x < p->width && y < p->height);
    const uint8_t *d = p->rgb + ((size_t)y * p->width + x) * 3;
    return (uint32_t)d[0] << 16 | (uint32_t)d[1] << 8 | d[2];
}

static unsigned dots_of(const struct picture *p, uint32_t rgb)
{
    unsigned n = 0;
    for (unsigned y = 0; y < p->height; y++)
        for (unsigned x = 0; x < p->width; x++)
            n += dot(p, x, y) == rgb;
    return n;
}

static void put_text(struct rig *r, unsigned row, unsigned col, const char *s, uint8_t attr)
{
    for (uint32_t at = 0xb8000 + (row * 80 + col) * 2; *s; at += 2) {
        poke(r, at, (uint8_t)*s++);
        poke(r, at + 1, attr);
    }
}

static struct rig *text_rig(void)
{
    struct rig *r = rig_new();
    board_direct_boot(&r->board);
    crtc_set(r, 0x0a, 0x20); /* no cursor */
    return r;
}

/* The letter A of the rig's font, at (x, y), by its definition. */
static void assert_a(const struct picture *p, unsigned x, unsigned y, uint32_t fore, uint32_t back)
{
    static const uint8_t a[16] = {0, 0, 0x10, 0x38, 0x6c, 0xc6, 0xc6, 0xfe, 0xc6, 0xc6, 0xc6, 0xc6};
    for (unsigned line = 0; line < 16; line++) {
        for (unsigned i = 0; i < 8; i++)
            assert_int_equal(dot(p, x + i, y + line), a[line] >> (7 - i) & 1 ? fore : back);
        assert_int_equal(dot(p, x + 8, y + line), back);
    }
}

static void test_text_cells(void **state)
{
    struct rig *r = text_rig();
    put_text(r, 0, 0, "A", 0x07);
    put_text(r, 24, 79, "A", 0x1e); /* yellow on blue */
    struct picture p = picture(r);
    assert_int_equal(p.width, 720);
    assert_int_equal(p.height, 400);
    assert_a(&p, 0, 0, GREY, 0);
    assert_a(&p, 79 * 9, 24 * 16, 0xffff55, 0x0000aa);
    assert_int_equal(dots_of(&p, GREY), 1 + 3 + 4 + 4 * 6 + 7); /* the letter's bits, and nothing else is lit */
    picture_release(&p);
    rig_free(r);
}

static void test_text_blink_or_bright(void **state)
{
    struct rig *r = text_rig();
    put_text(r, 0, 0, "A", 0x9f);
    struct picture p = picture(r);
    assert_a(&p, 0, 0, WHITE, 0x0000aa); /* blinks: shown, on its dark colour */
    picture_release(&p);
    attr_set(r, 0x30, 0x04); /* bright backgrounds instead */
    p = picture(r);
    assert_a(&p, 0, 0, WHITE, 0x5555ff);
    picture_release(&p);
    rig_free(r);
}

static void test_ninth_dot(void **state)
{
    struct rig *r = text_rig();
    put_text(r, 1, 0, "\xc4\xdb", 0x07);
    struct picture p = picture(r);
    assert_int_equal(dot(&p, 8, 16 + 7), GREY);  /* a line goes on */
    assert_int_equal(dot(&p, 16, 16 + 3), GREY); /* so does a block */
    picture_release(&p);
    attr_set(r, 0x30, 0x08);
    p = picture(r);
    assert_int_equal(dot(&p, 7, 16 + 7), GREY);
    assert_int_equal(dot(&p, 8, 16 + 7), 0);
    picture_release(&p);
    seq_set(r, 1, 1); /* 8 dots a cell */
    p = picture(r);
    assert_int_equal(p.width, 640);
    assert_int_equal(dot(&p, 8, 16 + 7), GREY); /* the block begins */
    picture_release(&p);
    rig_free(r);
}

static void test_cursor(void **state)
{
    struct rig *r = text_rig();
    crtc_set(r, 0x0a, 13);
    crtc_set(r, 0x0b, 14);
    crtc_set(r, 0x0e, 0);
    crtc_set(r, 0x0f, 81);
    struct picture p = picture(r);
    for (unsigned y = 0; y < 16; y++)
        for (unsigned x = 0; x < 9; x++)
            assert_int_equal(dot(&p, 9 + x, 16 + y), y == 13 || y == 14 ? GREY : 0);
    assert_int_equal(dots_of(&p, GREY), 18);
    picture_release(&p);
    crtc_set(r, 0x0a, 15); /* begins after it ends */
    p = picture(r);
    assert_int_equal(dots_of(&p, GREY), 0);
    picture_release(&p);
    rig_free(r);
}

static void test_second_font(void **state)
{
    struct rig *r = text_rig();
    for (unsigned i = 0; i < 16; i++) /* 'A' of the fourth 16 KiB: block 3 is at 6 * 8 KiB */
        r->mem.vram[4 * (0xc000 + 'A' * 32 + i) + 2] = 0x81;
    put_text(r, 0, 0, "A", 0x0f); /* attribute bit 3 chooses map A */
    put_text(r, 0, 1, "A", 0x07);
    seq_set(r, 3, 0x0c);
    struct picture p = picture(r);
    assert_int_equal(dot(&p, 0, 0), WHITE);
    assert_int_equal(dot(&p, 1, 0), 0);
    assert_a(&p, 9, 0, GREY, 0);
    picture_release(&p);
    rig_free(r);
}

/* The upper part scrolled by the start address, the lower one from address 0. */
static void test_split_screen(void **state)
{
    struct rig *r = text_rig();
    put_text(r, 0, 0, "A", 0x07);
    put_text(r, 10, 0, "A", 0x0f);
    crtc_set(r, 0x0c, 800 >> 8);
    crtc_set(r, 0x0d, 800 & 0xff); /* row 10 is at the top */
    crtc_set(r, 0x18, 199);
    crtc_set(r, 0x07, 0x0f); /* takes bit 8 away; writes need no protection here */
    crtc_set(r, 0x11, 0x0e);
    crtc_set(r, 0x07, 0x0f);
    crtc_set(r, 0x09, 0x0f);
    struct picture p = picture(r);
    assert_a(&p, 0, 0, WHITE, 0);
    assert_a(&p, 0, 200, GREY, 0);
    picture_release(&p);
    rig_free(r);
}

static void test_off(void **state)
{
    struct rig *r = text_rig();
    put_text(r, 0, 0, "A", 0x07);
    in8(r, 0x3da);
    out8(r, 0x3c0, 0x10); /* the palette is the processor's */
    struct picture p = picture(r);
    assert_int_equal(p.width, 640);
    assert_int_equal(dots_of(&p, 0), 640 * 480);
    picture_release(&p);
    rig_free(r);
}

/* ---- graphics: dots of the colours that the palette gives them */

static void grey_ramp(struct rig *r)
{
    for (unsigned i = 0; i < 256; i++)
        dac_set(r, (uint8_t)i, i & 63, (i >> 2) & 63, (i * 3) & 63);
}
static uint32_t ramp(unsigned i)
{
    uint32_t c[3] = {i & 63, (i >> 2) & 63, (i * 3) & 63};
    return (c[0] << 2 | c[0] >> 4) << 16 | (c[1] << 2 | c[1] >> 4) << 8 | (c[2] << 2 | c[2] >> 4);
}

static void test_mode_13h(void **state)
{
    struct rig *r = rig_new();
    set_mode(r, &mode_13);
    grey_ramp(r);
    for (unsigned y = 0; y < 200; y++)
        for (unsigned x = 0; x < 320; x += 7)
            poke(r, 0xa0000 + y * 320 + x, (uint8_t)(x + 3 * y));
    struct picture p = picture(r);
    assert_int_equal(p.width, 640);
    assert_int_equal(p.height, 400);
    for (unsigned y = 0; y < 400; y++)
        for (unsigned x = 0; x < 640; x++)
            assert_int_equal(dot(&p, x, y), x / 2 % 7 ? ramp(0) : ramp((x / 2 + 3 * (y / 2)) & 0xff));
    picture_release(&p);
    rig_free(r);
}

static void test_mode_x(void **state)
{
    struct rig *r = rig_new();
    set_mode(r, &mode_x);
    grey_ramp(r);
    for (unsigned x = 0; x < 4; x++) { /* four neighbours: a plane each */
        seq_set(r, 2, (uint8_t)(1 << x));
        poke(r, 0xa0000 + 239 * 80 + 79, (uint8_t)(0x40 + x));
    }
    struct picture p = picture(r);
    assert_int_equal(p.width, 640);
    assert_int_equal(p.height, 480);
    for (unsigned x = 0; x < 8; x++)
        assert_int_equal(dot(&p, 632 + x, 479), ramp(0x40 + x / 2));
    picture_release(&p);
    crtc_set(r, 0x0d, 80); /* a line further */
    p = picture(r);
    assert_int_equal(dot(&p, 639, 477), ramp(0x43));
    picture_release(&p);
    crtc_set(r, 0x0d, 0);
    attr_set(r, 0x33, 2); /* a pixel to the left */
    p = picture(r);
    assert_int_equal(dot(&p, 637, 479), ramp(0x43));
    picture_release(&p);
    rig_free(r);
}

static void planar_checks(const struct vga_mode *mode, unsigned width, unsigned height, unsigned scale)
{
    struct rig *r = rig_new();
    set_mode(r, mode);
    for (unsigned i = 0; i < 64; i++)
        dac_set(r, (uint8_t)i, (uint8_t)i, 0, 63);
    gc_set(r, 5, 2); /* write mode 2: a colour for the dots of the mask */
    for (unsigned i = 0; i < 16; i++) {
        gc_set(r, 8, (uint8_t)(0x80 >> (i & 7)));
        peek(r, 0xa0000 + 3 * width / 8 + i / 8);
        poke(r, 0xa0000 + 3 * width / 8 + i / 8, (uint8_t)i);
    }
    struct picture p = picture(r);
    assert_int_equal(p.width, width * scale);
    assert_int_equal(p.height, height * scale);
    for (unsigned i = 0; i < 16 * scale; i++) {
        uint32_t red = mode->attr[i / scale] & 63;
        assert_int_equal(dot(&p, i, 3 * scale), (red << 2 | red >> 4) << 16 | 0xff);
    }
    picture_release(&p);
    attr_set(r, 0x32, 0x03); /* planes 2 and 3 off */
    p = picture(r);
    assert_int_equal(dot(&p, 13 * scale, 3 * scale), (uint32_t)(mode->attr[1] << 2) << 16 | 0xff);
    picture_release(&p);
    rig_free(r);
}

static void test_planar(void **state)
{
    planar_checks(&mode_12, 640, 480, 1);
    planar_checks(&mode_0d, 320, 200, 2);
}

static void test_cga(void **state)
{
    struct rig *r = rig_new();
    set_mode(r, &mode_04);
    for (unsigned i = 0; i < 64; i++)
        dac_set(r, (uint8_t)i, (uint8_t)i, 0, 0);
    poke(r, 0xb8000 + 80 * 50 + 5, 0x1b);          /* line 100, pixels 20 to 23: 0 1 2 3 */
    poke(r, 0xb8000 + 0x2000 + 80 * 50 + 4, 0xe4); /* line 101, pixels 16 to 19: 3 2 1 0 */
    struct picture p = picture(r);
    assert_int_equal(p.width, 640);
    assert_int_equal(p.height, 400);
    static const uint32_t red[4] = {0, 0x13, 0x15, 0x17};
    for (unsigned i = 0; i < 8; i++) {
        uint32_t up = red[i / 2] << 2 | red[i / 2] >> 4, down = red[3 - i / 2] << 2 | red[3 - i / 2] >> 4;
        assert_int_equal(dot(&p, 40 + i, 200), up << 16);
        assert_int_equal(dot(&p, 40 + i, 201), up << 16);
        assert_int_equal(dot(&p, 32 + i, 202), down << 16);
    }
    picture_release(&p);
    set_mode(r, &mode_06);
    memset(r->mem.vram, 0, RIG_VRAM);
    poke(r, 0xb8000 + 0x2000 + 79, 0x05); /* line 1, the last dots */
    p = picture(r);
    assert_int_equal(p.width, 640);
    assert_int_equal(dot(&p, 637, 2), (0x17u << 2 | 0x17 >> 4) << 16);
    assert_int_equal(dot(&p, 638, 3), 0);
    assert_int_equal(dot(&p, 639, 3), (0x17u << 2 | 0x17 >> 4) << 16);
    assert_int_equal(dots_of(&p, 0), 640 * 400 - 4);
    picture_release(&p);
    rig_free(r);
}

static void vbe_check(uint16_t bpp, const char *bytes, unsigned len, uint32_t want)
{
    struct rig *r = rig_new();
    set_vbe(r, 800, 600, bpp, VBE_LFB);
    dac_set(r, 0x7b, 63, 32, 1);
    dispi_set(r, VBE_VIRT_WIDTH, 1024);
    dispi_set(r, VBE_X_OFFSET, 16);
    dispi_set(r, VBE_Y_OFFSET, 100);
    memcpy(r->mem.vram + ((size_t)(100 + 599) * 1024 + 16 + 799) * len, bytes, len);
    struct picture p = picture(r);
    assert_int_equal(p.width, 800);
    assert_int_equal(p.height, 600);
    assert_int_equal(dot(&p, 799, 599), want);
    assert_int_equal(dots_of(&p, 0), 800 * 600 - 1);
    picture_release(&p);
    rig_free(r);
}

static void test_vbe(void **state)
{
    vbe_check(8, "\x7b", 1, 0xff8204);
    vbe_check(15, "\x01\x7c", 2, 0xff0008);
    vbe_check(16, "\x21\xf8", 2, 0xff0408);
    vbe_check(24, "\x11\x22\x33", 3, 0x332211);
    vbe_check(32, "\x11\x22\x33\xff", 4, 0x332211);
}

static void test_vbe_planar(void **state)
{
    struct rig *r = rig_new();
    set_vbe(r, 800, 600, 4, 0);
    attr_set(r, 9, 0x2a);
    dac_set(r, 0x2a, 63, 0, 0);
    gc_set(r, 6, 5);
    gc_set(r, 8, 0xff);
    seq_set(r, 4, 6);
    seq_set(r, 2, 9); /* planes 0 and 3 */
    out8(r, 0x3c2, 0xe3);
    poke(r, 0xa0000 + 100 * 599 + 99, 0x01);
    struct picture p = picture(r);
    assert_int_equal(dot(&p, 799, 599), 0xff0000);
    picture_release(&p);
    rig_free(r);
}

/* ---- text as text */

static struct screen_text text(struct rig *r)
{
    struct display d = shown(r);
    struct screen_text t = {0};
    assert_int_equal(display_text(&d, &t, NULL), 0);
    free(d.vram);
    return t;
}

static void test_screen_text(void **state)
{
    struct rig *r = text_rig();
    put_text(r, 0, 0, "Hello, world", 0x07);
    put_text(r, 2, 3, "\xc9\xcd\xbb \x01 \x9c\xe1", 0x07);
    put_text(r, 24, 79, "!", 0x07);
    crtc_set(r, 0x0a, 13);
    crtc_set(r, 0x0f, 0xa2);
    struct screen_text t = text(r);
    assert_int_equal(t.rows, 25);
    assert_int_equal(t.cols, 80);
    assert_true(t.cursor);
    assert_int_equal(t.cursor_row, 2);
    assert_int_equal(t.cursor_col, 2);
    assert_memory_equal(t.text, "Hello, world\n\n   ╔═╗ ☺ £ß\n\n", strlen("Hello, world\n\n   ╔═╗ ☺ £ß\n\n"));
    assert_string_equal(strrchr(t.text, ' ') + 1, "!\n");
    screen_text_release(&t);
    crtc_set(r, 0x0d, 160); /* scrolled by two rows */
    t = text(r);
    assert_memory_equal(t.text, "   ╔═╗", strlen("   ╔═╗"));
    assert_int_equal(t.cursor_row, 0);
    screen_text_release(&t);
    rig_free(r);
}

static void test_no_text_in_graphics(void **state)
{
    struct rig *r = rig_new();
    struct screen_text t = {0};
    struct err e = {0};
    set_mode(r, &mode_13);
    struct display d = shown(r);
    assert_int_equal(display_text(&d, &t, &e), VT_BUSY);
    assert_string_equal(e.msg, "the display is in a graphics mode of 640x400");
    free(d.vram);
    set_vbe(r, 1024, 768, 32, VBE_LFB);
    d = shown(r);
    e = (struct err){0};
    assert_int_equal(display_text(&d, &t, &e), VT_BUSY);
    assert_string_equal(e.msg, "the display is in a graphics mode of 1024x768");
    free(d.vram);
    rig_free(r);
}

/* Registers that no device would hold, and less memory than they ask for. */
static void test_any_registers(void **state)
{
    uint64_t s = 99;
    for (unsigned n = 0; n < 40; n++) {
        struct display d = {.vram_len = 5000 * n % 70001};
        struct picture p = {0};
        struct screen_text t = {0};
        uint8_t *bytes = (uint8_t *)&d.regs;
        for (size_t i = 0; i < sizeof d.regs; i++)
            bytes[i] = (uint8_t)((s = s * 6364136223846793005ull + 1442695040888963407ull) >> 56);
        d.vram = calloc(1, d.vram_len + !d.vram_len);
        if (n & 1)
            d.regs.vbe[VBE_ENABLE] = 0;
        if (n & 2) { /* on, so that it is rendered */
            d.regs.attr_index = ATTR_PAS;
            d.regs.seq[0] = 3;
            d.regs.seq[1] &= (uint8_t)~SEQ_SCREEN_OFF;
            d.regs.crtc[CRTC_MODE] |= 0x80;
        }
        d.regs.vbe[VBE_XRES] &= 0x3ff;
        d.regs.vbe[VBE_YRES] &= 0x3ff;
        assert_int_equal(display_render(&d, &p, NULL), 0);
        assert_in_range((size_t)p.width * p.height, 1, 4608 * 2048);
        display_text(&d, &t, NULL);
        screen_text_release(&t);
        picture_release(&p);
        free(d.vram);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_cells),
        cmocka_unit_test(test_text_blink_or_bright),
        cmocka_unit_test(test_ninth_dot),
        cmocka_unit_test(test_cursor),
        cmocka_unit_test(test_second_font),
        cmocka_unit_test(test_split_screen),
        cmocka_unit_test(test_off),
        cmocka_unit_test(test_mode_13h),
        cmocka_unit_test(test_mode_x),
        cmocka_unit_test(test_planar),
        cmocka_unit_test(test_cga),
        cmocka_unit_test(test_vbe),
        cmocka_unit_test(test_vbe_planar),
        cmocka_unit_test(test_screen_text),
        cmocka_unit_test(test_no_text_in_graphics),
        cmocka_unit_test(test_any_registers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
