/* The 8259 pair at register level. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "tests/dev/board_rig.h"

/* Inputs without a device behind them: a load makes every device drive its own line. */
static void irq(struct rig *r, unsigned n, int level)
{
    pic_set_irq(&r->board.pic, n, level);
}

static void test_vectors_and_eoi(void **state)
{
    struct rig *r = rig_new();
    pic_setup(r);
    assert_int_equal(r->intr, 0);
    irq(r, 6, 1);
    assert_int_equal(take_irq(r), 0x26);
    assert_int_equal(r->intr, 0); /* in service, and an edge */
    irq(r, 7, 1);
    assert_int_equal(r->intr, 0); /* lower priority waits */
    irq(r, 5, 1);
    assert_int_equal(take_irq(r), 0x25); /* higher priority nests */
    out8(r, 0x20, 0x0b);
    assert_int_equal(in8(r, 0x20), 0x60); /* ISR */
    out8(r, 0x20, 0x0a);
    assert_int_equal(in8(r, 0x20), 0x80); /* IRR */
    out8(r, 0x20, 0x20);
    assert_int_equal(r->intr, 0);
    irq(r, 6, 0); /* the floppy controller's: it would take it back */
    r = rig_reload(r);
    out8(r, 0x20, 0x20);
    assert_int_equal(take_irq(r), 0x27);
    out8(r, 0x20, 0x67); /* specific */
    out8(r, 0x20, 0x0b);
    assert_int_equal(in8(r, 0x20), 0);
    rig_free(r);
}

static void test_slave_through_cascade(void **state)
{
    struct rig *r = rig_new();
    pic_setup(r);
    irq(r, 14, 1);
    irq(r, 10, 1);
    assert_int_equal(take_irq(r), 0x2a);
    out8(r, 0xa0, 0x20);
    assert_int_equal(r->intr, 0); /* the master's input 2 is still in service */
    r = rig_reload(r);
    out8(r, 0x20, 0x62);
    assert_int_equal(take_irq(r), 0x2e);
    rig_free(r);
}

static void test_mask_and_withdrawn_request(void **state)
{
    struct rig *r = rig_new();
    pic_setup(r);
    out8(r, 0x21, 0x20);
    irq(r, 5, 1);
    assert_int_equal(r->intr, 0);
    assert_int_equal(in8(r, 0x21), 0x20);
    out8(r, 0x21, 0);
    assert_int_equal(r->intr, 1);
    out8(r, 0x4d0, 0x20); /* level: goes away with the device's wish */
    irq(r, 5, 0);
    assert_int_equal(r->intr, 0);
    assert_int_equal(pic_ack(&r->board.pic), 0x27); /* spurious */
    out8(r, 0x20, 0x0b);
    assert_int_equal(in8(r, 0x20), 0); /* and not in service */
    rig_free(r);
}

static void test_level_reasserts(void **state)
{
    struct rig *r = rig_new();
    pic_setup(r);
    out8(r, 0x4d1, 0x0c);
    assert_int_equal(in8(r, 0x4d1), 0x0c);
    out8(r, 0x4d0, 0xff);
    assert_int_equal(in8(r, 0x4d0), 0xf8); /* 0 to 2 stay edge-triggered */
    irq(r, 10, 1);
    assert_int_equal(take_irq(r), 0x2a);
    r = rig_reload(r);
    out8(r, 0xa0, 0x20);
    out8(r, 0x20, 0x20);
    assert_int_equal(take_irq(r), 0x2a); /* still asserted */
    irq(r, 10, 0);
    out8(r, 0xa0, 0x20);
    out8(r, 0x20, 0x20);
    assert_int_equal(r->intr, 0);
    rig_free(r);
}

static void test_rotation(void **state)
{
    struct rig *r = rig_new();
    pic_setup(r);
    irq(r, 5, 1);
    assert_int_equal(take_irq(r), 0x25);
    out8(r, 0x20, 0xa0); /* rotate on non-specific EOI: 5 becomes the lowest */
    irq(r, 5, 0);
    irq(r, 5, 1);
    irq(r, 6, 1);
    assert_int_equal(take_irq(r), 0x26);
    out8(r, 0x20, 0x20);
    out8(r, 0x20, 0xc6); /* set priority: 6 lowest, so 7 highest */
    irq(r, 7, 1);
    irq(r, 6, 0);
    r = rig_reload(r);
    assert_int_equal(take_irq(r), 0x27);
    rig_free(r);
}

