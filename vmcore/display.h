/* What the display adapter holds, as data: the device keeps its registers in this form, and a picture is a pure
 * function of it and of video RAM.
 *
 * Video RAM: byte 4 * n + p is byte n of plane p, so that a chained 256-colour mode and the VBE modes' linear frame
 * buffer are plain memory. In chained modes a plane's bytes are therefore dense: address A is byte A / 4 of plane A % 4
 * (an original VGA leaves gaps: byte A & ~3). */
#ifndef VT_DISPLAY_H
#define VT_DISPLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "src/base/err.h"

#define VGA_VRAM_BYTES  (16u << 20)
#define VGA_PLANE_BYTES 0x10000u /* what VGA modes see of a plane */

/* Indices into the register files that more than one place uses (IBM VGA technical reference; FreeVGA). */
enum {
    SEQ_CLOCKING = 1,
    SEQ_MAP_MASK = 2,
    SEQ_FONT = 3,
    SEQ_MODE = 4,
    SEQ_HALF_CLOCK = 0x08, /* of SEQ_CLOCKING */
    SEQ_SCREEN_OFF = 0x20,
    SEQ_ODD_EVEN_OFF = 0x04, /* of SEQ_MODE */
    SEQ_CHAIN4 = 0x08,

    GC_SET_RESET = 0,
    GC_ENABLE_SET_RESET = 1,
    GC_COMPARE = 2,
    GC_ROTATE = 3,
    GC_READ_MAP = 4,
    GC_MODE = 5,
    GC_MISC = 6,
    GC_DONT_CARE = 7,
    GC_BIT_MASK = 8,
    GC_GRAPHICS = 0x01, /* of GC_MISC */
    GC_CHAIN_ODD_EVEN = 0x02,
    GC_HOST_ODD_EVEN = 0x10, /* of GC_MODE */
    GC_INTERLEAVE = 0x20,
    GC_256 = 0x40,

    CRTC_HTOTAL = 0x00,
    CRTC_HDE = 0x01,
    CRTC_VTOTAL = 0x06,
    CRTC_OVERFLOW = 0x07,
    CRTC_PRESET = 0x08,
    CRTC_MAX_SCAN = 0x09,
    CRTC_CURSOR_START = 0x0a,
    CRTC_CURSOR_END = 0x0b,
    CRTC_START_HIGH = 0x0c,
    CRTC_START_LOW = 0x0d,
    CRTC_CURSOR_HIGH = 0x0e,
    CRTC_CURSOR_LOW = 0x0f,
    CRTC_VRS = 0x10,
    CRTC_VRE = 0x11,
    CRTC_VDE = 0x12,
    CRTC_OFFSET = 0x13,
    CRTC_UNDERLINE = 0x14,
    CRTC_MODE = 0x17,
    CRTC_LINE_COMPARE = 0x18,

    ATTR_MODE = 0x10,
    ATTR_OVERSCAN = 0x11,
    ATTR_PLANES = 0x12,
    ATTR_PAN = 0x13,
    ATTR_COLOUR_SELECT = 0x14,
    ATTR_LINE_GRAPHICS = 0x04, /* of ATTR_MODE */
    ATTR_BLINK = 0x08,
    ATTR_SPLIT_NO_PAN = 0x20,
    ATTR_P54 = 0x80,
    ATTR_PAS = 0x20, /* of the index: the palette drives the screen, and the processor keeps off it */
};

/* Bochs display interface (VBE dispi), registers by index. */
enum {
    VBE_ID,
    VBE_XRES,
    VBE_YRES,
    VBE_BPP,
    VBE_ENABLE,
    VBE_BANK,
    VBE_VIRT_WIDTH,
    VBE_VIRT_HEIGHT,
    VBE_X_OFFSET,
    VBE_Y_OFFSET,
    VBE_REGS,
    VBE_MEMORY_64K = VBE_REGS, /* read-only, not kept */

    VBE_ENABLED = 0x01,
    VBE_GETCAPS = 0x02,
    VBE_8BIT_DAC = 0x20,
    VBE_LFB = 0x40,
    VBE_NOCLEAR = 0x80,
};

struct vga_regs {
    uint8_t misc, feature;
    uint8_t seq_index, gc_index, crtc_index, attr_index; /* attr_index: with ATTR_PAS */
    uint8_t seq[8], gc[16], crtc[32], attr[32];
    uint8_t attr_data; /* the attribute controller's next write is data */
    uint8_t dac_read, dac_write, dac_part, dac_reading, dac_mask;
    uint8_t dac_latch[3];
    uint8_t palette[768]; /* red, green, blue: 6 bits each, or 8 under VBE_8BIT_DAC */
    uint8_t latch[4];
    uint16_t vbe_index;
    uint16_t vbe[VBE_REGS];
};

/* Is a VBE mode of this size and depth one that vram_bytes can show? */
static inline bool vbe_fits(uint32_t bpp, uint32_t virt_width, uint32_t lines, uint32_t vram_bytes)
{
    uint32_t pitch = bpp == 4 ? virt_width / 2 : virt_width * ((bpp + 7) / 8); /* of all planes together */
    return pitch && lines <= vram_bytes / pitch;
}

struct display {
    struct vga_regs regs;
    uint8_t *vram; /* the first vram_len bytes, as far as the mode shows them */
    size_t vram_len;
};

static inline bool display_vbe(const struct vga_regs *r)
{
    return r->vbe[VBE_ENABLE] & VBE_ENABLED;
}
/* How many bytes of video RAM the mode can show, from byte 0 on. */
static inline uint32_t display_extent(const struct vga_regs *r)
{
    const uint16_t *v = r->vbe;
    uint64_t n = 4 * VGA_PLANE_BYTES;
    if (display_vbe(r)) {
        uint32_t bytes = (v[VBE_BPP] + 7u) / 8, lines = (uint32_t)v[VBE_Y_OFFSET] + v[VBE_YRES];
        n = (uint64_t)lines * v[VBE_VIRT_WIDTH] * bytes + 4u * v[VBE_X_OFFSET] + 4u * v[VBE_XRES];
    }
    return n < VGA_VRAM_BYTES ? (uint32_t)n : VGA_VRAM_BYTES;
}

#endif
