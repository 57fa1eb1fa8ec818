/* Virtio over PCI (virtio 1.1, section 4.1): BAR 1 is the MSI-X table, BAR 4 the modern structures, found by vendor
 * capabilities; BAR 0 of a transitional device the legacy I/O interface (4.1.4.8). */
#include "vmcore/dev/virtio.h"
#include "vmcore/rt.h"

enum {
    BAR_LEGACY = 0,
    BAR_MSIX = 1,
    BAR_MODERN = 4,
    LEGACY_SIZE = 128,

    /* BAR 4, a page each so that a hypervisor-like guest can map them apart */
    AREA_SIZE = 0x1000,
    AREA_COMMON = 0,
    AREA_ISR = 1,
    AREA_DEVICE = 2,
    AREA_NOTIFY = 3,
    MODERN_SIZE = 4 * AREA_SIZE,
    NOTIFY_MULTIPLIER = 4,

    CAP_COMMON = 1,
    CAP_NOTIFY = 2,
    CAP_ISR = 3,
    CAP_DEVICE = 4,
    CAP_PCI_CFG = 5,

    /* common configuration (4.1.4.3) */
    C_DEVICE_SELECT = 0,
    C_DEVICE_FEATURE = 4,
    C_DRIVER_SELECT = 8,
    C_DRIVER_FEATURE = 12,
    C_CONFIG_VECTOR = 16,
    C_NUM_QUEUES = 18,
    C_STATUS = 20,
    C_GENERATION = 21,
    C_Q_SELECT = 22,
    C_Q_SIZE = 24,
    C_Q_VECTOR = 26,
    C_Q_ENABLE = 28,
    C_Q_NOTIFY_OFF = 30,
    C_Q_DESC = 32,
    C_Q_DRIVER = 40,
    C_Q_DEVICE = 48,
    C_SIZE = 56,

    /* legacy header (4.1.4.8) */
    L_DEVICE_FEATURE = 0,
    L_DRIVER_FEATURE = 4,
    L_Q_PFN = 8,
    L_Q_SIZE = 12,
    L_Q_SELECT = 14,
    L_Q_NOTIFY = 16,
    L_STATUS = 18,
    L_ISR = 19,
    L_CONFIG = 20, /* or, with MSI-X on, the two vectors and then L_CONFIG_MSIX */
    L_CONFIG_VECTOR = 20,
    L_Q_VECTOR = 22,
    L_CONFIG_MSIX = 24,
};

static struct vq *selected(struct virtio *v)
{
    return v->queue_select < v->nvq ? &v->vq[v->queue_select] : NULL;
}

static uint16_t checked_vector(const struct virtio *v, uint32_t val)
{
    return (uint16_t)(val < v->msix.n ? val : VIRTIO_NO_VECTOR);
}

static void notify(struct virtio *v, uint32_t queue)
{
    if (queue < v->nvq && vq_ready(v, &v->vq[queue]))
        v->type->notify(v, queue);
}

static uint32_t bytes_get(const uint8_t *p, uint32_t len, uint32_t off, unsigned size)
{
    uint32_t val = 0;
    for (unsigned i = 0; i < size; i++)
        if (off + i < len)
            val |= (uint32_t)p[off + i] << 8 * i;
    return val;
}

static void config_write(struct virtio *v, uint32_t off, uint32_t val, unsigned size)
{
    if (v->type->config_write && off + size <= v->config_len)
        v->type->config_write(v, off, val, size);
}

