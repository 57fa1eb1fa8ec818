#include "src/display/display.h"

#include <stdlib.h>
#include "src/base/util.h"

void picture_release(struct picture *p)
{
    free(steal(&p->rgb));
}

int picture_new(unsigned width, unsigned height, struct picture *ret, struct err *e)
{
    uint8_t *rgb = calloc((size_t)width * height, 3);

    if (!rgb)
        return err_set(e, VT_FAIL, "out of memory");
    *ret = (struct picture){width, height, rgb};
    return 0;
}

struct renderer {
    const struct display *d;
    const struct vga_regs *r;
    struct scan scan;
    uint32_t colour[256]; /* by the index that reaches the DAC */
    uint8_t index[16];    /* from four bits of a pixel to that */
};

/* The attribute controller's palette and what else makes an index of it. */
static void set_colours(struct renderer *n)
{
    const uint8_t *a = n->r->attr;

    display_palette(n->r, n->colour);
    for (unsigned i = 0; i < 16; i++) {
        unsigned v = a[i & a[ATTR_PLANES] & 15] & 0x3f;
        if (a[ATTR_MODE] & ATTR_P54)
            v = (v & 0x0f) | (a[ATTR_COLOUR_SELECT] & 3u) << 4;
        n->index[i] = (uint8_t)(v | (a[ATTR_COLOUR_SELECT] & 0x0cu) << 4);
    }
}

static uint8_t plane(const struct renderer *n, unsigned p, unsigned at)
{
    return display_byte(n->d, (uint64_t)at * 4 + p);
}

/* ---- a character clock's dots, as indices into colour[] */

static bool cursor_here(const struct renderer *n, unsigned counter, unsigned line)
{
    const uint8_t *c = n->r->crtc;
    unsigned first = c[CRTC_CURSOR_START] & 0x1f, last = c[CRTC_CURSOR_END] & 0x1f;

    return !(c[CRTC_CURSOR_START] & 0x20) && line >= first && line <= last &&
           (counter & 0xffff) == ((unsigned)c[CRTC_CURSOR_HIGH] << 8 | c[CRTC_CURSOR_LOW]);
}

static void text_dots(const struct renderer *n, unsigned counter, unsigned line, uint8_t dots[9])
{
    static const uint8_t block[8] = {0, 2, 4, 6, 1, 3, 5, 7}; /* of 8 KiB, by the map select fields */
    const struct vga_regs *r = n->r;
    unsigned at = scan_address(r, counter, line), ch = plane(n, 0, at), attr = plane(n, 1, at), font = r->seq[SEQ_FONT];
    unsigned map_a = (font >> 2 & 3) | (font >> 3 & 4), map_b = (font & 3) | (font >> 2 & 4);
    unsigned fore = attr & 15, back = attr >> 4, bits;

    bits = plane(n, 2, block[attr & 8 ? map_a : map_b] * 0x2000u + ch * 32 + (line & 31));
    if (r->attr[ATTR_MODE] & ATTR_BLINK)
        back &= 7;
    if ((attr & 0x77) == 1 && line == (r->crtc[CRTC_UNDERLINE] & 0x1fu))
        bits = 0xff;
    bits <<= 1;
    if ((r->attr[ATTR_MODE] & ATTR_LINE_GRAPHICS) && ch >= 0xc0 && ch <= 0xdf)
        bits |= bits >> 1 & 1; /* line drawing goes on into the ninth dot */
    if (cursor_here(n, counter, line))
        bits = 0x1ff;
    for (unsigned i = 0; i < 9; i++)
        dots[i] = n->index[bits & (0x100u >> i) ? fore : back];
}

static void graphics_dots(const struct renderer *n, unsigned counter, unsigned line, uint8_t dots[8])
{
    unsigned at = scan_address(n->r, counter, line), mode = n->r->gc[GC_MODE];
    uint8_t b[4];

    for (unsigned p = 0; p < 4; p++)
        b[p] = plane(n, p, at);
    for (unsigned i = 0; i < 8; i++) {
        unsigned v = 0;
        if (mode & GC_256) {
            dots[i] = b[i / 2];
            continue;
        }
        if (mode & GC_INTERLEAVE) { /* two bits a pixel, from planes 0 and 2, then 1 and 3 */
            unsigned odd = i >> 2, shift = 6 - 2 * (i & 3);
            v = (b[odd] >> shift & 3) | (b[odd + 2] >> shift & 3) << 2;
        } else {
            for (unsigned p = 0; p < 4; p++)
                v |= (b[p] >> (7 - i) & 1u) << p;
        }
        dots[i] = n->index[v];
    }
}

/* Pel panning: how many dots of the line's beginning are out of sight. */
static unsigned panned(const struct renderer *n, bool below_split)
{
    unsigned pan = n->r->attr[ATTR_PAN] & 15;

    if (below_split && n->scan.pan_to_zero)
        return 0;
    if (n->scan.char_dots == 9)
        return pan >= 8 ? 0 : pan + 1;
    return (n->r->gc[GC_MODE] & GC_256) ? pan & 6 : pan & 7;
}

static void render_line(const struct renderer *n, struct picture *p, unsigned y, unsigned counter, unsigned line,
                        unsigned pan)
{
    const struct scan *s = &n->scan;
    unsigned x = 0, skip = pan;

    for (unsigned c = 0; x < p->width; c++) {
        uint8_t dots[9];
        if (s->text)
            text_dots(n, counter + c, line, dots);
        else
            graphics_dots(n, counter + c, line, dots);
        for (unsigned i = 0; i < s->char_dots; i++) {
            if (skip) {
                skip--;
                continue;
            }
            for (unsigned k = 0; k < s->dot_width && x < p->width; k++)
                picture_put(p, x++, y, n->colour[dots[i]]);
        }
    }
}

static void render_frame(const struct renderer *n, struct picture *p)
{
    const struct scan *s = &n->scan;
    unsigned counter = s->start, line = s->first_line, again = 0;
    bool below = false;

    for (unsigned y = 0; y < p->height; y++) {
        render_line(n, p, y, counter, line, panned(n, below));
        if (y == s->split) {
            counter = line = again = 0;
            below = true;
            continue;
        }
        if (++again < s->doubled)
            continue;
        again = 0;
        line = (line + 1) & 31;
        if (line == s->cell_lines || (line == 0 && s->cell_lines == 32)) {
            line = 0;
            counter += s->pitch;
        }
    }
}

static bool is_on(const struct vga_regs *r)
{
    return (r->attr_index & ATTR_PAS) && !(r->seq[SEQ_CLOCKING] & SEQ_SCREEN_OFF) && (r->seq[0] & 3) == 3 &&
           (r->crtc[CRTC_MODE] & 0x80);
}

int display_render(const struct display *d, struct picture *ret, struct err *e)
{
    struct renderer n = {.d = d, .r = &d->regs};
    int rc;

    if (display_vbe(&d->regs))
        return render_vbe(d, ret, e);
    scan_of(&d->regs, &n.scan);
    if (!is_on(&d->regs))
        return picture_new(640, 480, ret, e);
    rc = picture_new(n.scan.chars * n.scan.char_dots * n.scan.dot_width, n.scan.lines, ret, e);
    if (rc)
        return rc;
    set_colours(&n);
    render_frame(&n, ret);
    return 0;
}
