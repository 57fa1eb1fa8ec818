#include "tests/dev/virtio_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "src/base/util.h"
#include "vmcore/rt.h"

/* ---- what the machine gives devices */
static bool inside(const struct mem *m, uint64_t pa, uint64_t len)
{
    return pa <= m->size && len <= m->size - pa;
}

bool dma_read(struct mem *m, uint64_t pa, void *dst, uint64_t len)
{
    if (!inside(m, pa, len))
        return false;
    (memcpy)(dst, m->bytes + pa, len);
    return true;
}

bool dma_write(struct mem *m, uint64_t pa, const void *src, uint64_t len)
{
    if (!inside(m, pa, len))
        return false;
    (memcpy)(m->bytes + pa, src, len);
    return true;
}

void dma_discard(struct mem *m, uint64_t pa, uint64_t len)
{
    uint64_t first = ALIGN_UP(pa, 4096), last = (pa + len) & ~4095ull;

    if (len > UINT64_MAX - pa || !inside(m, pa, len) || first >= last)
        return;
    memset(m->bytes + first, 0, last - first);
    m->discards++;
}

void vm_post(struct vm *vm, struct vm_event *ev)
{
    if (__atomic_exchange_n(&ev->pending, 1, __ATOMIC_ACQ_REL))
        return;
    ev->next = NULL;
    *vm->last = ev;
    vm->last = &ev->next;
}

void rt_log(struct vm *vm, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(vm->log, sizeof vm->log, fmt, ap);
    va_end(ap);
    vm->logged++;
}

unsigned rig_events(struct rig *r)
{
    unsigned n = 0;
    struct vm_event *ev;

    while (n < 10000 && (ev = r->vm.first)) {
        r->vm.first = ev->next;
        if (!r->vm.first)
            r->vm.last = &r->vm.first;
        __atomic_store_n(&ev->pending, 0, __ATOMIC_RELEASE);
        ev->fn(ev);
        n++;
    }
    return n;
}

static void add_state(struct devctx *c, struct state_entry *e, const char *instance, const struct state_table *t,
                      void *dev)
{
    state_add(&container_of(c, struct rig, ctx)->states, e, instance, t, dev);
}

static void intx_changed(void *opaque, unsigned devfn, unsigned pin)
{
    struct rig *r = opaque;
    int level = pci_intx(r->pci.dev[devfn]);

    r->intx_up += level && !r->intx;
    r->intx = level;
}

static void msi(void *opaque, uint64_t addr, uint32_t data)
{
    struct rig *r = opaque;
    vt_assert(addr == 0xfee00000);
    r->msi[data & 63]++;
}

void rig_init(struct rig *r)
{
    rig_init_sized(r, RIG_RAM);
}

void rig_init_sized(struct rig *r, uint32_t ram)
{
    memset(r, 0, sizeof *r);
    r->mem.size = ram;
    r->mem.bytes = calloc(1, ram);
    vt_assert(r->mem.bytes);
    r->vm.last = &r->vm.first;
    r->brk = 0x1000;
    bus_init(&r->bus);
    state_list_init(&r->states);
    r->ctx = (struct devctx){.bus = &r->bus, .mem = &r->mem, .add_state = add_state, .opaque = &r->vm};
    pci_bus_init(&r->pci, &r->ctx);
    r->pci.intx_changed = intx_changed;
    r->pci.intx_opaque = r;
    r->pci.msi = msi;
    r->pci.msi_opaque = r;
}

void rig_release(struct rig *r)
{
    free(r->mem.bytes);
}

uint32_t rig_alloc(struct rig *r, uint32_t size, uint32_t align)
{
    uint32_t at = ALIGN_UP(r->brk, align);
    vt_assert(at + size <= r->mem.size);
    r->brk = at + size;
    return at;
}

