/* The high precision event timers at register level (IA-PC HPET specification 1.0a, section 2.3): the counter, one-shot
 * and periodic, 32 and 64 bits, level and edge, routes, and the place of PIT and RTC. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "src/base/util.h"
#include "tests/dev/board_rig.h"

enum {
    CAP = 0,
    CONF = 0x10,
    STATUS = 0x20,
    COUNTER = 0xf0,
    LEVEL = 2,
    ENABLE = 4,
    PERIODIC = 8,
    SET = 0x40,
    BITS32 = 0x100,
    SVR = 0xf0,
    EOI = 0xb0,
};
#define T(n)      (0x100u + 0x20u * (n))
#define CMP(n)    (T(n) + 8)
#define ROUTE(n)  ((n) << 9)
#define US        1000ull
#define TICKS(us) ((us)*100ull)

static uint32_t get(struct rig *r, uint32_t off)
{
    return (uint32_t)bus_mmio_read(&r->bus, HPET_BASE + off, 4);
}
static uint64_t get64(struct rig *r, uint32_t off)
{
    return bus_mmio_read(&r->bus, HPET_BASE + off, 8);
}
static void put(struct rig *r, uint32_t off, uint32_t v)
{
    bus_mmio_write(&r->bus, HPET_BASE + off, v, 4);
}
static void put64(struct rig *r, uint32_t off, uint64_t v)
{
    bus_mmio_write(&r->bus, HPET_BASE + off, v, 8);
}

/* Inputs 20 to 22 of the I/O APIC to vectors 50h to 52h. */
static struct rig *rig_on(bool level)
{
    struct rig *r = rig_new_hpet();

    apic_set(r, SVR, 0x1ff);
    for (unsigned n = 0; n < 3; n++)
        ioapic_entry(r, 20 + n, 0x50 + n + (level ? 0x8000 : 0));
    return r;
}

static void taken(struct rig *r, int vector)
{
    assert_int_equal(take_irq(r), vector);
    apic_set(r, EOI, 0);
}

static void test_counter(void **state)
{
    struct rig *r = rig_new_hpet();

    assert_int_equal(get64(r, CAP), 0x989680ull << 32 | 0x8086a201);
    put(r, CAP, 0);
    assert_int_equal(get(r, CAP), 0x8086a201);
    assert_int_equal(get64(r, COUNTER), 0);
    vclock_advance(&r->clock, MS);
    assert_int_equal(get64(r, COUNTER), 0); /* halted */
    put64(r, COUNTER, 0xfffffff0);
    put(r, CONF, 1);
    assert_int_equal(get(r, CONF), 1);
    vclock_advance(&r->clock, 150);
    assert_int_equal(get64(r, COUNTER), 0xffffffff);
    vclock_advance(&r->clock, 10);
    assert_int_equal(get64(r, COUNTER), 0x100000000);
    r = rig_reload(r);
    assert_int_equal(get64(r, COUNTER), 0x100000000);
    put(r, COUNTER, 5); /* not while it runs */
    assert_int_equal(get64(r, COUNTER), 0x100000000);
    vclock_advance(&r->clock, 3 * MS);
    put(r, CONF, 0);
    vclock_advance(&r->clock, 3 * MS);
    assert_int_equal(get64(r, COUNTER), 0x100000000 + TICKS(3000));
    /* both halves are of one moment, and what was read long ago does not count */
    put64(r, COUNTER, 0xffffffff);
    put(r, CONF, 1);
    assert_int_equal(get(r, COUNTER), 0xffffffff);
    vclock_advance(&r->clock, 10);
    assert_int_equal(get(r, COUNTER + 4), 0);
    vclock_advance(&r->clock, MS);
    assert_int_equal(get(r, COUNTER + 4), 1);
    rig_free(r);
}