/* ---- modern */
static uint32_t common_read(struct virtio *v, uint32_t off, unsigned size)
{
    uint8_t r[C_SIZE] = {0};
    const struct vq *q = selected(v);

    put_le32(r + C_DEVICE_SELECT, v->device_select);
    if (v->device_select < 2)
        put_le32(r + C_DEVICE_FEATURE, (uint32_t)(v->offered >> 32 * v->device_select));
    put_le32(r + C_DRIVER_SELECT, v->driver_select);
    if (v->driver_select < 2)
        put_le32(r + C_DRIVER_FEATURE, (uint32_t)(v->features >> 32 * v->driver_select));
    put_le16(r + C_CONFIG_VECTOR, v->config_vector);
    put_le16(r + C_NUM_QUEUES, v->nvq);
    r[C_STATUS] = v->status;
    r[C_GENERATION] = v->generation;
    put_le16(r + C_Q_SELECT, v->queue_select);
    if (q) {
        put_le16(r + C_Q_SIZE, q->size);
        put_le16(r + C_Q_VECTOR, q->vector);
        put_le16(r + C_Q_ENABLE, q->enabled);
        put_le16(r + C_Q_NOTIFY_OFF, v->queue_select);
        put_le64(r + C_Q_DESC, q->desc);
        put_le64(r + C_Q_DRIVER, q->avail);
        put_le64(r + C_Q_DEVICE, q->used);
    } else {
        put_le16(r + C_Q_VECTOR, VIRTIO_NO_VECTOR);
    }
    return bytes_get(r, sizeof(r), off, size);
}

static void set_half(uint64_t *addr, bool high, uint32_t val)
{
    *addr = high ? (*addr & 0xffffffffu) | (uint64_t)val << 32 : (*addr & ~0xffffffffull) | val;
}

static void queue_write(struct virtio *v, struct vq *q, uint32_t off, uint32_t val)
{
    if (off == C_Q_VECTOR) {
        q->vector = checked_vector(v, val);
        return;
    }
    if (q->enabled) /* the driver must not move a queue in use (4.1.4.3.2) */
        return;
    switch (off) {
    case C_Q_SIZE:
        if (val && val <= q->max_size && !(val & (val - 1)))
            q->size = (uint16_t)val;
        else
            virtio_break(v, "queue size");
        break;
    case C_Q_ENABLE:
        q->enabled = val == 1;
        break;
    case C_Q_DESC:
    case C_Q_DESC + 4:
        set_half(&q->desc, off & 4, val);
        break;
    case C_Q_DRIVER:
    case C_Q_DRIVER + 4:
        set_half(&q->avail, off & 4, val);
        break;
    case C_Q_DEVICE:
    case C_Q_DEVICE + 4:
        set_half(&q->used, off & 4, val);
        break;
    }
}

/* Fields are written by their own width (4.1.3.1); other widths are ignored. */
static void common_write(struct virtio *v, uint32_t off, uint32_t val, unsigned size)
{
    unsigned width = off == C_STATUS ? 1 : off < C_CONFIG_VECTOR || off >= C_Q_DESC ? 4 : 2;

    if (size != width)
        return;
    switch (off) {
    case C_DEVICE_SELECT:
        v->device_select = val;
        break;
    case C_DRIVER_SELECT:
        v->driver_select = val;
        break;
    case C_DRIVER_FEATURE:
        virtio_accept(v, v->driver_select, val);
        break;
    case C_CONFIG_VECTOR:
        v->config_vector = checked_vector(v, val);
        break;
    case C_STATUS:
        virtio_set_status(v, (uint8_t)val);
        break;
    case C_Q_SELECT:
        v->queue_select = (uint16_t)val;
        break;
    default:
        if (selected(v))
            queue_write(v, selected(v), off, val);
    }
}

static uint32_t modern_read(void *dev, uint32_t off, unsigned size)
{
    struct virtio *v = dev;
    uint32_t in = off % AREA_SIZE;

    switch (off / AREA_SIZE) {
    case AREA_COMMON:
        return common_read(v, in, size);
    case AREA_ISR:
        return in == 0 ? virtio_take_isr(v) : 0;
    case AREA_DEVICE:
        return bytes_get(v->config, v->config_len, in, size);
    default:
        return 0;
    }
}

