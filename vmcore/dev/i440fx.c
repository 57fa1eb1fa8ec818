#include "vmcore/dev/i440fx.h"

#include "vmcore/rt.h"

#define ENABLE 0x80000000u
enum { PAM0 = 0x59, PAM_END = 0x60 };

static struct pci_dev *selected(const struct i440fx *h)
{
    if (!(h->address & ENABLE) || (h->address >> 16 & 0xff))
        return NULL; /* bus 0 only */
    return h->bus->dev[h->address >> 8 & 0xff];
}

static uint32_t data_read(void *dev, uint32_t off, unsigned size)
{
    struct i440fx *h = dev;
    struct pci_dev *d = selected(h);
    return d ? pci_config_read(d, (h->address & 0xfc) + off, size) : UINT32_MAX;
}

static void data_write(void *dev, uint32_t off, uint32_t val, unsigned size)
{
    struct i440fx *h = dev;
    struct pci_dev *d = selected(h);
    if (d)
        pci_config_write(d, (h->address & 0xfc) + off, val, size);
}

/* The address register takes 32-bit accesses only; others go past it to the ports beneath. */
static uint32_t addr_read(void *dev, uint32_t off, unsigned size)
{
    return size == 4 ? ((struct i440fx *)dev)->address : UINT32_MAX;
}
static void addr_write(void *dev, uint32_t off, uint32_t val, unsigned size)
{
    if (size == 4)
        ((struct i440fx *)dev)->address = val & 0x80fffffc;
}

static const struct bus_ops addr_ops = {addr_read, addr_write, 1, 4};
static const struct bus_ops data_ops = {data_read, data_write, 1, 4};

static const struct field i440fx_fields[] = {FIELD(struct i440fx, address, F_U32), FIELD_END};

/* ---- memory attributes */

static void config_written(struct pci_dev *d, unsigned off, unsigned size)
{
    struct i440fx *h = (struct i440fx *)d;
    if (h->pam && off < PAM_END && off + size > PAM0)
        h->pam(h->pam_opaque, d->config + PAM0);
}

static void pci_was_reset(struct pci_dev *d)
{
    config_written(d, PAM0, PAM_END - PAM0);
}

static int i440fx_loaded(void *dev, const char **why)
{
    struct i440fx *h = dev;
    if (h->address & ~0x80fffffcu) {
        *why = "reserved bits set in the address register";
        return -1;
    }
    pci_was_reset(&h->pci);
    return 0;
}
static const struct state_table i440fx_table = {"i440fx", 1, i440fx_fields, i440fx_loaded, NULL};

void i440fx_reset(struct i440fx *h)
{
    h->address = 0;
}

void i440fx_init(struct i440fx *h, struct devctx *c, struct pci_bus *bus)
{
    static const struct pci_id id = {.vendor = 0x8086,
                                     .device = 0x1237,
                                     .class_code = 0x060000,
                                     .revision = 2,
                                     .sub_vendor = 0x1af4,
                                     .sub_device = 0x1100};

    memset(h, 0, sizeof *h);
    h->bus = bus;
    pci_add(bus, &h->pci, "i440fx.pci", PCI_DEVFN(0, 0), &id);
    pci_fix(&h->pci, PCI_COMMAND, PCI_CMD_MEM | PCI_CMD_MASTER, 2);
    pci_fix(&h->pci, PCI_STATUS, 0x0280, 2); /* medium timing, fast back-to-back */
    for (unsigned off = PAM0; off < PAM_END; off++)
        pci_writable(&h->pci, off, 0x33, 1);
    h->pci.config_written = config_written;
    h->pci.reset = pci_was_reset;
    pci_fix(&h->pci, 0x72, 0x02, 1); /* SMRAM */
    pci_writable(&h->pci, 0x72, 0x78, 1);
    bus_map(c->bus, &h->addr_win, false, 0xcf8, 4, &addr_ops, h, "pci-address");
    bus_map(c->bus, &h->data_win, false, 0xcfc, 4, &data_ops, h, "pci-data");
    c->add_state(c, &h->state, "i440fx", &i440fx_table, h);
}
