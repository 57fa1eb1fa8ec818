/* The Bochs display interface's modes: packed pixels in a linear frame buffer, or four planes at 4 bits. */
#include "src/base/util.h"
#include "src/display/display.h"

static uint32_t get(const struct display *d, uint64_t at, unsigned bytes)
{
    uint32_t v = 0;

    for (unsigned i = 0; i < bytes; i++)
        v |= (uint32_t)display_byte(d, at + i) << i * 8;
    return v;
}

static uint32_t widen(uint32_t v, unsigned bits)
{
    v &= (1u << bits) - 1;
    return bits == 5 ? v << 3 | v >> 2 : v << 2 | v >> 4;
}

static uint32_t direct_colour(uint32_t v, unsigned bpp)
{
    switch (bpp) {
    case 15:
        return widen(v >> 10, 5) << 16 | widen(v >> 5, 5) << 8 | widen(v, 5);
    case 16:
        return widen(v >> 11, 5) << 16 | widen(v >> 5, 6) << 8 | widen(v, 5);
    default:
        return v & 0xffffff;
    }
}

int render_vbe(const struct display *d, struct picture *ret, struct err *e)
{
    const uint16_t *v = d->regs.vbe;
    unsigned bpp = v[VBE_BPP], bytes = MIN((bpp + 7) / 8, 4u);
    uint32_t colour[256];
    int rc = picture_new(MAX(v[VBE_XRES], 1), MAX(v[VBE_YRES], 1), ret, e);

    if (rc)
        return rc;
    display_palette(&d->regs, colour);
    for (unsigned y = 0; y < ret->height; y++) {
        uint64_t line = (uint64_t)(y + v[VBE_Y_OFFSET]) * v[VBE_VIRT_WIDTH] + v[VBE_X_OFFSET];
        for (unsigned x = 0; x < ret->width; x++) {
            uint64_t at = line + x;
            uint32_t p;
            if (bpp == 4) {
                uint32_t planes = get(d, at / 8 * 4, 4), bit = 7 - (at & 7);
                p = (planes >> bit & 1) | (planes >> (8 + bit) & 1) << 1 | (planes >> (16 + bit) & 1) << 2 |
                    (planes >> (24 + bit) & 1) << 3;
                p = colour[d->regs.attr[p & 15] & 0x3f];
            } else {
                p = get(d, at * bytes, bytes);
                p = bpp == 8 ? colour[p] : direct_colour(p, bpp);
            }
            picture_put(ret, x, y, p);
        }
    }
    return 0;
}
