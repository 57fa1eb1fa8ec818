/* A guest that does anything with its display: an input is a list of steps of four bytes, {what, where, value, value},
 * on ports, dispi registers and the window. Nothing may leave video RAM (the rig looks), what results must save, load
 * and be the same, and show something. */
#include <stdlib.h>
#include <string.h>

#include "src/display/display.h"
#include "tests/dev/vga_modes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void step(struct rig *r, const uint8_t *d)
{
    static const struct vga_mode *const modes[8] = {&mode_03, &mode_04, &mode_06, &mode_0d,
                                                    &mode_12, &mode_13, &mode_x,  &mode_03};
    uint16_t value = (uint16_t)(d[2] | d[3] << 8);
    unsigned size = 1u << (d[0] >> 4 & 1);

    switch (d[0] & 7) {
    case 0:
        bus_io_write(&r->bus, (uint16_t)(0x3b0 + d[1] % 0x30), value, size);
        break;
    case 1:
        bus_io_read(&r->bus, (uint16_t)(0x3b0 + d[1] % 0x30), size);
        break;
    case 2:
        dispi_set(r, d[1] % 12, value);
        break;
    case 3:
        dispi_get(r, d[1] % 12);
        break;
    case 4:
        bus_mmio_write(&r->bus, 0xa0000 + (uint32_t)(d[1] & 1) * 0x10000 + value, d[0] ^ d[1], size);
        break;
    case 5:
        bus_mmio_read(&r->bus, 0xa0000 + (uint32_t)(d[1] & 1) * 0x10000 + value, size);
        break;
    case 6:
        set_mode(r, modes[d[1] & 7]);
        break;
    default:
        cfg_write(r, 2 << 3, d[1] & 0xfc, (uint32_t)value << 16 | 3, 4);
        break;
    }
}

static void show(struct rig *r)
{
    struct display d = {.regs = r->board.vga.regs};
    struct screen_text t = {0};
    struct picture p = {0};

    d.vram_len = display_extent(&d.regs);
    d.vram = malloc(d.vram_len + !d.vram_len);
    if (!d.vram)
        abort();
    memcpy(d.vram, r->mem.vram, d.vram_len);
    if (display_render(&d, &p, NULL) || !p.width || !p.height)
        abort();
    display_text(&d, &t, NULL);
    screen_text_release(&t);
    picture_release(&p);
    free(d.vram);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct rig *r = rig_new();

    for (size_t i = 0; i + 4 <= len; i += 4)
        step(r, data + i);
    show(r);
    r = rig_reload(r);
    rig_free(r);
    return 0;
}
