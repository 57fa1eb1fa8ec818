/* The standard modes' register values (IBM VGA technical reference, BIOS mode tables; mode X by M. Abrash), and how a
 * program sets them through the ports. */
#ifndef VT_VGA_MODES_H
#define VT_VGA_MODES_H

#include "tests/dev/board_rig.h"

struct vga_mode {
    const char *name;
    uint8_t misc, seq[5], crtc[25], gc[9], attr[21];
};

#define ATTR_EGA 0, 1, 2, 3, 4, 5, 0x14, 7, 0x38, 0x39, 0x3a, 0x3b, 0x3c, 0x3d, 0x3e, 0x3f
#define ATTR_256 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15

static const struct vga_mode mode_03 = {"03h",
                                        0x67,
                                        {3, 0, 3, 0, 2},
                                        {0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0x00, 0x4f, 0x0d, 0x0e, 0,
                                         0,    0,    0,    0x9c, 0x8e, 0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff},
                                        {0, 0, 0, 0, 0, 0x10, 0x0e, 0x0f, 0xff},
                                        {ATTR_EGA, 0x0c, 0, 0x0f, 0x08, 0}};
static const struct vga_mode mode_04 = {
    "04h",
    0x63,
    {3, 9, 3, 0, 2},
    {0x2d, 0x27, 0x28, 0x90, 0x2b, 0x80, 0xbf, 0x1f, 0x00, 0xc1, 0,    0,   0,
     0,    0,    0,    0x9c, 0x8e, 0x8f, 0x14, 0x00, 0x96, 0xb9, 0xa2, 0xff},
    {0, 0, 0, 0, 0, 0x30, 0x0f, 0x0f, 0xff},
    {0, 0x13, 0x15, 0x17, 2, 4, 6, 7, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 1, 0, 3, 0, 0}};
static const struct vga_mode mode_06 = {
    "06h",
    0x63,
    {3, 1, 1, 0, 6},
    {0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0xbf, 0x1f, 0x00, 0xc1, 0,    0,   0,
     0,    0,    0,    0x9c, 0x8e, 0x8f, 0x28, 0x00, 0x96, 0xb9, 0xc2, 0xff},
    {0, 0, 0, 0, 0, 0x00, 0x0d, 0x0f, 0xff},
    {0, 0x17, 0x17, 0x17, 0x17, 0x17, 0x17, 0x17, 0x17, 0x17, 0x17, 0x17, 0x17, 0x17, 0x17, 0x17, 1, 0, 1, 0, 0}};
static const struct vga_mode mode_0d = {
    "0Dh",
    0x63,
    {3, 9, 15, 0, 6},
    {0x2d, 0x27, 0x28, 0x90, 0x2b, 0x80, 0xbf, 0x1f, 0x00, 0xc0, 0,    0,   0,
     0,    0,    0,    0x9c, 0x8e, 0x8f, 0x14, 0x00, 0x96, 0xb9, 0xe3, 0xff},
    {0, 0, 0, 0, 0, 0x00, 0x05, 0x0f, 0xff},
    {0, 1, 2, 3, 4, 5, 6, 7, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 1, 0, 15, 0, 0}};
static const struct vga_mode mode_12 = {"12h",
                                        0xe3,
                                        {3, 1, 15, 0, 6},
                                        {0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0x0b, 0x3e, 0x00, 0x40, 0,    0,   0,
                                         0,    0,    0,    0xea, 0x8c, 0xdf, 0x28, 0x00, 0xe7, 0x04, 0xe3, 0xff},
                                        {0, 0, 0, 0, 0, 0x00, 0x05, 0x0f, 0xff},
                                        {ATTR_EGA, 1, 0, 15, 0, 0}};
