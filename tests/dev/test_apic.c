/* Local APIC and I/O APIC at register level. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "tests/dev/board_rig.h"

enum {
    ID = 0x20,
    VERSION = 0x30,
    TPR = 0x80,
    PPR = 0xa0,
    EOI = 0xb0,
    LDR = 0xd0,
    DFR = 0xe0,
    SVR = 0xf0,
    ISR = 0x100,
    TMR = 0x180,
    IRR = 0x200,
    ESR = 0x280,
    ICR = 0x300,
    ICR_HIGH = 0x310,
    LVTT = 0x320,
    LVT0 = 0x350,
    LVT1 = 0x360,
    LVTE = 0x370,
    TMICT = 0x380,
    TMCCT = 0x390,
    TDCR = 0x3e0
};

static struct rig *rig_on(void)
{
    struct rig *r = rig_new();
    apic_set(r, SVR, 0x1ff);
    return r;
}

static void self(struct rig *r, unsigned vector)
{
    apic_set(r, ICR, 0x40000 | vector);
}

static void test_identity_and_reset(void **state)
{
    struct rig *r = rig_new();
    assert_int_equal(apic(r, VERSION), 0x50014);
    assert_int_equal(apic(r, SVR), 0xff);
    assert_int_equal(apic(r, DFR), 0xffffffff);
    for (unsigned off = LVTT; off <= LVTE; off += 0x10)
        assert_int_equal(apic(r, off), 0x10000);
    apic_set(r, LVTT, 0x20030);
    assert_int_equal(apic(r, LVTT), 0x30030); /* masked while the APIC is off */
    self(r, 0x50);
    assert_int_equal(r->intr, 0);
    rig_free(r);
}

static void test_priorities(void **state)
{
    struct rig *r = rig_on();
    self(r, 0x31);
    self(r, 0x61);
    assert_int_equal(apic(r, IRR + 0x10), 0x20000);
    assert_int_equal(take_irq(r), 0x61);
    assert_int_equal(apic(r, PPR), 0x60);
    assert_int_equal(r->intr, 0);
    self(r, 0x65); /* same class waits */
    assert_int_equal(r->intr, 0);
    self(r, 0x71);
    r = rig_reload(r);
    assert_int_equal(take_irq(r), 0x71);
    assert_int_equal(apic(r, ISR + 0x30), 0x20002);
    apic_set(r, EOI, 0);
    assert_int_equal(r->intr, 0);
    apic_set(r, EOI, 0);
    assert_int_equal(take_irq(r), 0x65);
    apic_set(r, EOI, 0);
    apic_set(r, TPR, 0x30);
    assert_int_equal(r->intr, 0);
    assert_int_equal(lapic_cr8(&r->board.lapic), 3);
    lapic_set_cr8(&r->board.lapic, 2);
    assert_int_equal(apic(r, TPR), 0x20);
    assert_int_equal(take_irq(r), 0x31);
    assert_int_equal(board_ack_irq(&r->board), -1);
    rig_free(r);
}

static void test_destinations_and_errors(void **state)
{
    struct rig *r = rig_on();
    apic_set(r, ICR_HIGH, 5u << 24); /* another APIC */
    apic_set(r, ICR, 0x40);
    assert_int_equal(r->intr, 0);
    apic_set(r, ICR_HIGH, 0);
    apic_set(r, ICR, 0x41); /* physical, ourselves */
    assert_int_equal(take_irq(r), 0x41);
    apic_set(r, EOI, 0);
    apic_set(r, ICR, 0xc0042); /* all but self */
    assert_int_equal(r->intr, 0);
    apic_set(r, ICR, 0x80043); /* all */
    assert_int_equal(take_irq(r), 0x43);
    apic_set(r, EOI, 0);
    apic_set(r, LDR, 1u << 24);
    apic_set(r, ICR_HIGH, 3u << 24);
    apic_set(r, ICR, 0x844); /* logical, flat */
    assert_int_equal(take_irq(r), 0x44);
    apic_set(r, EOI, 0);
    apic_set(r, ICR, 0x40400); /* NMI to self */
    assert_int_equal(r->nmis, 1);

    apic_set(r, LVTE, 0xfe);
    self(r, 5);
    assert_int_equal(take_irq(r), 0xfe);
    apic_set(r, EOI, 0);
    r = rig_reload(r);
    assert_int_equal(apic(r, ESR), 0);
    apic_set(r, ESR, 0);
    assert_int_equal(apic(r, ESR), 0x20); /* send illegal vector */
    apic_set(r, ESR, 0);
    assert_int_equal(apic(r, ESR), 0);
    apic(r, 0x50);
    apic_set(r, ESR, 0);
    assert_int_equal(apic(r, ESR), 0x80); /* illegal register */
    rig_free(r);
}