static void modern_write(void *dev, uint32_t off, uint32_t val, unsigned size)
{
    struct virtio *v = dev;
    uint32_t in = off % AREA_SIZE;

    switch (off / AREA_SIZE) {
    case AREA_COMMON:
        common_write(v, in, val, size);
        break;
    case AREA_DEVICE:
        config_write(v, in, val, size);
        break;
    case AREA_NOTIFY:
        notify(v, in / NOTIFY_MULTIPLIER);
        break;
    }
}

static const struct bus_ops modern_ops = {.read = modern_read, .write = modern_write};

/* ---- legacy */
static unsigned legacy_config(const struct virtio *v)
{
    return pci_msix_enabled(&v->pci) ? L_CONFIG_MSIX : L_CONFIG;
}

static uint32_t legacy_read(void *dev, uint32_t off, unsigned size)
{
    struct virtio *v = dev;
    const struct vq *q = selected(v);
    uint8_t r[L_CONFIG_MSIX] = {0};

    if (off >= legacy_config(v))
        return bytes_get(v->config, v->config_len, off - legacy_config(v), size);
    if (off == L_ISR)
        return virtio_take_isr(v);
    put_le32(r + L_DEVICE_FEATURE, (uint32_t)v->offered);
    put_le32(r + L_DRIVER_FEATURE, (uint32_t)v->features);
    if (q) {
        put_le32(r + L_Q_PFN, q->enabled ? (uint32_t)(q->desc >> 12) : 0);
        put_le16(r + L_Q_SIZE, q->max_size);
    }
    put_le16(r + L_Q_SELECT, v->queue_select);
    r[L_STATUS] = v->status;
    put_le16(r + L_CONFIG_VECTOR, v->config_vector);
    put_le16(r + L_Q_VECTOR, q ? q->vector : VIRTIO_NO_VECTOR);
    return bytes_get(r, sizeof(r), off, size);
}

/* The legacy layout: one run of pages (2.6.2). */
static void legacy_place(struct vq *q, uint32_t pfn)
{
    q->size = q->max_size;
    q->desc = (uint64_t)pfn << 12;
    q->avail = q->desc + 16ull * q->size;
    q->used = (q->avail + 4 + 2ull * q->size + 2 + 4095) & ~4095ull;
    q->enabled = pfn != 0;
    q->next_avail = q->used_idx = q->signalled = 0;
    q->signalled_valid = false;
}

static void legacy_write(void *dev, uint32_t off, uint32_t val, unsigned size)
{
    struct virtio *v = dev;
    struct vq *q = selected(v);

    if (off >= legacy_config(v)) {
        config_write(v, off - legacy_config(v), val, size);
        return;
    }
    switch (off) {
    case L_DRIVER_FEATURE:
        virtio_accept(v, 0, val & (uint32_t)v->offered);
        break;
    case L_Q_PFN:
        if (q)
            legacy_place(q, val);
        break;
    case L_Q_SELECT:
        v->queue_select = (uint16_t)val;
        break;
    case L_Q_NOTIFY:
        notify(v, val & 0xffff);
        break;
    case L_STATUS:
        virtio_set_status(v, (uint8_t)val);
        break;
    case L_CONFIG_VECTOR:
        v->config_vector = checked_vector(v, val);
        break;
    case L_Q_VECTOR:
        if (q)
            q->vector = checked_vector(v, val);
        break;
    }
}

static const struct bus_ops legacy_ops = {.read = legacy_read, .write = legacy_write};

/* ---- configuration space: the window capability (4.1.4.7) reaches BAR 4 without mapping it */
static bool window(const struct virtio *v, uint32_t *ret_off, unsigned *ret_size)
{
    const uint8_t *cap = v->pci.config + v->window_cap;
    uint32_t off = get_le32(cap + 8), size = get_le32(cap + 12);

    *ret_off = off;
    *ret_size = size;
    return cap[4] == BAR_MODERN && (size == 1 || size == 2 || size == 4) && off % size == 0 &&
           off <= MODERN_SIZE - size;
}

