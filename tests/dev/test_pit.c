/* The 8254 and port 61h at register level, on a clock that the test drives. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "tests/dev/board_rig.h"

/* Virtual time of n counter clocks, rounded up. */
static uint64_t clocks(uint64_t n)
{
    return n * 1000000000ull / 1193182 + 1;
}

static unsigned read16(struct rig *r, uint16_t port)
{
    unsigned low = in8(r, port);
    return low | (unsigned)in8(r, port) << 8;
}

static unsigned irq0s(struct rig *r, uint64_t ns)
{
    unsigned n = 0;
    for (uint64_t step = 0; step < 1000; step++) {
        vclock_advance(&r->clock, ns / 1000);
        while (r->intr) {
            assert_int_equal(take_irq(r), 0x20);
            out8(r, 0x20, 0x20);
            n++;
        }
    }
    return n;
}

static void test_rate_generator(void **state)
{
    struct rig *r = rig_new();
    pic_setup(r);
    out8(r, 0x43, 0x34); /* counter 0, both bytes, mode 2: Linux's tick */
    out8(r, 0x40, 4773 & 255);
    out8(r, 0x40, 4773 >> 8);
    irq0s(r, 1000); /* the output's first rise */
    unsigned n = irq0s(r, 1000 * MS);
    assert_in_range(n, 249, 250); /* 4773 clocks are 4.0002 ms */
    r = rig_reload(r);
    assert_in_range(irq0s(r, 1000 * MS), 249, 250);
    rig_free(r);
}

static void test_one_shot(void **state)
{
    struct rig *r = rig_new();
    pic_setup(r);
    out8(r, 0x43, 0x30); /* mode 0 */
    out8(r, 0x40, 0xe8);
    out8(r, 0x40, 0x03);
    assert_int_equal(r->intr, 0);
    vclock_advance(&r->clock, clocks(500));
    assert_int_equal(read16(r, 0x40), 500);
    r = rig_reload(r);
    vclock_advance(&r->clock, clocks(499));
    assert_int_equal(r->intr, 0);
    vclock_advance(&r->clock, clocks(1));
    assert_int_equal(take_irq(r), 0x20);
    out8(r, 0x20, 0x20);
    assert_int_equal(irq0s(r, 500 * MS), 0); /* once */
    out8(r, 0x43, 0x38);                     /* mode 4: Linux's one-shot events */
    out8(r, 0x40, 0xe8);
    out8(r, 0x40, 0x03);
    irq0s(r, 0);
    assert_int_equal(irq0s(r, 500 * MS), 1);
    rig_free(r);
}

static void test_square_wave_and_latch(void **state)
{
    struct rig *r = rig_new();
    out8(r, 0x43, 0x36); /* mode 3 */
    out8(r, 0x40, 0xe8);
    out8(r, 0x40, 0x03);
    vclock_advance(&r->clock, clocks(100));
    out8(r, 0x43, 0x00); /* latch */
    vclock_advance(&r->clock, clocks(100));
    r = rig_reload(r);
    assert_int_equal(read16(r, 0x40), 800); /* counts by two */
    assert_in_range(read16(r, 0x40), 598, 600);
    out8(r, 0x43, 0xe2);                  /* read back counter 0's status */
    assert_int_equal(in8(r, 0x40), 0xb6); /* output high, both bytes, mode 3 */
    vclock_advance(&r->clock, clocks(400));
    out8(r, 0x43, 0xe2);
    assert_int_equal(in8(r, 0x40), 0x36); /* second half: output low */
    rig_free(r);
}

