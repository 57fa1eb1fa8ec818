/* The PCI bus (one, number 0) behind the host bridge: configuration space, BARs that map and unmap with the command
 * register, INTx lines routed by the south bridge, and MSI-X.
 *
 * A PCI device embeds a struct pci_dev, calls pci_add() once at its init, then pci_bar() and pci_cap() for what it has.
 * Configuration space is data: config[] holds what reads see, wmask[] the bits that guest writes change, w1c[] the bits
 * that a written 1 clears. It is saved as one state entry a device, validated against what the device was built with.
 */
#ifndef VT_PCI_H
#define VT_PCI_H

#include "vmcore/dev/dev.h"

#define PCI_BARS     6
#define PCI_MSIX_MAX 64 /* vectors a device */

/* Configuration registers (PCI 3.0, section 6.1) */
enum {
    PCI_VENDOR = 0x00,
    PCI_DEVICE = 0x02,
    PCI_COMMAND = 0x04,
    PCI_STATUS = 0x06,
    PCI_REVISION = 0x08,
    PCI_CLASS = 0x09, /* 24 bits */
    PCI_HEADER_TYPE = 0x0e,
    PCI_BAR0 = 0x10,
    PCI_SUB_VENDOR = 0x2c,
    PCI_SUB_DEVICE = 0x2e,
    PCI_ROM = 0x30,
    PCI_CAP_PTR = 0x34,
    PCI_INT_LINE = 0x3c,
    PCI_INT_PIN = 0x3d,

    PCI_CMD_IO = 1 << 0,
    PCI_CMD_MEM = 1 << 1,
    PCI_CMD_MASTER = 1 << 2,
    PCI_CMD_INTX_OFF = 1 << 10,

    PCI_STATUS_INTX = 1 << 3,
    PCI_STATUS_CAPS = 1 << 4,

    PCI_CAP_ID_VENDOR = 0x09,
    PCI_CAP_ID_MSIX = 0x11,
};
#define PCI_DEVFN(slot, fn) ((unsigned)(slot) << 3 | (unsigned)(fn))

struct pci_bus;
struct pci_dev;
struct pci_msix;

struct pci_bar {
    struct bus_window win;
    const struct bus_ops *ops;
    void *dev;
    const char *name;
    uint32_t size; /* bytes, a power of two; 0: no such BAR */
    bool mmio;
};

struct pci_rom {
    struct bus_window win;
    const char *name;
    const uint8_t *data;
    uint32_t len, size; /* size: a power of two; 0: no ROM */
};

struct pci_id {
    uint16_t vendor, device;
    uint32_t class_code; /* base class << 16 | sub-class << 8 | programming interface */
    uint8_t revision;
    uint16_t sub_vendor, sub_device;
    uint8_t int_pin; /* 0: none, 1..4: INTA..INTD */
    bool multifunction;
};

struct pci_dev {
    struct pci_bus *bus;
    uint8_t devfn;
    bool intx; /* the device's own wish, before the command register's INTx disable */
    uint8_t config[256], wmask[256], w1c[256];
    uint8_t built[256];         /* config as the device was built: what a reset gives */
    uint8_t volatile_mask[256]; /* bits that the device itself changes with pci_set */
    uint8_t cap_next, cap_last;
    struct pci_bar bar[PCI_BARS];
    struct pci_rom rom;
    struct pci_msix *msix; /* NULL: none */
    /* Hooks, each may be NULL: before a read of, and after a write to, config[off .. off + size). reset is called by
     * a reset of the bus after configuration space has its reset values. */
    void (*config_read)(struct pci_dev *d, unsigned off, unsigned size);
    void (*config_written)(struct pci_dev *d, unsigned off, unsigned size);
    void (*reset)(struct pci_dev *d);
    struct state_entry state;
};

struct pci_bus {
    struct devctx *ctx;
    struct pci_dev *dev[256]; /* by devfn */
    /* The south bridge's: device pin (0..3 for INTA..INTD) of slot devfn >> 3 changed. */
    void (*intx_changed)(void *opaque, unsigned devfn, unsigned pin);
    void *intx_opaque;
    /* A message-signalled interrupt: a 32-bit write of data to addr (FEExxxxxh). */
    void (*msi)(void *opaque, uint64_t addr, uint32_t data);
    void *msi_opaque;
};

