/* The DMA controllers, with the test as the device: counts, pages, modes, masks and who may go when. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include "tests/dev/period_rig.h"

static const uint32_t no_disks[2] = {UINT32_MAX, UINT32_MAX};

enum {
    VERIFY = 0x00,
    TO_MEM = 0x04,
    FROM_MEM = 0x08,
    AUTO = 0x10,
    DOWN = 0x20,
    SINGLE = 0x40,
    BLOCK = 0x80,
    CASCADE = 0xc0
};

static const uint8_t page_port[8] = {0x87, 0x83, 0x81, 0x82, 0x8f, 0x8b, 0x89, 0x8a};

static uint16_t low(unsigned ch, unsigned reg) /* reg: 0..15 of the channel's controller */
{
    return (uint16_t)(ch < 4 ? reg : 0xc0 + 2 * reg);
}

/* As a driver does it: mask, flip-flop, mode, address, page, count, unmask. */
static void program(struct rig *r, unsigned ch, unsigned mode, uint32_t pa, uint32_t units)
{
    uint32_t at = ch < 4 ? pa : pa >> 1;
    rig_out(r, low(ch, 10), (uint8_t)(4 | (ch & 3)));
    rig_out(r, low(ch, 12), 0);
    rig_out(r, low(ch, 11), (uint8_t)(mode | (ch & 3)));
    rig_out(r, low(ch, (ch & 3) * 2), (uint8_t)at);
    rig_out(r, low(ch, (ch & 3) * 2), (uint8_t)(at >> 8));
    rig_out(r, page_port[ch], (uint8_t)(pa >> 16));
    rig_out(r, low(ch, (ch & 3) * 2 + 1), (uint8_t)(units - 1));
    rig_out(r, low(ch, (ch & 3) * 2 + 1), (uint8_t)((units - 1) >> 8));
    rig_out(r, low(ch, 10), (uint8_t)(ch & 3));
}

static unsigned word(struct rig *r, unsigned ch, unsigned reg)
{
    rig_out(r, low(ch, 12), 0);
    unsigned v = rig_in(r, low(ch, reg));
    return v | rig_in(r, low(ch, reg)) << 8;
}
static unsigned addr(struct rig *r, unsigned ch)
{
    return word(r, ch, (ch & 3) * 2);
}
static unsigned count(struct rig *r, unsigned ch)
{
    return word(r, ch, (ch & 3) * 2 + 1);
}

static struct rig *start(void)
{
    struct rig *r = rig_new(no_disks);
    rig_out(r, 0xd6, CASCADE); /* channel 4 passes the first controller's requests on */
    rig_out(r, 0xd4, 0);
    return r;
}

static void test_registers(void **state)
{
    struct rig *r = rig_new(no_disks);
    for (unsigned ch = 0; ch < 8; ch++) {
        rig_out(r, low(ch, 12), 0);
        rig_out(r, low(ch, (ch & 3) * 2), (uint8_t)(0x10 + ch));
        rig_out(r, low(ch, (ch & 3) * 2), (uint8_t)(0x20 + ch));
        rig_out(r, low(ch, (ch & 3) * 2 + 1), (uint8_t)(0x30 + ch));
        rig_out(r, low(ch, (ch & 3) * 2 + 1), (uint8_t)(0x40 + ch));
    }
    for (unsigned p = 0x80; p < 0x90; p++)
        rig_out(r, (uint16_t)p, (uint8_t)(p * 3));
    r = rig_reload(r);
    for (unsigned ch = 0; ch < 8; ch++) {
        assert_int_equal(addr(r, ch), 0x2010 + ch * 0x101);
        assert_int_equal(count(r, ch), 0x4030 + ch * 0x101);
    }
    for (unsigned p = 0x80; p < 0x90; p++)
        assert_int_equal(rig_in(r, (uint16_t)p), (uint8_t)(p * 3));
    /* the flip-flop is one of a controller: it stays half way over a save, and is cleared by its port only */
    rig_out(r, 0x0c, 0);
    assert_int_equal(rig_in(r, 0x00), 0x10);
    r = rig_reload(r);
    assert_int_equal(rig_in(r, 0x00), 0x20);
    rig_out(r, 0x02, 0xaa); /* low byte of channel 1 */
    rig_out(r, 0x0d, 0);    /* master clear: flip-flop too */
    rig_out(r, 0x02, 0xbb);
    assert_int_equal(addr(r, 1), 0x21bb);
    /* each register of the second controller has two ports */
    assert_int_equal(rig_in(r, 0xc4), 0x15);
    assert_int_equal(rig_in(r, 0xc5), 0x25);
    rig_free(r);
}