/* Linux's quick TSC calibration and old delay loops: counter 2 in mode 0, gated by port 61h. */
static void test_counter_2_and_port_61(void **state)
{
    struct rig *r = rig_new();
    out8(r, 0x61, (in8(r, 0x61) & ~2) | 1);
    out8(r, 0x43, 0xb0);
    out8(r, 0x42, 0xff);
    out8(r, 0x42, 0xff);
    assert_int_equal(in8(r, 0x61) & 0x20, 0);
    vclock_advance(&r->clock, clocks(1000));
    assert_in_range(read16(r, 0x42), 65535 - 1001, 65535 - 1000);
    out8(r, 0x61, 0); /* the gate stops it */
    vclock_advance(&r->clock, clocks(5000));
    assert_in_range(read16(r, 0x42), 65535 - 1001, 65535 - 1000);
    r = rig_reload(r);
    out8(r, 0x61, 1);
    vclock_advance(&r->clock, clocks(64540));
    assert_int_equal(in8(r, 0x61) & 0x21, 0x21); /* output high */
    out8(r, 0x61, 0xfd);
    r = rig_reload(r);
    assert_int_equal(in8(r, 0x61) & 0xef, 0x2d); /* bits 0 to 3 are what was written */
    out8(r, 0x61, 1);
    unsigned toggles = 0;
    for (unsigned i = 0, last = in8(r, 0x61) & 0x10; i < 1000; i++) {
        vclock_advance(&r->clock, 1000);
        unsigned now = in8(r, 0x61) & 0x10;
        toggles += now != last;
        last = now;
    }
    assert_in_range(toggles, 65, 67); /* 1 ms of 15.085 us refresh cycles */
    rig_free(r);
}

static void test_gate_triggers_one_shot(void **state)
{
    struct rig *r = rig_new();
    out8(r, 0x61, 0);
    out8(r, 0x43, 0xb2); /* counter 2, mode 1 */
    out8(r, 0x42, 100);
    out8(r, 0x42, 0);
    assert_int_equal(in8(r, 0x61) & 0x20, 0x20); /* high until triggered */
    out8(r, 0x61, 1);
    assert_int_equal(in8(r, 0x61) & 0x20, 0);
    vclock_advance(&r->clock, clocks(60));
    out8(r, 0x61, 0);
    out8(r, 0x61, 1); /* again: starts anew */
    vclock_advance(&r->clock, clocks(60));
    assert_int_equal(in8(r, 0x61) & 0x20, 0);
    vclock_advance(&r->clock, clocks(41));
    assert_int_equal(in8(r, 0x61) & 0x20, 0x20);
    rig_free(r);
}

static void test_bcd_and_new_count_at_period_end(void **state)
{
    struct rig *r = rig_new();
    out8(r, 0x43, 0x35); /* mode 2, BCD */
    out8(r, 0x40, 0x00);
    out8(r, 0x40, 0x10); /* 1000 */
    vclock_advance(&r->clock, clocks(1));
    assert_int_equal(read16(r, 0x40), 0x0999);
    out8(r, 0x40, 0x00);
    out8(r, 0x40, 0x20); /* 2000, from the next period on */
    vclock_advance(&r->clock, clocks(100));
    assert_in_range(read16(r, 0x40), 0x0898, 0x0899);
    r = rig_reload(r);
    vclock_advance(&r->clock, clocks(900));
    assert_in_range(read16(r, 0x40), 0x1997, 0x1999);
    rig_free(r);
}

/* Counter 2, whose gate and output port 61h has. */
static void start(struct rig *r, uint8_t mode, uint16_t count)
{
    out8(r, 0x43, 0xb0 | (uint8_t)(mode << 1));
    out8(r, 0x42, (uint8_t)count);
    out8(r, 0x42, (uint8_t)(count >> 8));
}
static bool high(struct rig *r)
{
    return in8(r, 0x61) & 0x20;
}
static void gate(struct rig *r, bool level)
{
    out8(r, 0x61, level);
}
/* Goes on to the boundary n clocks after *at, which counts from 0. */
static void go(struct rig *r, uint64_t *at, uint64_t n)
{
    uint64_t from = *at ? clocks(*at) : 0, to = clocks(*at += n);
    vclock_advance(&r->clock, to - from);
}

