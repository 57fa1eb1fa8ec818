/* A machine for virtio tests: guest memory, a PCI bus, an event queue; and a driver that finds a device by its
 * configuration space, as a guest's would. No CPU and no threads: rig_events runs what was posted. */
#ifndef VT_VIRTIO_RIG_H
#define VT_VIRTIO_RIG_H

#include "src/base/err.h"
#include "vmcore/bus.h"
#include "vmcore/dev/pci.h"
#include "vmcore/dev/virtio.h"
#include "vmcore/state.h"

#define RIG_RAM (8u << 20)

struct mem {
    uint8_t *bytes; /* an allocation of its own, so that a sanitizer sees a step outside */
    uint32_t size;
    unsigned discards; /* ranges that were given back */
};
struct vm {
    struct vm_event *first, **last;
    char log[256]; /* the last line */
    unsigned logged;
};
struct rig {
    struct mem mem;
    struct vm vm;
    struct bus bus;
    struct pci_bus pci;
    struct devctx ctx;
    struct state_list states;
    int intx;         /* level */
    unsigned intx_up; /* rising edges */
    unsigned msi[64]; /* messages by their data */
    uint32_t brk;     /* next free guest memory */
};
void rig_init(struct rig *r); /* with RIG_RAM of memory */
void rig_init_sized(struct rig *r, uint32_t ram);
void rig_release(struct rig *r);
unsigned rig_events(struct rig *r); /* how many ran */
uint32_t rig_alloc(struct rig *r, uint32_t size, uint32_t align);
static inline uint8_t *rig_at(struct rig *r, uint64_t pa)
{
    return r->mem.bytes + pa;
}

#define DRV_QUEUES 20
struct drv_ring {
    uint32_t desc, avail, used;
    uint16_t size, free, seen; /* next free descriptor; used entries seen */
    uint32_t notify;           /* offset in the notify area */
};
struct drv {
    struct rig *r;
    struct pci_dev *pci;
    bool modern, msix;
    uint64_t common, notify, isr, device; /* MMIO addresses */
    uint32_t window_cap;
    uint16_t io;
    uint64_t features; /* negotiated */
    struct drv_ring ring[DRV_QUEUES];
};
/* Gives BARs addresses and finds the structures; no negotiation. */
void drv_find(struct drv *d, struct rig *r, struct pci_dev *pci, bool modern);
uint64_t drv_offered(struct drv *d);
uint8_t drv_status(struct drv *d);
void drv_set_status(struct drv *d, uint8_t status);
/* Reset, negotiation of what is both offered and wanted, queues 0 to n-1 of the given size (legacy: the device's),
 * DRIVER_OK. msix: vector q+1 for queue q, data the vector; vector 0 for configuration. */
void drv_start(struct drv *d, uint64_t want, unsigned n, uint16_t size, bool msix);
void drv_setup_queue(struct drv *d, unsigned q, uint16_t size);
uint32_t drv_config(struct drv *d, unsigned off, unsigned size);
void drv_config_write(struct drv *d, unsigned off, uint32_t val, unsigned size);

struct sg {
    uint64_t pa;
    uint32_t len;
};
/* Writes a chain and makes it available; returns its head. */
uint16_t drv_add(struct drv *d, unsigned q, const struct sg *out, unsigned nout, const struct sg *in, unsigned nin,
                 bool indirect);
void drv_desc(struct drv *d, unsigned q, unsigned n, uint64_t pa, uint32_t len, uint16_t flags, uint16_t next);
void drv_avail(struct drv *d, unsigned q, uint16_t head);
void drv_kick(struct drv *d, unsigned q);
/* The next used entry, if there is one. */
bool drv_used(struct drv *d, unsigned q, uint16_t *ret_head, uint32_t *ret_len);
uint16_t drv_avail_event(struct drv *d, unsigned q);
void drv_set_used_event(struct drv *d, unsigned q, uint16_t idx);
uint8_t drv_take_isr(struct drv *d);

/* Saves; loads into the same devices after scrambling guest-visible runtime state by a reset; saves again. Both must
 * agree. */
void rig_roundtrip(struct rig *r);

#endif