static void test_automatic_eoi(void **state)
{
    struct rig *r = rig_new();
    pic_setup(r);
    out8(r, 0x20, 0x11);
    out8(r, 0x21, 0x40);
    out8(r, 0x21, 0x04);
    out8(r, 0x21, 0x03);
    irq(r, 1, 1);
    assert_int_equal(take_irq(r), 0x41);
    out8(r, 0x20, 0x0b);
    assert_int_equal(in8(r, 0x20), 0);
    rig_free(r);
}

static void test_special_mask_and_poll(void **state)
{
    struct rig *r = rig_new();
    pic_setup(r);
    irq(r, 5, 1);
    assert_int_equal(take_irq(r), 0x25);
    irq(r, 7, 1);
    assert_int_equal(r->intr, 0);
    out8(r, 0x21, 0x20);
    out8(r, 0x20, 0x68); /* special mask: a masked one in service blocks nothing */
    assert_int_equal(r->intr, 1);
    out8(r, 0x20, 0x0c); /* poll acknowledges */
    r = rig_reload(r);
    assert_int_equal(in8(r, 0x20), 0x87);
    assert_int_equal(r->intr, 0);
    out8(r, 0x20, 0x0c);
    assert_int_equal(in8(r, 0x20), 0);
    rig_free(r);
}

static void icws(struct rig *r, uint16_t port, uint8_t icw1, uint8_t icw2, uint8_t icw3, uint8_t icw4)
{
    out8(r, port, icw1);
    out8(r, port + 1, icw2);
    if (!(icw1 & 2))
        out8(r, port + 1, icw3);
    if (icw1 & 1)
        out8(r, port + 1, icw4);
}

static uint8_t isr(struct rig *r, uint16_t port)
{
    out8(r, port, 0x0b);
    return in8(r, port);
}

/* Data sheet, "Special fully nested mode": a slave's better request comes through while that slave is in service; what
 * is worse than the slave's input at the master does not. */
static void test_special_fully_nested(void **state)
{
    struct rig *r = rig_new();
    pic_setup(r);
    icws(r, 0x20, 0x11, 0x20, 0x04, 0x11);
    irq(r, 11, 1);
    assert_int_equal(take_irq(r), 0x2b);
    irq(r, 5, 1);
    assert_int_equal(r->intr, 0);
    irq(r, 13, 1);
    assert_int_equal(r->intr, 0); /* the slave's own nesting */
    irq(r, 10, 1);
    r = rig_reload(r);
    assert_int_equal(take_irq(r), 0x2a);
    assert_int_equal(isr(r, 0xa0), 0x0c);
    /* the end: the slave first; the master only when nothing is left in service there */
    out8(r, 0xa0, 0x20);
    assert_int_equal(isr(r, 0xa0), 0x08);
    out8(r, 0xa0, 0x20);
    assert_int_equal(isr(r, 0xa0), 0);
    assert_int_equal(take_irq(r), 0x2d);
    out8(r, 0xa0, 0x20);
    out8(r, 0x20, 0x20);
    assert_int_equal(take_irq(r), 0x25);
    rig_free(r);
}

static void test_fully_nested_holds_the_slave_back(void **state)
{
    struct rig *r = rig_new();
    pic_setup(r);
    irq(r, 12, 1);
    assert_int_equal(take_irq(r), 0x2c);
    irq(r, 9, 1); /* better, but the master has input 2 in service */
    assert_int_equal(r->intr, 0);
    irq(r, 1, 1);
    assert_int_equal(take_irq(r), 0x21);
    rig_free(r);
}

static void test_initialization(void **state)
{
    struct rig *r = rig_new();
    pic_setup(r);
    irq(r, 5, 1);
    assert_int_equal(take_irq(r), 0x25);
    irq(r, 7, 1);
    out8(r, 0x21, 0x80);
    out8(r, 0x20, 0x68);
    out8(r, 0x20, 0x11); /* ICW1: masks, priorities, latched edges, special mask and what is in service go */
    r = rig_reload(r);   /* amid the sequence */
    out8(r, 0x21, 0x30);
    out8(r, 0x21, 0x04);
    out8(r, 0x21, 0x01);
    assert_int_equal(in8(r, 0x21), 0);
    assert_int_equal(isr(r, 0x20), 0);
    assert_int_equal(r->intr, 0); /* inputs that stay high are no edges */
    irq(r, 5, 0);
    irq(r, 5, 1);
    assert_int_equal(take_irq(r), 0x35);
    /* without ICW4: all of it 0, so no automatic EOI */
    icws(r, 0x20, 0x11, 0x20, 0x04, 0x03);
    icws(r, 0x20, 0x10, 0x20, 0x04, 0);
    irq(r, 5, 0);
    irq(r, 5, 1);
    assert_int_equal(take_irq(r), 0x25);
    assert_int_equal(isr(r, 0x20), 0x20);
    /* alone: no ICW3, and no slave */
    icws(r, 0x20, 0x13, 0x50, 0, 0x01);
    out8(r, 0x21, 0x00);
    irq(r, 3, 1);
    assert_int_equal(take_irq(r), 0x53);
    /* level-triggered as a whole */
    icws(r, 0x20, 0x19, 0x20, 0x04, 0x01);
    assert_int_equal(take_irq(r), 0x23); /* still high */
    out8(r, 0x20, 0x20);
    irq(r, 3, 0);
    assert_int_equal(take_irq(r), 0x25);
    rig_free(r);
}

