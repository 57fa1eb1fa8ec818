/* MSI-X (PCI 3.0, section 6.8.2): a table of address and data pairs in a BAR, a mask bit each, and pending bits. */
#include "src/base/err.h"
#include "vmcore/dev/pci.h"
#include "vmcore/rt.h"

enum {
    CTRL = 2, /* offset of message control in the capability */
    CTRL_ENABLE = 0x8000,
    CTRL_MASK_ALL = 0x4000,
    PBA = 0x800,
    BAR_SIZE = 0x1000,
    VEC_MASKED = 1,
};

static unsigned control(const struct pci_dev *d)
{
    return d->msix ? pci_get(d, d->msix->cap + CTRL, 2) : 0;
}

bool pci_msix_enabled(const struct pci_dev *d)
{
    return control(d) & CTRL_ENABLE;
}

/* Sends what is pending and not masked any more. */
static void deliver(struct pci_msix *x)
{
    struct pci_dev *d = x->pci;
    unsigned c = control(d);

    if (!x->pending || !(c & CTRL_ENABLE) || (c & CTRL_MASK_ALL) || !pci_may_dma(d))
        return;
    for (unsigned v = 0; v < x->n; v++) {
        const uint32_t *e = &x->table[v * 4];
        if (!(x->pending >> v & 1) || (e[3] & VEC_MASKED))
            continue;
        x->pending &= ~(1ull << v);
        if (d->bus->msi)
            d->bus->msi(d->bus->msi_opaque, (uint64_t)e[1] << 32 | e[0], e[2]);
    }
}

void pci_msix_notify(struct pci_dev *d, unsigned vector)
{
    struct pci_msix *x = d->msix;
    if (!x || vector >= x->n || !pci_msix_enabled(d))
        return;
    x->pending |= 1ull << vector;
    deliver(x);
}

static uint32_t msix_read(void *dev, uint32_t off, unsigned size)
{
    struct pci_msix *x = dev;
    if (off < x->n * 16u)
        return x->table[off / 4];
    if (off == PBA || off == PBA + 4)
        return (uint32_t)(x->pending >> (off - PBA) * 8);
    return 0;
}

static void msix_write(void *dev, uint32_t off, uint32_t val, unsigned size)
{
    struct pci_msix *x = dev;
    if (off >= x->n * 16u)
        return;
    x->table[off / 4] = off % 16 == 0 ? val & ~3u : off % 16 == 12 ? val & VEC_MASKED : val;
    if (off % 16 == 12)
        deliver(x);
}

static const struct bus_ops msix_ops = {msix_read, msix_write, 4, 4};

void pci_msix_written(struct pci_dev *d)
{
    if (d->msix)
        deliver(d->msix);
}

void pci_msix_reset(struct pci_dev *d)
{
    struct pci_msix *x = d->msix;
    if (!x)
        return;
    x->pending = 0;
    for (unsigned v = 0; v < PCI_MSIX_MAX; v++) {
        memset(&x->table[v * 4], 0, 16);
        x->table[v * 4 + 3] = VEC_MASKED;
    }
}

static const struct field msix_fields[] = {
    FIELD_ARRAY(struct pci_msix, table, F_U32),
    FIELD(struct pci_msix, pending, F_U64),
    FIELD_END,
};

static int msix_loaded(void *dev, const char **why)
{
    struct pci_msix *x = dev;
    if (x->n < 64 && x->pending >> x->n) {
        *why = "a vector is pending that the device does not have";
        return -1;
    }
    for (unsigned v = 0; v < PCI_MSIX_MAX; v++)
        if ((x->table[v * 4] & 3) || x->table[v * 4 + 3] > VEC_MASKED) {
            *why = "reserved bits set in the table";
            return -1;
        }
    return 0;
}

static const struct state_table msix_table = {"msix", 1, msix_fields, msix_loaded, NULL};

void pci_msix_init(struct pci_dev *d, struct pci_msix *x, const char *instance, unsigned bar, unsigned n)
{
    vt_assert(n >= 1 && n <= PCI_MSIX_MAX);
    memset(x, 0, sizeof *x);
    x->pci = d;
    x->n = (uint16_t)n;
    d->msix = x;
    pci_bar(d, bar, true, BAR_SIZE, &msix_ops, x, instance);
    x->cap = (uint8_t)pci_cap(d, PCI_CAP_ID_MSIX, 12);
    pci_fix(d, x->cap + CTRL, n - 1, 2);
    pci_writable(d, x->cap + CTRL, CTRL_ENABLE | CTRL_MASK_ALL, 2);
    pci_fix(d, x->cap + 4u, bar, 4);
    pci_fix(d, x->cap + 8u, PBA | bar, 4);
    d->bus->ctx->add_state(d->bus->ctx, &x->state, instance, &msix_table, x);
    pci_msix_reset(d);
}
