#include "vmcore/dev/pci.h"

#include "src/base/err.h"
#include "vmcore/rt.h"

#define ROM_ENABLE 1u
#define ROM_MAX    (16u << 20)

uint32_t pci_get(const struct pci_dev *d, unsigned off, unsigned size)
{
    uint32_t v = 0;
    for (unsigned i = 0; i < size && off + i < 256; i++)
        v |= (uint32_t)d->config[off + i] << i * 8;
    return v;
}

static void put_bytes(uint8_t *a, unsigned off, uint32_t val, unsigned size)
{
    for (unsigned i = 0; i < size && off + i < 256; i++)
        a[off + i] = (uint8_t)(val >> i * 8);
}

void pci_set(struct pci_dev *d, unsigned off, uint32_t val, unsigned size)
{
    put_bytes(d->config, off, val, size);
}

void pci_fix(struct pci_dev *d, unsigned off, uint32_t val, unsigned size)
{
    put_bytes(d->config, off, val, size);
    put_bytes(d->built, off, val, size);
}

void pci_writable(struct pci_dev *d, unsigned off, uint32_t mask, unsigned size)
{
    put_bytes(d->wmask, off, mask, size);
}

void pci_w1c(struct pci_dev *d, unsigned off, uint32_t mask, unsigned size)
{
    put_bytes(d->w1c, off, mask, size);
}

/* ---- BARs */

static void map_bar(struct pci_dev *d, unsigned n)
{
    struct pci_bar *r = &d->bar[n];
    if (!r->size)
        return;
    uint32_t raw = pci_get(d, PCI_BAR0 + 4 * n, 4), base = raw & ~(r->size - 1);
    bool on = d->config[PCI_COMMAND] & (r->mmio ? PCI_CMD_MEM : PCI_CMD_IO);

    /* Address 0 and all ones (sizing) decode nothing; a port address has 16 bits. */
    if (!base || base == (uint32_t) ~(r->size - 1) || (!r->mmio && base + r->size > 0x10000))
        on = false;
    if (!on)
        bus_unmap(d->bus->ctx->bus, &r->win);
    else if (!r->win.mapped || r->win.base != base)
        bus_map(d->bus->ctx->bus, &r->win, r->mmio, base, r->size, r->ops, r->dev, r->name);
}

static uint32_t rom_read(void *dev, uint32_t off, unsigned size)
{
    const struct pci_rom *r = &((struct pci_dev *)dev)->rom;
    uint32_t v = 0;

    for (unsigned i = 0; i < size; i++)
        v |= (off + i < r->len ? (uint32_t)r->data[off + i] : 0xffu) << i * 8;
    return v;
}

static const struct bus_ops rom_ops = {rom_read, NULL, 1, 4};

static void map_rom(struct pci_dev *d)
{
    struct pci_rom *r = &d->rom;
    uint32_t raw = pci_get(d, PCI_ROM, 4), base = raw & ~(r->size - 1);

    if (!r->size)
        return;
    if (!(raw & ROM_ENABLE) || !(d->config[PCI_COMMAND] & PCI_CMD_MEM) || !base || base == -r->size)
        bus_unmap(d->bus->ctx->bus, &r->win);
    else if (!r->win.mapped || r->win.base != base)
        bus_map(d->bus->ctx->bus, &r->win, true, base, r->size, &rom_ops, d, r->name);
}

static void map_bars(struct pci_dev *d)
{
    map_rom(d);
    for (unsigned n = 0; n < PCI_BARS; n++)
        map_bar(d, n);
}