static struct virtio *from_pci(struct pci_dev *d)
{
    return (struct virtio *)((char *)d - offsetof(struct virtio, pci));
}

static bool touches_window(const struct virtio *v, unsigned off, unsigned size)
{
    unsigned data = v->window_cap + 16u;
    return off < data + 4 && off + size > data;
}

static void config_read(struct pci_dev *d, unsigned off, unsigned size)
{
    struct virtio *v = from_pci(d);
    uint32_t at;
    unsigned width;

    if (touches_window(v, off, size) && window(v, &at, &width))
        pci_set(d, v->window_cap + 16u, modern_read(v, at, width), 4);
}

static void config_written(struct pci_dev *d, unsigned off, unsigned size)
{
    struct virtio *v = from_pci(d);
    uint32_t at;
    unsigned width;

    if (touches_window(v, off, size) && window(v, &at, &width))
        modern_write(v, at, pci_get(d, v->window_cap + 16u, width), width);
}

static void bus_reset(struct pci_dev *d)
{
    virtio_reset(from_pci(d));
}

static unsigned add_cap(struct virtio *v, uint8_t cfg_type, unsigned len, uint32_t off, uint32_t area_len)
{
    unsigned cap = pci_cap(&v->pci, PCI_CAP_ID_VENDOR, len);

    pci_fix(&v->pci, cap + 2, len, 1);
    pci_fix(&v->pci, cap + 3, cfg_type, 1);
    pci_fix(&v->pci, cap + 4, area_len ? BAR_MODERN : 0, 1);
    pci_fix(&v->pci, cap + 8, off, 4);
    pci_fix(&v->pci, cap + 12, area_len, 4);
    return cap;
}

void virtio_pci_init(struct virtio *v, struct pci_bus *bus, unsigned devfn)
{
    const struct pci_id id = {
        .vendor = 0x1af4,
        .device = v->type->pci_device,
        .class_code = v->type->class_code,
        .revision = virtio_modern_only(v), /* 0: transitional */
        .sub_vendor = 0x1af4,
        .sub_device = (uint16_t)(v->type->id + (virtio_modern_only(v) ? 0x40 : 0)),
        .int_pin = 1,
    };
    unsigned cap;

    v->pci.config_read = config_read;
    v->pci.config_written = config_written;
    v->pci.reset = bus_reset;
    pci_add(bus, &v->pci, v->pci_name, devfn, &id);
    if (!virtio_modern_only(v))
        pci_bar(&v->pci, BAR_LEGACY, false, LEGACY_SIZE, &legacy_ops, v, v->name);
    pci_bar(&v->pci, BAR_MODERN, true, MODERN_SIZE, &modern_ops, v, v->name);
    pci_msix_init(&v->pci, &v->msix, v->msix_name, BAR_MSIX, v->nvq + 1u);
    add_cap(v, CAP_COMMON, 16, AREA_COMMON * AREA_SIZE, C_SIZE);
    add_cap(v, CAP_ISR, 16, AREA_ISR * AREA_SIZE, 1);
    if (v->config_len)
        add_cap(v, CAP_DEVICE, 16, AREA_DEVICE * AREA_SIZE, v->config_len);
    cap = add_cap(v, CAP_NOTIFY, 20, AREA_NOTIFY * AREA_SIZE, NOTIFY_MULTIPLIER * v->nvq);
    pci_fix(&v->pci, cap + 16, NOTIFY_MULTIPLIER, 4);
    cap = add_cap(v, CAP_PCI_CFG, 20, 0, 0);
    pci_writable(&v->pci, cap + 4, 0xff, 1);
    pci_writable(&v->pci, cap + 8, 0xffffffff, 4);
    pci_writable(&v->pci, cap + 12, 0xffffffff, 4);
    pci_writable(&v->pci, cap + 16, 0xffffffff, 4);
    v->window_cap = (uint8_t)cap;
}
