#include "vmcore/dev/ioapic.h"

#include "vmcore/rt.h"

enum {
    VERSION = 0x20 | (IOAPIC_PINS - 1) << 16,
    E_LOGICAL = 1 << 11,
    E_REMOTE_IRR = 1 << 14,
    E_LEVEL = 1 << 15,
    E_MASKED = 1 << 16,
};
#define E_WRITABLE 0xff0000000001afffull

static void send(struct ioapic *a, unsigned n)
{
    uint64_t e = a->entry[n];
    unsigned mode = e >> 8 & 7;
    if (mode == APIC_EXTINT) /* a level that the board reads by ioapic_takes_extint(): the vector is the 8259s' */
        return;
    lapic_deliver(a->lapic, (uint8_t)(e >> 56), e & E_LOGICAL, mode, (uint8_t)e, e & E_LEVEL);
}

/* A level input interrupts while it is asserted and no earlier one of its is in service. */
static void serve_level(struct ioapic *a, unsigned n)
{
    uint64_t *e = &a->entry[n];
    if (!(a->lines >> n & 1) || !(*e & E_LEVEL) || (*e & (E_MASKED | E_REMOTE_IRR)))
        return;
    *e |= E_REMOTE_IRR;
    send(a, n);
}

bool ioapic_takes_extint(const struct ioapic *a)
{
    uint64_t e = a->entry[IOAPIC_PIC_PIN];
    return !(e & E_MASKED) && (e >> 8 & 7) == APIC_EXTINT && lapic_is_for(a->lapic, (uint8_t)(e >> 56), e & E_LOGICAL);
}

void ioapic_set_irq(void *ioapic, unsigned n, int level)
{
    struct ioapic *a = ioapic;
    if (n >= IOAPIC_PINS)
        return;
    bool rose = level && !(a->lines >> n & 1);
    if (level)
        a->lines |= 1u << n;
    else
        a->lines &= ~(1u << n);
    if (a->entry[n] & E_LEVEL)
        serve_level(a, n);
    else if (rose && !(a->entry[n] & E_MASKED)) /* an edge on a masked input is lost */
        send(a, n);
}

static void end_of_interrupt(void *ioapic, uint8_t vector)
{
    struct ioapic *a = ioapic;
    for (unsigned n = 0; n < IOAPIC_PINS; n++) {
        if ((uint8_t)a->entry[n] != vector || !(a->entry[n] & E_REMOTE_IRR))
            continue;
        a->entry[n] &= ~(uint64_t)E_REMOTE_IRR;
        serve_level(a, n);
    }
}

static void write_entry(struct ioapic *a, unsigned n, bool high, uint32_t v)
{
    uint64_t *e = &a->entry[n], new = high ? (*e & UINT32_MAX) | (uint64_t)v << 32 : (*e & ~0xffffffffull) | v;
    *e = (new &E_WRITABLE) | (*e & E_REMOTE_IRR);
    if (!(*e & E_LEVEL)) /* edge mode has no remote IRR: drivers clear a stuck one so */
        *e &= ~(uint64_t)E_REMOTE_IRR;
    serve_level(a, n);
    if (n == IOAPIC_PIC_PIN)
        lapic_changed(a->lapic);
}

static uint32_t read_reg(const struct ioapic *a)
{
    unsigned s = a->select;
    if (s == 0 || s == 2)
        return a->id;
    if (s == 1)
        return VERSION;
    if (s >= 0x10 && s < 0x10 + 2 * IOAPIC_PINS)
        return (uint32_t)(a->entry[(s - 0x10) / 2] >> (s & 1) * 32);
    return 0;
}

static uint32_t ioapic_read(void *dev, uint32_t off, unsigned size)
{
    struct ioapic *a = dev;
    if (off == 0)
        return a->select;
    return off == 0x10 ? read_reg(a) : 0;
}

static void ioapic_write(void *dev, uint32_t off, uint32_t v, unsigned size)
{
    struct ioapic *a = dev;
    unsigned s = a->select;

    if (off == 0)
        a->select = (uint8_t)v;
    else if (off == 0x10 && s == 0)
        a->id = v & 0x0f000000;
    else if (off == 0x10 && s >= 0x10 && s < 0x10 + 2 * IOAPIC_PINS)
        write_entry(a, (s - 0x10) / 2, s & 1, v);
    else if (off == 0x40)
        end_of_interrupt(a, (uint8_t)v);
}

static const struct bus_ops ioapic_ops = {ioapic_read, ioapic_write, 4, 4};

static const struct field ioapic_fields[] = {
    FIELD(struct ioapic, id, F_U32),
    FIELD(struct ioapic, select, F_U8),
    FIELD(struct ioapic, lines, F_U32),
    FIELD_ARRAY(struct ioapic, entry, F_U64),
    FIELD_END,
};

static int ioapic_loaded(void *dev, const char **why)
{
    struct ioapic *a = dev;
    for (unsigned n = 0; n < IOAPIC_PINS; n++)
        if (a->entry[n] & ~(E_WRITABLE | E_REMOTE_IRR)) {
            *why = "reserved bits set in an entry";
            return -1;
        }
    if (a->lines >> IOAPIC_PINS) {
        *why = "an input that does not exist";
        return -1;
    }
    return 0;
}

static const struct state_table ioapic_table = {"ioapic", 1, ioapic_fields, ioapic_loaded, NULL};

void ioapic_reset(struct ioapic *a)
{
    a->id = 0;
    a->select = 0;
    for (unsigned n = 0; n < IOAPIC_PINS; n++)
        a->entry[n] = E_MASKED;
}

void ioapic_init(struct ioapic *a, struct devctx *c, struct lapic *lapic)
{
    memset(a, 0, sizeof *a);
    a->lapic = lapic;
    lapic->eoi = end_of_interrupt;
    lapic->eoi_opaque = a;
    bus_map(c->bus, &a->win, true, IOAPIC_BASE, 0x1000, &ioapic_ops, a, "ioapic");
    c->add_state(c, &a->state, "ioapic", &ioapic_table, a);
    ioapic_reset(a);
}