static void test_registers(void **state)
{
    struct rig *r = rig_new_hpet();

    for (unsigned n = 0; n < 3; n++) {
        assert_int_equal(get64(r, T(n)), 0x00f00000ull << 32 | 0x30); /* routes; periodic, 64 bits */
        assert_int_equal(get64(r, CMP(n)), UINT64_MAX);
        put64(r, T(n), UINT64_MAX); /* route 31 is none of its: it stays */
        assert_int_equal(get64(r, T(n)), 0x00f00000ull << 32 | 0x17e);
        put(r, T(n), ROUTE(22));
        assert_int_equal(get(r, T(n)), 0x30 | ROUTE(22));
        put(r, T(n), ROUTE(11));
        assert_int_equal(get(r, T(n)), 0x30 | ROUTE(22));
        assert_int_equal(get64(r, T(n) + 0x10), 0); /* FSB interrupts: not offered */
    }
    assert_int_equal(get64(r, T(3)), 0);
    assert_int_equal(get(r, STATUS), 0);
    rig_refuses(r, "hpet", "config", 0, 4);
    rig_refuses(r, "hpet", "status", 0, 8);
    rig_refuses(r, "hpet", "t1.config", 1, 2 * 5); /* a route that there is not */
    rig_refuses(r, "hpet", "t2.not_then", 7, 0x80);
    rig_refuses(r, "hpet", "levels", 0, 4);
    rig_free(r);
    r = rig_new();
    assert_int_equal(get(r, CAP), UINT32_MAX); /* a board without */
    rig_free(r);
}

static void test_one_shot(void **state)
{
    struct rig *r = rig_on(false);

    put(r, CONF, 1);
    put(r, T(0), ENABLE | ROUTE(20));
    put64(r, CMP(0), TICKS(100));
    put(r, T(1), ENABLE | ROUTE(21) | BITS32);
    put(r, CMP(1), (uint32_t)TICKS(200));
    vclock_advance(&r->clock, 100 * US - 1);
    assert_int_equal(r->intr, 0);
    r = rig_reload(r);
    vclock_advance(&r->clock, 1);
    taken(r, 0x50);
    assert_int_equal(get(r, STATUS), 0); /* of level-triggered ones only */
    vclock_advance(&r->clock, 100 * US);
    taken(r, 0x51);
    vclock_advance(&r->clock, 42000 * MS);
    assert_int_equal(r->intr, 0);
    vclock_advance(&r->clock, 950 * MS); /* 32 bits come round after 42.95 s; 64 do not */
    taken(r, 0x51);
    assert_int_equal(r->intr, 0);
    /* halting the counter stops it, and it goes on where it was */
    put64(r, CMP(0), get64(r, COUNTER) + TICKS(50));
    vclock_advance(&r->clock, 20 * US);
    put(r, CONF, 0);
    vclock_advance(&r->clock, 1000 * MS);
    assert_int_equal(r->intr, 0);
    put(r, CONF, 1);
    vclock_advance(&r->clock, 30 * US - 1);
    assert_int_equal(r->intr, 0);
    vclock_advance(&r->clock, 1);
    taken(r, 0x50);
    /* an interrupt that is off, and one without a route */
    put(r, T(0), ROUTE(20));
    put64(r, CMP(0), get64(r, COUNTER) + TICKS(50));
    put(r, T(2), ENABLE);
    put64(r, CMP(2), get64(r, COUNTER) + TICKS(50));
    vclock_advance(&r->clock, MS);
    assert_int_equal(r->intr, 0);
    rig_free(r);
}