/* ---- the driver */
enum { COMMON = 1, NOTIFY = 2, ISR = 3, DEVICE = 4, WINDOW = 5, IO_BASE = 0xc000 };
#define MMIO_BASE 0xe0000000u

static uint32_t multiplier(const struct drv *d, unsigned cap)
{
    return pci_config_read(d->pci, cap + 16, 4);
}

void drv_find(struct drv *d, struct rig *r, struct pci_dev *pci, bool modern)
{
    static const uint8_t lines[4] = {5, 9, 10, 11};
    uint64_t mult = 0;

    memset(d, 0, sizeof *d);
    d->r = r;
    d->pci = pci;
    d->modern = modern;
    pci_assign(&r->pci, IO_BASE, MMIO_BASE, lines);
    pci_config_write(pci, PCI_COMMAND, PCI_CMD_IO | PCI_CMD_MEM | PCI_CMD_MASTER, 2);
    d->io = (uint16_t)(pci_config_read(pci, PCI_BAR0, 4) & ~3u);
    for (unsigned cap = pci_config_read(pci, PCI_CAP_PTR, 1), n = 0; cap && n < 16;
         cap = pci_config_read(pci, cap + 1, 1), n++) {
        if (pci_config_read(pci, cap, 1) != PCI_CAP_ID_VENDOR)
            continue;
        unsigned bar = pci_config_read(pci, cap + 4, 1);
        uint64_t at = (pci_config_read(pci, PCI_BAR0 + 4 * bar, 4) & ~15u) + (uint64_t)pci_config_read(pci, cap + 8, 4);
        switch (pci_config_read(pci, cap + 3, 1)) {
        case COMMON:
            d->common = at;
            break;
        case NOTIFY:
            d->notify = at;
            mult = multiplier(d, cap);
            break;
        case ISR:
            d->isr = at;
            break;
        case DEVICE:
            d->device = at;
            break;
        case WINDOW:
            d->window_cap = cap;
            break;
        }
    }
    for (unsigned q = 0; q < DRV_QUEUES; q++)
        d->ring[q].notify = (uint32_t)(q * mult);
}

static uint32_t common_read(struct drv *d, unsigned off, unsigned size)
{
    return (uint32_t)bus_mmio_read(&d->r->bus, d->common + off, size);
}

static void common_write(struct drv *d, unsigned off, uint32_t val, unsigned size)
{
    bus_mmio_write(&d->r->bus, d->common + off, val, size);
}

static uint32_t io_read(struct drv *d, unsigned off, unsigned size)
{
    return bus_io_read(&d->r->bus, (uint16_t)(d->io + off), size);
}

static void io_write(struct drv *d, unsigned off, uint32_t val, unsigned size)
{
    bus_io_write(&d->r->bus, (uint16_t)(d->io + off), val, size);
}

uint64_t drv_offered(struct drv *d)
{
    if (!d->modern)
        return io_read(d, 0, 4);
    common_write(d, 0, 0, 4);
    uint64_t low = common_read(d, 4, 4);
    common_write(d, 0, 1, 4);
    return low | (uint64_t)common_read(d, 4, 4) << 32;
}

uint8_t drv_status(struct drv *d)
{
    return (uint8_t)(d->modern ? common_read(d, 20, 1) : io_read(d, 18, 1));
}

void drv_set_status(struct drv *d, uint8_t status)
{
    if (d->modern)
        common_write(d, 20, status, 1);
    else
        io_write(d, 18, status, 1);
}

uint8_t drv_take_isr(struct drv *d)
{
    return (uint8_t)(d->modern ? bus_mmio_read(&d->r->bus, d->isr, 1) : io_read(d, 19, 1));
}

static unsigned legacy_config(const struct drv *d)
{
    return d->msix ? 24 : 20;
}

uint32_t drv_config(struct drv *d, unsigned off, unsigned size)
{
    return d->modern ? (uint32_t)bus_mmio_read(&d->r->bus, d->device + off, size)
                     : io_read(d, legacy_config(d) + off, size);
}

