#include "vmcore/dev/piix.h"

#include "vmcore/rt.h"

enum {
    PIRQ_ROUTE = 0x60, /* four registers; bit 7: not routed to the 8259s */
    PIRQ_OFF = 0x80,
    RESET_CPU = 0x04,
};
#define STEERABLE 0xdef8u /* 3-7, 9-12, 14, 15 */

/* Is any device's INTx on PIRQ n asserted? */
static bool pirq_level(const struct piix3 *p, unsigned n)
{
    for (unsigned i = 0; i < 256; i++) {
        const struct pci_dev *d = p->pci.bus->dev[i];
        if (d && d->config[PCI_INT_PIN] && pci_intx(d) && pci_pirq(i, d->config[PCI_INT_PIN] - 1u) == n)
            return true;
    }
    return false;
}

static void drive(struct piix3 *p, unsigned pirqs)
{
    uint16_t levels = 0;

    for (unsigned n = 0; n < 4; n++) {
        uint8_t route = p->pci.config[PIRQ_ROUTE + n];
        bool level = pirq_level(p, n);
        if (pirqs >> n & 1)
            irq_set(&p->pirq[n], level);
        if (level && !(route & PIRQ_OFF))
            levels |= (uint16_t)(1u << (route & 15));
    }
    levels &= STEERABLE;
    for (uint16_t diff = levels ^ p->steered_levels; diff; diff &= (uint16_t)(diff - 1)) {
        unsigned irq = (unsigned)__builtin_ctz(diff);
        irq_set(&p->steered[irq], levels >> irq & 1);
    }
    p->steered_levels = levels;
}

static void intx_changed(void *opaque, unsigned devfn, unsigned pin)
{
    drive(opaque, 1u << pci_pirq(devfn, pin));
}

void piix3_resync(struct piix3 *p)
{
    drive(p, 15);
}

static void config_written(struct pci_dev *d, unsigned off, unsigned size)
{
    struct piix3 *p = (struct piix3 *)d; /* pci is the first member */
    if (off < PIRQ_ROUTE + 4 && off + size > PIRQ_ROUTE)
        drive(p, 0);
}

static uint32_t reset_read(void *dev, uint32_t off, unsigned size)
{
    return ((struct piix3 *)dev)->reset_control;
}

static void reset_write(void *dev, uint32_t off, uint32_t val, unsigned size)
{
    struct piix3 *p = dev;
    bool was = p->reset_control & RESET_CPU;
    p->reset_control = val & 0x0e; /* bit 1: hard reset; bit 3 of later chips: full power cycle */
    if (!was && (val & RESET_CPU))
        p->power.reset(p->power.opaque);
}

static const struct bus_ops reset_ops = {reset_read, reset_write, 1, 1};

static const struct field piix3_fields[] = {
    FIELD(struct piix3, reset_control, F_U8),
    FIELD(struct piix3, steered_levels, F_U16),
    FIELD_END,
};

static int piix3_loaded(void *dev, const char **why)
{
    struct piix3 *p = dev;
    if (p->steered_levels & ~STEERABLE) {
        *why = "an interrupt that cannot be steered to";
        return -1;
    }
    return 0;
}

static const struct state_table piix3_table = {"piix3", 1, piix3_fields, piix3_loaded, NULL};

void piix3_reset(struct piix3 *p)
{
    p->reset_control = 0;
    drive(p, 15);
}

void piix3_init(struct piix3 *p, struct devctx *c, struct pci_bus *bus, unsigned slot, const struct irq_line pirq[4],
                const struct irq_line steered[16], const struct power_hooks *power)
{
    static const struct pci_id id = {.vendor = 0x8086, .device = 0x7000, .class_code = 0x060100, .multifunction = true};

    memset(p, 0, sizeof *p);
    memcpy(p->pirq, pirq, sizeof p->pirq);
    memcpy(p->steered, steered, sizeof p->steered);
    p->power = *power;
    p->pci.config_written = config_written;
    pci_add(bus, &p->pci, "piix3.pci", PCI_DEVFN(slot, 0), &id);
    pci_fix(&p->pci, PCI_COMMAND, PCI_CMD_IO | PCI_CMD_MEM | PCI_CMD_MASTER, 2);
    pci_fix(&p->pci, PCI_STATUS, 0x0200, 2);
    pci_fix(&p->pci, 0x4c, 0x4d, 1); /* ISA I/O recovery */
    pci_fix(&p->pci, 0x4e, 0x03, 1); /* X-bus chip select */
    for (unsigned n = 0; n < 4; n++) {
        pci_fix(&p->pci, PIRQ_ROUTE + n, PIRQ_OFF, 1);
        pci_writable(&p->pci, PIRQ_ROUTE + n, 0x8f, 1);
    }
    pci_writable(&p->pci, 0x4c, 0x7f, 1);
    pci_writable(&p->pci, 0x4e, 0xffff, 2);
    bus->intx_changed = intx_changed;
    bus->intx_opaque = p;
    bus_map(c->bus, &p->reset_win, false, 0xcf9, 1, &reset_ops, p, "reset-control");
    c->add_state(c, &p->state, "piix3", &piix3_table, p);
}