static void test_mode_0(void **state)
{
    struct rig *r = rig_new();
    uint64_t t = 0;

    gate(r, true);
    start(r, 0, 100);
    assert_false(high(r));
    go(r, &t, 99);
    assert_false(high(r));
    go(r, &t, 2);
    assert_true(high(r));
    assert_true(read16(r, 0x42) > 65000); /* it counts on */
    out8(r, 0x42, 50);                    /* the first byte of a new count: low at once, and no counting */
    assert_false(high(r));
    go(r, &t, 1000);
    assert_false(high(r));
    out8(r, 0x42, 0);
    t = 0;
    go(r, &t, 49);
    assert_false(high(r));
    go(r, &t, 2);
    assert_true(high(r));
    /* the control word alone: low, and nothing to count */
    out8(r, 0x43, 0xb0);
    go(r, &t, 70000);
    assert_false(high(r));
    rig_free(r);
}

static void test_mode_1(void **state)
{
    struct rig *r = rig_new();
    uint64_t t = 0;

    gate(r, false);
    start(r, 1, 100);
    go(r, &t, 500);
    assert_true(high(r)); /* nothing without a trigger */
    gate(r, true);
    t = 0;
    go(r, &t, 60);
    assert_false(high(r));
    out8(r, 0x42, 200); /* a new count does not touch the one-shot under way */
    out8(r, 0x42, 0);
    gate(r, false); /* nor does the gate's fall */
    r = rig_reload(r);
    go(r, &t, 39);
    assert_false(high(r));
    go(r, &t, 2);
    assert_true(high(r));
    gate(r, true); /* the new count from now on */
    t = 0;
    go(r, &t, 199);
    assert_false(high(r));
    go(r, &t, 2);
    assert_true(high(r));
    rig_free(r);
}

static void test_mode_2(void **state)
{
    struct rig *r = rig_new();
    uint64_t t = 0;

    gate(r, true);
    start(r, 2, 10);
    for (unsigned i = 0; i < 30; i++) {
        assert_int_equal(high(r), i % 10 != 9); /* low for one clock */
        go(r, &t, 1);
    }
    go(r, &t, 9);
    assert_false(high(r));
    gate(r, false); /* high at once, and it stands */
    assert_true(high(r));
    go(r, &t, 35);
    assert_true(high(r));
    gate(r, true); /* begins anew */
    t = 0;
    go(r, &t, 8);
    assert_true(high(r));
    go(r, &t, 1);
    assert_false(high(r));
    rig_free(r);
}

static void test_mode_3(void **state)
{
    struct rig *r = rig_new();
    uint64_t t = 0;

    gate(r, true);
    start(r, 3, 10);
    for (unsigned i = 0; i < 30; i++) {
        assert_int_equal(high(r), i % 10 < 5);
        go(r, &t, 1);
    }
    start(r, 3, 7); /* odd: high for one clock longer */
    t = 0;
    for (unsigned i = 0; i < 28; i++) {
        assert_int_equal(high(r), i % 7 < 4);
        go(r, &t, 1);
    }
    go(r, &t, 5);
    assert_false(high(r));
    gate(r, false);
    assert_true(high(r));
    gate(r, true);
    t = 0;
    go(r, &t, 3);
    assert_true(high(r));
    go(r, &t, 1);
    assert_false(high(r));
    rig_free(r);
}

/* What each take-over may be late, for times are in whole nanoseconds. */
static void late(struct rig *r)
{
    vclock_advance(&r->clock, 2);
}

