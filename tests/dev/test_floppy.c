/* The floppy controller at register level, as drivers use it, against disks in memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "tests/dev/period_rig.h"

enum {
    DOR = 0x3f2,
    TDR = 0x3f3,
    MSR = 0x3f4,
    DSR = 0x3f4,
    FIFO = 0x3f5,
    DIR = 0x3f7,
    CCR = 0x3f7,

    RQM = 0x80,
    DIO = 0x40,
    CB = 0x10,

    READ = 0xe6, /* multi-track, MFM, skip */
    WRITE = 0xc5,
    READ_ID = 0x4a,
    FORMAT = 0x4d,
    DMA_TO_MEM = 0x46, /* single, channel 2 */
    DMA_FROM_MEM = 0x4a,
};
#define M144   1474560u
#define BUFFER 0x10000u

static const uint32_t one_disk[2] = {M144, UINT32_MAX};

static void command(struct rig *r, const uint8_t *bytes, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(rig_in(r, MSR) & (RQM | DIO), RQM);
        rig_out(r, FIFO, bytes[i]);
    }
}
#define COMMAND(r, ...) command(r, (const uint8_t[]){__VA_ARGS__}, sizeof((uint8_t[]){__VA_ARGS__}))

static void results(struct rig *r, const uint8_t *want, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(rig_in(r, MSR) & (RQM | DIO | CB), RQM | DIO | CB);
        uint8_t got = rig_in(r, FIFO);
        if (got != want[i])
            fail_msg("result byte %u is %02x, not %02x", i, got, want[i]);
    }
    assert_int_equal(rig_in(r, MSR) & (DIO | CB), 0);
}
#define RESULTS(r, ...) results(r, (const uint8_t[]){__VA_ARGS__}, sizeof((uint8_t[]){__VA_ARGS__}))

static void dma(struct rig *r, unsigned mode, uint32_t pa, unsigned bytes)
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

/* As a BIOS leaves it: reset, four interrupts taken, motors on, drive 0 selected, heads at cylinder 0. */
static struct rig *start(const uint32_t sizes[2])
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

static void seek(struct rig *r, unsigned drive, unsigned cyl)
{
    COMMAND(r, 0x0f, (uint8_t)drive, (uint8_t)cyl);
    rig_settle(r);
    assert_int_equal(r->irq, 1);
    COMMAND(r, 0x08);
    assert_int_equal(r->irq, 0);
    RESULTS(r, (uint8_t)(0x20 | drive), (uint8_t)cyl);
}

static const uint8_t *sector(struct rig *r, unsigned c, unsigned h, unsigned s)
{
    return r->disk[0].bytes + ((c * 2 + h) * 18 + s - 1) * 512;
}

/* ---- reset, registers, simple commands */

static void test_reset(void **state)
{
    struct rig *r = rig_new(one_disk);
    assert_int_equal(rig_in(r, MSR), 0); /* held in reset since power-on */
    assert_int_equal(rig_in(r, DOR), 0);
    rig_out(r, FIFO, 0x10);
    rig_out(r, DOR, 0x0c);
    assert_int_equal(r->irq, 0);
    assert_int_equal(rig_in(r, MSR), 0);
    r = rig_reload(r);
    rig_settle(r);
    assert_int_equal(r->irq, 1);
    assert_int_equal(rig_in(r, MSR), RQM);
    COMMAND(r, 0x08);
    assert_int_equal(r->irq, 0);
    RESULTS(r, 0xc0, 0);
    r = rig_reload(r);
    for (unsigned i = 1; i < 4; i++) {
        COMMAND(r, 0x08);
        RESULTS(r, (uint8_t)(0xc0 | i), 0);
    }
    COMMAND(r, 0x08); /* nothing is left to sense */
    RESULTS(r, 0x80);
    /* by DSR, whose reset ends by itself */
    rig_out(r, DSR, 0x80);
    assert_int_equal(rig_in(r, MSR), 0);
    rig_settle(r);
    assert_int_equal(r->irq, 1);
    /* without the gate the line is quiet, and comes up with it */
    rig_out(r, DOR, 0x04);
    assert_int_equal(r->irq, 0);
    rig_out(r, DOR, 0x0c);
    assert_int_equal(r->irq, 1);
    /* CONFIGURE can switch polling off, and a reset switches it on again, LOCK or not */
    COMMAND(r, 0x94);
    RESULTS(r, 0x10);
    COMMAND(r, 0x13, 0, 0x57, 3);
    rig_out(r, DSR, 0x80);
    rig_settle(r);
    COMMAND(r, 0x0e);
    RESULTS(r, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x07, 3);
    rig_free(r);
}