static void test_periodic(void **state)
{
    struct rig *r = rig_on(false);

    /* as Linux does: VAL_SET, when first, then the period */
    put(r, CONF, 1);
    vclock_advance(&r->clock, 10 * US);
    put(r, T(1), ENABLE | PERIODIC | SET | BITS32 | ROUTE(21));
    put(r, CMP(1), get(r, COUNTER) + (uint32_t)TICKS(500));
    assert_int_equal(get(r, T(1)) & SET, 0); /* once */
    put(r, CMP(1), (uint32_t)TICKS(1000));
    vclock_advance(&r->clock, 499 * US);
    assert_int_equal(r->intr, 0);
    for (unsigned i = 0; i < 100; i++) {
        vclock_advance(&r->clock, i ? 999 * US : US - 1);
        assert_int_equal(r->intr, 0);
        vclock_advance(&r->clock, i ? US : 1);
        taken(r, 0x51);
        if (i == 50)
            r = rig_reload(r);
    }
    /* 64 bits, both halves by one write each */
    put(r, T(1), 0);
    put(r, T(0), ENABLE | PERIODIC | SET | ROUTE(20));
    put64(r, CMP(0), 1ull << 33);
    assert_int_equal(get64(r, CMP(0)), 1ull << 33);
    put64(r, CMP(0), TICKS(100));
    vclock_advance(&r->clock, ((1ull << 33) - get64(r, COUNTER)) * 10);
    taken(r, 0x50);
    assert_int_equal(get64(r, CMP(0)), (1ull << 33) + TICKS(100));
    /* not taken for a while: no backlog, and it stays in step */
    vclock_advance(&r->clock, 1050 * US);
    taken(r, 0x50);
    assert_int_equal(r->intr, 0);
    vclock_advance(&r->clock, 50 * US);
    taken(r, 0x50);
    put(r, T(0), PERIODIC | ROUTE(20)); /* nobody wants it for a while */
    vclock_advance(&r->clock, 1020 * US);
    put(r, T(0), ENABLE | PERIODIC | ROUTE(20));
    vclock_advance(&r->clock, 79 * US);
    assert_int_equal(r->intr, 0);
    vclock_advance(&r->clock, US);
    taken(r, 0x50);
    /* a period of nothing, and one of a tick, which must not hang the machine */
    put(r, CMP(0), 0);
    vclock_advance(&r->clock, 1000 * MS);
    put(r, CMP(0), 1);
    put(r, T(0), PERIODIC | ROUTE(20));
    put(r, T(0), ENABLE | PERIODIC | ROUTE(20));
    vclock_advance(&r->clock, 100 * US);
    assert_true(r->intr);
    put(r, T(0), 0);
    rig_free(r);
}

static void test_level(void **state)
{
    struct rig *r = rig_on(true);

    put(r, CONF, 1);
    put(r, T(0), ENABLE | LEVEL | ROUTE(20));
    put64(r, CMP(0), TICKS(100));
    put(r, T(1), ENABLE | LEVEL | PERIODIC | SET | ROUTE(20)); /* shared */
    put64(r, CMP(1), TICKS(150));
    put64(r, CMP(1), TICKS(1000));
    put(r, T(2), LEVEL | ROUTE(22)); /* its status is seen without an interrupt */
    put64(r, CMP(2), TICKS(120));
    vclock_advance(&r->clock, 100 * US);
    assert_int_equal(get(r, STATUS), 1);
    assert_int_equal(take_irq(r), 0x50);
    r = rig_reload(r);
    vclock_advance(&r->clock, 50 * US);
    assert_int_equal(get(r, STATUS), 7);
    put(r, STATUS, 1);
    apic_set(r, EOI, 0);
    assert_int_equal(take_irq(r), 0x50); /* the other one still pulls */
    put(r, STATUS, 4);                   /* is not among them */
    assert_int_equal(get(r, STATUS), 2);
    put(r, STATUS, 2);
    apic_set(r, EOI, 0);
    assert_int_equal(r->intr, 0);
    vclock_advance(&r->clock, 1000 * US);
    assert_int_equal(get(r, STATUS), 2);
    assert_int_equal(take_irq(r), 0x50);
    put(r, T(1), LEVEL | PERIODIC | ROUTE(20)); /* off: the line falls */
    apic_set(r, EOI, 0);
    assert_int_equal(r->intr, 0);
    put(r, T(1), 0); /* edge: it has no status */
    assert_int_equal(get(r, STATUS), 0);
    rig_free(r);
}

static void pit_periodic(struct rig *r)
{
    out8(r, 0x43, 0x34); /* 1.19 MHz / 1193: 1 kHz */
    out8(r, 0x40, 1193 & 255);
    out8(r, 0x40, 1193 >> 8);
}

