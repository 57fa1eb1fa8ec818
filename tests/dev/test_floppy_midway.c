/* The floppy controller where things go on in the middle of others: bytes moved by the processor, saves, resets, disks
 * taken out, random writes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "tests/dev/floppy_drv.h"

/* ---- without DMA */

static void test_pio(void **state)
{
    struct rig *r = floppy_start(one_disk);
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
    assert_memory_equal(got, floppy_sector(r, 0, 0, 17), 1024);
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
        assert_int_equal(floppy_sector(r, 0, 0, 18)[i], (uint8_t)(i ^ 0x5a));
    rig_free(r);
}

static void test_overrun(void **state)
{
    struct rig *r = floppy_start(one_disk);

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
        floppy_dma(r, DMA_TO_MEM, BUFFER, 512);
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
        struct rig *r = floppy_start(one_disk);
        uint8_t *want = malloc(36 * 512);
        unsigned reloads = 0;

        assert_non_null(want);
        floppy_seek(r, 0, 20);
        for (unsigned i = 0; i < 36 * 512; i++)
            want[i] = (uint8_t)(i * 31 >> 3);
        memcpy(writing ? r->mem.bytes + BUFFER : (uint8_t *)floppy_sector(r, 20, 0, 1), want, 36 * 512);
        floppy_dma(r, writing ? DMA_FROM_MEM : DMA_TO_MEM, BUFFER, 36 * 512);
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
        assert_memory_equal(writing ? floppy_sector(r, 20, 0, 1) : r->mem.bytes + BUFFER, want, 36 * 512);
        free(want);
        rig_free(r);
    }
}

static void test_reset_with_a_request_in_flight(void **state)
{
    struct rig *r = floppy_start(one_disk);

    floppy_dma(r, DMA_TO_MEM, BUFFER, 512);
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
    assert_memory_equal(r->mem.bytes + BUFFER, floppy_sector(r, 0, 0, 9), 512);
    RESULTS(r, 0x00, 0, 0, 0, 0, 10, 2);
    /* taking the disk out ends a command, in flight or waiting for the host */
    floppy_dma(r, DMA_TO_MEM, BUFFER, 512);
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
    struct rig *r = floppy_start(two);
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
            floppy_dma(r, v >> 20 & 1 ? DMA_TO_MEM : DMA_FROM_MEM, BUFFER, (v >> 8 & 0x3fff) + 1);
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

/* Any byte of a state in the midst of a command may be anything: the load says no, or the machine goes on. */
static void test_any_byte_of_a_state(void **state)
{
    static const uint8_t commands[][9] = {{0x46, 0x00, 0, 0, 1, 2, 18, 0x1b, 0xff},
                                          {WRITE, 0x00, 0, 0, 1, 2, 18, 0x1b, 0xff},
                                          {FORMAT, 0x00, 2, 18, 0x54, 0xf6}};
    uint64_t seed = 290166;
    unsigned taken = 0, refused = 0;

    for (unsigned k = 0; k < 3; k++)
        for (unsigned stage = 0; stage < 3; stage++) { /* looking for the sector, the host's turn, the backend's */
            struct rig *r = floppy_start(one_disk);
            uint8_t *image = malloc(M144);
            assert_non_null(image);
            memcpy(image, r->disk[0].bytes, M144);
            floppy_dma(r, k ? DMA_FROM_MEM : DMA_TO_MEM, BUFFER, 4096);
            if (stage == 1)
                rig_out(r, 0x0a, 6);
            floppy_command(r, commands[k], k == 2 ? 6 : 9);
            if (stage)
                vclock_advance(&r->clock, 1 * MS);
            if (stage == 1)
                rig_serve(r);
            for (unsigned i = 0; i < 4000; i++) {
                /* the floppy's entry follows those of clock and DMA, and is followed by the card's memory */
                bool yes = rig_survives(r, rig_random(&seed) % 2600, (uint8_t)(1u << rig_random(&seed) % 8));
                taken += yes;
                refused += !yes;
            }
            memcpy(r->disk[0].bytes, image, M144);
            free(image);
            rig_free(r);
        }
    assert_true(taken > 5000);
    assert_true(refused > 5000);
}

static void test_bad_state(void **state)
{
    struct rig *r = floppy_start(one_disk);
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
        cmocka_unit_test(test_pio),
        cmocka_unit_test(test_overrun),
        cmocka_unit_test(test_reload_at_every_step),
        cmocka_unit_test(test_reset_with_a_request_in_flight),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_any_byte_of_a_state),
        cmocka_unit_test(test_bad_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