static void test_simple_commands(void **state)
{
    struct rig *r = start(one_disk);
    COMMAND(r, 0x10);
    RESULTS(r, 0x90);
    COMMAND(r, 0x18); /* PART ID is of later chips */
    RESULTS(r, 0x80);
    COMMAND(r, 0x1f);
    RESULTS(r, 0x80);
    COMMAND(r, 0x83); /* SPECIFY has no such option */
    RESULTS(r, 0x80);
    COMMAND(r, 0x13, 0, 0x1a, 7);
    COMMAND(r, 0x12, 0x80 | 0x0c | 3);
    COMMAND(r, 0x12, 0x02); /* without OW the drives' bits stay */
    COMMAND(r, 0x0e);
    RESULTS(r, 0, 0, 0, 0, 0xdf, 0x02, 0, 0x0e, 0x1a, 7);
    COMMAND(r, 0x94);
    RESULTS(r, 0x10);
    rig_out(r, DSR, 0x80);
    rig_settle(r);
    COMMAND(r, 0x0e); /* locked: the FIFO's settings stay; EIS and polling go, and GAP and WGATE */
    RESULTS(r, 0, 0, 0, 0, 0xdf, 0x02, 0, 0x8c, 0x0a, 7);
    COMMAND(r, 0x14);
    RESULTS(r, 0x00);
    rig_out(r, DSR, 0x80);
    rig_settle(r);
    COMMAND(r, 0x0e);
    RESULTS(r, 0, 0, 0, 0, 0xdf, 0x02, 0, 0x0c, 0x20, 0);
    COMMAND(r, 0x04, 0x04);
    RESULTS(r, 0x3c); /* ready, track 0, two sides, head 1 */
    COMMAND(r, 0x04, 0x01);
    RESULTS(r, 0x29); /* no drive: no track 0 */
    rig_out(r, TDR, 0xff);
    assert_int_equal(rig_in(r, TDR), 3);
    assert_int_equal(rig_in(r, 0x3f0), 0xff);
    assert_int_equal(rig_in(r, DOR), 0x3c);
    rig_free(r);
}

static void test_seeks(void **state)
{
    static const uint32_t two[2] = {M144, 737280};
    struct rig *r = start(two);

    COMMAND(r, 0x0f, 0x04, 40);
    assert_int_equal(rig_in(r, MSR), RQM | 1); /* drive 0 is busy, the controller is not */
    COMMAND(r, 0x0f, 0x01, 10);
    assert_int_equal(rig_in(r, MSR), RQM | 3);
    r = rig_reload(r);
    rig_settle(r);
    assert_int_equal(r->irq, 1);
    assert_int_equal(rig_in(r, MSR), RQM | 3); /* until it is sensed */
    COMMAND(r, 0x08);
    RESULTS(r, 0x20, 40);
    assert_int_equal(r->irq, 1); /* the other one */
    COMMAND(r, 0x08);
    RESULTS(r, 0x21, 10);
    assert_int_equal(r->irq, 0);
    assert_int_equal(rig_in(r, MSR), RQM);
    COMMAND(r, 0x04, 0x00);
    RESULTS(r, 0x28);          /* off track 0 */
    COMMAND(r, 0xcf, 0x00, 5); /* relative, inwards */
    rig_settle(r);
    COMMAND(r, 0x08);
    RESULTS(r, 0x20, 45);
    COMMAND(r, 0x8f, 0x00, 15); /* outwards */
    rig_settle(r);
    COMMAND(r, 0x08);
    RESULTS(r, 0x20, 30);
    rig_out(r, DOR, 0x3c);
    COMMAND(r, READ_ID, 0);
    rig_settle(r);
    assert_int_equal(r->irq, 1);
    assert_int_equal(rig_in(r, FIFO), 0);
    assert_int_equal(r->irq, 0); /* the first byte of the result ends the interrupt */
    assert_int_equal(rig_in(r, FIFO), 0);
    assert_int_equal(rig_in(r, FIFO), 0);
    assert_int_equal(rig_in(r, FIFO), 30);
    assert_int_equal(rig_in(r, FIFO), 0);
    uint8_t s = rig_in(r, FIFO);
    assert_true(s >= 1 && s <= 18);
    assert_int_equal(rig_in(r, FIFO), 2);
    COMMAND(r, 0x07, 0);
    rig_settle(r);
    COMMAND(r, 0x08);
    RESULTS(r, 0x20, 0);
    COMMAND(r, 0x07, 2); /* no such drive: 79 steps and no track 0 */
    rig_settle(r);
    COMMAND(r, 0x08);
    RESULTS(r, 0x72, 0);
    rig_free(r);
}

static void test_disk_change(void **state)
{
    struct rig *r = rig_new(one_disk);
    struct blkport port = r->floppy.drive[0].port;
    rig_out(r, DOR, 0x1c);
    assert_int_equal(rig_in(r, DIR) & 0x80, 0x80); /* since power-on */
    rig_settle(r);
    COMMAND(r, 0x0f, 0, 1);
    rig_settle(r);
    assert_int_equal(rig_in(r, DIR) & 0x80, 0);
    floppy_change(&r->floppy, 0, NULL);
    assert_int_equal(rig_in(r, DIR) & 0x80, 0x80);
    COMMAND(r, 0x07, 0);
    rig_settle(r);
    assert_int_equal(rig_in(r, DIR) & 0x80, 0x80); /* an empty drive stays so */
    rig_out(r, DOR, 0x1d);
    assert_int_equal(rig_in(r, DIR) & 0x80, 0); /* of the selected drive, which is not there */
    rig_out(r, DOR, 0x1c);
    floppy_change(&r->floppy, 0, &port);
    r = rig_reload(r);
    assert_int_equal(rig_in(r, DIR) & 0x80, 0x80);
    COMMAND(r, 0x0f, 0, 1);
    rig_settle(r);
    assert_int_equal(rig_in(r, DIR) & 0x80, 0);
    rig_free(r);
}

