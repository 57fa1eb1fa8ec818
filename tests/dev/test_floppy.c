/* The floppy controller at register level, as drivers use it, against disks in memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "tests/dev/floppy_drv.h"

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
    struct rig *r = floppy_start(one_disk);
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
    struct rig *r = floppy_start(two);

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
    struct rig *r = floppy_start(one_disk);

    /* one sector */
    floppy_seek(r, 0, 12);
    floppy_dma(r, DMA_TO_MEM, BUFFER, 512);
    COMMAND(r, READ, 0x04, 12, 1, 7, 2, 18, 0x1b, 0xff);
    assert_int_equal(rig_in(r, MSR), CB); /* busy, and not the processor's turn */
    rig_settle(r);
    assert_int_equal(r->irq, 1);
    assert_memory_equal(r->mem.bytes + BUFFER, floppy_sector(r, 12, 1, 7), 512);
    RESULTS(r, 0x04, 0, 0, 12, 1, 8, 2);
    assert_int_equal(r->irq, 0);
    /* from side 0 to the last sector of side 1: a cylinder at once */
    floppy_dma(r, DMA_TO_MEM, BUFFER, 36 * 512);
    COMMAND(r, READ, 0x00, 12, 0, 1, 2, 18, 0x1b, 0xff);
    rig_settle(r);
    assert_memory_equal(r->mem.bytes + BUFFER, floppy_sector(r, 12, 0, 1), 36 * 512);
    RESULTS(r, 0x04, 0, 0, 13, 0, 1, 2); /* the next one would be there */
    /* the terminal count in the middle of a sector: the rest is not transferred */
    memset(r->mem.bytes + BUFFER, 0, 2048);
    floppy_dma(r, DMA_TO_MEM, BUFFER, 700);
    COMMAND(r, READ, 0x00, 12, 0, 18, 2, 18, 0x1b, 0xff);
    rig_settle(r);
    assert_memory_equal(r->mem.bytes + BUFFER, floppy_sector(r, 12, 0, 18), 700);
    assert_int_equal(r->mem.bytes[BUFFER + 700] | r->mem.bytes[BUFFER + 1000], 0);
    RESULTS(r, 0x04, 0, 0, 12, 1, 2, 2);
    /* without the terminal count the track ends it: single-track */
    floppy_dma(r, DMA_TO_MEM, BUFFER, 4096);
    COMMAND(r, 0x46, 0x00, 12, 0, 17, 2, 18, 0x1b, 0xff);
    rig_settle(r);
    RESULTS(r, 0x40, 0x80, 0, 13, 0, 1, 2);
    assert_memory_equal(r->mem.bytes + BUFFER, floppy_sector(r, 12, 0, 17), 1024);
    assert_int_equal(r->disk[0].writes + r->disk[0].flushes, 0);
    rig_free(r);
}

static void test_write_by_dma(void **state)
{
    struct rig *r = floppy_start(one_disk);
    uint8_t before[512];

    floppy_seek(r, 0, 79);
    for (unsigned i = 0; i < 2048; i++)
        r->mem.bytes[BUFFER + i] = (uint8_t)(i * 13 >> 2);
    memcpy(before, floppy_sector(r, 79, 1, 3), 512);
    floppy_dma(r, DMA_FROM_MEM, BUFFER, 1024);
    COMMAND(r, WRITE, 0x00, 79, 0, 18, 2, 18, 0x1b, 0xff);
    rig_settle(r);
    RESULTS(r, 0x04, 0, 0, 79, 1, 2, 2);
    assert_memory_equal(floppy_sector(r, 79, 0, 18), r->mem.bytes + BUFFER, 1024);
    assert_memory_equal(floppy_sector(r, 79, 1, 3), before, 512);
    assert_int_equal(r->disk[0].writes, 2);
    assert_int_equal(r->disk[0].flushes, 1); /* before the interrupt said that it is written */
    /* cut off by the terminal count: zeros fill the sector */
    floppy_dma(r, DMA_FROM_MEM, BUFFER, 100);
    COMMAND(r, WRITE, 0x04, 79, 1, 3, 2, 18, 0x1b, 0xff);
    rig_settle(r);
    RESULTS(r, 0x04, 0, 0, 79, 1, 4, 2);
    assert_memory_equal(floppy_sector(r, 79, 1, 3), r->mem.bytes + BUFFER, 100);
    for (unsigned i = 100; i < 512; i++)
        assert_int_equal(floppy_sector(r, 79, 1, 3)[i], 0);
    /* deleted data is data here */
    floppy_dma(r, DMA_FROM_MEM, BUFFER + 512, 512);
    COMMAND(r, 0x49, 0x04, 79, 1, 5, 2, 18, 0x1b, 0xff);
    rig_settle(r);
    RESULTS(r, 0x04, 0, 0, 79, 1, 6, 2);
    assert_memory_equal(floppy_sector(r, 79, 1, 5), r->mem.bytes + BUFFER + 512, 512);
    rig_free(r);
}