void pci_bar(struct pci_dev *d, unsigned n, bool mmio, uint32_t size, const struct bus_ops *ops, void *dev,
             const char *name)
{
    vt_assert(n < PCI_BARS && !d->bar[n].size && size >= (mmio ? 16u : 4u) && !(size & (size - 1)));
    d->bar[n] = (struct pci_bar){.ops = ops, .dev = dev, .name = name, .size = size, .mmio = mmio};
    pci_fix(d, PCI_BAR0 + 4 * n, mmio ? 0 : 1, 4);
    pci_writable(d, PCI_BAR0 + 4 * n, ~(size - 1), 4);
    d->wmask[PCI_COMMAND] |= mmio ? PCI_CMD_MEM : PCI_CMD_IO;
}

void pci_rom(struct pci_dev *d, const void *data, uint32_t len, const char *name)
{
    if (!len)
        return;
    vt_assert(len <= ROM_MAX);
    d->rom = (struct pci_rom){.data = data, .len = len, .size = 2048, .name = name};
    while (d->rom.size < len)
        d->rom.size *= 2;
    pci_fix(d, PCI_ROM, 0, 4);
    pci_writable(d, PCI_ROM, ~(d->rom.size - 1) | ROM_ENABLE, 4);
    d->wmask[PCI_COMMAND] |= PCI_CMD_MEM;
}

unsigned pci_cap(struct pci_dev *d, uint8_t id, unsigned len)
{
    unsigned at = d->cap_next;

    len = (len + 3) & ~3u;
    vt_assert(at + len <= 256);
    pci_fix(d, d->cap_last ? d->cap_last + 1u : PCI_CAP_PTR, at, 1);
    pci_fix(d, at, id, 2);
    pci_fix(d, PCI_STATUS, pci_get(d, PCI_STATUS, 2) | PCI_STATUS_CAPS, 2);
    d->cap_last = (uint8_t)at;
    d->cap_next = (uint8_t)(at + len); /* wraps to 0 when full: the next assertion above stops it */
    return at;
}

/* ---- interrupts */

bool pci_intx(const struct pci_dev *d)
{
    return d->intx && !(pci_get(d, PCI_COMMAND, 2) & PCI_CMD_INTX_OFF);
}

static void tell_intx(struct pci_dev *d)
{
    if (d->config[PCI_INT_PIN] && d->bus->intx_changed)
        d->bus->intx_changed(d->bus->intx_opaque, d->devfn, d->config[PCI_INT_PIN] - 1u);
}

void pci_irq(struct pci_dev *d, int level)
{
    if (d->intx == (level != 0))
        return;
    d->intx = level != 0;
    if (level)
        d->config[PCI_STATUS] |= PCI_STATUS_INTX;
    else
        d->config[PCI_STATUS] &= (uint8_t)~PCI_STATUS_INTX;
    tell_intx(d);
}

/* ---- guest accesses */

uint32_t pci_config_read(struct pci_dev *d, unsigned off, unsigned size)
{
    if (d->config_read)
        d->config_read(d, off, size);
    return pci_get(d, off, size);
}

void pci_config_write(struct pci_dev *d, unsigned off, uint32_t val, unsigned size)
{
    for (unsigned i = 0; i < size && off + i < 256; i++) {
        uint8_t v = (uint8_t)(val >> i * 8), *c = &d->config[off + i], w = d->wmask[off + i];
        *c = (uint8_t)((*c & ~w) | (v & w));
        *c &= (uint8_t) ~(v & d->w1c[off + i]);
    }
    if (off < PCI_COMMAND + 2 && off + size > PCI_COMMAND) {
        map_bars(d);
        tell_intx(d);
    } else if (off < PCI_BAR0 + 4 * PCI_BARS && off + size > PCI_BAR0) {
        map_bar(d, (off - PCI_BAR0) / 4);
    } else if (off < PCI_ROM + 4 && off + size > PCI_ROM) {
        map_rom(d);
    }
    pci_msix_written(d);
    if (d->config_written)
        d->config_written(d, off, size);
}

/* ---- state */

