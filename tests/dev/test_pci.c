/* PCI configuration, BARs, interrupt routing, MSI-X, and the power management function. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "tests/dev/board_rig.h"

enum { HOST = 0, ISA = 8, IDE = 9, PM = 11, VGA = 2 << 3, RNG = 3 << 3, CONSOLE = 4 << 3 };

static void test_enumeration(void **state)
{
    struct rig *r = rig_new();
    static const struct {
        unsigned devfn;
        uint32_t id, class;
    } want[] = {{HOST, 0x12378086, 0x060000},   {ISA, 0x70008086, 0x060100}, {IDE, 0x70108086, 0x010180},
                {PM, 0x71138086, 0x068000},     {VGA, 0x11111234, 0x030000}, {RNG, 0x10051af4, 0x00ff00},
                {CONSOLE, 0x10031af4, 0x078000}};
    unsigned found = 0;
    for (unsigned devfn = 0; devfn < 256; devfn++) {
        uint32_t id = cfg_read(r, devfn, 0, 4);
        if (id == 0xffffffff)
            continue;
        assert_int_equal(devfn, want[found].devfn);
        assert_int_equal(id, want[found].id);
        assert_int_equal(cfg_read(r, devfn, 8, 4) >> 8, want[found].class);
        found++;
    }
    assert_int_equal(found, sizeof want / sizeof want[0]);
    assert_int_equal(cfg_read(r, ISA, 0x0e, 1), 0x80); /* multifunction */
    assert_int_equal(cfg_read(r, ISA, 2, 2), 0x7000);
    out32(r, 0xcf8, 0x80010000); /* bus 1 */
    assert_int_equal(in32(r, 0xcfc), 0xffffffff);
    out32(r, 0xcf8, 0x00000000); /* not enabled */
    assert_int_equal(in32(r, 0xcfc), 0xffffffff);
    rig_free(r);
}

static void test_bars(void **state)
{
    struct rig *r = rig_new();
    cfg_write(r, RNG, 0x10, 0xffffffff, 4);
    assert_int_equal(cfg_read(r, RNG, 0x10, 4), 0xffffff81); /* 128 ports */
    cfg_write(r, RNG, 0x20, 0xffffffff, 4);
    assert_int_equal(cfg_read(r, RNG, 0x20, 4), 0xffffc000);
    cfg_write(r, RNG, 0x10, 0xd000, 4);
    assert_int_equal(in32(r, 0xd000), 0xffffffff); /* decoding is off */
    cfg_write(r, RNG, 4, 1, 2);
    assert_int_not_equal(in32(r, 0xd000), 0xffffffff);
    r = rig_reload(r);
    assert_int_not_equal(in32(r, 0xd000), 0xffffffff);
    cfg_write(r, RNG, 0x10, 0xd100, 4); /* moves while on */
    assert_int_equal(in32(r, 0xd000), 0xffffffff);
    assert_int_not_equal(in32(r, 0xd100), 0xffffffff);
    cfg_write(r, RNG, 4, 0, 2);
    assert_int_equal(in32(r, 0xd100), 0xffffffff);
    cfg_write(r, RNG, 0, 0xffffffff, 4); /* identity is read-only */
    assert_int_equal(cfg_read(r, RNG, 0, 4), 0x10051af4);
    rig_free(r);
}

/* With the power function's pin, which it does not use itself: slot 1, INTA, so PIRQA. */
static void test_intx_routing(void **state)
{
    struct rig *r = rig_new();
    board_direct_boot(&r->board);
    pic_setup(r);
    out8(r, 0x21, 1);                                    /* counter 0 is running */
    assert_int_equal(cfg_read(r, CONSOLE, 0x3c, 1), 11); /* slot 4, INTA: PIRQD */
    assert_int_equal(cfg_read(r, RNG, 0x3c, 1), 11);     /* slot 3: PIRQC */
    pci_irq(r->board.pci.dev[PM], 1);
    assert_int_equal(cfg_read(r, PM, 6, 2) & 8, 8);
    assert_int_equal(take_irq(r), 0x2a);
    assert_int_equal(r->board.ioapic.lines >> 16, 1);
    r = rig_reload(r);
    cfg_write(r, PM, 4, 0x403, 2); /* INTx disabled */
    assert_int_equal(r->board.ioapic.lines >> 16, 0);
    cfg_write(r, PM, 4, 0x003, 2);
    assert_int_equal(r->board.ioapic.lines >> 16, 1);
    cfg_write(r, ISA, 0x60, 0x80, 1); /* off the 8259s */
    out8(r, 0xa0, 0x20);
    out8(r, 0x20, 0x20);
    assert_int_equal(r->intr, 0);
    cfg_write(r, ISA, 0x60, 0x05, 1);
    assert_int_equal(take_irq(r), 0x25);
    pci_irq(r->board.pci.dev[PM], 0);
    assert_int_equal(r->board.ioapic.lines >> 16, 0);
    board_reset(&r->board);
    assert_int_equal(cfg_read(r, ISA, 0x60, 1), 0x80);
    assert_int_equal(cfg_read(r, CONSOLE, 4, 2), 0);
    rig_free(r);
}