static void test_masks(void **state)
{
    struct rig *r = rig_new(no_disks);
    assert_int_equal(rig_in(r, 0x0f), 15); /* after a reset all are masked */
    rig_out(r, 0x0a, 2);
    assert_int_equal(rig_in(r, 0x0f), 11);
    rig_out(r, 0x0f, 0x5);
    assert_int_equal(rig_in(r, 0x0f), 5);
    rig_out(r, 0x0a, 4 | 1);
    assert_int_equal(rig_in(r, 0x0f), 7);
    rig_out(r, 0x0e, 0);
    assert_int_equal(rig_in(r, 0x0f), 0);
    rig_out(r, 0x0d, 0);
    assert_int_equal(rig_in(r, 0x0f), 15);
    assert_int_equal(rig_in(r, 0xde), 15); /* the other controller is untouched */
    rig_free(r);
}

static void test_both_directions(void **state)
{
    struct rig *r = start();
    uint8_t buf[300];
    bool tc;

    program(r, 2, SINGLE | TO_MEM, 0x23456, 300);
    for (unsigned i = 0; i < 300; i++)
        buf[i] = (uint8_t)(i * 5);
    assert_int_equal(dma8237_transfer(&r->dma, 2, buf, 100, DMA_TO_MEMORY, &tc), 100);
    assert_false(tc);
    assert_int_equal(addr(r, 2), 0x3456 + 100);
    assert_int_equal(count(r, 2), 199);
    r = rig_reload(r);
    assert_int_equal(dma8237_transfer(&r->dma, 2, buf + 100, 200, DMA_TO_MEMORY, &tc), 200);
    assert_true(tc);
    assert_memory_equal(r->mem.bytes + 0x23456, buf, 300);
    assert_int_equal(r->mem.bytes[0x23456 + 300], 0);
    assert_int_equal(count(r, 2), 0xffff); /* it rolled over */
    assert_int_equal(rig_in(r, 0x08), 0x04);
    assert_int_equal(rig_in(r, 0x08), 0); /* reading cleared it */
    assert_int_equal(rig_in(r, 0x0f) & 4, 4);
    assert_int_equal(dma8237_transfer(&r->dma, 2, buf, 1, DMA_TO_MEMORY, &tc), 0); /* masked since */

    program(r, 3, SINGLE | FROM_MEM, 0x23456, 50);
    memset(buf, 0, sizeof buf);
    assert_int_equal(dma8237_transfer(&r->dma, 3, buf, 300, DMA_FROM_MEMORY, &tc), 50); /* the count ends it */
    assert_true(tc);
    assert_memory_equal(buf, r->mem.bytes + 0x23456, 50);
    assert_int_equal(buf[50], 0);
    rig_free(r);
}

static void test_words(void **state)
{
    struct rig *r = start();
    uint8_t buf[64];
    bool tc;

    for (unsigned i = 0; i < 64; i++)
        buf[i] = (uint8_t)(i + 1);
    program(r, 5, SINGLE | TO_MEM, 0x71000, 32); /* bit 16 of the address is not the page's to give */
    assert_int_equal(dma8237_transfer(&r->dma, 5, buf, 64, DMA_TO_MEMORY, &tc), 64);
    assert_true(tc);
    assert_int_equal(addr(r, 5), 0x8820); /* in words, of 128 KiB */
    assert_memory_equal(r->mem.bytes + 0x71000, buf, 64);
    assert_int_equal(rig_in(r, 0xd0), 0x02);
    rig_free(r);
}

