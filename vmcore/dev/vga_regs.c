/* The VGA's registers behind ports 3B0h to 3DFh (IBM VGA technical reference; FreeVGA). */
#include "vmcore/clock.h"
#include "vmcore/dev/vga.h"
#include "vmcore/rt.h"

enum {
    ATTR_WRITE = 0x3c0,
    ATTR_READ = 0x3c1,
    MISC_WRITE = 0x3c2, /* read: input status 0 */
    SEQ_INDEX = 0x3c4,
    SEQ_DATA = 0x3c5,
    DAC_MASK = 0x3c6,
    DAC_READ_INDEX = 0x3c7, /* read: state */
    DAC_WRITE_INDEX = 0x3c8,
    DAC_DATA = 0x3c9,
    FEATURE_READ = 0x3ca,
    MISC_READ = 0x3cc,
    GC_INDEX = 0x3ce,
    GC_DATA = 0x3cf,
    CRTC_INDEX = 0x3d4, /* 3B4h.. while the miscellaneous register says monochrome */
    CRTC_DATA = 0x3d5,
    STATUS1 = 0x3da, /* write: feature control */

    MISC_COLOUR = 1,
    SENSE = 0x10,
    STATUS1_BLANK = 1,
    STATUS1_RETRACE = 8,
    CRTC_PROTECT = 0x80, /* of CRTC_VRE: registers 0 to 7 are read-only */
    CRTC_REGS = 0x19,
    ATTR_REGS = 0x15,
};

static const uint8_t seq_bits[8] = {0x03, 0x3d, 0x0f, 0x3f, 0x0e};
static const uint8_t gc_bits[9] = {0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff};
static const uint8_t attr_bits[ATTR_REGS] = {0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f,
                                             0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0xef, 0xff, 0x3f, 0x0f, 0x0f};

/* ---- input status 1: where the beam is, by the virtual clock */

static uint64_t line_ns(const struct vga_regs *r)
{
    uint64_t dots = (r->crtc[CRTC_HTOTAL] + 5u) * (r->seq[SEQ_CLOCKING] & 1 ? 8u : 9u);
    uint64_t khz = (r->misc >> 2 & 3) == 1 ? 28322 : 25175;
    return dots * (r->seq[SEQ_CLOCKING] & SEQ_HALF_CLOCK ? 2 : 1) * 1000000 / khz;
}

static uint8_t status1(const struct vga *v)
{
    const struct vga_regs *r = &v->regs;
    uint32_t over = r->crtc[CRTC_OVERFLOW];
    uint32_t lines = (r->crtc[CRTC_VTOTAL] | (over & 1) << 8 | (over & 0x20) << 4) + 2;
    uint32_t shown = (r->crtc[CRTC_VDE] | (over & 2) << 7 | (over & 0x40) << 3) + 1;
    uint32_t retrace = r->crtc[CRTC_VRS] | (over & 4) << 6 | (over & 0x80) << 2;
    uint32_t length = (r->crtc[CRTC_VRE] - retrace) & 15;
    uint64_t per_line = line_ns(r);

    if (lines < 100 || retrace >= lines || shown >= lines) { /* not set up (or a dispi mode): 60 Hz of 525 lines */
        lines = 525;
        shown = 480;
        retrace = 490;
        length = 2;
        per_line = 31746;
    }
    uint64_t now = vclock_now(v->clock), in_frame = now % (lines * per_line);
    uint32_t line = (uint32_t)(in_frame / per_line), column = (uint32_t)(in_frame % per_line);
    /* displayed characters of the line's total */
    uint64_t shown_ns = per_line * (r->crtc[CRTC_HDE] + 1u) / (r->crtc[CRTC_HTOTAL] + 5u);
    uint8_t s = 0;

    if (line >= shown || column >= shown_ns)
        s |= STATUS1_BLANK;
    if (line - retrace < (length ? length : 16))
        s |= STATUS1_RETRACE | STATUS1_BLANK;
    return s;
}

/* ---- attribute controller: one port for index and data, told apart by a flip-flop that status 1 resets */

static void attr_write(struct vga_regs *r, uint8_t val)
{
    unsigned n = r->attr_index & 0x1f;

    r->attr_data = !r->attr_data;
    if (r->attr_data) {
        r->attr_index = val & 0x3f;
        return;
    }
    if (n < 16 && (r->attr_index & ATTR_PAS))
        return; /* the palette is the screen's */
    if (n < ATTR_REGS)
        r->attr[n] = val & attr_bits[n];
}

/* ---- DAC: three parts a colour; the index moves on after the third */