/* ---- reading and writing by DMA */

static void test_read_by_dma(void **state)
{
    struct rig *r = start(one_disk);

    /* one sector */
    seek(r, 0, 12);
    dma(r, DMA_TO_MEM, BUFFER, 512);
    COMMAND(r, READ, 0x04, 12, 1, 7, 2, 18, 0x1b, 0xff);
    assert_int_equal(rig_in(r, MSR), CB); /* busy, and not the processor's turn */
    rig_settle(r);
    assert_int_equal(r->irq, 1);
    assert_memory_equal(r->mem.bytes + BUFFER, sector(r, 12, 1, 7), 512);
    RESULTS(r, 0x04, 0, 0, 12, 1, 8, 2);
    assert_int_equal(r->irq, 0);
    /* from side 0 to the last sector of side 1: a cylinder at once */
    dma(r, DMA_TO_MEM, BUFFER, 36 * 512);
    COMMAND(r, READ, 0x00, 12, 0, 1, 2, 18, 0x1b, 0xff);
    rig_settle(r);
    assert_memory_equal(r->mem.bytes + BUFFER, sector(r, 12, 0, 1), 36 * 512);
    RESULTS(r, 0x04, 0, 0, 13, 0, 1, 2); /* the next one would be there */
    /* the terminal count in the middle of a sector: the rest is not transferred */
    memset(r->mem.bytes + BUFFER, 0, 2048);
    dma(r, DMA_TO_MEM, BUFFER, 700);
    COMMAND(r, READ, 0x00, 12, 0, 18, 2, 18, 0x1b, 0xff);
    rig_settle(r);
    assert_memory_equal(r->mem.bytes + BUFFER, sector(r, 12, 0, 18), 700);
    assert_int_equal(r->mem.bytes[BUFFER + 700] | r->mem.bytes[BUFFER + 1000], 0);
    RESULTS(r, 0x04, 0, 0, 12, 1, 2, 2);
    /* without the terminal count the track ends it: single-track */
    dma(r, DMA_TO_MEM, BUFFER, 4096);
    COMMAND(r, 0x46, 0x00, 12, 0, 17, 2, 18, 0x1b, 0xff);
    rig_settle(r);
    RESULTS(r, 0x40, 0x80, 0, 13, 0, 1, 2);
    assert_memory_equal(r->mem.bytes + BUFFER, sector(r, 12, 0, 17), 1024);
    assert_int_equal(r->disk[0].writes + r->disk[0].flushes, 0);
    rig_free(r);
}

static void test_write_by_dma(void **state)
{
    struct rig *r = start(one_disk);
    uint8_t before[512];

    seek(r, 0, 79);
    for (unsigned i = 0; i < 2048; i++)
        r->mem.bytes[BUFFER + i] = (uint8_t)(i * 13 >> 2);
    memcpy(before, sector(r, 79, 1, 3), 512);
    dma(r, DMA_FROM_MEM, BUFFER, 1024);
    COMMAND(r, WRITE, 0x00, 79, 0, 18, 2, 18, 0x1b, 0xff);
    rig_settle(r);
    RESULTS(r, 0x04, 0, 0, 79, 1, 2, 2);
    assert_memory_equal(sector(r, 79, 0, 18), r->mem.bytes + BUFFER, 1024);
    assert_memory_equal(sector(r, 79, 1, 3), before, 512);
    assert_int_equal(r->disk[0].writes, 2);
    assert_int_equal(r->disk[0].flushes, 1); /* before the interrupt said that it is written */
    /* cut off by the terminal count: zeros fill the sector */
    dma(r, DMA_FROM_MEM, BUFFER, 100);
    COMMAND(r, WRITE, 0x04, 79, 1, 3, 2, 18, 0x1b, 0xff);
    rig_settle(r);
    RESULTS(r, 0x04, 0, 0, 79, 1, 4, 2);
    assert_memory_equal(sector(r, 79, 1, 3), r->mem.bytes + BUFFER, 100);
    for (unsigned i = 100; i < 512; i++)
        assert_int_equal(sector(r, 79, 1, 3)[i], 0);
    /* deleted data is data here */
    dma(r, DMA_FROM_MEM, BUFFER + 512, 512);
    COMMAND(r, 0x49, 0x04, 79, 1, 5, 2, 18, 0x1b, 0xff);
    rig_settle(r);
    RESULTS(r, 0x04, 0, 0, 79, 1, 6, 2);
    assert_memory_equal(sector(r, 79, 1, 5), r->mem.bytes + BUFFER + 512, 512);
    rig_free(r);
}

