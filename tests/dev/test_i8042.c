/* The keyboard controller with its keyboard and mouse, by the steps of Linux's i8042, atkbd and psmouse drivers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "tests/dev/board_rig.h"

static void command(struct rig *r, uint8_t c)
{
    assert_int_equal(in8(r, 0x64) & 2, 0);
    out8(r, 0x64, c);
}

/* What came from the keyboard or the controller, asserting that it did not come from the mouse; -1: nothing. */
static int key(struct rig *r)
{
    uint8_t s = in8(r, 0x64);
    if (!(s & 1))
        return -1;
    assert_int_equal(s & 0x20, 0);
    return in8(r, 0x60);
}
static int mouse(struct rig *r)
{
    uint8_t s = in8(r, 0x64);
    if (!(s & 1))
        return -1;
    assert_int_equal(s & 0x20, 0x20);
    return in8(r, 0x60);
}
static void to_mouse(struct rig *r, uint8_t v)
{
    command(r, 0xd4);
    out8(r, 0x60, v);
}

static void test_controller(void **state)
{
    struct rig *r = rig_new();
    assert_int_equal(key(r), -1);
    command(r, 0x20);
    assert_int_equal(key(r), 0x45);
    command(r, 0xaa);
    assert_int_equal(key(r), 0x55);
    assert_int_equal(in8(r, 0x64) & 0x1c, 0x1c); /* command last, system flag, not locked */
    command(r, 0xab);
    assert_int_equal(key(r), 0);
    command(r, 0xa9);
    r = rig_reload(r);
    assert_int_equal(key(r), 0);
    command(r, 0xd3); /* auxiliary loop-back */
    out8(r, 0x60, 0x5a);
    assert_int_equal(mouse(r), 0x5a);
    command(r, 0xa7);
    command(r, 0x20);
    assert_int_equal(key(r) & 0x20, 0x20);
    command(r, 0xa8);
    command(r, 0x20);
    assert_int_equal(key(r) & 0x20, 0);
    rig_free(r);
}

static void test_interrupts(void **state)
{
    struct rig *r = rig_new();
    pic_setup(r);
    command(r, 0x60);
    out8(r, 0x60, 0x47); /* both interrupts */
    command(r, 0xd3);
    out8(r, 0x60, 0xa5);
    assert_int_equal(take_irq(r), 0x2c);
    assert_int_equal(mouse(r), 0xa5);
    out8(r, 0xa0, 0x20);
    out8(r, 0x20, 0x20);
    out8(r, 0x60, 0xff); /* reset: two bytes, an edge each */
    assert_int_equal(take_irq(r), 0x21);
    out8(r, 0x20, 0x20);
    assert_int_equal(r->intr, 0);
    r = rig_reload(r);
    assert_int_equal(key(r), 0xfa);
    assert_int_equal(take_irq(r), 0x21);
    assert_int_equal(key(r), 0xaa);
    assert_int_equal(key(r), -1);
    rig_free(r);
}

static void test_keyboard(void **state)
{
    struct rig *r = rig_new();
    static const uint8_t identify_raw[] = {0xfa, 0xab, 0x83}, identify_translated[] = {0xfa, 0xab, 0x41};
    out8(r, 0x60, 0xf2);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(key(r), identify_translated[i]);
    command(r, 0x60);
    out8(r, 0x60, 0x04); /* no translation */
    out8(r, 0x60, 0xf2);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(key(r), identify_raw[i]);
    out8(r, 0x60, 0xed); /* LEDs take an argument */
    assert_int_equal(key(r), 0xfa);
    r = rig_reload(r);
    out8(r, 0x60, 0x02);
    assert_int_equal(key(r), 0xfa);
    assert_int_equal(r->board.i8042.kbd.leds, 2);
    out8(r, 0x60, 0xf0);
    assert_int_equal(key(r), 0xfa);
    out8(r, 0x60, 0x00); /* which scan code set? */
    assert_int_equal(key(r), 0xfa);
    assert_int_equal(key(r), 2);
    out8(r, 0x60, 0xee);
    assert_int_equal(key(r), 0xee);
    out8(r, 0x60, 0x12);
    assert_int_equal(key(r), 0xfe);
    rig_free(r);
}

static void test_mouse(void **state)
{
    struct rig *r = rig_new();
    to_mouse(r, 0xff);
    assert_int_equal(mouse(r), 0xfa);
    assert_int_equal(mouse(r), 0xaa);
    assert_int_equal(mouse(r), 0x00);
    to_mouse(r, 0xf2);
    assert_int_equal(mouse(r), 0xfa);
    assert_int_equal(mouse(r), 0x00);
    to_mouse(r, 0xf3);
    assert_int_equal(mouse(r), 0xfa);
    r = rig_reload(r);
    to_mouse(r, 200);
    assert_int_equal(mouse(r), 0xfa);
    to_mouse(r, 0xe9);
    assert_int_equal(mouse(r), 0xfa);
    assert_int_equal(mouse(r), 0x00);
    assert_int_equal(mouse(r), 0x02);
    assert_int_equal(mouse(r), 200);
    rig_free(r);
}

static void test_a20_and_resets(void **state)
{
    struct rig *r = rig_new();
    assert_int_equal(r->a20, 1);
    command(r, 0xd1);
    out8(r, 0x60, 0xdd);
    assert_int_equal(r->a20, 0);
    assert_int_equal(in8(r, 0x92), 0);
    out8(r, 0x92, 2);
    assert_int_equal(r->a20, 1);
    assert_int_equal(r->resets, 0);
    command(r, 0xfe);
    assert_int_equal(r->resets, 1);
    out8(r, 0x92, 3);
    assert_int_equal(r->resets, 2);
    out8(r, 0xcf9, 0x02);
    assert_int_equal(r->resets, 2);
    out8(r, 0xcf9, 0x06);
    assert_int_equal(r->resets, 3);
    rig_free(r);
}

static void test_queue_overflow_and_bad_state(void **state)
{
    struct rig *r = rig_new();
    for (unsigned i = 0; i < 500; i++) {
        out8(r, 0x60, 0xf2);
        command(r, 0x20);
        to_mouse(r, 0xe9);
    }
    unsigned n = 0;
    while (in8(r, 0x64) & 1) {
        in8(r, 0x60);
        assert_true(n++ < 200);
    }
    rig_refuses(r, "i8042", "kbd.scan.head", 0, 64);
    rig_refuses(r, "i8042", "mouse.packet.len", 0, 65);
    rig_refuses(r, "i8042", "kbd.set", 0, 4);
    rig_refuses(r, "i8042", "mouse.id", 0, 1);
    rig_refuses(r, "i8042", "answers.len", 0, 1);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_controller),     cmocka_unit_test(test_interrupts),
        cmocka_unit_test(test_keyboard),       cmocka_unit_test(test_mouse),
        cmocka_unit_test(test_a20_and_resets), cmocka_unit_test(test_queue_overflow_and_bad_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