static void test_msix(void **state)
{
    struct rig *r = rig_new();
    struct pci_dev *d = r->board.pci.dev[RNG];
    uint32_t bar = 0xf8000000, cap = cfg_read(r, RNG, 0x34, 1);
    while (cap && cfg_read(r, RNG, cap, 1) != 0x11)
        cap = cfg_read(r, RNG, cap + 1, 1);
    assert_int_not_equal(cap, 0);
    assert_int_equal(cfg_read(r, RNG, cap + 2, 2), 1); /* two vectors */
    apic_set(r, 0xf0, 0x1ff);
    cfg_write(r, RNG, 0x10 + 4 * cfg_read(r, RNG, cap + 4, 1), bar, 4);
    cfg_write(r, RNG, 4, 6, 2);
    bus_mmio_write(&r->bus, bar + 16, 0xfee00000, 4);
    bus_mmio_write(&r->bus, bar + 24, 0x71, 4);
    pci_msix_notify(d, 1);
    assert_int_equal(r->intr, 0); /* not enabled */
    cfg_write(r, RNG, cap + 2, 0x8000, 2);
    pci_msix_notify(d, 1); /* masked: pends */
    assert_int_equal(r->intr, 0);
    assert_int_equal(bus_mmio_read(&r->bus, bar + 0x800, 8), 2);
    r = rig_reload(r);
    bus_mmio_write(&r->bus, bar + 28, 0, 4);
    assert_int_equal(take_irq(r), 0x71);
    assert_int_equal(bus_mmio_read(&r->bus, bar + 0x800, 8), 0);
    apic_set(r, 0xb0, 0);
    pci_msix_notify(r->board.pci.dev[RNG], 1);
    assert_int_equal(take_irq(r), 0x71);
    rig_refuses(r, "vrng0.msix", "pending", 1, 1);
    rig_refuses(r, "vrng0.msix", "table", 0, 3);
    rig_free(r);
}

static void test_power_management(void **state)
{
    struct rig *r = rig_new();
    assert_int_equal(cfg_read(r, PM, 0x5b, 1), 2); /* firmware leaves SMM alone */
    board_direct_boot(&r->board);
    pic_setup(r);
    out8(r, 0x21, 1);                        /* counter 0 is running */
    assert_int_equal(in32(r, 0x604) & 1, 1); /* SCI_EN */
    uint32_t t = in32(r, 0x608);
    vclock_advance(&r->clock, 1000 * MS);
    assert_int_equal(in32(r, 0x608) - t, 3579545);
    bus_io_write(&r->bus, 0x602, 0x100, 2); /* power button enable */
    board_power_button(&r->board);
    assert_int_equal(r->intr, 0); /* from any thread, so only noted */
    rig_events(r);
    assert_int_equal(take_irq(r), 0x29);
    r = rig_reload(r);
    assert_int_equal(bus_io_read(&r->bus, 0x600, 2) & 0x100, 0x100);
    bus_io_write(&r->bus, 0x600, 0x100, 2);
    assert_int_equal(bus_io_read(&r->bus, 0x600, 2) & 0x100, 0);
    out8(r, 0xa0, 0x20);
    out8(r, 0x20, 0x20);
    assert_int_equal(r->intr, 0);

    bus_io_write(&r->bus, 0x602, 1, 2); /* timer overflow */
    bus_io_write(&r->bus, 0x600, 1, 2);
    vclock_advance(&r->clock, 3000 * MS); /* half of 2^24 ticks is 2.34 s */
    assert_int_equal(take_irq(r), 0x29);
    bus_io_write(&r->bus, 0x602, 0, 2);

    bus_io_write(&r->bus, 0x604, 0x2c01, 2); /* S3: not this board's */
    assert_int_equal(r->poweroffs, 0);
    bus_io_write(&r->bus, 0x604, 0x0001, 2);
    out8(r, 0x605, 0x20); /* ACPICA writes type and enable together; other systems by bytes */
    assert_int_equal(r->poweroffs, 1);
    bus_io_write(&r->bus, 0x604, 0x2001, 2);
    assert_int_equal(r->poweroffs, 2);
    out8(r, 0x702, 0x48); /* SMBus: start a transaction; nobody answers */
    assert_int_equal(in8(r, 0x700), 0x06);
    out8(r, 0x700, 0xff);
    assert_int_equal(in8(r, 0x700), 0);
    rig_free(r);
}

