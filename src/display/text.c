#include "src/display/display.h"

#include <stdlib.h>
#include "src/base/util.h"

/* Code page 437 as the VGA's font shows it: characters 00h to 1Fh and 7Fh have pictures, too. */
static const uint16_t low[32] = {0x0020, 0x263a, 0x263b, 0x2665, 0x2666, 0x2663, 0x2660, 0x2022, 0x25d8, 0x25cb, 0x25d9,
                                 0x2642, 0x2640, 0x266a, 0x266b, 0x263c, 0x25ba, 0x25c4, 0x2195, 0x203c, 0x00b6, 0x00a7,
                                 0x25ac, 0x21a8, 0x2191, 0x2193, 0x2192, 0x2190, 0x221f, 0x2194, 0x25b2, 0x25bc};
static const uint16_t high[128] = {
    0x00c7, 0x00fc, 0x00e9, 0x00e2, 0x00e4, 0x00e0, 0x00e5, 0x00e7, 0x00ea, 0x00eb, 0x00e8, 0x00ef, 0x00ee,
    0x00ec, 0x00c4, 0x00c5, 0x00c9, 0x00e6, 0x00c6, 0x00f4, 0x00f6, 0x00f2, 0x00fb, 0x00f9, 0x00ff, 0x00d6,
    0x00dc, 0x00a2, 0x00a3, 0x00a5, 0x20a7, 0x0192, 0x00e1, 0x00ed, 0x00f3, 0x00fa, 0x00f1, 0x00d1, 0x00aa,
    0x00ba, 0x00bf, 0x2310, 0x00ac, 0x00bd, 0x00bc, 0x00a1, 0x00ab, 0x00bb, 0x2591, 0x2592, 0x2593, 0x2502,
    0x2524, 0x2561, 0x2562, 0x2556, 0x2555, 0x2563, 0x2551, 0x2557, 0x255d, 0x255c, 0x255b, 0x2510, 0x2514,
    0x2534, 0x252c, 0x251c, 0x2500, 0x253c, 0x255e, 0x255f, 0x255a, 0x2554, 0x2569, 0x2566, 0x2560, 0x2550,
    0x256c, 0x2567, 0x2568, 0x2564, 0x2565, 0x2559, 0x2558, 0x2552, 0x2553, 0x256b, 0x256a, 0x2518, 0x250c,
    0x2588, 0x2584, 0x258c, 0x2590, 0x2580, 0x03b1, 0x00df, 0x0393, 0x03c0, 0x03a3, 0x03c3, 0x00b5, 0x03c4,
    0x03a6, 0x0398, 0x03a9, 0x03b4, 0x221e, 0x03c6, 0x03b5, 0x2229, 0x2261, 0x00b1, 0x2265, 0x2264, 0x2320,
    0x2321, 0x00f7, 0x2248, 0x00b0, 0x2219, 0x00b7, 0x221a, 0x207f, 0x00b2, 0x25a0, 0x00a0};

static unsigned unicode(uint8_t c)
{
    return c < 32 ? low[c] : c < 127 ? c : c == 127 ? 0x2302 : c == 255 ? ' ' : high[c - 128];
}

static void add_utf8(struct buf *b, unsigned c)
{
    if (c < 0x80) {
        buf_char(b, (char)c);
    } else if (c < 0x800) {
        buf_char(b, (char)(0xc0 | c >> 6));
        buf_char(b, (char)(0x80 | (c & 0x3f)));
    } else {
        buf_char(b, (char)(0xe0 | c >> 12));
        buf_char(b, (char)(0x80 | (c >> 6 & 0x3f)));
        buf_char(b, (char)(0x80 | (c & 0x3f)));
    }
}

void screen_text_release(struct screen_text *t)
{
    free(steal(&t->text));
}

/* Where the row begins that has this scan line at its top; rows below a split begin at 0 again. */
static unsigned row_counter(const struct scan *s, unsigned row, unsigned per_row)
{
    unsigned below = s->split + 1;

    if (row * per_row >= below)
        return (row * per_row - below) / per_row * s->pitch;
    return s->start + row * s->pitch;
}

int display_text(const struct display *d, struct screen_text *ret, struct err *e)
{
    const struct vga_regs *r = &d->regs;
    unsigned cursor = (unsigned)r->crtc[CRTC_CURSOR_HIGH] << 8 | r->crtc[CRTC_CURSOR_LOW], per_row;
    cleanup(buf_release) struct buf b = {0};
    struct screen_text t = {0};
    struct scan s;

    scan_of(r, &s);
    if (display_vbe(r))
        return err_set(e, VT_BUSY, "the display is in a graphics mode of %ux%u", r->vbe[VBE_XRES], r->vbe[VBE_YRES]);
    if (!s.text)
        return err_set(e, VT_BUSY, "the display is in a graphics mode of %ux%u", s.chars * 8 * s.dot_width, s.lines);
    per_row = s.cell_lines * s.doubled;
    t.cols = s.chars;
    t.rows = s.lines / per_row;
    for (unsigned row = 0; row < t.rows; row++) {
        unsigned counter = row_counter(&s, row, per_row), blanks = 0;
        for (unsigned col = 0; col < t.cols; col++) {
            unsigned c = unicode(display_byte(d, 4ull * scan_address(r, counter + col, 0)));
            if (counter + col == cursor && !(r->crtc[CRTC_CURSOR_START] & 0x20)) {
                t.cursor = true;
                t.cursor_row = row;
                t.cursor_col = col;
            }
            if (c == ' ') {
                blanks++;
                continue;
            }
            for (; blanks; blanks--)
                buf_char(&b, ' ');
            add_utf8(&b, c);
        }
        buf_char(&b, '\n');
    }
    buf_str(&b, "");
    t.text = buf_steal(&b);
    if (!t.text)
        return err_set(e, VT_FAIL, "out of memory");
    *ret = t;
    return 0;
}