/* A new count takes over at the end of the half-cycle that it was written in (82C54 data sheet, mode 3). */
static void test_mode_3_new_count(void **state)
{
    struct rig *r = rig_new();
    uint64_t t = 0;

    gate(r, true);
    start(r, 3, 20);
    go(r, &t, 4); /* amid the high half, which ends at 10 */
    out8(r, 0x42, 7);
    out8(r, 0x42, 0);
    out8(r, 0x43, 0xe8);
    assert_int_equal(in8(r, 0x42), 0xf6); /* high, and the count waits */
    late(r);
    go(r, &t, 5);
    assert_true(high(r));
    r = rig_reload(r);
    for (unsigned i = 0; i < 21; i++) { /* three clocks low, four high */
        go(r, &t, 1);
        assert_int_equal(high(r), i % 7 >= 3);
    }
    out8(r, 0x43, 0xe8);
    assert_int_equal(in8(r, 0x42), 0xb6); /* high, and no count waits */
    go(r, &t, 2);                         /* amid the low half, with one clock to go */
    assert_false(high(r));
    out8(r, 0x42, 12);
    out8(r, 0x42, 0);
    go(r, &t, 1);
    assert_false(high(r));
    late(r);
    for (unsigned i = 0; i < 24; i++) {
        go(r, &t, 1);
        assert_int_equal(high(r), i % 12 < 6);
        assert_int_equal(read16(r, 0x42), 12 - 2 * (i % 6));
    }
    /* the trigger comes first */
    go(r, &t, 2);
    out8(r, 0x42, 30);
    out8(r, 0x42, 0);
    gate(r, false);
    gate(r, true);
    t = 0;
    for (unsigned i = 0; i < 60; i++) {
        assert_int_equal(high(r), i % 30 < 15);
        go(r, &t, 1);
    }
    /* written while the gate is low, it waits for the trigger */
    gate(r, false);
    out8(r, 0x42, 8);
    out8(r, 0x42, 0);
    go(r, &t, 100);
    assert_int_equal(read16(r, 0x42), 30);
    out8(r, 0x43, 0xe8);
    assert_int_equal(in8(r, 0x42), 0xf6);
    gate(r, true);
    assert_int_equal(read16(r, 0x42), 8);
    t = 0;
    for (unsigned i = 0; i < 16; i++) {
        assert_int_equal(high(r), i % 8 < 4);
        go(r, &t, 1);
    }
    rig_free(r);
}

/* The interrupts of a new count in mode 3: the low half of it follows the high one of the old. */
static void test_mode_3_interrupts(void **state)
{
    struct rig *r = rig_new();
    uint64_t t = 0;

    pic_setup(r);
    out8(r, 0x43, 0x36);
    out8(r, 0x40, 0xe8); /* 1000 */
    out8(r, 0x40, 0x03);
    irq0s(r, 0); /* the output's first rise */
    go(r, &t, 100);
    out8(r, 0x40, 0xc8); /* 200, from clock 500 on: low to 600, then high to 700 */
    out8(r, 0x40, 0x00);
    go(r, &t, 499);
    assert_int_equal(r->intr, 0);
    r = rig_reload(r);
    late(r);
    go(r, &t, 1);
    assert_int_equal(take_irq(r), 0x20);
    out8(r, 0x20, 0x20);
    go(r, &t, 199);
    assert_int_equal(r->intr, 0);
    go(r, &t, 1);
    assert_int_equal(take_irq(r), 0x20);
    out8(r, 0x20, 0x20);
    go(r, &t, 150); /* amid the low half, which ends at 1000 */
    out8(r, 0x40, 0xe8);
    out8(r, 0x40, 0x03);
    go(r, &t, 49);
    assert_int_equal(r->intr, 0);
    late(r);
    go(r, &t, 1);
    assert_int_equal(take_irq(r), 0x20);
    out8(r, 0x20, 0x20);
    go(r, &t, 999);
    assert_int_equal(r->intr, 0);
    go(r, &t, 1);
    assert_int_equal(take_irq(r), 0x20);
    rig_free(r);
}