static void test_no_carry_into_the_page(void **state)
{
    struct rig *r = start();
    uint8_t buf[16];
    bool tc;

    for (unsigned i = 0; i < 16; i++)
        buf[i] = (uint8_t)(0xa0 + i);
    program(r, 1, SINGLE | TO_MEM, 0x3fff8, 16);
    assert_int_equal(dma8237_transfer(&r->dma, 1, buf, 16, DMA_TO_MEMORY, &tc), 16);
    assert_memory_equal(r->mem.bytes + 0x3fff8, buf, 8);
    assert_memory_equal(r->mem.bytes + 0x30000, buf + 8, 8);
    assert_int_equal(r->mem.bytes[0x40000], 0);
    /* downwards, through the wrap as well */
    program(r, 1, SINGLE | TO_MEM | DOWN, 0x50003, 8);
    assert_int_equal(dma8237_transfer(&r->dma, 1, buf, 16, DMA_TO_MEMORY, &tc), 8);
    assert_true(tc);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(r->mem.bytes[0x50003 - i], 0xa0 + i);
        assert_int_equal(r->mem.bytes[0x5ffff - i], 0xa4 + i);
    }
    rig_free(r);
}

static void test_autoinit(void **state)
{
    struct rig *r = start();
    uint8_t buf[64];
    bool tc;

    program(r, 3, SINGLE | TO_MEM | AUTO, 0x10000, 16);
    for (unsigned round = 0; round < 3; round++) {
        memset(buf, (int)(0x11 * (round + 1)), sizeof buf);
        assert_int_equal(dma8237_transfer(&r->dma, 3, buf, 64, DMA_TO_MEMORY, &tc), 16);
        assert_true(tc);
        assert_int_equal(r->mem.bytes[0x1000f], 0x11 * (round + 1));
        assert_int_equal(addr(r, 3), 0);
        assert_int_equal(count(r, 3), 15);
        assert_int_equal(rig_in(r, 0x0f) & 8, 0);
        assert_int_equal(rig_in(r, 0x08), 8);
        r = rig_reload(r);
    }
    rig_free(r);
}

static void test_verify_counts_only(void **state)
{
    struct rig *r = start();
    uint8_t buf[16];
    bool tc;

    memset(buf, 0x77, sizeof buf);
    program(r, 2, SINGLE | VERIFY, 0x10000, 16);
    assert_int_equal(dma8237_transfer(&r->dma, 2, buf, 16, DMA_TO_MEMORY, &tc), 16);
    assert_true(tc);
    assert_int_equal(r->mem.bytes[0x10000], 0);
    program(r, 2, SINGLE | TO_MEM, 0x10000, 16); /* the device writes where the controller does too */
    assert_int_equal(dma8237_transfer(&r->dma, 2, buf, 16, DMA_FROM_MEMORY, &tc), 16);
    assert_int_equal(buf[0], 0xff);
    assert_int_equal(r->mem.bytes[0x10000], 0);
    rig_free(r);
}

static void granted(void *opaque)
{
    ++*(unsigned *)opaque;
}

static void test_grants(void **state)
{
    struct rig *r = start();
    unsigned n = 0, word_channel = 0;
    uint8_t byte = 1;
    bool tc;

    dma8237_connect(&r->dma, 1, granted, &n);
    dma8237_connect(&r->dma, 6, granted, &word_channel);
    program(r, 1, SINGLE | TO_MEM, 0x10000, 4);
    rig_out(r, 0x0a, 4 | 1);
    dma8237_dreq(&r->dma, 1, 1);
    assert_int_equal(n, 0);
    assert_int_equal(rig_in(r, 0x08), 0x20); /* the request shows, masked or not */
    rig_out(r, 0x0a, 1);
    assert_int_equal(n, 1);
    rig_out(r, 0xd4, 4); /* without channel 4 the first controller is cut off */
    assert_int_equal(dma8237_transfer(&r->dma, 1, &byte, 1, DMA_TO_MEMORY, &tc), 0);
    rig_out(r, 0x08, 4); /* and here it is disabled itself */
    rig_out(r, 0xd4, 0);
    assert_int_equal(n, 1);
    rig_out(r, 0x08, 0);
    assert_int_equal(n, 2);
    dma8237_dreq(&r->dma, 1, 0);
    rig_out(r, 0x0a, 1);
    assert_int_equal(n, 2);
    assert_int_equal(rig_in(r, 0x08), 0);
    /* the second controller needs nobody */
    program(r, 6, SINGLE | FROM_MEM, 0x10000, 4);
    rig_out(r, 0xd4, 4);
    dma8237_dreq(&r->dma, 6, 1);
    assert_int_equal(word_channel, 1);
    /* a channel in cascade mode hands the bus over and moves nothing */
    rig_out(r, 0xd6, CASCADE | 2);
    assert_int_equal(dma8237_transfer(&r->dma, 6, &byte, 2, DMA_FROM_MEMORY, &tc), 0);
    rig_free(r);
}

