/* The window at A0000h to BFFFFh: how the processor's bytes meet the four planes (IBM VGA technical reference, "Video
 * memory read/write operations"; FreeVGA, "Accessing VGA display memory"). */
#include "vmcore/dev/vga.h"
#include "vmcore/rt.h"

enum {
    WINDOW = 0xa0000,
    BANK = 0x10000,
    BANK_PAGES = BANK >> 12,
    MISC_RAM = 2,
    /* A window that is plain memory is mapped after this many accesses: programs that switch modes of access a pixel
     * must not pay for the map each time. */
    MAP_AFTER = 256,
};

/* A dispi mode of 8 bits and more: banks of the linear frame buffer. */
static bool banked(const struct vga_regs *r)
{
    return display_vbe(r) && r->vbe[VBE_BPP] >= 8;
}

/* A chained 256-colour mode whose reads and writes do nothing else to the bytes. */
static bool plain_chain4(const struct vga_regs *r)
{
    return !display_vbe(r) && (r->misc & MISC_RAM) && (r->gc[GC_MISC] >> 2 & 3) == 1 &&
           (r->seq[SEQ_MODE] & SEQ_CHAIN4) && (r->seq[SEQ_MAP_MASK] & 15) == 15 && !(r->gc[GC_MODE] & 0x0b) &&
           !r->gc[GC_ENABLE_SET_RESET] && !r->gc[GC_ROTATE] && r->gc[GC_BIT_MASK] == 0xff;
}

static uint32_t bank_page(const struct vga_regs *r)
{
    return display_vbe(r) ? r->vbe[VBE_BANK] * (uint32_t)BANK_PAGES : 0;
}

static void map_window(struct vga *v)
{
    v->window_mapped = true;
    vram_map(v->mem, VRAM_WINDOW, WINDOW, BANK_PAGES, bank_page(&v->regs));
}

void vga_window_changed(struct vga *v)
{
    bool plain = banked(&v->regs) || plain_chain4(&v->regs);

    if (plain && v->window_mapped) {
        map_window(v); /* the bank may be another */
        return;
    }
    if (!plain)
        v->plain = 0;
    if (v->window_mapped)
        vram_map(v->mem, VRAM_WINDOW, 0, 0, 0);
    v->window_mapped = false;
}

/* Counts accesses to a window that is plain memory. */
static void seen_plain(struct vga *v)
{
    if (++v->plain >= MAP_AFTER && !v->window_mapped)
        map_window(v);
}

/* ---- addresses */

/* The offset in the window that the memory map field selects; false: not ours. */
static bool in_window(const struct vga_regs *r, uint32_t off, uint32_t *ret)
{
    static const uint32_t base[4] = {0, 0, 0x10000, 0x18000}, len[4] = {0x20000, 0x10000, 0x8000, 0x8000};
    unsigned map = r->gc[GC_MISC] >> 2 & 3;

    *ret = off - base[map];
    return (r->misc & MISC_RAM) && off - base[map] < len[map];
}

/* The four planes' bytes at a plane offset start at this byte of video RAM. */
static uint32_t planes_at(const struct vga *v, uint32_t off)
{
    const struct vga_regs *r = &v->regs;

    if (r->seq[SEQ_MODE] & SEQ_CHAIN4) {
        off >>= 2;
    } else if (r->gc[GC_MISC] & GC_CHAIN_ODD_EVEN) {
        bool whole = (r->gc[GC_MISC] >> 2 & 3) == 0; /* A16 stands in for A0, where there is an A16 */
        off = (off & ~1u) | (whole ? off >> 16 & 1 : 0);
    }
    off &= VGA_PLANE_BYTES - 1;
    if (display_vbe(r)) /* planar dispi modes bank each plane */
        off += r->vbe[VBE_BANK] * (uint32_t)VGA_PLANE_BYTES;
    off *= 4;
    return off < vram_pages(v->mem) << 12 ? off : off & (4 * VGA_PLANE_BYTES - 1);
}

static uint32_t all_planes(unsigned mask) /* a bit a plane to FFh a byte */
{
    uint32_t v = 0;
    for (unsigned p = 0; p < 4; p++)
        v |= (mask >> p & 1 ? 0xffu : 0) << p * 8;
    return v;
}

