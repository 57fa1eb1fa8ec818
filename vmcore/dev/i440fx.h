/* The 82441FX host bridge: PCI configuration mechanism 1 (ports CF8h and CFCh) and device 00:00.0. Its memory registers
 * (PAM, SMRAM) are storage with a hook: what they mean for addresses is the memory map's business. */
#ifndef VT_I440FX_H
#define VT_I440FX_H

#include "vmcore/dev/pci.h"

struct i440fx {
    struct pci_dev pci;
    uint32_t address; /* CF8h */
    struct pci_bus *bus;
    struct bus_window addr_win, data_win;
    void (*pam)(void *opaque, const uint8_t pam[7]); /* PAM0..6 changed; may be NULL */
    void *pam_opaque;
    struct state_entry state;
};
void i440fx_init(struct i440fx *h, struct devctx *c, struct pci_bus *bus);
void i440fx_reset(struct i440fx *h);

#endif
