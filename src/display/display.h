/* What a machine's display shows, made from what the adapter holds (vmcore/display.h): a picture, or the text of a text
 * mode. Pure functions: the registers may hold anything a guest writes. */
#ifndef VT_DISPLAY_PICTURE_H
#define VT_DISPLAY_PICTURE_H

#include "src/base/buf.h"
#include "vmcore/display.h"

struct picture {
    unsigned width, height;
    uint8_t *rgb; /* 3 bytes a dot, lines from the top, no padding */
};
void picture_release(struct picture *p);

/* The picture at dot resolution, as a monitor gets it: 720x400 for 80x25 text, 640x400 for mode 13h. Blinking cells and
 * the cursor are shown on. A display that is off is one black 640x480. VT_FAIL: no memory. */
int display_render(const struct display *d, struct picture *ret, struct err *e);

struct screen_text {
    unsigned rows, cols;
    bool cursor; /* shown, and on the screen */
    unsigned cursor_row, cursor_col;
    char *text; /* UTF-8, each row ended by a newline, without its trailing blanks; malloc'ed */
};
void screen_text_release(struct screen_text *t);

/* Characters as code page 437 has them. VT_BUSY: the display is in a graphics mode; the message says in which. */
int display_text(const struct display *d, struct screen_text *ret, struct err *e);

/* Appends the picture as a PNG file. VT_FAIL, also where the program was built without libpng. */
int picture_png(const struct picture *p, struct buf *b, struct err *e);

/* ---- between the files */
/* How a text or VGA graphics mode scans: derived from the CRT controller's registers. */
struct scan {
    unsigned chars, lines;  /* displayed: character clocks a line, scan lines */
    unsigned char_dots;     /* 8 or 9 */
    unsigned dot_width;     /* 1, or 2 where the dot clock is halved */
    unsigned cell_lines;    /* scan lines of a character row, before doubling */
    unsigned doubled;       /* scan lines each of those takes: 1 or 2 */
    unsigned pitch;         /* address counter steps a row */
    unsigned start;         /* address counter at the first row, byte panning included */
    unsigned first_line;    /* the row scan counter at the top (preset row scan) */
    unsigned split;         /* the scan line after which the counter is 0 again */
    bool text, pan_to_zero; /* pan_to_zero: no pel panning below the split */
};
void scan_of(const struct vga_regs *r, struct scan *s);
/* The memory address (a byte of each plane) for an address counter and a row scan. */
unsigned scan_address(const struct vga_regs *r, unsigned counter, unsigned row_scan);
/* Bytes past the end of video RAM are 0. */
static inline uint8_t display_byte(const struct display *d, uint64_t at)
{
    return at < d->vram_len ? d->vram[at] : 0;
}
/* 256 colours as 0xRRGGBB, by the DAC's index. */
void display_palette(const struct vga_regs *r, uint32_t rgb[256]);
int render_vbe(const struct display *d, struct picture *ret, struct err *e);
int picture_new(unsigned width, unsigned height, struct picture *ret, struct err *e);
static inline void picture_put(struct picture *p, unsigned x, unsigned y, uint32_t rgb)
{
    uint8_t *d = p->rgb + ((size_t)y * p->width + x) * 3;
    d[0] = (uint8_t)(rgb >> 16);
    d[1] = (uint8_t)(rgb >> 8);
    d[2] = (uint8_t)rgb;
}

#endif