static void test_what_is_not_there(void **state)
{
    struct rig *r = start(one_disk);

    seek(r, 0, 5);
    dma(r, DMA_TO_MEM, BUFFER, 512);
    COMMAND(r, READ, 0x00, 6, 0, 1, 2, 18, 0x1b, 0xff); /* another cylinder's ID */
    rig_settle(r);
    RESULTS(r, 0x40, 0x04, 0x10, 6, 0, 1, 2);
    COMMAND(r, READ, 0x00, 5, 0, 19, 2, 19, 0x1b, 0xff); /* no such sector */
    rig_settle(r);
    RESULTS(r, 0x40, 0x04, 0, 5, 0, 19, 2);
    COMMAND(r, READ, 0x00, 5, 1, 1, 2, 18, 0x1b, 0xff); /* another head's ID */
    rig_settle(r);
    RESULTS(r, 0x40, 0x04, 0, 5, 1, 1, 2);
    COMMAND(r, READ, 0x00, 5, 0, 1, 3, 18, 0x1b, 0xff); /* another size */
    rig_settle(r);
    RESULTS(r, 0x40, 0x04, 0, 5, 0, 1, 3);
    COMMAND(r, 0x06, 0x00, 5, 0, 1, 2, 18, 0x1b, 0xff); /* FM */
    rig_settle(r);
    RESULTS(r, 0x40, 0x01, 0, 5, 0, 1, 2);
    rig_out(r, CCR, 2); /* another data rate */
    COMMAND(r, READ, 0x00, 5, 0, 1, 2, 18, 0x1b, 0xff);
    rig_settle(r);
    RESULTS(r, 0x40, 0x01, 0, 5, 0, 1, 2);
    rig_out(r, CCR, 0);
    rig_out(r, DOR, 0x0c); /* the motor is off */
    COMMAND(r, READ_ID, 0x00);
    rig_settle(r);
    RESULTS(r, 0x40, 0x01, 0, 5, 0, 1, 0);
    rig_out(r, DOR, 0x1c);
    seek(r, 0, 81); /* behind the last track */
    COMMAND(r, READ_ID, 0x00);
    rig_settle(r);
    RESULTS(r, 0x40, 0x01, 0, 81, 0, 1, 0);
    assert_int_equal(r->disk[0].reads, 0);
    assert_int_equal(r->mem.bytes[BUFFER], 0);
    floppy_change(&r->floppy, 0, NULL); /* no medium */
    COMMAND(r, READ, 0x00, 81, 0, 1, 2, 18, 0x1b, 0xff);
    rig_settle(r);
    RESULTS(r, 0x40, 0x01, 0, 81, 0, 1, 2);
    COMMAND(r, READ, 0x03, 0, 0, 1, 2, 18, 0x1b, 0xff); /* no drive */
    rig_settle(r);
    RESULTS(r, 0x43, 0x01, 0, 0, 0, 1, 2);
    rig_free(r);
}

static void test_backend_errors(void **state)
{
    struct rig *r = start(one_disk);

    r->disk[0].result = -5;
    dma(r, DMA_TO_MEM, BUFFER, 512);
    COMMAND(r, READ, 0x00, 0, 0, 1, 2, 18, 0x1b, 0xff);
    rig_settle(r);
    RESULTS(r, 0x40, 0x20, 0x20, 0, 0, 1, 2);
    dma(r, DMA_FROM_MEM, BUFFER, 512);
    COMMAND(r, WRITE, 0x00, 0, 0, 1, 2, 18, 0x1b, 0xff);
    rig_settle(r);
    RESULTS(r, 0x40, 0x20, 0, 0, 0, 1, 2);
    r->disk[0].result = 0;
    dma(r, DMA_TO_MEM, BUFFER, 512);
    COMMAND(r, READ, 0x00, 0, 0, 1, 2, 18, 0x1b, 0xff);
    rig_settle(r);
    RESULTS(r, 0x00, 0, 0, 0, 0, 2, 2);
    rig_free(r);
}

static void test_write_protect(void **state)
{
    struct rig *r = start(one_disk);
    r->floppy.drive[0].port.read_only = true;
    COMMAND(r, 0x04, 0x00);
    RESULTS(r, 0x78);
    dma(r, DMA_FROM_MEM, BUFFER, 512);
    COMMAND(r, WRITE, 0x00, 0, 0, 1, 2, 18, 0x1b, 0xff);
    rig_settle(r);
    RESULTS(r, 0x40, 0x02, 0, 0, 0, 1, 2);
    COMMAND(r, FORMAT, 0x00, 2, 18, 0x54, 0xf6);
    rig_settle(r);
    RESULTS(r, 0x40, 0x02, 0, 0, 0, 1, 2);
    assert_int_equal(r->disk[0].writes, 0);
    rig_free(r);
}