static void test_what_is_not_there(void **state)
{
    struct rig *r = floppy_start(one_disk);

    floppy_seek(r, 0, 5);
    floppy_dma(r, DMA_TO_MEM, BUFFER, 512);
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
    floppy_seek(r, 0, 81); /* behind the last track */
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
    struct rig *r = floppy_start(one_disk);

    r->disk[0].result = -5;
    floppy_dma(r, DMA_TO_MEM, BUFFER, 512);
    COMMAND(r, READ, 0x00, 0, 0, 1, 2, 18, 0x1b, 0xff);
    rig_settle(r);
    RESULTS(r, 0x40, 0x20, 0x20, 0, 0, 1, 2);
    floppy_dma(r, DMA_FROM_MEM, BUFFER, 512);
    COMMAND(r, WRITE, 0x00, 0, 0, 1, 2, 18, 0x1b, 0xff);
    rig_settle(r);
    RESULTS(r, 0x40, 0x20, 0, 0, 0, 1, 2);
    r->disk[0].result = 0;
    floppy_dma(r, DMA_TO_MEM, BUFFER, 512);
    COMMAND(r, READ, 0x00, 0, 0, 1, 2, 18, 0x1b, 0xff);
    rig_settle(r);
    RESULTS(r, 0x00, 0, 0, 0, 0, 2, 2);
    rig_free(r);
}

static void test_write_protect(void **state)
{
    struct rig *r = floppy_start(one_disk);
    r->floppy.drive[0].port.read_only = true;
    COMMAND(r, 0x04, 0x00);
    RESULTS(r, 0x78);
    floppy_dma(r, DMA_FROM_MEM, BUFFER, 512);
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
    struct rig *r = floppy_start(one_disk);
    uint8_t *ids = r->mem.bytes + BUFFER;

    floppy_seek(r, 0, 3);
    for (unsigned i = 0; i < 18; i++) { /* interleaved, as IDs may come in any order */
        ids[i * 4] = 3;
        ids[i * 4 + 1] = 1;
        ids[i * 4 + 2] = (uint8_t)(i * 5 % 18 + 1);
        ids[i * 4 + 3] = 2;
    }
    uint8_t neighbour = floppy_sector(r, 3, 0, 18)[0];
    floppy_dma(r, DMA_FROM_MEM, BUFFER, 72);
    COMMAND(r, FORMAT, 0x04, 2, 18, 0x54, 0xf6);
    rig_settle(r);
    assert_int_equal(rig_in(r, FIFO), 0x04);
    assert_int_equal(rig_in(r, FIFO), 0);
    assert_int_equal(rig_in(r, FIFO), 0);
    for (unsigned i = 0; i < 4; i++)
        rig_in(r, FIFO); /* they mean nothing */
    for (unsigned i = 0; i < 18 * 512; i++)
        assert_int_equal(floppy_sector(r, 3, 1, 1)[i], 0xf6);
    assert_int_equal(floppy_sector(r, 3, 0, 18)[0], neighbour);
    assert_int_equal(r->disk[0].writes, 18);
    assert_int_equal(r->disk[0].flushes, 1);
    /* what the image cannot hold is no success: nine sectors, or an ID of elsewhere */
    COMMAND(r, FORMAT, 0x04, 2, 9, 0x54, 0xf6);
    rig_settle(r);
    RESULTS(r, 0x54, 0, 0, 3, 1, 1, 2);
    ids[2] = 30;
    floppy_dma(r, DMA_FROM_MEM, BUFFER, 72);
    COMMAND(r, FORMAT, 0x04, 2, 18, 0x54, 0xf6);
    rig_settle(r);
    RESULTS(r, 0x54, 0, 0, 3, 1, 30, 2);
    assert_int_equal(r->disk[0].writes, 18);
    rig_free(r);
}

