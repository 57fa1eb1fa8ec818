#include "vmcore/dev/vga.h"

#include "vmcore/rt.h"

enum {
    PORTS = 0x3b0,
    PORTS_LEN = 0x30,
    DISPI_INDEX = 0x1ce,
    DISPI_LEN = 3, /* the data register is 16 bits at 1CFh */
    WINDOW = 0xa0000,
    WINDOW_LEN = 0x20000,
    BAR_FRAME_BUFFER = 0,
    BAR_REGISTERS = 2,
    REGISTERS_LEN = 4096,
    ROM_BAR = 0x30,
    ROM_ENABLE = 1,
    ROM_MAX = 0x10000,

    /* in the register BAR */
    MMIO_PORTS = 0x400, /* 3C0h..3DFh */
    MMIO_DISPI = 0x500,
    MMIO_EXT = 0x600, /* length of this area, then the frame buffer's byte order */
    EXT_LEN = 8,
    LITTLE_ENDIAN_FB = 0x1e1e1e1e,
};

/* ---- windows */

static uint32_t io_read(void *dev, uint32_t off, unsigned size)
{
    return vga_port_read(dev, PORTS + off);
}
static void io_write(void *dev, uint32_t off, uint32_t val, unsigned size)
{
    vga_port_write(dev, PORTS + off, (uint8_t)val);
}
static const struct bus_ops io_ops = {io_read, io_write, 1, 1};

static uint32_t dispi_read(void *dev, uint32_t off, unsigned size)
{
    struct vga *v = dev;
    if (size != 2 || off > 1)
        return UINT32_MAX;
    return off ? vga_dispi_read(v, v->regs.vbe_index) : v->regs.vbe_index;
}
static void dispi_write(void *dev, uint32_t off, uint32_t val, unsigned size)
{
    struct vga *v = dev;
    if (size != 2 || off > 1)
        return;
    if (off)
        vga_dispi_write(v, v->regs.vbe_index, (uint16_t)val);
    else
        v->regs.vbe_index = (uint16_t)val;
}
static const struct bus_ops dispi_ops = {dispi_read, dispi_write, 1, 2};

static uint32_t mem_read(void *dev, uint32_t off, unsigned size)
{
    return vga_mem_read(dev, off);
}
static void mem_write(void *dev, uint32_t off, uint32_t val, unsigned size)
{
    vga_mem_write(dev, off, (uint8_t)val);
}
static const struct bus_ops mem_ops = {mem_read, mem_write, 1, 1};

/* The frame buffer is mapped as memory; whoever comes by the bus nevertheless (DMA of a device) is served a byte each.
 */
static uint32_t fb_read(void *dev, uint32_t off, unsigned size)
{
    return vram_read(((struct vga *)dev)->mem, off >> 12)[off & 0xfff];
}
static void fb_write(void *dev, uint32_t off, uint32_t val, unsigned size)
{
    vram_write(((struct vga *)dev)->mem, off >> 12, off & 0xfff, 1)[off & 0xfff] = (uint8_t)val;
}
static const struct bus_ops fb_ops = {fb_read, fb_write, 1, 1};

static uint32_t mmio_read(void *dev, uint32_t off, unsigned size)
{
    struct vga *v = dev;
    uint32_t val = 0;

    if (off + size <= VGA_EDID_LEN) {
        for (unsigned i = 0; i < size; i++)
            val |= (uint32_t)vga_edid[off + i] << i * 8;
        return val;
    }
    if (off >= MMIO_PORTS && off < MMIO_PORTS + 0x20) {
        for (unsigned i = 0; i < size; i++)
            val |= (uint32_t)vga_port_read(v, 0x3c0 + off - MMIO_PORTS + i) << i * 8;
        return val;
    }
    if (off >= MMIO_DISPI && off <= MMIO_DISPI + 2 * VBE_MEMORY_64K && size == 2)
        return vga_dispi_read(v, (off - MMIO_DISPI) / 2);
    if (off == MMIO_EXT)
        return EXT_LEN;
    if (off == MMIO_EXT + 4)
        return LITTLE_ENDIAN_FB;
    return 0;
}
static void mmio_write(void *dev, uint32_t off, uint32_t val, unsigned size)
{
    struct vga *v = dev;

    if (off >= MMIO_PORTS && off < MMIO_PORTS + 0x20)
        for (unsigned i = 0; i < size; i++)
            vga_port_write(v, 0x3c0 + off - MMIO_PORTS + i, (uint8_t)(val >> i * 8));
    else if (off >= MMIO_DISPI && off < MMIO_DISPI + 2 * VBE_REGS && size == 2)
        vga_dispi_write(v, (off - MMIO_DISPI) / 2, (uint16_t)val);
}
static const struct bus_ops mmio_ops = {mmio_read, mmio_write, 1, 4};

