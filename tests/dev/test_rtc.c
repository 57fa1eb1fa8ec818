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
        cmocka_unit_test(test_cmos),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