static void test_format(void **state)
{
    struct rig *r = start(one_disk);
    uint8_t *ids = r->mem.bytes + BUFFER;

    seek(r, 0, 3);
    for (unsigned i = 0; i < 18; i++) { /* interleaved, as IDs may come in any order */
        ids[i * 4] = 3;
        ids[i * 4 + 1] = 1;
        ids[i * 4 + 2] = (uint8_t)(i * 5 % 18 + 1);
        ids[i * 4 + 3] = 2;
    }
    uint8_t neighbour = sector(r, 3, 0, 18)[0];
    dma(r, DMA_FROM_MEM, BUFFER, 72);
    COMMAND(r, FORMAT, 0x04, 2, 18, 0x54, 0xf6);
    rig_settle(r);
    assert_int_equal(rig_in(r, FIFO), 0x04);
    assert_int_equal(rig_in(r, FIFO), 0);
    assert_int_equal(rig_in(r, FIFO), 0);
    for (unsigned i = 0; i < 4; i++)
        rig_in(r, FIFO); /* they mean nothing */
    for (unsigned i = 0; i < 18 * 512; i++)
        assert_int_equal(sector(r, 3, 1, 1)[i], 0xf6);
    assert_int_equal(sector(r, 3, 0, 18)[0], neighbour);
    assert_int_equal(r->disk[0].writes, 18);
    assert_int_equal(r->disk[0].flushes, 1);
    /* what the image cannot hold is no success: nine sectors, or an ID of elsewhere */
    COMMAND(r, FORMAT, 0x04, 2, 9, 0x54, 0xf6);
    rig_settle(r);
    RESULTS(r, 0x54, 0, 0, 3, 1, 1, 2);
    ids[2] = 30;
    dma(r, DMA_FROM_MEM, BUFFER, 72);
    COMMAND(r, FORMAT, 0x04, 2, 18, 0x54, 0xf6);
    rig_settle(r);
    RESULTS(r, 0x54, 0, 0, 3, 1, 30, 2);
    assert_int_equal(r->disk[0].writes, 18);
    rig_free(r);
}

static void test_read_track_deleted_verify(void **state)
{
    struct rig *r = start(one_disk);

    /* READ TRACK: from the index, whatever IDs are asked for; that they differ is noted */
    dma(r, DMA_TO_MEM, BUFFER, 8192);
    COMMAND(r, 0x42, 0x00, 0, 0, 1, 2, 4, 0x1b, 0xff);
    rig_settle(r);
    assert_memory_equal(r->mem.bytes + BUFFER, sector(r, 0, 0, 1), 2048);
    assert_int_equal(r->mem.bytes[BUFFER + 2048], 0);
    assert_int_equal(rig_in(r, FIFO), 0x40);
    assert_int_equal(rig_in(r, FIFO), 0x80);
    for (unsigned i = 0; i < 5; i++)
        rig_in(r, FIFO);
    dma(r, DMA_TO_MEM, BUFFER, 1024);
    COMMAND(r, 0x42, 0x00, 0, 0, 9, 2, 4, 0x1b, 0xff);
    rig_settle(r);
    assert_memory_equal(r->mem.bytes + BUFFER, sector(r, 0, 0, 1), 1024);
    assert_int_equal(rig_in(r, FIFO), 0x00);
    assert_int_equal(rig_in(r, FIFO), 0x04);
    for (unsigned i = 0; i < 5; i++)
        rig_in(r, FIFO);
    /* READ DELETED on data: that one sector, and the control mark; skipping finds none */
    dma(r, DMA_TO_MEM, BUFFER, 2048);
    COMMAND(r, 0x4c, 0x00, 0, 0, 5, 2, 18, 0x1b, 0xff);
    rig_settle(r);
    assert_memory_equal(r->mem.bytes + BUFFER, sector(r, 0, 0, 5), 512);
    assert_memory_equal(r->mem.bytes + BUFFER + 512, sector(r, 0, 0, 2), 512); /* of before */
    RESULTS(r, 0x00, 0, 0x40, 0, 0, 5, 2);
    unsigned reads = r->disk[0].reads;
    COMMAND(r, 0x6c, 0x00, 0, 0, 5, 2, 18, 0x1b, 0xff);
    rig_settle(r);
    RESULTS(r, 0x40, 0x80, 0x40, 1, 0, 1, 2);
    assert_int_equal(r->disk[0].reads, reads);
    /* VERIFY: the end of the track is its end; or so many sectors */
    COMMAND(r, 0x56, 0x00, 0, 0, 1, 2, 18, 0x1b, 0xff);
    rig_settle(r);
    RESULTS(r, 0x00, 0, 0, 1, 0, 1, 2);
    assert_int_equal(r->disk[0].reads, reads + 18);
    COMMAND(r, 0xd6, 0x80, 0, 0, 17, 2, 18, 0x1b, 3);
    rig_settle(r);
    RESULTS(r, 0x04, 0, 0, 0, 1, 2, 2);
    COMMAND(r, 0x56, 0x80, 0, 0, 17, 2, 18, 0x1b, 3); /* more than there are on the one side */
    rig_settle(r);
    RESULTS(r, 0x40, 0x80, 0, 1, 0, 1, 2);
    assert_int_equal(rig_in(r, 0x0f) & 4, 0); /* no byte went through DMA, whose count still runs */
    rig_free(r);
}

static void test_implied_seek(void **state)
{
    struct rig *r = start(one_disk);
    COMMAND(r, 0x13, 0, 0x40, 0);
    dma(r, DMA_TO_MEM, BUFFER, 512);
    COMMAND(r, READ, 0x00, 33, 0, 2, 2, 18, 0x1b, 0xff);
    rig_settle(r);
    assert_memory_equal(r->mem.bytes + BUFFER, sector(r, 33, 0, 2), 512);
    RESULTS(r, 0x00, 0, 0, 33, 0, 3, 2);
    COMMAND(r, 0x0e);
    assert_int_equal(rig_in(r, FIFO), 33);
    rig_free(r);
}