static void test_memory_to_memory(void **state)
{
    struct rig *r = start();

    for (unsigned i = 0; i < 200; i++)
        r->mem.bytes[0x20000 + i] = (uint8_t)(i * 11 + 1);
    program(r, 0, BLOCK | FROM_MEM, 0x20000, 100);
    program(r, 1, BLOCK | TO_MEM, 0x30000, 100);
    rig_out(r, 0x08, 1);
    rig_out(r, 0x09, 4 | 0);
    assert_memory_equal(r->mem.bytes + 0x30000, r->mem.bytes + 0x20000, 100);
    assert_int_equal(r->mem.bytes[0x30000 + 100], 0);
    assert_int_equal(rig_in(r, 0x0d), (uint8_t)(99 * 11 + 1));
    assert_int_equal(rig_in(r, 0x08), 0x02);
    /* the source held: memory is filled with one byte */
    program(r, 0, BLOCK | FROM_MEM, 0x20005, 1);
    program(r, 1, BLOCK | TO_MEM, 0x30000, 50);
    rig_out(r, 0x08, 3);
    rig_out(r, 0x09, 4 | 0);
    for (unsigned i = 0; i < 50; i++)
        assert_int_equal(r->mem.bytes[0x30000 + i], 5 * 11 + 1);
    assert_int_equal(r->mem.bytes[0x30000 + 50], (uint8_t)(50 * 11 + 1));
    rig_free(r);
}

static void test_software_request(void **state)
{
    struct rig *r = start();
    program(r, 3, BLOCK | TO_MEM, 0x40000, 600);
    rig_out(r, 0x0a, 4 | 3);
    rig_out(r, 0x09, 4 | 3); /* nobody drives the bus */
    assert_int_equal(r->mem.bytes[0x40000], 0xff);
    assert_int_equal(r->mem.bytes[0x40000 + 599], 0xff);
    assert_int_equal(r->mem.bytes[0x40000 + 600], 0);
    assert_int_equal(rig_in(r, 0x08), 0x08);
    rig_free(r);
}

/* Any bytes to any port, between transfers: nothing is written outside of memory, and every state that comes of it can
 * be saved and loaded. */
static void test_random(void **state)
{
    struct rig *r = rig_new(no_disks);
    uint64_t seed = 8237;
    uint8_t buf[5000];
    unsigned moved = 0;
    bool tc;

    memset(buf, 0x5a, sizeof buf);
    for (unsigned i = 0; i < 200000; i++) {
        uint32_t v = rig_random(&seed);
        unsigned at = v % 64;
        uint16_t port = (uint16_t)(at < 16 ? at : at < 48 ? 0xc0 + at - 16 : 0x80 + at - 48);
        if (port == 0x09 && v >> 24 & 15)
            continue; /* a software request is up to 64 K transfers */
        if (v >> 8 & 1)
            rig_in(r, port);
        else
            rig_out(r, port, (uint8_t)(v >> 9));
        unsigned ch = v >> 17 & 7;
        uint32_t n =
            dma8237_transfer(&r->dma, ch, buf, v % sizeof buf, v >> 20 & 1 ? DMA_TO_MEMORY : DMA_FROM_MEMORY, &tc);
        assert_true(n <= v % sizeof buf);
        assert_true(!tc || n);
        moved += n != 0;
        if (i % 20000 == 0)
            r = rig_reload(r);
    }
    assert_true(moved > 1000);
    rig_free(r);
}

static void test_bad_state(void **state)
{
    struct rig *r = rig_new(no_disks);
    rig_refuses(r, "dma", "mask", 1, 16);
    rig_refuses(r, "dma", "mode", 3, 1);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_registers),
        cmocka_unit_test(test_masks),
        cmocka_unit_test(test_both_directions),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_no_carry_into_the_page),
        cmocka_unit_test(test_autoinit),
        cmocka_unit_test(test_verify_counts_only),
        cmocka_unit_test(test_grants),
        cmocka_unit_test(test_memory_to_memory),
        cmocka_unit_test(test_software_request),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_bad_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
