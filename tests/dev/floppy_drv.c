#include "tests/dev/floppy_drv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

const uint32_t one_disk[2] = {M144, UINT32_MAX};

void floppy_command(struct rig *r, const uint8_t *bytes, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(rig_in(r, MSR) & (RQM | DIO), RQM);
        rig_out(r, FIFO, bytes[i]);
    }
}

void floppy_results(struct rig *r, const uint8_t *want, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(rig_in(r, MSR) & (RQM | DIO | CB), RQM | DIO | CB);
        uint8_t got = rig_in(r, FIFO);
        if (got != want[i])
            fail_msg("result byte %u is %02x, not %02x", i, got, want[i]);
    }
    assert_int_equal(rig_in(r, MSR) & (DIO | CB), 0);
}

void floppy_dma(struct rig *r, unsigned mode, uint32_t pa, unsigned bytes)
{
    rig_out(r, 0x0a, 6);
    rig_out(r, 0x0c, 0);
    rig_out(r, 0x0b, (uint8_t)mode);
    rig_out(r, 0x04, (uint8_t)pa);
    rig_out(r, 0x04, (uint8_t)(pa >> 8));
    rig_out(r, 0x81, (uint8_t)(pa >> 16));
    rig_out(r, 0x05, (uint8_t)(bytes - 1));
    rig_out(r, 0x05, (uint8_t)((bytes - 1) >> 8));
    rig_out(r, 0x0a, 2);
}

struct rig *floppy_start(const uint32_t sizes[2])
{
    struct rig *r = rig_new(sizes);
    rig_out(r, 0xd6, 0xc0);
    rig_out(r, 0xd4, 0);
    rig_out(r, DOR, 0x3c);
    rig_settle(r);
    for (unsigned i = 0; i < 4; i++) {
        COMMAND(r, 0x08);
        RESULTS(r, (uint8_t)(0xc0 | i), 0);
    }
    rig_out(r, CCR, 0);
    COMMAND(r, 0x03, 0xdf, 0x02); /* SPECIFY: DMA */
    COMMAND(r, 0x07, 0x00);
    rig_settle(r);
    COMMAND(r, 0x08);
    RESULTS(r, 0x20, 0);
    r->irq_up = 0;
    return r;
}

void floppy_seek(struct rig *r, unsigned drive, unsigned cyl)
{
    COMMAND(r, 0x0f, (uint8_t)drive, (uint8_t)cyl);
    rig_settle(r);
    assert_int_equal(r->irq, 1);
    COMMAND(r, 0x08);
    assert_int_equal(r->irq, 0);
    RESULTS(r, (uint8_t)(0x20 | drive), (uint8_t)cyl);
}

const uint8_t *floppy_sector(struct rig *r, unsigned c, unsigned h, unsigned s)
{
    return r->disk[0].bytes + ((c * 2 + h) * 18 + s - 1) * 512;
}
