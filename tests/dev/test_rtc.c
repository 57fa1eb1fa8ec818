/* The MC146818 at register level. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "tests/dev/board_rig.h"

static uint8_t get(struct rig *r, uint8_t reg)
{
    out8(r, 0x70, reg);
    return in8(r, 0x71);
}
static void set(struct rig *r, uint8_t reg, uint8_t v)
{
    out8(r, 0x70, reg);
    out8(r, 0x71, v);
}
static void assert_time(struct rig *r, unsigned century, unsigned year, unsigned month, unsigned day, unsigned hour,
                        unsigned min, unsigned sec)
{
    assert_int_equal(get(r, 0x32), century);
    assert_int_equal(get(r, 9), year);
    assert_int_equal(get(r, 8), month);
    assert_int_equal(get(r, 7), day);
    assert_int_equal(get(r, 4), hour);
    assert_int_equal(get(r, 2), min);
    assert_int_equal(get(r, 0), sec);
}

static void test_shows_the_wall_clock(void **state)
{
    struct rig *r = rig_new();
    assert_time(r, 0x20, 0x23, 0x11, 0x14, 0x22, 0x13, 0x20);
    assert_int_equal(get(r, 6), 3); /* Tuesday */
    assert_int_equal(get(r, 0x0d), 0x80);
    vclock_advance(&r->clock, 3600 * 1000 * MS * 2);
    r = rig_reload(r);
    assert_time(r, 0x20, 0x23, 0x11, 0x15, 0x00, 0x13, 0x20);
    set(r, 0x0b, 0x06); /* binary */
    assert_time(r, 0x20, 23, 11, 15, 0, 13, 20);
    set(r, 0x0b, 0x04); /* binary, 12 hours */
    assert_int_equal(get(r, 4), 12);
    vclock_advance(&r->clock, 3600 * 1000 * MS * 13);
    assert_int_equal(get(r, 4), 0x81); /* 1 pm */
    rig_free(r);
}

static void test_setting(void **state)
{
    struct rig *r = rig_new();
    set(r, 0x0b, 0x82); /* SET stops updates */
    static const uint8_t v[][2] = {{0, 0x59}, {2, 0x59}, {4, 0x23}, {7, 0x29}, {8, 0x02}, {9, 0x24}, {0x32, 0x20}};
    for (unsigned i = 0; i < sizeof v / sizeof v[0]; i++)
        set(r, v[i][0], v[i][1]);
    vclock_advance(&r->clock, 5000 * MS);
    assert_time(r, 0x20, 0x24, 0x02, 0x29, 0x23, 0x59, 0x59);
    r = rig_reload(r);
    set(r, 0x0b, 0x02);
    vclock_advance(&r->clock, 1000 * MS);
    assert_time(r, 0x20, 0x24, 0x03, 0x01, 0x00, 0x00, 0x00);
    rig_free(r);
}

static void test_update_in_progress(void **state)
{
    struct rig *r = rig_new();
    assert_int_equal(get(r, 0x0a), 0x26);
    vclock_advance(&r->clock, 1000 * MS - 200000);
    assert_int_equal(get(r, 0x0a), 0xa6);
    assert_int_equal(get(r, 0), 0x20);
    vclock_advance(&r->clock, 200000);
    assert_int_equal(get(r, 0x0a), 0x26);
    assert_int_equal(get(r, 0), 0x21);
    assert_int_equal(get(r, 0x0c), 0x50); /* UF and PF, though their interrupts are off */
    rig_free(r);
}

static unsigned irq8s(struct rig *r, uint64_t ms)
{
    unsigned n = 0;
    for (; ms; ms--) {
        vclock_advance(&r->clock, MS);
        if (!r->intr)
            continue;
        assert_int_equal(take_irq(r), 0x28);
        out8(r, 0xa0, 0x20);
        out8(r, 0x20, 0x20);
        assert_true(get(r, 0x0c) & 0x80); /* the read lowers the line */
        n++;
    }
    return n;
}

static void test_interrupts(void **state)
{
    struct rig *r = rig_new();
    pic_setup(r);
    set(r, 0x0a, 0x2a); /* 64 Hz */
    set(r, 0x0b, 0x42);
    assert_int_equal(irq8s(r, 1000), 64);
    r = rig_reload(r);
    assert_int_equal(irq8s(r, 500), 32);
    set(r, 0x0b, 0x12); /* update-ended */
    get(r, 0x0c);
    assert_int_equal(irq8s(r, 3000), 3);
    set(r, 1, 0x30); /* alarm at any hour's and minute's second 30 */
    set(r, 3, 0xff);
    set(r, 5, 0xff);
    set(r, 0x0b, 0x22);
    get(r, 0x0c);
    assert_int_equal(irq8s(r, 120000), 2);
    assert_int_equal(get(r, 0), 0x24);
    set(r, 0x0b, 0x02);
    assert_int_equal(vclock_next_deadline(&r->clock), UINT64_MAX); /* an idle clock wakes nobody */
    rig_free(r);
}