void drv_config_write(struct drv *d, unsigned off, uint32_t val, unsigned size)
{
    if (d->modern)
        bus_mmio_write(&d->r->bus, d->device + off, val, size);
    else
        io_write(d, legacy_config(d) + off, val, size);
}

static void setup_modern(struct drv *d, unsigned q, struct drv_ring *g, uint16_t size)
{
    common_write(d, 22, q, 2);
    uint16_t max = (uint16_t)common_read(d, 24, 2);
    g->size = MIN(max, size);
    g->desc = rig_alloc(d->r, 16u * g->size, 16);
    g->avail = rig_alloc(d->r, 6u + 2u * g->size, 2);
    g->used = rig_alloc(d->r, 6u + 8u * g->size, 4);
    common_write(d, 24, g->size, 2);
    common_write(d, 32, g->desc, 4);
    common_write(d, 36, 0, 4);
    common_write(d, 40, g->avail, 4);
    common_write(d, 44, 0, 4);
    common_write(d, 48, g->used, 4);
    common_write(d, 52, 0, 4);
    if (d->msix)
        common_write(d, 26, q + 1, 2);
    common_write(d, 28, 1, 2);
}

void drv_setup_queue(struct drv *d, unsigned q, uint16_t size)
{
    struct drv_ring *g = &d->ring[q];

    g->free = g->seen = 0;
    if (d->modern) {
        setup_modern(d, q, g, size);
        return;
    }
    io_write(d, 14, q, 2);
    g->size = (uint16_t)io_read(d, 12, 2);
    g->desc = rig_alloc(d->r, 3 * 4096, 4096);
    g->avail = g->desc + 16u * g->size;
    g->used = (uint32_t)ALIGN_UP(g->avail + 6u + 2u * g->size, 4096u);
    memset(rig_at(d->r, g->desc), 0, 3 * 4096);
    if (d->msix)
        io_write(d, 22, q + 1, 2);
    io_write(d, 8, g->desc >> 12, 4);
}

static void enable_msix(struct drv *d)
{
    struct pci_msix *x = d->pci->msix;
    uint64_t table = pci_config_read(d->pci, PCI_BAR0 + 4, 4) & ~15u;

    for (unsigned v = 0; v < x->n; v++) {
        bus_mmio_write(&d->r->bus, table + 16 * v, 0xfee00000, 4);
        bus_mmio_write(&d->r->bus, table + 16 * v + 4, 0, 4);
        bus_mmio_write(&d->r->bus, table + 16 * v + 8, v, 4);
        bus_mmio_write(&d->r->bus, table + 16 * v + 12, 0, 4);
    }
    pci_config_write(d->pci, x->cap + 2u, 0x8000, 2);
    d->msix = true;
}

void drv_start(struct drv *d, uint64_t want, unsigned n, uint16_t size, bool msix)
{
    uint8_t status = VIRTIO_S_ACKNOWLEDGE | VIRTIO_S_DRIVER;

    drv_set_status(d, 0);
    if (msix)
        enable_msix(d);
    drv_set_status(d, status);
    d->features = drv_offered(d) & want;
    if (d->modern) {
        common_write(d, 8, 0, 4);
        common_write(d, 12, (uint32_t)d->features, 4);
        common_write(d, 8, 1, 4);
        common_write(d, 12, (uint32_t)(d->features >> 32), 4);
        status |= VIRTIO_S_FEATURES_OK;
        drv_set_status(d, status);
        if (msix)
            common_write(d, 16, 0, 2);
    } else {
        io_write(d, 4, (uint32_t)d->features, 4);
        if (msix)
            io_write(d, 20, 0, 2);
    }
    for (unsigned q = 0; q < n; q++)
        drv_setup_queue(d, q, size);
    drv_set_status(d, status | VIRTIO_S_DRIVER_OK);
}