static uint8_t dac_bits(const struct vga_regs *r)
{
    return r->vbe[VBE_ENABLE] & VBE_8BIT_DAC ? 0xff : 0x3f;
}

static void dac_data_write(struct vga_regs *r, uint8_t val)
{
    r->dac_latch[r->dac_part] = val & dac_bits(r);
    if (++r->dac_part < 3)
        return;
    r->dac_part = 0;
    memcpy(r->palette + 3u * r->dac_write++, r->dac_latch, 3);
}

static uint8_t dac_data_read(struct vga_regs *r)
{
    uint8_t val = r->palette[3u * r->dac_read + r->dac_part];

    if (++r->dac_part == 3) {
        r->dac_part = 0;
        r->dac_read++;
    }
    return val;
}

/* ---- CRT controller */

static void crtc_write(struct vga_regs *r, uint8_t val)
{
    unsigned n = r->crtc_index;

    if (n >= CRTC_REGS)
        return;
    if (n <= CRTC_OVERFLOW && (r->crtc[CRTC_VRE] & CRTC_PROTECT)) {
        if (n == CRTC_OVERFLOW) /* but for the line compare's ninth bit */
            r->crtc[n] = (uint8_t)((r->crtc[n] & ~0x10u) | (val & 0x10u));
        return;
    }
    r->crtc[n] = val;
}

/* ---- ports */

/* The CRT controller and its companions answer at one of two places; *ret_port is the colour one's. */
static bool decoded(const struct vga_regs *r, unsigned port, unsigned *ret_port)
{
    *ret_port = port;
    if (port >= 0x3c0 && port < 0x3d0)
        return true;
    *ret_port = (port & 15) | 0x3d0;
    return (port >= 0x3d0) == (r->misc & MISC_COLOUR);
}

uint8_t vga_port_read(struct vga *v, unsigned port)
{
    struct vga_regs *r = &v->regs;

    if (!decoded(r, port, &port))
        return 0xff;
    switch (port) {
    case ATTR_WRITE:
        return r->attr_index;
    case ATTR_READ:
        return (r->attr_index & 0x1f) < ATTR_REGS ? r->attr[r->attr_index & 0x1f] : 0;
    case MISC_WRITE:
        return SENSE;
    case SEQ_INDEX:
        return r->seq_index;
    case SEQ_DATA:
        return r->seq_index < 8 ? r->seq[r->seq_index] : 0;
    case DAC_MASK:
        return r->dac_mask;
    case DAC_READ_INDEX:
        return r->dac_reading ? 3 : 0;
    case DAC_WRITE_INDEX:
        return r->dac_write;
    case DAC_DATA:
        return dac_data_read(r);
    case FEATURE_READ:
        return r->feature;
    case MISC_READ:
        return r->misc;
    case GC_INDEX:
        return r->gc_index;
    case GC_DATA:
        return r->gc_index < 9 ? r->gc[r->gc_index] : 0;
    case CRTC_INDEX:
        return r->crtc_index;
    case CRTC_DATA:
        return r->crtc_index < CRTC_REGS ? r->crtc[r->crtc_index] : 0;
    case STATUS1:
        r->attr_data = 0;
        return status1(v);
    default:
        return 0xff;
    }
}

void vga_port_write(struct vga *v, unsigned port, uint8_t val)
{
    struct vga_regs *r = &v->regs;

    if (!decoded(r, port, &port))
        return;
    switch (port) {
    case ATTR_WRITE:
        attr_write(r, val);
        break;
    case MISC_WRITE:
        r->misc = val & 0xef;
        vga_window_changed(v);
        break;
    case SEQ_INDEX:
        r->seq_index = val & 7;
        break;
    case SEQ_DATA:
        r->seq[r->seq_index] = val & seq_bits[r->seq_index];
        vga_window_changed(v);
        break;
    case DAC_MASK:
        r->dac_mask = val;
        break;
    case DAC_READ_INDEX:
        r->dac_read = val;
        r->dac_part = 0;
        r->dac_reading = 1;
        break;
    case DAC_WRITE_INDEX:
        r->dac_write = val;
        r->dac_part = 0;
        r->dac_reading = 0;
        break;
    case DAC_DATA:
        dac_data_write(r, val);
        break;
    case GC_INDEX:
        r->gc_index = val & 15;
        break;
    case GC_DATA:
        if (r->gc_index < 9)
            r->gc[r->gc_index] = val & gc_bits[r->gc_index];
        vga_window_changed(v);
        break;
    case CRTC_INDEX:
        r->crtc_index = val & 0x1f;
        break;
    case CRTC_DATA:
        crtc_write(r, val);
        break;
    case STATUS1:
        r->feature = val & 0x0b;
        break;
    default:
        break;
    }
}