/* From outside: at LINT1, which the guest programs; with the APIC off it is a pin. */
static void test_nmi_pin(void **state)
{
    struct rig *r = rig_on();
    assert_false(board_nmi(&r->board)); /* masked, as after a reset */
    assert_int_equal(r->nmis, 0);
    apic_set(r, LVT1, 0x400);
    assert_true(board_nmi(&r->board));
    assert_int_equal(r->nmis, 1);
    apic_set(r, LVT1, 0x32); /* a guest may have it as any interrupt */
    assert_true(board_nmi(&r->board));
    assert_int_equal(r->nmis, 1);
    assert_int_equal(take_irq(r), 0x32);
    lapic_set_base(&r->board.lapic, LAPIC_BASE);
    assert_true(board_nmi(&r->board));
    assert_int_equal(r->nmis, 2);
    r = rig_reload(r);
    assert_int_equal(r->nmis, 0); /* a pulse is no state */
    rig_free(r);
}

static void test_timer(void **state)
{
    struct rig *r = rig_on();
    apic_set(r, TDCR, 0x3); /* divide by 16 */
    apic_set(r, LVTT, 0xec);
    apic_set(r, TMICT, 62500); /* 1 ms */
    vclock_advance(&r->clock, MS / 2);
    assert_int_equal(apic(r, TMCCT), 31250);
    r = rig_reload(r);
    vclock_advance(&r->clock, MS / 2 - 1);
    assert_int_equal(r->intr, 0);
    vclock_advance(&r->clock, 1);
    assert_int_equal(take_irq(r), 0xec);
    apic_set(r, EOI, 0);
    assert_int_equal(apic(r, TMCCT), 0);
    assert_int_equal(vclock_next_deadline(&r->clock), UINT64_MAX);

    apic_set(r, LVTT, 0x200ec); /* periodic */
    apic_set(r, TDCR, 0xb);
    apic_set(r, TMICT, 4000000);
    unsigned n = 0;
    for (unsigned i = 0; i < 1000; i++) {
        vclock_advance(&r->clock, MS);
        if (r->intr) {
            take_irq(r);
            apic_set(r, EOI, 0);
            n++;
        }
    }
    assert_int_equal(n, 250);
    apic_set(r, LVTT, 0x300ec); /* masked: counts on, silently */
    vclock_advance(&r->clock, 9 * MS);
    assert_int_equal(r->intr, 0);
    assert_int_equal(apic(r, TMCCT), 3000000);

    apic_set(r, LVTT, 0x400ec); /* TSC deadline */
    assert_int_equal(vclock_next_deadline(&r->clock), UINT64_MAX);
    rig_free(r);
}

/* A counter that makes three steps a nanosecond, some nanoseconds late. */
struct counter {
    struct vclock *clock;
    uint64_t lag;
};
static uint64_t three_a_ns(void *opaque, uint64_t tsc)
{
    const struct counter *c = opaque;
    uint64_t now = 3 * (vclock_now(c->clock) - c->lag);
    return tsc > now ? (tsc - now + 2) / 3 : 0;
}

static struct lapic *counts_by(struct rig *r, struct counter *c)
{
    c->clock = &r->clock;
    r->board.lapic.tsc_left = three_a_ns;
    r->board.lapic.tsc_opaque = c;
    return &r->board.lapic;
}