static void test_every_format(void **state)
{
    static const struct {
        uint32_t bytes;
        unsigned cyls, sectors, rate, type;
    } kinds[] = {
        {368640, 40, 9, 2, 1},   {1228800, 80, 15, 0, 2}, {737280, 80, 9, 2, 3},
        {1474560, 80, 18, 0, 4}, {2949120, 80, 36, 3, 5},
    };

    for (unsigned k = 0; k < 5; k++) {
        const uint32_t sizes[2] = {kinds[k].bytes, k == 1 ? 0 : UINT32_MAX};
        struct rig *r = start(sizes);
        unsigned last = kinds[k].cyls - 1, n = kinds[k].sectors;
        assert_int_equal(floppy_cmos_types(&r->floppy), kinds[k].type << 4 | (k == 1 ? 4 : 0));
        rig_out(r, CCR, (uint8_t)kinds[k].rate);
        seek(r, 0, last);
        dma(r, DMA_TO_MEM, BUFFER, n * 1024);
        COMMAND(r, READ, 0x00, (uint8_t)last, 0, 1, 2, (uint8_t)n, 0x1b, 0xff);
        rig_settle(r);
        RESULTS(r, 0x04, 0, 0, (uint8_t)(last + 1), 0, 1, 2);
        assert_memory_equal(r->mem.bytes + BUFFER, r->disk[0].bytes + kinds[k].bytes - n * 1024, n * 1024);
        rig_free(r);
    }
    assert_null(floppy_format(1474561));
    assert_null(floppy_format(0));
}

/* ---- without DMA */

static void test_pio(void **state)
{
    struct rig *r = start(one_disk);
    uint8_t got[1024];

    COMMAND(r, 0x03, 0xdf, 0x03); /* SPECIFY: no DMA */
    COMMAND(r, 0x46, 0x00, 0, 0, 17, 2, 18, 0x1b, 0xff);
    for (unsigned i = 0; i < 1024; i++) {
        rig_settle(r);
        assert_int_equal(r->irq, 1); /* without FIFO, for each byte */
        assert_int_equal(rig_in(r, MSR), 0xf0);
        got[i] = rig_in(r, FIFO);
        if (i == 300)
            r = rig_reload(r);
    }
    assert_memory_equal(got, sector(r, 0, 0, 17), 1024);
    rig_settle(r);
    assert_int_equal(r->irq, 1);
    RESULTS(r, 0x40, 0x80, 0, 1, 0, 1, 2); /* nobody gave a terminal count */

    COMMAND(r, 0x13, 0, 0x08, 0); /* FIFO, threshold 8 */
    r->irq_up = 0;
    COMMAND(r, 0x45, 0x00, 0, 0, 18, 2, 18, 0x1b, 0xff);
    rig_settle(r);
    for (unsigned i = 0; i < 512; i++) {
        assert_int_equal(rig_in(r, MSR), 0xb0);
        rig_out(r, FIFO, (uint8_t)(i ^ 0x5a));
        if (i == 100)
            r = rig_reload(r);
    }
    assert_int_equal(r->irq_up, 64);
    assert_int_equal(rig_in(r, MSR) & RQM, 0);
    rig_settle(r);
    RESULTS(r, 0x40, 0x80, 0, 1, 0, 1, 2);
    for (unsigned i = 0; i < 512; i++)
        assert_int_equal(sector(r, 0, 0, 18)[i], (uint8_t)(i ^ 0x5a));
    rig_free(r);
}

static void test_overrun(void **state)
{
    struct rig *r = start(one_disk);

    COMMAND(r, 0x03, 0xdf, 0x03);
    COMMAND(r, 0x46, 0x00, 0, 0, 1, 2, 18, 0x1b, 0xff);
    rig_settle(r);
    rig_in(r, FIFO);
    vclock_advance(&r->clock, 1000 * MS);
    rig_settle(r);
    assert_int_equal(r->irq, 1);
    RESULTS(r, 0x40, 0x10, 0, 0, 0, 1, 2);
    /* by DMA: the channel masked too long; or unmasked in time */
    COMMAND(r, 0x03, 0xdf, 0x02);
    for (unsigned late = 0; late < 2; late++) {
        dma(r, DMA_TO_MEM, BUFFER, 512);
        rig_out(r, 0x0a, 6);
        COMMAND(r, READ, 0x00, 0, 0, 1, 2, 18, 0x1b, 0xff);
        rig_settle(r);
        assert_int_equal(rig_in(r, MSR), CB);
        assert_int_equal(rig_in(r, 0x08) & 0x40, 0x40);
        r = rig_reload(r);
        if (late)
            vclock_advance(&r->clock, 1000 * MS);
        rig_out(r, 0x0a, 2);
        rig_settle(r);
        if (late)
            RESULTS(r, 0x40, 0x10, 0, 0, 0, 1, 2);
        else
            RESULTS(r, 0x00, 0, 0, 0, 0, 2, 2);
        assert_int_equal(rig_in(r, 0x08) & 0x40, 0);
    }
    rig_free(r);
}