/* Data sheet, table of periodic rates with the 32,768 Hz base. */
static void test_every_rate(void **state)
{
    static const unsigned hz[16] = {0, 256, 128, 8192, 4096, 2048, 1024, 512, 256, 128, 64, 32, 16, 8, 4, 2};
    struct rig *r = rig_new();

    pic_setup(r);
    set(r, 0x0b, 0x42);
    for (unsigned rs = 0; rs < 16; rs++) {
        unsigned n = 0;
        set(r, 0x0a, 0x20 | (uint8_t)rs);
        get(r, 0x0c);
        if (rs == 7)
            r = rig_reload(r);
        for (unsigned i = 0; i < 32768; i++) {
            vclock_advance(&r->clock, 1000 * MS / 32768 + (i % 2)); /* on the whole 16 us more */
            if (!r->intr)
                continue;
            assert_int_equal(take_irq(r), 0x28);
            out8(r, 0xa0, 0x20);
            out8(r, 0x20, 0x20);
            assert_int_equal(get(r, 0x0c) & 0xc0, 0xc0);
            n++;
        }
        assert_in_range(n + 1, hz[rs], hz[rs] + 2);
    }
    set(r, 0x0a, 0x66); /* divider in reset: no rate */
    get(r, 0x0c);
    assert_int_equal(irq8s(r, 100), 0);
    assert_int_equal(get(r, 0x0c), 0);
    rig_free(r);
}

static void test_alarms(void **state)
{
    struct rig *r = rig_new(); /* 22:13:20 */

    pic_setup(r);
    set(r, 5, 0x22); /* all three */
    set(r, 3, 0x14);
    set(r, 1, 0x05);
    set(r, 0x0b, 0x22);
    get(r, 0x0c);
    assert_int_equal(irq8s(r, 44000), 0);
    r = rig_reload(r);
    assert_int_equal(irq8s(r, 1000), 1);
    assert_time(r, 0x20, 0x23, 0x11, 0x14, 0x22, 0x14, 0x05);
    assert_int_equal(irq8s(r, 3600 * 1000), 0); /* once a day */
    set(r, 5, 0xff);                            /* any hour */
    assert_int_equal(irq8s(r, 2 * 3600 * 1000), 2);
    set(r, 3, 0xc0); /* any minute */
    assert_int_equal(irq8s(r, 600 * 1000), 10);
    set(r, 1, 0xff); /* each second */
    assert_int_equal(irq8s(r, 10 * 1000), 10);
    /* polled: whatever alarm passed since the last look is noted, and no other */
    set(r, 0x0b, 0x02);
    set(r, 1, 0x30);
    get(r, 0x0c);
    vclock_advance(&r->clock, 90 * 1000 * MS);
    assert_int_equal(get(r, 0x0c) & 0x30, 0x30);
    set(r, 3, 0x00);
    set(r, 5, 0x12);
    vclock_advance(&r->clock, 3600 * 1000 * MS);
    assert_int_equal(get(r, 0x0c) & 0x30, 0x10);
    vclock_advance(&r->clock, 48ull * 3600 * 1000 * MS);
    assert_int_equal(get(r, 0x0c) & 0x30, 0x30);
    /* 12 hours, binary, afternoon */
    set(r, 0x0b, 0x84);
    set(r, 4, 0x80 | 11);
    set(r, 2, 59);
    set(r, 0, 58);
    set(r, 0x0b, 0x04);
    assert_int_equal(get(r, 4), 0x80 | 11);
    set(r, 5, 12);
    set(r, 3, 0);
    set(r, 1, 0);
    set(r, 0x0b, 0x24);
    get(r, 0x0c);
    assert_int_equal(irq8s(r, 1000), 0);
    assert_int_equal(irq8s(r, 1000), 1);
    assert_int_equal(get(r, 4), 12); /* midnight */
    rig_free(r);
}

static void test_flags_and_their_enables(void **state)
{
    struct rig *r = rig_new();

    pic_setup(r);
    set(r, 0x0b, 0x12);
    get(r, 0x0c);
    vclock_advance(&r->clock, 1000 * MS);
    assert_int_equal(r->intr, 1);
    set(r, 0x0b, 0x02); /* the line falls with the enable, the flag stays */
    set(r, 0x0b, 0x12);
    assert_int_equal(get(r, 0x0c) & 0x90, 0x90);
    assert_int_equal(get(r, 0x0c), 0); /* a read clears all */
    set(r, 0x0b, 0x92);                /* SET clears UIE and holds updates */
    assert_int_equal(get(r, 0x0b), 0x82);
    vclock_advance(&r->clock, 3000 * MS);
    assert_int_equal(get(r, 0x0c) & 0x30, 0);
    vclock_advance(&r->clock, 999 * MS + 900000);
    assert_int_equal(get(r, 0x0a) & 0x80, 0); /* nothing is in progress */
    set(r, 0x0c, 0xff);                       /* read-only */
    assert_int_equal(get(r, 0x0c) & 0x3f, 0);
    rig_free(r);
}

static void test_cmos(void **state)
{
    struct rig *r = rig_new();
    assert_int_equal(get(r, 0x15) | get(r, 0x16) << 8, 640);
    assert_int_equal(get(r, 0x30) | get(r, 0x31) << 8, 15 * 1024);
    set(r, 0x4f, 0xa5);
    r = rig_reload(r);
    assert_int_equal(get(r, 0x4f), 0xa5);
    set(r, 0x0d, 0);
    assert_int_equal(get(r, 0x0d), 0x80);
    rig_refuses(r, "rtc", "index", 0, 200);
    rig_refuses(r, "rtc", "offset", 7, 0x7f);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shows_the_wall_clock),
        cmocka_unit_test(test_setting),
        cmocka_unit_test(test_update_in_progress),
        cmocka_unit_test(test_interrupts),
        cmocka_unit_test(test_every_rate),
        cmocka_unit_test(test_alarms),
        cmocka_unit_test(test_flags_and_their_enables),
        cmocka_unit_test(test_cmos),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
