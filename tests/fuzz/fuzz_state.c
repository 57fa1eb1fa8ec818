/* A saved state is a file's content, so hostile: load it into a whole board. What loads must then run, answer its ports
 * and save again. An input is a state; or, where it begins with "patch", a list of {u16 offset, u8 value} that is
 * applied to a good state, which gets a fuzzer past the format at once. */
#include <stdlib.h>
#include <string.h>

#include "src/base/err.h"
#include "tests/dev/board_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const char patch[] = "patch";

static void use(struct rig *r)
{
    static const uint16_t ports[] = {0x20,  0x21,  0xa0,  0xa1,  0x40,  0x42,  0x61,  0x60,  0x64,
                                     0x71,  0x3f8, 0x3fa, 0x3fd, 0x92,  0xcf8, 0xcfc, 0x600, 0x608,
                                     0x700, 0x3c0, 0x3c5, 0x3c9, 0x3cf, 0x3d5, 0x3da};
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < sizeof ports / sizeof ports[0]; i++) {
            uint8_t v = in8(r, ports[i]);
            out8(r, ports[i], (uint8_t)(v + round));
        }
        for (unsigned off = 0x20; off < 0x400; off += 16)
            apic_set(r, off, apic(r, off));
        for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
            ioapic_set_irq(&r->board.ioapic, pin, (int)(round & 1));
        for (uint32_t pa = 0xa0000; pa < 0xc0000; pa += 0x0fff)
            bus_mmio_write(&r->bus, pa, bus_mmio_read(&r->bus, pa, 2) + round, 2);
        board_ack_irq(&r->board);
        rig_events(r);
        /* A timer may be due at any time up to never, and periodic ones may be fast: a bounded step. */
        vclock_advance(&r->clock, 100000);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct rig *r = rig_new();
    uint8_t *copy = NULL, *saved = NULL;
    size_t copy_len = len;

    if (len >= sizeof patch - 1 && !memcmp(data, patch, sizeof patch - 1)) {
        board_direct_boot(&r->board);
        if (state_save(&r->states, &copy, &copy_len, NULL))
            abort();
        for (size_t i = sizeof patch - 1; i + 3 <= len; i += 3)
            copy[(data[i] | data[i + 1] << 8) % copy_len] = data[i + 2];
    } else {
        copy = malloc(len + !len); /* its own block, so that a sanitizer sees a read behind it */
        if (!copy)
            abort();
        memcpy(copy, data, len);
    }
    if (!state_load(&r->states, copy, copy_len, NULL)) {
        use(r);
        if (state_save(&r->states, &saved, &copy_len, NULL))
            abort();
    }
    free(saved);
    free(copy);
    rig_free(r);
    return 0;
}