static void test_tsc_deadline(void **state)
{
    struct rig *r = rig_on();
    struct counter counter = {NULL, 0};
    struct lapic *l = counts_by(r, &counter);
    uint64_t now;

    lapic_set_deadline(l, 30);
    assert_int_equal(l->tsc_deadline, 0); /* another mode */
    apic_set(r, LVTT, 0x400ec);
    apic_set(r, TMICT, 5);
    assert_int_equal(apic(r, TMICT), 0);
    assert_int_equal(vclock_next_deadline(&r->clock), UINT64_MAX);
    now = vclock_now(&r->clock);
    lapic_set_deadline(l, 3 * (now + MS));
    r = rig_reload(r);
    l = counts_by(r, &counter);
    assert_int_equal(l->tsc_deadline, 3 * (now + MS));
    vclock_advance(&r->clock, MS - 1);
    assert_int_equal(r->intr, 0);
    vclock_advance(&r->clock, 1);
    assert_int_equal(take_irq(r), 0xec);
    apic_set(r, EOI, 0);
    assert_int_equal(l->tsc_deadline, 0);
    assert_int_equal(vclock_next_deadline(&r->clock), UINT64_MAX);

    /* the counter runs behind: it is waited for */
    now = vclock_now(&r->clock);
    lapic_set_deadline(l, 3 * (now + MS));
    counter.lag = 5;
    vclock_advance(&r->clock, MS);
    assert_int_equal(r->intr, 0);
    vclock_advance(&r->clock, 4);
    assert_int_equal(r->intr, 0);
    vclock_advance(&r->clock, 1);
    assert_int_equal(take_irq(r), 0xec);
    apic_set(r, EOI, 0);
    /* the counter was written: it is there already */
    now = vclock_now(&r->clock);
    lapic_set_deadline(l, 3 * (now + MS));
    counter.lag = (uint64_t)0 - 2 * MS;
    lapic_tsc_changed(l);
    vclock_advance(&r->clock, 0);
    assert_int_equal(take_irq(r), 0xec);
    apic_set(r, EOI, 0);
    /* far away; gone by another mode, by 0, by a reset */
    for (unsigned i = 0; i < 3; i++) {
        apic_set(r, LVTT, 0x400ec);
        lapic_set_deadline(l, UINT64_MAX);
        r = rig_reload(r);
        l = counts_by(r, &counter);
        assert_int_not_equal(vclock_next_deadline(&r->clock), UINT64_MAX);
        if (i == 0)
            apic_set(r, LVTT, 0xec);
        else if (i == 1)
            lapic_set_deadline(l, 0);
        else
            lapic_reset(l);
        assert_int_equal(l->tsc_deadline, 0);
        assert_int_equal(vclock_next_deadline(&r->clock), UINT64_MAX);
    }
    rig_free(r);
}

/* A one-shot that is over before it is armed, as when the host takes the thread away in between: it still fires. */
static void test_timer_already_past(void **state)
{
    struct rig *r = rig_on();
    apic_set(r, TDCR, 0xb);
    apic_set(r, LVTT, 0xec);
    vclock_start(&r->clock);
    apic_set(r, TMICT, 1); /* 1 ns: host time passes it */
    vclock_stop(&r->clock);
    assert_int_not_equal(vclock_next_deadline(&r->clock), UINT64_MAX);
    r = rig_reload(r);
    vclock_advance(&r->clock, 0);
    assert_int_equal(take_irq(r), 0xec);
    assert_int_equal(vclock_next_deadline(&r->clock), UINT64_MAX); /* once */

    out8(r, 0x43, 0x38); /* the 8254's one-shot, mode 4 */
    vclock_start(&r->clock);
    out8(r, 0x40, 1);
    out8(r, 0x40, 0);
    vclock_stop(&r->clock);
    assert_int_not_equal(vclock_next_deadline(&r->clock), UINT64_MAX);
    rig_free(r);
}

static void test_virtual_wire(void **state)
{
    struct rig *r = rig_new();
    pic_setup(r);
    pic_set_irq(&r->board.pic, 5, 1);
    assert_int_equal(r->intr, 1);
    apic_set(r, LVT0, 0x10700);
    assert_int_equal(r->intr, 0);
    assert_int_equal(board_ack_irq(&r->board), -1);
    lapic_set_base(&r->board.lapic, LAPIC_BASE); /* APIC off: INTR is the 8259s' */
    assert_int_equal(take_irq(r), 0x25);
    out8(r, 0x20, 0x20);
    lapic_set_base(&r->board.lapic, LAPIC_BASE | 0x800);
    assert_int_equal(apic(r, SVR), 0xff);
    rig_free(r);
}