static void test_mode_4(void **state)
{
    struct rig *r = rig_new();
    uint64_t t = 0;

    gate(r, true);
    start(r, 4, 20);
    assert_true(high(r));
    go(r, &t, 15);
    gate(r, false); /* holds the count */
    go(r, &t, 100);
    assert_true(high(r));
    gate(r, true);
    r = rig_reload(r);
    go(r, &t, 4);
    assert_true(high(r));
    go(r, &t, 1);
    assert_false(high(r)); /* a strobe of one clock */
    go(r, &t, 1);
    assert_true(high(r));
    go(r, &t, 65000);
    assert_true(high(r)); /* once */
    start(r, 4, 20);
    t = 0;
    go(r, &t, 10);
    out8(r, 0x42, 40); /* a new count is counted from now on */
    out8(r, 0x42, 0);
    t = 0;
    go(r, &t, 39);
    assert_true(high(r));
    go(r, &t, 1);
    assert_false(high(r));
    rig_free(r);
}

static void test_mode_5(void **state)
{
    struct rig *r = rig_new();
    uint64_t t = 0;

    gate(r, false);
    start(r, 5, 20);
    go(r, &t, 100);
    assert_true(high(r));
    gate(r, true); /* the trigger; the level does not matter after it */
    gate(r, false);
    t = 0;
    go(r, &t, 15);
    gate(r, true); /* again */
    t = 0;
    go(r, &t, 19);
    assert_true(high(r));
    go(r, &t, 1);
    assert_false(high(r));
    go(r, &t, 1);
    assert_true(high(r));
    rig_free(r);
}

static void test_read_back(void **state)
{
    struct rig *r = rig_new();
    uint64_t t = 0;

    gate(r, true);
    out8(r, 0x43, 0x54); /* counter 1: low byte, mode 2 */
    out8(r, 0x40 + 1, 18);
    out8(r, 0x43, 0xa3); /* counter 2: high byte, mode 1, BCD */
    out8(r, 0x43, 0xee); /* read back: status of all */
    assert_int_equal(in8(r, 0x41), 0x94);
    assert_int_equal(in8(r, 0x42), 0xe3); /* output high, no count yet */
    assert_int_equal(in8(r, 0x40) & 0x3f, 0x30);
    out8(r, 0x42, 0x12); /* 1200 */
    out8(r, 0x43, 0xe8);
    assert_int_equal(in8(r, 0x42), 0xe3); /* still waiting for its trigger */
    gate(r, false);
    gate(r, true);
    out8(r, 0x43, 0xc8); /* status and count: the status comes first */
    go(r, &t, 500);
    out8(r, 0x43, 0x80); /* a latch that holds is not overwritten */
    out8(r, 0x43, 0xe8);
    r = rig_reload(r);
    assert_int_equal(in8(r, 0x42), 0x23);
    assert_int_equal(in8(r, 0x42), 0x12); /* the high byte of 1200 */
    assert_int_equal(in8(r, 0x42), 0x07); /* the high byte of what it is now, 700 */
    rig_free(r);
}

static void test_bad_state(void **state)
{
    struct rig *r = rig_new();
    rig_refuses(r, "pit", "ch0.mode", 0, 6);
    rig_refuses(r, "pit", "ch2.rw", 0, 4);
    rig_refuses(r, "pit", "ch1.start", 7, 0xff);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rate_generator),
        cmocka_unit_test(test_one_shot),
        cmocka_unit_test(test_square_wave_and_latch),
        cmocka_unit_test(test_counter_2_and_port_61),
        cmocka_unit_test(test_gate_triggers_one_shot),
        cmocka_unit_test(test_bcd_and_new_count_at_period_end),
        cmocka_unit_test(test_mode_0),
        cmocka_unit_test(test_mode_1),
        cmocka_unit_test(test_mode_2),
        cmocka_unit_test(test_mode_3),
        cmocka_unit_test(test_mode_3_new_count),
        cmocka_unit_test(test_mode_3_interrupts),
        cmocka_unit_test(test_mode_4),
        cmocka_unit_test(test_mode_5),
        cmocka_unit_test(test_read_back),
        cmocka_unit_test(test_bad_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