/* ---- rings */
void drv_desc(struct drv *d, unsigned q, unsigned n, uint64_t pa, uint32_t len, uint16_t flags, uint16_t next)
{
    uint8_t *p = rig_at(d->r, d->ring[q].desc + 16 * n);

    put_le64(p, pa);
    put_le32(p + 8, len);
    put_le16(p + 12, flags);
    put_le16(p + 14, next);
}

void drv_avail(struct drv *d, unsigned q, uint16_t head)
{
    struct drv_ring *g = &d->ring[q];
    uint8_t *p = rig_at(d->r, g->avail);
    uint16_t idx = get_le16(p + 2);

    put_le16(p + 4 + 2 * (idx & (g->size - 1)), head);
    put_le16(p + 2, (uint16_t)(idx + 1));
}

uint16_t drv_add(struct drv *d, unsigned q, const struct sg *out, unsigned nout, const struct sg *in, unsigned nin,
                 bool indirect)
{
    struct drv_ring *g = &d->ring[q];
    unsigned n = nout + nin, mask = g->size - 1u, first = indirect ? 0 : g->free;
    uint16_t head = g->free;
    uint32_t table = indirect ? rig_alloc(d->r, 16 * n, 16) : g->desc;

    for (unsigned i = 0; i < n; i++) {
        const struct sg *s = i < nout ? &out[i] : &in[i - nout];
        unsigned at = indirect ? i : (first + i) & mask, next = indirect ? i + 1 : (first + i + 1) & mask;
        uint8_t *p = rig_at(d->r, table + 16 * at);
        put_le64(p, s->pa);
        put_le32(p + 8, s->len);
        put_le16(p + 12, (uint16_t)((i + 1 < n ? 1 : 0) | (i >= nout ? 2 : 0)));
        put_le16(p + 14, (uint16_t)(i + 1 < n ? next : 0));
    }
    if (indirect)
        drv_desc(d, q, head, table, 16 * n, 4, 0);
    g->free = (uint16_t)((head + (indirect ? 1 : n)) & mask);
    drv_avail(d, q, head);
    return head;
}

void drv_kick(struct drv *d, unsigned q)
{
    if (d->modern)
        bus_mmio_write(&d->r->bus, d->notify + d->ring[q].notify, q, 2);
    else
        io_write(d, 16, q, 2);
}

bool drv_used(struct drv *d, unsigned q, uint16_t *ret_head, uint32_t *ret_len)
{
    struct drv_ring *g = &d->ring[q];
    uint8_t *p = rig_at(d->r, g->used);

    if (get_le16(p + 2) == g->seen)
        return false;
    p += 4 + 8 * (g->seen++ & (g->size - 1));
    *ret_head = (uint16_t)get_le32(p);
    *ret_len = get_le32(p + 4);
    return true;
}

uint16_t drv_avail_event(struct drv *d, unsigned q)
{
    return get_le16(rig_at(d->r, d->ring[q].used + 4 + 8u * d->ring[q].size));
}

void drv_set_used_event(struct drv *d, unsigned q, uint16_t idx)
{
    put_le16(rig_at(d->r, d->ring[q].avail + 4 + 2u * d->ring[q].size), idx);
}

/* ---- state */
void rig_roundtrip(struct rig *r)
{
    uint8_t *a, *b;
    size_t alen, blen;
    char *diff;
    struct err e = {0};

    vt_assert(state_save(&r->states, &a, &alen, &e) == 0);
    pci_bus_reset(&r->pci);
    if (state_load(&r->states, a, alen, &e)) {
        fprintf(stderr, "%s\n", e.msg);
        abort();
    }
    vt_assert(state_save(&r->states, &b, &blen, &e) == 0);
    vt_assert(state_compare(a, alen, b, blen, &diff, &e) == 0);
    if (*diff) {
        fprintf(stderr, "state differs after a load:\n%s", diff);
        abort();
    }
    free(a);
    free(b);
    free(diff);
}