static int pci_loaded(void *dev, const char **why)
{
    struct pci_dev *d = dev;
    for (unsigned i = 0; i < 256; i++) {
        uint8_t free_bits = d->wmask[i] | d->w1c[i];
        if (i == PCI_STATUS)
            free_bits |= PCI_STATUS_INTX;
        if ((d->config[i] ^ d->built[i]) & ~free_bits & ~d->volatile_mask[i]) {
            *why = "configuration space of another device";
            return -1;
        }
    }
    map_bars(d);
    tell_intx(d);
    return 0;
}

static const struct field pci_fields[] = {
    FIELD_BYTES(struct pci_dev, config),
    FIELD(struct pci_dev, intx, F_BOOL),
    FIELD_END,
};
static const struct state_table pci_table = {"pci", 1, pci_fields, pci_loaded, NULL};

/* ---- the bus */

void pci_bus_init(struct pci_bus *b, struct devctx *c)
{
    memset(b, 0, sizeof *b);
    b->ctx = c;
}

void pci_bus_reset(struct pci_bus *b)
{
    for (unsigned i = 0; i < 256; i++) {
        struct pci_dev *d = b->dev[i];
        if (!d)
            continue;
        memcpy(d->config, d->built, sizeof d->config);
        map_bars(d);
        pci_irq(d, 0);
        tell_intx(d);
        pci_msix_reset(d);
        if (d->reset)
            d->reset(d);
    }
}

void pci_add(struct pci_bus *b, struct pci_dev *d, const char *instance, unsigned devfn, const struct pci_id *id)
{
    vt_assert(devfn < 256 && !b->dev[devfn]);
    b->dev[devfn] = d;
    d->bus = b;
    d->devfn = (uint8_t)devfn;
    d->cap_next = 0x40;
    pci_fix(d, PCI_VENDOR, id->vendor, 2);
    pci_fix(d, PCI_DEVICE, id->device, 2);
    pci_fix(d, PCI_REVISION, id->revision, 1);
    pci_fix(d, PCI_CLASS, id->class_code & 0xffff, 2);
    pci_fix(d, PCI_CLASS + 2, id->class_code >> 16, 1);
    pci_fix(d, PCI_HEADER_TYPE, id->multifunction ? 0x80 : 0, 1);
    pci_fix(d, PCI_SUB_VENDOR, id->sub_vendor, 2);
    pci_fix(d, PCI_SUB_DEVICE, id->sub_device, 2);
    pci_fix(d, PCI_INT_PIN, id->int_pin, 1);
    pci_writable(d, PCI_COMMAND, PCI_CMD_MASTER | PCI_CMD_INTX_OFF, 2);
    pci_writable(d, PCI_INT_LINE, id->int_pin ? 0xff : 0, 1);
    b->ctx->add_state(b->ctx, &d->state, instance, &pci_table, d);
}

static void assign_bar(struct pci_dev *d, unsigned n, uint32_t *io, uint32_t *mmio)
{
    struct pci_bar *r = &d->bar[n];
    uint32_t *at = r->mmio ? mmio : io, step = r->mmio && r->size < 4096 ? 4096 : r->size;
    if (!r->size)
        return;
    *at = (*at + r->size - 1) & ~(r->size - 1);
    pci_config_write(d, PCI_BAR0 + 4 * n, *at, 4);
    *at += step;
}

void pci_assign(struct pci_bus *b, uint32_t io_base, uint32_t mmio_base, const uint8_t line[4])
{
    for (unsigned i = 0; i < 256; i++) {
        struct pci_dev *d = b->dev[i];
        if (!d)
            continue;
        for (unsigned n = 0; n < PCI_BARS; n++)
            assign_bar(d, n, &io_base, &mmio_base);
        pci_config_write(d, PCI_COMMAND, pci_get(d, PCI_COMMAND, 2) | PCI_CMD_IO | PCI_CMD_MEM, 2);
        if (d->config[PCI_INT_PIN])
            pci_config_write(d, PCI_INT_LINE, line[pci_pirq(i, d->config[PCI_INT_PIN] - 1u)], 1);
    }
}