static uint32_t rom_read(void *dev, uint32_t off, unsigned size)
{
    struct vga *v = dev;
    return off < v->rom_len ? v->rom[off] : 0;
}
static const struct bus_ops rom_ops = {rom_read, NULL, 1, 1};

/* ---- PCI: the BARs that configuration space does not map by itself */

static void map_frame_buffer(struct vga *v)
{
    uint32_t pages = vram_pages(v->mem), size = pages << 12;
    uint32_t base = pci_get(&v->pci, PCI_BAR0, 4) & ~(size - 1);
    bool on = (v->pci.config[PCI_COMMAND] & PCI_CMD_MEM) && base && base != ~(size - 1);

    vram_map(v->mem, VRAM_FRAME_BUFFER, on ? base : 0, on ? pages : 0, 0);
}

static void map_rom(struct vga *v)
{
    struct bus *b = v->pci.bus->ctx->bus;
    uint32_t raw = v->rom_size ? pci_get(&v->pci, ROM_BAR, 4) : 0, base = raw & ~(v->rom_size - 1);
    bool on = (raw & ROM_ENABLE) && (v->pci.config[PCI_COMMAND] & PCI_CMD_MEM) && base && base != -v->rom_size;

    if (!on)
        bus_unmap(b, &v->rom_win);
    else if (!v->rom_win.mapped || v->rom_win.base != base)
        bus_map(b, &v->rom_win, true, base, v->rom_size, &rom_ops, v, "vga-rom");
}

static void config_written(struct pci_dev *d, unsigned off, unsigned size)
{
    struct vga *v = (struct vga *)d; /* pci is the first member */

    map_frame_buffer(v);
    map_rom(v);
}

static void pci_was_reset(struct pci_dev *d)
{
    config_written(d, 0, 0);
}

/* ---- state */

static const struct field vga_fields[] = {
    FIELD(struct vga, regs.misc, F_U8),        FIELD(struct vga, regs.feature, F_U8),
    FIELD(struct vga, regs.seq_index, F_U8),   FIELD(struct vga, regs.gc_index, F_U8),
    FIELD(struct vga, regs.crtc_index, F_U8),  FIELD(struct vga, regs.attr_index, F_U8),
    FIELD_BYTES(struct vga, regs.seq),         FIELD_BYTES(struct vga, regs.gc),
    FIELD_BYTES(struct vga, regs.crtc),        FIELD_BYTES(struct vga, regs.attr),
    FIELD(struct vga, regs.attr_data, F_U8),   FIELD(struct vga, regs.dac_read, F_U8),
    FIELD(struct vga, regs.dac_write, F_U8),   FIELD(struct vga, regs.dac_part, F_U8),
    FIELD(struct vga, regs.dac_reading, F_U8), FIELD(struct vga, regs.dac_mask, F_U8),
    FIELD_BYTES(struct vga, regs.dac_latch),   FIELD_BYTES(struct vga, regs.palette),
    FIELD_BYTES(struct vga, regs.latch),       FIELD(struct vga, regs.vbe_index, F_U16),
    FIELD_ARRAY(struct vga, regs.vbe, F_U16),  FIELD_END,
};

static int vga_loaded(void *dev, const char **why)
{
    struct vga *v = dev;
    const struct vga_regs *r = &v->regs;

    if (r->seq_index > 7 || r->gc_index > 15 || r->crtc_index > 31 || r->attr_index > 63 || r->attr_data > 1 ||
        r->dac_part > 2 || r->dac_reading > 1) {
        *why = "register index out of range";
        return -1;
    }
    *why = vga_dispi_check(v);
    if (*why)
        return -1;
    v->plain = 0;
    vga_window_changed(v);
    map_frame_buffer(v);
    map_rom(v);
    return 0;
}

static const struct state_table vga_table = {"vga", 1, vga_fields, vga_loaded, NULL};

/* ---- life */

void vga_reset(struct vga *v)
{
    memset(&v->regs, 0, sizeof v->regs);
    v->regs.misc = 1; /* ports at 3D4h: nobody looks for a monochrome display */
    v->regs.dac_mask = 0xff;
    v->regs.vbe[VBE_ID] = 0xb0c5;
    v->regs.vbe[VBE_BPP] = 8;
    v->plain = 0;
    vga_window_changed(v);
}