static void test_base(void **state)
{
    struct rig *r = rig_on();
    uint32_t version = apic(r, 0x30);
    apic_set(r, 0x20, 5u << 24);
    lapic_set_base(&r->board.lapic, 0xfed40000u | 0x900); /* elsewhere */
    r = rig_reload(r);
    assert_int_equal(bus_mmio_read(&r->bus, 0xfed40030, 4), version);
    assert_int_equal(bus_mmio_read(&r->bus, 0xfed40020, 4), 5u << 24);
    assert_int_equal(apic(r, 0x30), 0xffffffff);
    lapic_set_base(&r->board.lapic, 0xfed40000u); /* off: nowhere, and all is as after a reset */
    r = rig_reload(r);
    bus_mmio_write(&r->bus, 0xfed40080, 0xff, 4);
    assert_int_equal(bus_mmio_read(&r->bus, 0xfed40030, 4), 0xffffffff);
    lapic_set_base(&r->board.lapic, LAPIC_BASE | 0x900);
    assert_int_equal(apic(r, 0x30), version);
    assert_int_equal(apic(r, 0x20), 0);
    assert_int_equal(apic(r, 0x80), 0);
    lapic_set_base(&r->board.lapic, 0xfed40000u | 0x900);
    board_reset(&r->board);
    assert_int_equal(apic(r, 0x30), version);
    rig_free(r);
}

/* One-shot and periodic are changed to each other without a new count. */
static void test_timer_modes(void **state)
{
    struct rig *r = rig_on();
    apic_set(r, TDCR, 0xb); /* divide by 1 */
    apic_set(r, LVTT, 0xec);
    apic_set(r, TMICT, MS);
    vclock_advance(&r->clock, MS / 2);
    apic_set(r, LVTT, 0x200ec); /* goes on from the middle, and again */
    assert_int_equal(apic(r, TMCCT), MS / 2);
    vclock_advance(&r->clock, MS / 2 + MS / 4);
    assert_int_equal(take_irq(r), 0xec);
    apic_set(r, 0x0b0, 0);
    assert_int_equal(apic(r, TMCCT), MS - MS / 4);
    apic_set(r, LVTT, 0xec); /* to the end of this period, and no more */
    assert_int_equal(apic(r, TMCCT), MS - MS / 4);
    vclock_advance(&r->clock, MS);
    assert_int_equal(take_irq(r), 0xec);
    apic_set(r, 0x0b0, 0);
    assert_int_equal(apic(r, TMCCT), 0);
    apic_set(r, LVTT, 0x200ec); /* it has stopped */
    r = rig_reload(r);
    vclock_advance(&r->clock, 3 * MS + MS / 3);
    assert_int_equal(apic(r, TMCCT), 0);
    assert_int_equal(r->intr, 0);
    apic_set(r, TMICT, MS);
    vclock_advance(&r->clock, MS + MS / 2);
    assert_int_equal(take_irq(r), 0xec);
    assert_int_equal(apic(r, TMCCT), MS / 2);
    rig_free(r);
}

/* The other virtual wire (MultiProcessor Specification 1.4, 3.6.2.2): the 8259s come by the I/O APIC's input 0. */
static void test_virtual_wire_through_ioapic(void **state)
{
    struct rig *r = rig_new();
    pic_setup(r);
    apic_set(r, 0x350, 0x10700); /* LINT0 masked */
    pic_set_irq(&r->board.pic, 5, 1);
    assert_int_equal(r->intr, 0);
    ioapic_entry(r, 0, 0x700); /* ExtINT, to APIC 0 */
    assert_int_equal(r->intr, 1);
    assert_int_equal(take_irq(r), 0x25);
    assert_int_equal(r->intr, 0);
    out8(r, 0x20, 0x20);
    pic_set_irq(&r->board.pic, 3, 1);
    assert_int_equal(r->intr, 1);
    ioapic_entry(r, 0, 0x700 | 1ull << 56); /* to another processor */
    assert_int_equal(r->intr, 0);
    ioapic_entry(r, 0, 0x10700);
    assert_int_equal(r->intr, 0);
    ioapic_entry(r, 0, 0x10042); /* fixed: an edge of the 8259s' output is a message of its own */
    pic_set_irq(&r->board.pic, 3, 0);
    out8(r, 0x21, 0xff);
    ioapic_entry(r, 0, 0x00042);
    out8(r, 0x21, 0x00);
    assert_int_equal(take_irq(r), 0x42);
    rig_free(r);
}