static void test_debug_ports(void **state)
{
    struct rig *r = rig_new();
    out32(r, 0xf4, 42);
    assert_int_equal(r->exit_code, 42);
    out8(r, 0xf4, 3);
    assert_int_equal(r->exit_code, 3);
    assert_int_equal(in8(r, 0xe9), 0xe9);
    out8(r, 0x80, 0x77);
    r = rig_reload(r);
    assert_int_equal(in8(r, 0x80), 0x77);
    assert_int_equal(in32(r, 0x1234), 0xffffffff);
    static const char text[] = "first\r\na\tb\x01\n";
    for (const char *p = text; *p; p++) {
        if (*p == 'a')
            assert_string_equal(r->vm.log, "bios: first");
        out8(r, 0x402, (uint8_t)*p);
    }
    assert_string_equal(r->vm.log, "bios: a\tb?");
    for (unsigned i = 0; i < DEBUG_LINE; i++)
        out8(r, 0xe9, 'x');
    assert_int_equal(strlen(r->vm.log), DEBUG_LINE + strlen("debug: "));
    rig_free(r);
}

static void test_expansion_rom(void **state)
{
    struct rig *r = rig_new();
    uint8_t data[3000];
    const unsigned devfn = r->board.console.v.pci.devfn;

    for (unsigned i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 13);
    assert_int_equal(cfg_read(r, devfn, 0x30, 4), 0);
    cfg_write(r, devfn, 0x30, 0xffffffff, 4); /* none yet */
    assert_int_equal(cfg_read(r, devfn, 0x30, 4), 0);
    pci_rom(&r->board.console.v.pci, data, sizeof data, "rom");
    cfg_write(r, devfn, 0x30, 0xfffffffe, 4);
    assert_int_equal(cfg_read(r, devfn, 0x30, 4), 0xfffff000); /* 4 KiB */
    cfg_write(r, devfn, 0x30, 0xe1230001, 4);
    assert_int_equal(bus_mmio_read(&r->bus, 0xe1230000, 4), 0xffffffff); /* memory decoding is off */
    cfg_write(r, devfn, PCI_COMMAND, PCI_CMD_MEM, 2);
    assert_int_equal(bus_mmio_read(&r->bus, 0xe1230000 + 8, 4),
                     (uint32_t)data[8] | (uint32_t)data[9] << 8 | (uint32_t)data[10] << 16 | (uint32_t)data[11] << 24);
    assert_int_equal(bus_mmio_read(&r->bus, 0xe1230000 + 2999, 1), data[2999]);
    assert_int_equal(bus_mmio_read(&r->bus, 0xe1230000 + 3000, 1), 0xff);
    bus_mmio_write(&r->bus, 0xe1230000, 0x55, 1);
    assert_int_equal(bus_mmio_read(&r->bus, 0xe1230000, 1), data[0]);
    cfg_write(r, devfn, 0x30, 0xe1240001, 4); /* moves */
    assert_int_equal(bus_mmio_read(&r->bus, 0xe1230000 + 1, 1), 0xff);
    assert_int_equal(bus_mmio_read(&r->bus, 0xe1240000 + 1, 1), data[1]);
    cfg_write(r, devfn, 0x30, 0xe1240000, 4);
    assert_int_equal(bus_mmio_read(&r->bus, 0xe1240000 + 1, 1), 0xff);
    rig_free(r);
}

static void test_bad_state(void **state)
{
    struct rig *r = rig_new();
    rig_refuses(r, "i440fx.pci", "config", 0, 0x34);
    rig_refuses(r, "vcon0.pci", "config", 0x34, 0xf0);
    rig_refuses(r, "piix3", "steered_levels", 0, 1);
    rig_refuses(r, "i440fx", "address", 0, 3);
    rig_refuses(r, "board", "ram_saved", 4, 1);
    rig_refuses(r, "clock", "base", 7, 0x80);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_enumeration),      cmocka_unit_test(test_bars),
        cmocka_unit_test(test_intx_routing),     cmocka_unit_test(test_msix),
        cmocka_unit_test(test_power_management), cmocka_unit_test(test_debug_ports),
        cmocka_unit_test(test_bad_state),        cmocka_unit_test(test_expansion_rom),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
