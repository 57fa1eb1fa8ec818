/* The Bochs display interface: an index and a data register, 16 bits each, that set any mode (Bochs, iodev/display/
 * vga.h and its VBE documentation; QEMU, docs/specs/standard-vga). */
#include "vmcore/dev/vga.h"
#include "vmcore/rt.h"

enum {
    ID_FIRST = 0xb0c0,
    ID_LAST = 0xb0c5,
    MAX_XRES = 2560,
    MAX_YRES = 1600,
    MAX_BPP = 32,
    BANK_BYTES = 0x10000,
    ENABLE_BITS = VBE_ENABLED | VBE_GETCAPS | VBE_8BIT_DAC | VBE_LFB | VBE_NOCLEAR,
};

static uint32_t memory(const struct vga *v)
{
    return vram_pages(v->mem) << 12;
}

static bool depth_ok(unsigned bpp)
{
    return bpp == 4 || bpp == 8 || bpp == 15 || bpp == 16 || bpp == 24 || bpp == 32;
}

/* Bytes from one line to the next, of all planes together. */
static uint32_t pitch(const struct vga_regs *r)
{
    return r->vbe[VBE_BPP] == 4 ? r->vbe[VBE_VIRT_WIDTH] / 2u : r->vbe[VBE_VIRT_WIDTH] * ((r->vbe[VBE_BPP] + 7u) / 8);
}

static uint32_t max32(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}
static uint32_t min32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Brings the registers of an enabled mode to what memory has room for. */
static void fix_up(struct vga *v)
{
    uint16_t *d = v->regs.vbe;
    uint32_t bytes = memory(v), p;

    if (!depth_ok(d[VBE_BPP]))
        d[VBE_BPP] = 8;
    d[VBE_XRES] = (uint16_t)max32(min32(d[VBE_XRES], MAX_XRES) & ~7u, 8);
    d[VBE_YRES] = (uint16_t)max32(min32(d[VBE_YRES], MAX_YRES), 1);
    d[VBE_VIRT_WIDTH] = (uint16_t)max32(d[VBE_VIRT_WIDTH] & ~7u, d[VBE_XRES]);
    if (bytes / pitch(&v->regs) < d[VBE_YRES]) /* a virtual screen that is too wide is as wide as the mode */
        d[VBE_VIRT_WIDTH] = d[VBE_XRES];
    p = pitch(&v->regs);
    d[VBE_YRES] = (uint16_t)min32(d[VBE_YRES], bytes / p);
    d[VBE_VIRT_HEIGHT] = (uint16_t)min32(bytes / p, 0xffff);
    d[VBE_X_OFFSET] = (uint16_t)min32(d[VBE_X_OFFSET], d[VBE_VIRT_WIDTH] - d[VBE_XRES]);
    d[VBE_Y_OFFSET] = (uint16_t)min32(d[VBE_Y_OFFSET], (uint32_t)d[VBE_VIRT_HEIGHT] - d[VBE_YRES]);
}

const char *vga_dispi_check(const struct vga *v)
{
    const uint16_t *d = v->regs.vbe;

    if (d[VBE_ID] < ID_FIRST || d[VBE_ID] > ID_LAST || (d[VBE_ENABLE] & ~ENABLE_BITS) ||
        d[VBE_BANK] >= memory(v) / BANK_BYTES)
        return "dispi register out of range";
    if (!display_vbe(&v->regs))
        return NULL;
    if (!depth_ok(d[VBE_BPP]) || !d[VBE_XRES] || d[VBE_XRES] > MAX_XRES || (d[VBE_XRES] & 7) || !d[VBE_YRES] ||
        d[VBE_YRES] > MAX_YRES || (d[VBE_VIRT_WIDTH] & 7) ||
        d[VBE_X_OFFSET] + (uint32_t)d[VBE_XRES] > d[VBE_VIRT_WIDTH] ||
        (uint32_t)d[VBE_Y_OFFSET] + d[VBE_YRES] > memory(v) / pitch(&v->regs))
        return "dispi mode does not fit video RAM";
    return NULL;
}

static void clear(struct vga *v)
{
    uint32_t left = pitch(&v->regs) * v->regs.vbe[VBE_YRES];

    for (uint32_t page = 0; left; page++) {
        uint32_t n = min32(left, 4096);
        memset(vram_write(v->mem, page, 0, n), 0, n);
        left -= n;
    }
}

/* Colours keep their look when the DAC changes its width. */
static void resize_palette(struct vga_regs *r, bool wide)
{
    for (unsigned i = 0; i < sizeof r->palette; i++)
        r->palette[i] = (uint8_t)(wide ? r->palette[i] << 2 | r->palette[i] >> 4 : r->palette[i] >> 2);
}

static void write_enable(struct vga *v, uint16_t val)
{
    uint16_t *d = v->regs.vbe, old = d[VBE_ENABLE];

    d[VBE_ENABLE] = val & ENABLE_BITS;
    if ((old ^ val) & VBE_8BIT_DAC)
        resize_palette(&v->regs, val & VBE_8BIT_DAC);
    if ((val & VBE_ENABLED) && !(old & VBE_ENABLED)) {
        d[VBE_VIRT_WIDTH] = d[VBE_XRES];
        d[VBE_X_OFFSET] = d[VBE_Y_OFFSET] = d[VBE_BANK] = 0;
        fix_up(v);
        if (!(val & VBE_NOCLEAR))
            clear(v);
    } else if (!(val & VBE_ENABLED)) {
        d[VBE_BANK] = 0;
    }
    vga_window_changed(v);
}

uint16_t vga_dispi_read(const struct vga *v, unsigned index)
{
    static const uint16_t caps[] = {[VBE_XRES] = MAX_XRES, [VBE_YRES] = MAX_YRES, [VBE_BPP] = MAX_BPP};
    const uint16_t *d = v->regs.vbe;

    if (index == VBE_MEMORY_64K)
        return (uint16_t)(memory(v) >> 16);
    if (index >= VBE_REGS)
        return 0;
    if (index >= VBE_XRES && index <= VBE_BPP && (d[VBE_ENABLE] & VBE_GETCAPS))
        return caps[index];
    return d[index];
}

void vga_dispi_write(struct vga *v, unsigned index, uint16_t val)
{
    uint16_t *d = v->regs.vbe;

    switch (index) {
    case VBE_ID:
        if (val >= ID_FIRST && val <= ID_LAST)
            d[VBE_ID] = val;
        return;
    case VBE_ENABLE:
        write_enable(v, val);
        return;
    case VBE_BANK:
        if (val < memory(v) / BANK_BYTES)
            d[VBE_BANK] = val;
        vga_window_changed(v);
        return;
    case VBE_XRES:
    case VBE_YRES:
    case VBE_BPP: /* a mode is set up while it is off; drivers that change a running one are heeded as well */
    case VBE_VIRT_WIDTH:
    case VBE_X_OFFSET:
    case VBE_Y_OFFSET:
        d[index] = val;
        if (display_vbe(&v->regs))
            fix_up(v);
        return;
    default: /* the virtual height follows from the width */
        return;
    }
}