static const struct vga_mode mode_13 = {"13h",
                                        0x63,
                                        {3, 1, 15, 0, 0x0e},
                                        {0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0xbf, 0x1f, 0x00, 0x41, 0,    0,   0,
                                         0,    0,    0,    0x9c, 0x8e, 0x8f, 0x28, 0x40, 0x96, 0xb9, 0xa3, 0xff},
                                        {0, 0, 0, 0, 0, 0x40, 0x05, 0x0f, 0xff},
                                        {ATTR_256, 0x41, 0, 15, 0, 0}};
static const struct vga_mode mode_x = {"X (320x240)",
                                       0xe3,
                                       {3, 1, 15, 0, 6},
                                       {0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0x0d, 0x3e, 0x00, 0x41, 0,    0,   0,
                                        0,    0,    0,    0xea, 0xac, 0xdf, 0x28, 0x00, 0xe7, 0x06, 0xe3, 0xff},
                                       {0, 0, 0, 0, 0, 0x40, 0x05, 0x0f, 0xff},
                                       {ATTR_256, 0x41, 0, 15, 0, 0}};

static inline void seq_set(struct rig *r, uint8_t n, uint8_t v)
{
    out8(r, 0x3c4, n);
    out8(r, 0x3c5, v);
}
static inline void gc_set(struct rig *r, uint8_t n, uint8_t v)
{
    out8(r, 0x3ce, n);
    out8(r, 0x3cf, v);
}
static inline void crtc_set(struct rig *r, uint8_t n, uint8_t v)
{
    out8(r, 0x3d4, n);
    out8(r, 0x3d5, v);
}
static inline void attr_set(struct rig *r, uint8_t n, uint8_t v)
{
    in8(r, 0x3da);
    out8(r, 0x3c0, n);
    out8(r, 0x3c0, v);
}
static inline void dac_set(struct rig *r, uint8_t n, uint8_t red, uint8_t green, uint8_t blue)
{
    out8(r, 0x3c8, n);
    out8(r, 0x3c9, red);
    out8(r, 0x3c9, green);
    out8(r, 0x3c9, blue);
}

static inline void set_mode(struct rig *r, const struct vga_mode *m)
{
    out8(r, 0x3c2, m->misc);
    for (uint8_t i = 0; i < 5; i++)
        seq_set(r, i, m->seq[i]);
    crtc_set(r, 0x11, 0); /* takes the protection of 0 to 7 away */
    for (uint8_t i = 0; i < 25; i++)
        crtc_set(r, i, m->crtc[i]);
    for (uint8_t i = 0; i < 9; i++)
        gc_set(r, i, m->gc[i]);
    for (uint8_t i = 0; i < 21; i++)
        attr_set(r, i, m->attr[i]);
    out8(r, 0x3c0, 0x20);
    out8(r, 0x3c6, 0xff);
}

static inline void dispi_set(struct rig *r, uint16_t n, uint16_t v)
{
    bus_io_write(&r->bus, 0x1ce, n, 2);
    bus_io_write(&r->bus, 0x1cf, v, 2);
}
static inline uint16_t dispi_get(struct rig *r, uint16_t n)
{
    bus_io_write(&r->bus, 0x1ce, n, 2);
    return (uint16_t)bus_io_read(&r->bus, 0x1cf, 2);
}
static inline void set_vbe(struct rig *r, uint16_t width, uint16_t height, uint16_t bpp, uint16_t enable)
{
    dispi_set(r, VBE_ENABLE, 0);
    dispi_set(r, VBE_XRES, width);
    dispi_set(r, VBE_YRES, height);
    dispi_set(r, VBE_BPP, bpp);
    dispi_set(r, VBE_ENABLE, VBE_ENABLED | enable);
}

static inline void poke(struct rig *r, uint32_t pa, uint8_t v)
{
    bus_mmio_write(&r->bus, pa, v, 1);
}
static inline uint8_t peek(struct rig *r, uint32_t pa)
{
    return (uint8_t)bus_mmio_read(&r->bus, pa, 1);
}

#endif
