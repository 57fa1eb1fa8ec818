/* How the CRT controller walks through memory (IBM VGA technical reference, CRT controller registers; FreeVGA). */
#include "src/base/util.h"
#include "src/display/display.h"

void scan_of(const struct vga_regs *r, struct scan *s)
{
    const uint8_t *c = r->crtc;
    unsigned over = c[CRTC_OVERFLOW], max_scan = c[CRTC_MAX_SCAN];

    *s = (struct scan){.text = !(r->gc[GC_MISC] & GC_GRAPHICS)};
    s->chars = c[CRTC_HDE] + 1u;
    s->lines = (c[CRTC_VDE] | (over & 2) << 7 | (over & 0x40) << 3) + 1;
    if (c[CRTC_MODE] & 4)
        s->lines *= 2; /* the vertical counters run at half the pace */
    s->char_dots = s->text && !(r->seq[SEQ_CLOCKING] & 1) ? 9 : 8;
    s->dot_width = r->seq[SEQ_CLOCKING] & SEQ_HALF_CLOCK ? 2 : 1;
    s->cell_lines = (max_scan & 0x1f) + 1;
    s->doubled = max_scan & 0x80 ? 2 : 1;
    s->pitch = c[CRTC_OFFSET] * 2u;
    s->start = (c[CRTC_START_HIGH] << 8u | c[CRTC_START_LOW]) + (c[CRTC_PRESET] >> 5 & 3);
    s->first_line = c[CRTC_PRESET] & 0x1f;
    s->split = c[CRTC_LINE_COMPARE] | (over & 0x10) << 4 | (max_scan & 0x40) << 3;
    s->pan_to_zero = r->attr[ATTR_MODE] & ATTR_SPLIT_NO_PAN;
}

unsigned scan_address(const struct vga_regs *r, unsigned counter, unsigned row_scan)
{
    unsigned mode = r->crtc[CRTC_MODE], a = counter & 0xffff;

    if (r->crtc[CRTC_UNDERLINE] & 0x40) { /* double words; chained bytes are dense in our memory */
        if (!(r->seq[SEQ_MODE] & SEQ_CHAIN4))
            a = a << 2 | (a >> 14 & 3);
    } else if (!(mode & 0x40)) {
        a = a << 1 | (a >> (mode & 0x20 ? 15 : 13) & 1);
    }
    if (!(mode & 1)) /* the row scan counter stands in for address bits 13 and 14, as in a CGA */
        a = (a & ~0x2000u) | (row_scan & 1) << 13;
    if (!(mode & 2))
        a = (a & ~0x4000u) | (row_scan >> 1 & 1) << 14;
    return a & (VGA_PLANE_BYTES - 1);
}

void display_palette(const struct vga_regs *r, uint32_t rgb[256])
{
    bool wide = r->vbe[VBE_ENABLE] & VBE_8BIT_DAC;

    for (unsigned i = 0; i < 256; i++) {
        const uint8_t *p = r->palette + 3 * (i & r->dac_mask);
        uint32_t v = 0;
        for (unsigned c = 0; c < 3; c++)
            v = v << 8 | (wide ? p[c] : (uint8_t)((p[c] & 0x3f) << 2 | (p[c] & 0x3f) >> 4));
        rgb[i] = v;
    }
}