void vga_init(struct vga *v, struct devctx *c, struct pci_bus *bus, unsigned slot, const void *rom, uint32_t len)
{
    static const struct pci_id id = {.vendor = 0x1234,
                                     .device = 0x1111,
                                     .class_code = 0x030000,
                                     .revision = 2, /* has the register BAR's extension */
                                     .sub_vendor = 0x1af4,
                                     .sub_device = 0x1100};

    memset(v, 0, sizeof *v);
    v->mem = c->mem;
    v->clock = c->clock;
    if (rom && len) {
        v->rom = rom;
        v->rom_len = len < ROM_MAX ? len : ROM_MAX;
        for (v->rom_size = 2048; v->rom_size < v->rom_len;)
            v->rom_size *= 2;
    }
    v->pci.config_written = config_written;
    v->pci.reset = pci_was_reset;
    pci_add(bus, &v->pci, "vga.pci", PCI_DEVFN(slot, 0), &id);
    pci_bar(&v->pci, BAR_FRAME_BUFFER, true, vram_pages(c->mem) << 12, &fb_ops, v, "vga-memory");
    pci_fix(&v->pci, PCI_BAR0, 8, 4); /* prefetchable */
    pci_bar(&v->pci, BAR_REGISTERS, true, REGISTERS_LEN, &mmio_ops, v, "vga-registers");
    v->pci.wmask[PCI_COMMAND] |= PCI_CMD_IO;
    if (v->rom_size)
        pci_writable(&v->pci, ROM_BAR, ~(v->rom_size - 1) | ROM_ENABLE, 4);
    bus_map(c->bus, &v->io_win, false, PORTS, PORTS_LEN, &io_ops, v, "vga");
    bus_map(c->bus, &v->dispi_win, false, DISPI_INDEX, DISPI_LEN, &dispi_ops, v, "vga-dispi");
    bus_map(c->bus, &v->mem_win, true, WINDOW, WINDOW_LEN, &mem_ops, v, "vga-window");
    c->add_state(c, &v->state, "vga", &vga_table, v);
    vga_reset(v);
}

/* ---- direct boot */

/* The BIOS image has the 8x16 font as INT 10h's function 1130h gives it: found by the glyphs of "A" and " ". */
static const uint8_t *find_font(const struct vga *v)
{
    static const uint8_t a[16] = {0, 0, 0x10, 0x38, 0x6c, 0xc6, 0xc6, 0xfe, 0xc6, 0xc6, 0xc6, 0xc6};
    static const uint8_t blank[16];

    for (uint32_t at = 0; v->rom && at + 256 * 16 <= v->rom_len; at++)
        if (!memcmp(v->rom + at + 'A' * 16, a, 16) && !memcmp(v->rom + at, blank, 16) &&
            !memcmp(v->rom + at + ' ' * 16, blank, 16))
            return v->rom + at;
    return NULL;
}

static void clear_text(struct vga *v)
{
    const uint8_t *font = find_font(v);

    for (uint32_t page = 0; page < 4 * VGA_PLANE_BYTES >> 12; page++) {
        uint8_t *p = vram_write(v->mem, page, 0, 4096);
        for (uint32_t i = 0; i < 4096; i += 4) {
            uint32_t n = page * 1024 + i / 4, glyph = n >> 5, row = n & 31;
            p[i] = ' ';
            p[i + 1] = 7;
            p[i + 2] = font && glyph < 256 && row < 16 ? font[glyph * 16 + row] : 0;
            p[i + 3] = 0;
        }
    }
}

void vga_direct_boot(struct vga *v)
{
    /* Mode 3, 80x25 cells of 9x16 dots (IBM VGA technical reference, mode tables). */
    static const uint8_t seq[8] = {3, 0, 3, 0, 2};
    static const uint8_t gc[16] = {0, 0, 0, 0, 0, 0x10, 0x0e, 0x0f, 0xff};
    static const uint8_t crtc[32] = {0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0x00, 0x4f, 0x0d, 0x0e, 0,
                                     0,    0,    0,    0x9c, 0x8e, 0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff};
    static const uint8_t attr[32] = {0,    1,    2,    3,    4,    5,    0x14, 7,    0x38, 0x39, 0x3a,
                                     0x3b, 0x3c, 0x3d, 0x3e, 0x3f, 0x0c, 0,    0x0f, 0x08, 0};
    struct vga_regs *r = &v->regs;

    vga_reset(v);
    r->misc = 0x67;
    memcpy(r->seq, seq, sizeof seq);
    memcpy(r->gc, gc, sizeof gc);
    memcpy(r->crtc, crtc, sizeof crtc);
    memcpy(r->attr, attr, sizeof attr);
    r->attr_index = ATTR_PAS;
    for (unsigned i = 0; i < 64; i++) /* two bits a colour: rgbRGB, the small letters a third of full */
        for (unsigned c = 0; c < 3; c++)
            r->palette[3 * i + c] = (uint8_t)((i >> (2 - c) & 1) * 42 + (i >> (5 - c) & 1) * 21);
    clear_text(v);
    vga_window_changed(v);
}