static void test_rotation_in_automatic_eoi(void **state)
{
    struct rig *r = rig_new();
    pic_setup(r);
    icws(r, 0x20, 0x11, 0x20, 0x04, 0x03);
    out8(r, 0x20, 0x80); /* on */
    irq(r, 5, 1);
    assert_int_equal(take_irq(r), 0x25); /* is the lowest now */
    irq(r, 5, 0);
    irq(r, 5, 1);
    irq(r, 7, 1);
    r = rig_reload(r);
    assert_int_equal(take_irq(r), 0x27);
    assert_int_equal(take_irq(r), 0x25);
    out8(r, 0x20, 0x00); /* off */
    irq(r, 7, 0);
    irq(r, 7, 1);
    irq(r, 3, 1);
    assert_int_equal(take_irq(r), 0x27); /* 5 is the lowest as before: 6, 7, 0 … */
    assert_int_equal(take_irq(r), 0x23);
    rig_free(r);
}

static void test_specific_rotation_and_no_operation(void **state)
{
    struct rig *r = rig_new();
    pic_setup(r);
    irq(r, 3, 1);
    assert_int_equal(take_irq(r), 0x23);
    irq(r, 1, 1);
    assert_int_equal(take_irq(r), 0x21);
    out8(r, 0x20, 0x40); /* nothing */
    assert_int_equal(isr(r, 0x20), 0x0a);
    out8(r, 0x20, 0xe3); /* rotate on a specific EOI: 3 ends, and is the lowest */
    assert_int_equal(isr(r, 0x20), 0x02);
    irq(r, 4, 1);
    assert_int_equal(take_irq(r), 0x24); /* the highest now, over 1 in service */
    out8(r, 0x20, 0x20);
    assert_int_equal(isr(r, 0x20), 0x02);
    rig_free(r);
}

static void test_spurious_at_the_slave_and_its_poll(void **state)
{
    struct rig *r = rig_new();
    pic_setup(r);
    out8(r, 0x4d1, 0x04);
    irq(r, 10, 1);
    assert_int_equal(r->intr, 1);
    r->board.pic.chip[1].irr = 0; /* the request goes between the two acknowledge pulses */
    assert_int_equal(pic_ack(&r->board.pic), 0x2f);
    assert_int_equal(isr(r, 0x20), 0x04); /* the master believes in it */
    assert_int_equal(isr(r, 0xa0), 0);
    out8(r, 0x20, 0x20);
    irq(r, 10, 0);
    irq(r, 11, 1);
    out8(r, 0xa0, 0x0c); /* poll */
    assert_int_equal(in8(r, 0xa0), 0x83);
    assert_int_equal(isr(r, 0xa0), 0x08);
    assert_int_equal(r->intr, 0);
    out8(r, 0xa0, 0x63);
    assert_int_equal(isr(r, 0xa0), 0);
    rig_free(r);
}

static void test_bad_state(void **state)
{
    struct rig *r = rig_new();
    rig_refuses(r, "pic", "master.lowest", 0, 8);
    rig_refuses(r, "pic", "slave.init", 0, 7);
    rig_refuses(r, "pic", "master.poll", 0, 2);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors_and_eoi),
        cmocka_unit_test(test_slave_through_cascade),
        cmocka_unit_test(test_mask_and_withdrawn_request),
        cmocka_unit_test(test_level_reasserts),
        cmocka_unit_test(test_rotation),
        cmocka_unit_test(test_automatic_eoi),
        cmocka_unit_test(test_special_mask_and_poll),
        cmocka_unit_test(test_special_fully_nested),
        cmocka_unit_test(test_fully_nested_holds_the_slave_back),
        cmocka_unit_test(test_initialization),
        cmocka_unit_test(test_rotation_in_automatic_eoi),
        cmocka_unit_test(test_specific_rotation_and_no_operation),
        cmocka_unit_test(test_spurious_at_the_slave_and_its_poll),
        cmocka_unit_test(test_bad_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
