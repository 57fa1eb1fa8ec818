/* The ports of test kernels. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "tests/dev/board_rig.h"

static void test_the_register_keeps_what_was_written(void **state)
{
    struct rig *r = rig_new_testdev();
    out32(r, 0xe0, 0x12345678);
    assert_int_equal(in32(r, 0xe0), 0x12345678);
    assert_int_equal(in8(r, 0xe1), 0x56);
    out8(r, 0xe0, 0xff);
    assert_int_equal(in8(r, 0xe0), 0xff);
    bus_io_write(&r->bus, 0xe0, 0xffff, 2);
    assert_int_equal(bus_io_read(&r->bus, 0xe0, 2), 0xffff);
    out32(r, 0xe4, 0x1000);
    assert_int_equal(in32(r, 0xe4), 0);
    r = rig_reload(r);
    assert_int_equal(in32(r, 0xe0), 0xffff);
    board_reset(&r->board);
    assert_int_equal(in32(r, 0xe0), 0);
    rig_free(r);
}

static void test_the_registers_in_memory(void **state)
{
    struct rig *r = rig_new_testdev();
    bus_mmio_write(&r->bus, TESTDEV_BASE, 0x1122334455667788, 8);
    bus_mmio_write(&r->bus, TESTDEV_BASE + 0xfffc, 0xcafe, 2);
    r = rig_reload(r);
    assert_int_equal(bus_mmio_read(&r->bus, TESTDEV_BASE, 8), 0x1122334455667788);
    assert_int_equal(bus_mmio_read(&r->bus, TESTDEV_BASE + 3, 1), 0x55);
    assert_int_equal(bus_mmio_read(&r->bus, TESTDEV_BASE + 0xfffc, 4), 0xcafe);
    board_reset(&r->board);
    assert_int_equal(bus_mmio_read(&r->bus, TESTDEV_BASE, 8), 0);
    rig_free(r);
}

static void test_interrupt_inputs(void **state)
{
    struct rig *r = rig_new_testdev();
    pic_setup(r);
    out8(r, 0x2005, 1);
    assert_int_equal(take_irq(r), 0x25);
    out8(r, 0x20, 0x20);
    out8(r, 0x2005, 0);
    assert_int_equal(r->intr, 0);
    apic_set(r, 0x0f0, 0x1ff);
    ioapic_entry(r, 14, 0x77); /* edge */
    ioapic_entry(r, 22, 0x99 | 1u << 15);
    out8(r, 0x2000 + 14, 1);
    out8(r, 0x2000 + 14, 0);
    assert_int_equal(take_irq(r), 0x77);
    apic_set(r, 0x0b0, 0);
    out8(r, 0x2000 + 22, 1);
    assert_int_equal(take_irq(r), 0x99);
    apic_set(r, 0x0b0, 0); /* the input is still there */
    assert_int_equal(take_irq(r), 0x99);
    out8(r, 0x2000 + 22, 0);
    apic_set(r, 0x0b0, 0);
    assert_int_equal(lapic_pending(&r->board.lapic), -1);
    rig_free(r);
}

static void test_other_machines_have_none_of_it(void **state)
{
    struct rig *r = rig_new();
    out8(r, 0xe0, 5);
    assert_int_equal(in8(r, 0xe0), 0xff);
    assert_int_equal(bus_mmio_read(&r->bus, TESTDEV_BASE, 4), 0xffffffff);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_register_keeps_what_was_written),
        cmocka_unit_test(test_the_registers_in_memory),
        cmocka_unit_test(test_interrupt_inputs),
        cmocka_unit_test(test_other_machines_have_none_of_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