/* ---- saved in the middle, reset in the middle */

/* A whole cylinder is written and read, with a save and load after each step that can be told apart. */
static void test_reload_at_every_step(void **state)
{
    for (unsigned writing = 0; writing < 2; writing++) {
        struct rig *r = start(one_disk);
        uint8_t *want = malloc(36 * 512);
        unsigned reloads = 0;

        assert_non_null(want);
        seek(r, 0, 20);
        for (unsigned i = 0; i < 36 * 512; i++)
            want[i] = (uint8_t)(i * 31 >> 3);
        memcpy(writing ? r->mem.bytes + BUFFER : (uint8_t *)sector(r, 20, 0, 1), want, 36 * 512);
        dma(r, writing ? DMA_FROM_MEM : DMA_TO_MEM, BUFFER, 36 * 512);
        COMMAND(r, writing ? WRITE : READ, 0x00, 20, 0, 1, 2, 18, 0x1b, 0xff);
        while (!r->irq) {
            r = rig_reload(r); /* the request in flight is asked again */
            reloads++;
            rig_events(r);
            uint64_t next = vclock_next_deadline(&r->clock);
            if (!rig_serve(r) && next != UINT64_MAX)
                vclock_advance(&r->clock, next - vclock_now(&r->clock));
            assert_true(reloads < 1000);
        }
        assert_true(reloads >= 72);
        r = rig_reload(r);
        RESULTS(r, 0x04, 0, 0, 21, 0, 1, 2);
        assert_memory_equal(writing ? sector(r, 20, 0, 1) : r->mem.bytes + BUFFER, want, 36 * 512);
        free(want);
        rig_free(r);
    }
}

static void test_reset_with_a_request_in_flight(void **state)
{
    struct rig *r = start(one_disk);

    dma(r, DMA_TO_MEM, BUFFER, 512);
    COMMAND(r, READ, 0x00, 0, 0, 1, 2, 18, 0x1b, 0xff);
    vclock_advance(&r->clock, 1 * MS);
    assert_non_null(r->disk[0].waiting);
    rig_out(r, DOR, 0x38);
    rig_out(r, DOR, 0x3c);
    vclock_advance(&r->clock, 1 * MS);
    for (unsigned i = 0; i < 4; i++) {
        COMMAND(r, 0x08);
        assert_int_equal(rig_in(r, FIFO) & 0xc0, 0xc0);
        rig_in(r, FIFO);
    }
    /* a new command waits for the old request's end, and gets its own sector */
    COMMAND(r, READ, 0x00, 0, 0, 9, 2, 18, 0x1b, 0xff);
    vclock_advance(&r->clock, 1 * MS);
    assert_int_equal(r->disk[0].reads, 0);
    rig_settle(r);
    assert_int_equal(r->disk[0].reads, 2);
    assert_memory_equal(r->mem.bytes + BUFFER, sector(r, 0, 0, 9), 512);
    RESULTS(r, 0x00, 0, 0, 0, 0, 10, 2);
    /* taking the disk out ends a command, in flight or waiting for the host */
    dma(r, DMA_TO_MEM, BUFFER, 512);
    COMMAND(r, READ, 0x00, 0, 0, 1, 2, 18, 0x1b, 0xff);
    vclock_advance(&r->clock, 1 * MS);
    struct blkport port = r->floppy.drive[0].port;
    floppy_change(&r->floppy, 0, NULL);
    rig_settle(r);
    RESULTS(r, 0x40, 0x01, 0, 0, 0, 1, 2);
    floppy_change(&r->floppy, 0, &port);
    rig_out(r, 0x0a, 6);
    COMMAND(r, WRITE, 0x00, 0, 0, 1, 2, 18, 0x1b, 0xff);
    vclock_advance(&r->clock, 1 * MS);
    floppy_change(&r->floppy, 0, NULL);
    rig_settle(r);
    RESULTS(r, 0x40, 0x01, 0, 0, 0, 1, 2);
    rig_free(r);
}

/* ---- hostile */

/* A command that makes sense, mostly. */
static void random_command(struct rig *r, uint64_t *seed)
{
    static const uint8_t first[] = {0x42, 0x03, 0x04, 0x45, 0xc5, 0xe6, 0x46, 0x07, 0x08, 0x49, 0x4a, 0x4c,
                                    0x6c, 0x4d, 0x0e, 0x0f, 0x8f, 0xcf, 0x10, 0x12, 0x13, 0x94, 0x14, 0x56};
    uint32_t v = rig_random(seed);
    uint8_t unit = v & 1, head = v >> 1 & 1, start = (uint8_t)(1 + (v >> 2 & 7));
    uint8_t b[9] = {
        first[(v >> 5 & 255) % sizeof first], (uint8_t)(head << 2 | unit), r->floppy.cyl[unit], head, start, 2, 9};

    if (b[0] == 0x0f || b[0] == 0x13)
        b[2] = v >> 16 & 31;
    if (b[0] == 0x03)
        b[2] = v >> 16 & 1;
    if (!(v >> 20 & 7))
        b[1 + (v >> 24) % 8] ^= (uint8_t)v;
    for (unsigned i = 0; i < 9 && (rig_in(r, MSR) & (RQM | DIO)) == RQM && (i == 0 || (rig_in(r, MSR) & CB)); i++)
        rig_out(r, FIFO, b[i]);
}