static void test_ioapic_edge(void **state)
{
    struct rig *r = rig_on();
    bus_mmio_write(&r->bus, IOAPIC_BASE, 1, 4);
    assert_int_equal(bus_mmio_read(&r->bus, IOAPIC_BASE + 0x10, 4), 0x170020);
    assert_int_equal(ioapic_get(r, 5), 0x10000);
    ioapic_set_irq(&r->board.ioapic, 5, 1); /* masked: lost */
    ioapic_entry(r, 5, 0x35);
    assert_int_equal(r->intr, 0);
    ioapic_set_irq(&r->board.ioapic, 5, 0);
    ioapic_set_irq(&r->board.ioapic, 5, 1);
    assert_int_equal(take_irq(r), 0x35);
    apic_set(r, EOI, 0);
    assert_int_equal(r->intr, 0);
    ioapic_entry(r, 5, 0x01ull << 56 | 0x835); /* logical destination 1 */
    apic_set(r, LDR, 1u << 24);
    ioapic_set_irq(&r->board.ioapic, 5, 0);
    r = rig_reload(r);
    ioapic_set_irq(&r->board.ioapic, 5, 1);
    assert_int_equal(take_irq(r), 0x35);
    rig_free(r);
}

static void test_ioapic_level(void **state)
{
    struct rig *r = rig_on();
    ioapic_entry(r, 17, 0x8051);
    ioapic_set_irq(&r->board.ioapic, 17, 1);
    assert_int_equal(take_irq(r), 0x51);
    assert_int_equal(ioapic_get(r, 17), 0xc051); /* remote IRR */
    assert_int_equal(apic(r, TMR + 0x20), 0x20000);
    apic_set(r, EOI, 0); /* still asserted: again */
    assert_int_equal(take_irq(r), 0x51);
    ioapic_entry(r, 17, 0x18051);
    apic_set(r, EOI, 0);
    assert_int_equal(r->intr, 0); /* masked */
    ioapic_entry(r, 17, 0x8051);
    assert_int_equal(take_irq(r), 0x51);
    ioapic_set_irq(&r->board.ioapic, 17, 0);
    apic_set(r, EOI, 0);
    assert_int_equal(r->intr, 0);
    assert_int_equal(ioapic_get(r, 17), 0x8051);
    rig_free(r);
}

/* IRQ 0 arrives at input 2: Linux's check_timer() depends on it. */
static void test_timer_through_ioapic(void **state)
{
    struct rig *r = rig_on();
    ioapic_entry(r, 2, 0x30);
    out8(r, 0x43, 0x34);
    out8(r, 0x40, 0xa5);
    out8(r, 0x40, 0x12);
    unsigned n = 0;
    for (unsigned i = 0; i < 40; i++) {
        vclock_advance(&r->clock, MS);
        if (r->intr) {
            assert_int_equal(take_irq(r), 0x30);
            apic_set(r, EOI, 0);
            n++;
        }
    }
    assert_in_range(n, 9, 10);
    rig_free(r);
}

static void test_bad_state(void **state)
{
    struct rig *r = rig_on();
    rig_refuses(r, "lapic0", "irr", 0, 1);
    rig_refuses(r, "lapic0", "timer_divide", 0, 0xff);
    rig_refuses(r, "lapic0", "base", 0, 1);
    rig_refuses(r, "ioapic", "entry", 2, 0xff);
    rig_refuses(r, "ioapic", "lines", 3, 1);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_identity_and_reset),
        cmocka_unit_test(test_priorities),
        cmocka_unit_test(test_destinations_and_errors),
        cmocka_unit_test(test_nmi_pin),
        cmocka_unit_test(test_timer),
        cmocka_unit_test(test_tsc_deadline),
        cmocka_unit_test(test_timer_already_past),
        cmocka_unit_test(test_virtual_wire),
        cmocka_unit_test(test_base),
        cmocka_unit_test(test_timer_modes),
        cmocka_unit_test(test_virtual_wire_through_ioapic),
        cmocka_unit_test(test_ioapic_edge),
        cmocka_unit_test(test_ioapic_level),
        cmocka_unit_test(test_timer_through_ioapic),
        cmocka_unit_test(test_bad_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