void pci_bus_init(struct pci_bus *b, struct devctx *c);
void pci_bus_reset(struct pci_bus *b);

/* Puts d on the bus and sets its identity. instance is the name of its saved configuration space ("vblk0.pci"), unique
 * in the machine and living as long as it. The hooks may be set before or after. devfn must be free. */
void pci_add(struct pci_bus *b, struct pci_dev *d, const char *instance, unsigned devfn, const struct pci_id *id);
/* Declares BAR n (32 bits). size is a power of two, at least 4 (I/O) or 16 (memory). ops see offsets in the BAR. */
void pci_bar(struct pci_dev *d, unsigned n, bool mmio, uint32_t size, const struct bus_ops *ops, void *dev,
             const char *name);
/* Gives d an expansion ROM, which lives as long as it. len 0: none. */
void pci_rom(struct pci_dev *d, const void *data, uint32_t len, const char *name);
/* Appends a capability of len bytes (its 2-byte header included), zero but for the header. Returns its offset. */
unsigned pci_cap(struct pci_dev *d, uint8_t id, unsigned len);
/* At build time: fixed value, guest-writable bits, and write-1-to-clear bits of a register of size 1, 2 or 4. */
void pci_fix(struct pci_dev *d, unsigned off, uint32_t val, unsigned size);
void pci_writable(struct pci_dev *d, unsigned off, uint32_t mask, unsigned size);
void pci_w1c(struct pci_dev *d, unsigned off, uint32_t mask, unsigned size);

uint32_t pci_get(const struct pci_dev *d, unsigned off, unsigned size);
/* The device itself changes what reads see (no masks, no hooks). */
void pci_set(struct pci_dev *d, unsigned off, uint32_t val, unsigned size);
/* The guest's accesses, as the host bridge makes them. */
uint32_t pci_config_read(struct pci_dev *d, unsigned off, unsigned size);
void pci_config_write(struct pci_dev *d, unsigned off, uint32_t val, unsigned size);

/* The device's INTx pin, level 0 or 1. */
void pci_irq(struct pci_dev *d, int level);
/* Is INTx asserted towards the south bridge (wish, and not disabled)? */
bool pci_intx(const struct pci_dev *d);
static inline bool pci_may_dma(const struct pci_dev *d)
{
    return d->config[PCI_COMMAND] & PCI_CMD_MASTER;
}

/* ---- MSI-X: the table at offset 0 and the pending bits at 800h of a 4 KiB memory BAR of its own */
struct pci_msix {
    struct pci_dev *pci;
    uint8_t cap;                      /* offset of the capability */
    uint16_t n;                       /* vectors */
    uint32_t table[PCI_MSIX_MAX * 4]; /* address low, high, data, control (bit 0: masked) */
    uint64_t pending;
    struct state_entry state;
};
/* x is embedded in the device; instance names its saved state ("vblk0.msix"). */
void pci_msix_init(struct pci_dev *d, struct pci_msix *x, const char *instance, unsigned bar, unsigned n);
/* Has the guest switched the device to MSI-X? Then vectors are signalled by pci_msix_notify and INTx is not used. */
bool pci_msix_enabled(const struct pci_dev *d);
void pci_msix_notify(struct pci_dev *d, unsigned vector); /* out of range: ignored */
/* The bus calls these: configuration space was written; it was reset. */
void pci_msix_written(struct pci_dev *d);
void pci_msix_reset(struct pci_dev *d);

/* What firmware does before an operating system: gives every BAR an address (I/O from io_base, memory from mmio_base,
 * both grow upwards), switches decoding on, and writes the interrupt line register by line[pirq]. */
void pci_assign(struct pci_bus *b, uint32_t io_base, uint32_t mmio_base, const uint8_t line[4]);

/* The PIIX3's swizzle: which of PIRQA..D (0..3) a device's pin 0..3 drives. */
static inline unsigned pci_pirq(unsigned devfn, unsigned pin)
{
    return (pin + (devfn >> 3) - 1) & 3;
}

#endif