static uint32_t get_latch(const struct vga_regs *r)
{
    uint32_t v;
    memcpy(&v, r->latch, 4);
    return v;
}

/* ---- reads */

static uint8_t read_planes(struct vga *v, uint32_t off)
{
    struct vga_regs *r = &v->regs;
    uint32_t at = planes_at(v, off), diff;
    unsigned plane = r->gc[GC_READ_MAP] & 3;

    memcpy(r->latch, vram_read(v->mem, at >> 12) + (at & 0xfff), 4);
    if (r->gc[GC_MODE] & 8) { /* read mode 1: which pixels have the colour */
        diff = (get_latch(r) ^ all_planes(r->gc[GC_COMPARE])) & all_planes(r->gc[GC_DONT_CARE]);
        return (uint8_t) ~(diff | diff >> 8 | diff >> 16 | diff >> 24);
    }
    if (r->seq[SEQ_MODE] & SEQ_CHAIN4)
        plane = off & 3;
    else if (r->gc[GC_MODE] & GC_HOST_ODD_EVEN)
        plane = (plane & 2) | (off & 1);
    return r->latch[plane];
}

uint8_t vga_mem_read(struct vga *v, uint32_t off)
{
    struct vga_regs *r = &v->regs;

    if (banked(r)) {
        if (off >= BANK)
            return 0xff;
        seen_plain(v);
        return vram_read(v->mem, bank_page(r) + (off >> 12))[off & 0xfff];
    }
    if (!in_window(r, off, &off))
        return 0xff;
    if (plain_chain4(r))
        seen_plain(v);
    return read_planes(v, off);
}

/* ---- writes */

/* The logical function, then the bit mask: what the latches keep. */
static uint32_t combine(const struct vga_regs *r, uint32_t data, uint8_t bit_mask)
{
    uint32_t latch = get_latch(r), mask = bit_mask * 0x01010101u;

    switch (r->gc[GC_ROTATE] >> 3) {
    case 1:
        data &= latch;
        break;
    case 2:
        data |= latch;
        break;
    case 3:
        data ^= latch;
        break;
    default:
        break;
    }
    return (data & mask) | (latch & ~mask);
}

static uint32_t write_data(const struct vga_regs *r, uint8_t val)
{
    unsigned turn = r->gc[GC_ROTATE] & 7;
    uint8_t turned = (uint8_t)(val >> turn | val << (8 - turn));
    uint32_t set = all_planes(r->gc[GC_SET_RESET]), by_set = all_planes(r->gc[GC_ENABLE_SET_RESET]);

    switch (r->gc[GC_MODE] & 3) {
    case 0:
        return combine(r, (turned * 0x01010101u & ~by_set) | (set & by_set), r->gc[GC_BIT_MASK]);
    case 1:
        return get_latch(r);
    case 2:
        return combine(r, all_planes(val & 15), r->gc[GC_BIT_MASK]);
    default:
        return combine(r, set, r->gc[GC_BIT_MASK] & turned);
    }
}

static void write_planes(struct vga *v, uint32_t off, uint8_t val)
{
    struct vga_regs *r = &v->regs;
    uint32_t at = planes_at(v, off), data = write_data(r, val), old, mask;
    unsigned planes = r->seq[SEQ_MAP_MASK];

    if (r->seq[SEQ_MODE] & SEQ_CHAIN4)
        planes &= 1u << (off & 3);
    else if (!(r->seq[SEQ_MODE] & SEQ_ODD_EVEN_OFF))
        planes &= off & 1 ? 0x0a : 0x05;
    if (!planes)
        return;
    mask = all_planes(planes);
    uint8_t *p = vram_write(v->mem, at >> 12, at & 0xfff, 4) + (at & 0xfff);
    memcpy(&old, p, 4);
    data = (data & mask) | (old & ~mask);
    memcpy(p, &data, 4);
}

void vga_mem_write(struct vga *v, uint32_t off, uint8_t val)
{
    struct vga_regs *r = &v->regs;

    if (banked(r)) {
        if (off >= BANK)
            return;
        seen_plain(v);
        vram_write(v->mem, bank_page(r) + (off >> 12), off & 0xfff, 1)[off & 0xfff] = val;
        return;
    }
    if (!in_window(r, off, &off))
        return;
    if (plain_chain4(r))
        seen_plain(v);
    write_planes(v, off, val);
}