/* Random writes to the controller and its DMA channel. Requests stay on the disk (the rig asserts it); the controller
 * never hangs: a reset brings it back; any state on the way can be saved and loaded. */
static void test_random(void **state)
{
    static const uint32_t two[2] = {M144, 368640};
    struct rig *r = start(two);
    uint64_t seed = 82077;
    unsigned reloads = 0;

    for (unsigned i = 0; i < 300000; i++) {
        uint32_t v = rig_random(&seed);
        switch (v & 15) {
        case 0:
            if (v >> 12 & 31)
                break;
            rig_out(r, (uint16_t)(0x3f0 + (v >> 4 & 7)), (uint8_t)(v >> 20));
            break;
        case 1:
            rig_in(r, (uint16_t)(0x3f0 + (v >> 4 & 7)));
            break;
        case 2:
            if (!(v >> 16 & 255))
                rig_out(r, DOR, 0x38);
            rig_out(r, DOR, 0x3c);
            break;
        case 3:
            rig_serve(r);
            break;
        case 4:
            vclock_advance(&r->clock, v >> 10);
            break;
        case 5:
            dma(r, v >> 20 & 1 ? DMA_TO_MEM : DMA_FROM_MEM, BUFFER, (v >> 8 & 0x3fff) + 1);
            break;
        case 6:
            if ((v >> 8 & 63) == 0) {
                r = rig_reload(r);
                reloads++;
            }
            break;
        case 7:
            if ((v >> 8 & 255) == 0)
                vclock_advance(&r->clock, 600 * MS);
            rig_out(r, CCR, v >> 20 & 1 ? 0 : 2);
            break;
        default: /* the next byte of a result or of data, or a command */
            if (rig_in(r, MSR) & DIO)
                rig_in(r, FIFO);
            else if (rig_in(r, MSR) & CB)
                rig_out(r, FIFO, (uint8_t)(v >> 8));
            else
                random_command(r, &seed);
        }
    }
    assert_true(reloads > 100);
    assert_true(r->disk[0].reads > 100 && r->disk[0].writes > 100);
    rig_settle(r);
    rig_out(r, 0x0d, 0);
    rig_out(r, DOR, 0x00);
    rig_out(r, DOR, 0x1c);
    rig_settle(r);
    assert_int_equal(r->irq, 1);
    COMMAND(r, 0x10);
    RESULTS(r, 0x90);
    rig_free(r);
}

static void test_bad_state(void **state)
{
    struct rig *r = start(one_disk);
    rig_refuses(r, "floppy", "phase", 0, 4);
    rig_refuses(r, "floppy", "phase", 0, 1); /* in a command of no bytes */
    rig_refuses(r, "floppy", "phase", 0, 3); /* with a result of none left */
    rig_refuses(r, "floppy", "step", 0, 3);
    rig_refuses(r, "floppy", "cyl", 1, 84);
    rig_refuses(r, "floppy", "busy", 0, 16);
    rig_refuses(r, "floppy", "due", 7, 0x40);
    COMMAND(r, 0x46);
    rig_refuses(r, "floppy", "cmd_len", 0, 10);
    rig_refuses(r, "floppy", "cmd_pos", 0, 9);
    COMMAND(r, 0x00, 0, 0, 1, 2, 18, 0x1b, 0xff);
    vclock_advance(&r->clock, 1 * MS);
    rig_refuses(r, "floppy", "io_off", 2, 0x17); /* behind the disk's end */
    rig_refuses(r, "floppy", "io_off", 0, 1);
    rig_refuses(r, "floppy", "io", 0, 3);
    rig_refuses(r, "floppy", "cmd", 1, 2); /* on a drive that is not there */
    rig_out(r, 0x0a, 6);
    rig_serve(r);
    rig_refuses(r, "floppy", "pos", 1, 2);
    rig_refuses(r, "floppy", "len", 1, 4);
    rig_refuses(r, "floppy", "head", 0, 2);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_simple_commands),
        cmocka_unit_test(test_seeks),
        cmocka_unit_test(test_disk_change),
        cmocka_unit_test(test_read_by_dma),
        cmocka_unit_test(test_write_by_dma),
        cmocka_unit_test(test_what_is_not_there),
        cmocka_unit_test(test_backend_errors),
        cmocka_unit_test(test_write_protect),
        cmocka_unit_test(test_format),
        cmocka_unit_test(test_read_track_deleted_verify),
        cmocka_unit_test(test_implied_seek),
        cmocka_unit_test(test_every_format),
        cmocka_unit_test(test_pio),
        cmocka_unit_test(test_overrun),
        cmocka_unit_test(test_reload_at_every_step),
        cmocka_unit_test(test_reset_with_a_request_in_flight),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_bad_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