static void test_read_track_deleted_verify(void **state)
{
    struct rig *r = floppy_start(one_disk);

    /* READ TRACK: from the index, whatever IDs are asked for; that they differ is noted */
    floppy_dma(r, DMA_TO_MEM, BUFFER, 8192);
    COMMAND(r, 0x42, 0x00, 0, 0, 1, 2, 4, 0x1b, 0xff);
    rig_settle(r);
    assert_memory_equal(r->mem.bytes + BUFFER, floppy_sector(r, 0, 0, 1), 2048);
    assert_int_equal(r->mem.bytes[BUFFER + 2048], 0);
    assert_int_equal(rig_in(r, FIFO), 0x40);
    assert_int_equal(rig_in(r, FIFO), 0x80);
    for (unsigned i = 0; i < 5; i++)
        rig_in(r, FIFO);
    floppy_dma(r, DMA_TO_MEM, BUFFER, 1024);
    COMMAND(r, 0x42, 0x00, 0, 0, 9, 2, 4, 0x1b, 0xff);
    rig_settle(r);
    assert_memory_equal(r->mem.bytes + BUFFER, floppy_sector(r, 0, 0, 1), 1024);
    assert_int_equal(rig_in(r, FIFO), 0x00);
    assert_int_equal(rig_in(r, FIFO), 0x04);
    for (unsigned i = 0; i < 5; i++)
        rig_in(r, FIFO);
    /* READ DELETED on data: that one sector, and the control mark; skipping finds none */
    floppy_dma(r, DMA_TO_MEM, BUFFER, 2048);
    COMMAND(r, 0x4c, 0x00, 0, 0, 5, 2, 18, 0x1b, 0xff);
    rig_settle(r);
    assert_memory_equal(r->mem.bytes + BUFFER, floppy_sector(r, 0, 0, 5), 512);
    assert_memory_equal(r->mem.bytes + BUFFER + 512, floppy_sector(r, 0, 0, 2), 512); /* of before */
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
    struct rig *r = floppy_start(one_disk);
    COMMAND(r, 0x13, 0, 0x40, 0);
    floppy_dma(r, DMA_TO_MEM, BUFFER, 512);
    COMMAND(r, READ, 0x00, 33, 0, 2, 2, 18, 0x1b, 0xff);
    rig_settle(r);
    assert_memory_equal(r->mem.bytes + BUFFER, floppy_sector(r, 33, 0, 2), 512);
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
        struct rig *r = floppy_start(sizes);
        unsigned last = kinds[k].cyls - 1, n = kinds[k].sectors;
        assert_int_equal(floppy_cmos_types(&r->floppy), kinds[k].type << 4 | (k == 1 ? 4 : 0));
        rig_out(r, CCR, (uint8_t)kinds[k].rate);
        floppy_seek(r, 0, last);
        floppy_dma(r, DMA_TO_MEM, BUFFER, n * 1024);
        COMMAND(r, READ, 0x00, (uint8_t)last, 0, 1, 2, (uint8_t)n, 0x1b, 0xff);
        rig_settle(r);
        RESULTS(r, 0x04, 0, 0, (uint8_t)(last + 1), 0, 1, 2);
        assert_memory_equal(r->mem.bytes + BUFFER, r->disk[0].bytes + kinds[k].bytes - n * 1024, n * 1024);
        rig_free(r);
    }
    assert_null(floppy_format(1474561));
    assert_null(floppy_format(0));
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