static void test_legacy_replacement(void **state)
{
    struct rig *r = rig_new_hpet();

    pic_setup(r);
    pit_periodic(r);
    vclock_advance(&r->clock, MS);
    assert_int_equal(take_irq(r), 0x20);
    out8(r, 0x20, 0x20);
    /* timer 0 in the PIT's place, wherever its route goes, timer 1 in the RTC's */
    put(r, CONF, 3);
    vclock_advance(&r->clock, 10 * MS);
    assert_int_equal(r->intr, 0);
    put(r, T(0), ENABLE | PERIODIC | SET | ROUTE(20));
    put64(r, CMP(0), get64(r, COUNTER) + TICKS(5000));
    put64(r, CMP(0), TICKS(5000));
    put(r, T(1), ENABLE | ROUTE(21));
    put64(r, CMP(1), get64(r, COUNTER) + TICKS(7000));
    for (unsigned i = 0; i < 10; i++) {
        vclock_advance(&r->clock, 5 * MS);
        assert_int_equal(take_irq(r), 0x20);
        out8(r, 0x20, 0x20);
        if (i == 1) {
            assert_int_equal(take_irq(r), 0x28);
            out8(r, 0xa0, 0x20);
            out8(r, 0x20, 0x20);
        }
        assert_int_equal(r->intr, 0);
        if (i == 4)
            r = rig_reload(r);
    }
    /* an RTC whose line is up meanwhile shows when it has its place again; the PIT goes on */
    out8(r, 0x70, 0x0b);
    out8(r, 0x71, 0x12); /* update interrupt */
    out8(r, 0x70, 0x0c);
    in8(r, 0x71);
    put(r, T(0), 0);
    vclock_advance(&r->clock, 1100 * MS);
    assert_int_equal(r->intr, 0);
    put(r, CONF, 1);
    vclock_advance(&r->clock, MS);
    assert_int_equal(take_irq(r), 0x20);
    out8(r, 0x20, 0x20);
    assert_int_equal(take_irq(r), 0x28);
    board_reset(&r->board);
    assert_int_equal(get(r, CONF), 0);
    rig_free(r);
}

static uint32_t dice(uint32_t *state)
{
    *state = *state * 1664525 + 1013904223;
    return *state >> 8;
}

/* Whatever a guest writes: time goes on, no timer keeps the machine, and the state can be loaded again. */
static void test_any_access(void **state)
{
    struct rig *r = rig_on(false);
    uint32_t seed = 1;

    for (unsigned i = 0; i < 30000; i++) {
        uint32_t off = dice(&seed) % 0x400, v = dice(&seed) << 8 ^ dice(&seed);
        unsigned size = 1u << dice(&seed) % 4;
        switch (dice(&seed) % 8) {
        case 0:
            off = CONF; /* on, most of the time */
            v = dice(&seed) % 4 | (dice(&seed) % 8 != 0);
            break;
        case 1:
        case 2:
            off = T(dice(&seed) % 3);
            v &= 0x7fff;
            break;
        case 3:
        case 4:
            off = CMP(dice(&seed) % 3);
            v = get(r, COUNTER) + dice(&seed) % 5000;
            break;
        default:
            break;
        }
        if (dice(&seed) % 4)
            bus_mmio_write(&r->bus, HPET_BASE + (off & ~(size - 1)), (uint64_t)v << 32 | v, size);
        else
            bus_mmio_read(&r->bus, HPET_BASE + (off & ~(size - 1)), size);
        vclock_advance(&r->clock, dice(&seed) % (200 * US));
        if (r->intr && dice(&seed) % 2) {
            take_irq(r);
            apic_set(r, EOI, 0);
        }
        if (i % 1000 == 0)
            r = rig_reload(r);
    }
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counter),    cmocka_unit_test(test_registers), cmocka_unit_test(test_one_shot),
        cmocka_unit_test(test_periodic),   cmocka_unit_test(test_level),     cmocka_unit_test(test_legacy_replacement),
        cmocka_unit_test(test_any_access),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
