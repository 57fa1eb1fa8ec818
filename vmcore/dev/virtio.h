/* Virtio devices (Virtual I/O Device specification 1.1): the part that all of them share. A device embeds a struct
 * virtio, describes itself by a struct virtio_type, and takes chains of guest buffers off its queues.
 *
 * virtqueue.c: split rings (2.6), with indirect descriptors and event indices. virtio.c: features, status, interrupts,
 * saved state. virtio_pci.c: the PCI transport (4.1), modern and, behind one transitional device, legacy.
 *
 * Rings are the guest's memory and hostile: a chain is copied into a struct vq_chain and checked before any of it is
 * used, nothing is read twice, all loops are bounded by a queue's size. What breaks the rules makes the device need a
 * reset; it then takes no chain until the driver resets it. */
#ifndef VT_VIRTIO_H
#define VT_VIRTIO_H

#include "vmcore/dev/dev.h"
#include "vmcore/dev/pci.h"
#include "vmcore/port.h"

#define VIRTIO_MAX_VQ 20
#define VQ_SIZE_MAX   256 /* ring entries */
#define VQ_CHAIN_MAX  256 /* buffers of one chain */

enum {
    VIRTIO_ID_NET = 1,
    VIRTIO_ID_BLOCK = 2,
    VIRTIO_ID_CONSOLE = 3,
    VIRTIO_ID_RNG = 4,
    VIRTIO_ID_BALLOON = 5,

    VIRTIO_S_ACKNOWLEDGE = 1,
    VIRTIO_S_DRIVER = 2,
    VIRTIO_S_DRIVER_OK = 4,
    VIRTIO_S_FEATURES_OK = 8,
    VIRTIO_S_NEEDS_RESET = 64,
    VIRTIO_S_FAILED = 128,

    VIRTIO_ISR_QUEUE = 1,
    VIRTIO_ISR_CONFIG = 2,
};
#define VIRTIO_NO_VECTOR 0xffffu

#define VIRTIO_F_ANY_LAYOUT    (1ull << 27)
#define VIRTIO_F_INDIRECT_DESC (1ull << 28)
#define VIRTIO_F_EVENT_IDX     (1ull << 29)
#define VIRTIO_F_VERSION_1     (1ull << 32)

/* One virtqueue. The driver may place it anywhere; size 0 or enabled false: not in use. */
struct vq {
    uint64_t desc, avail, used; /* guest-physical */
    uint16_t size;              /* entries, a power of two; set by the driver up to max_size */
    uint16_t next_avail;        /* ring index of the next chain to take */
    uint16_t used_idx;          /* ring index of the next entry to fill */
    uint16_t signalled;         /* used_idx at the last interrupt decision */
    uint16_t vector;            /* MSI-X */
    bool signalled_valid;
    bool enabled;
    uint16_t max_size; /* fixed at init */
};

/* Guest buffers of one request: those the device reads, then those it writes. */
struct vq_seg {
    uint64_t pa;
    uint32_t len; /* bytes, may be 0 */
};
struct vq_chain {
    uint16_t head; /* names the chain in the ring: this is what is saved of a request in flight */
    uint16_t nout, nin;
    uint64_t out_len, in_len; /* bytes */
    struct vq_seg seg[VQ_CHAIN_MAX];
};

struct virtio;
struct virtio_type {
    uint16_t id;                                      /* VIRTIO_ID_x */
    uint16_t pci_device;                              /* below 1040h a transitional device (4.1.2.1) */
    uint32_t class_code;                              /* PCI */
    void (*notify)(struct virtio *v, unsigned queue); /* the driver says that queue has chains */
    void (*reset)(struct virtio *v);                  /* forget requests; config and host side stay */
    void (*driver_ok)(struct virtio *v);              /* may be NULL */
    /* The driver writes val to config[off .. off + size); may be NULL: all of it is read-only. */
    void (*config_write)(struct virtio *v, unsigned off, uint32_t val, unsigned size);
};

struct virtio {
    struct pci_dev pci;
    struct pci_msix msix;
    const struct virtio_type *type;
    struct devctx *ctx;
    struct mem *mem;
    uint64_t offered; /* features of the device */
    uint8_t *config;  /* the device-specific configuration as the driver sees it */
    uint32_t config_len;
    uint16_t nvq;
    uint8_t window_cap; /* offset of the PCI configuration access capability */

    /* saved */
    uint64_t features; /* as the driver accepted them */
    uint32_t device_select, driver_select;
    uint16_t queue_select, config_vector;
    uint8_t status, isr, generation;
    bool broken;
    struct vq vq[VIRTIO_MAX_VQ];

    struct vm_event later; /* fn set by the device: continue work that one run left over, or that a restore found */
    char name[16], pci_name[24], msix_name[24];
    struct state_entry state;
};

/* ---- setting up (virtio.c): fields not named here are zero on entry. name ("vblk0") is copied. */
struct virtio_setup {
    const struct virtio_type *type;
    uint64_t offered;
    uint8_t *config;
    uint32_t config_len;
    uint16_t nvq;
    const uint16_t *vq_size; /* nvq entries, powers of two up to VQ_SIZE_MAX */
    const struct state_table *table;
    void *dev; /* what table's offsets count from */
    const char *name;
    void (*later)(struct vm_event *ev); /* opaque is the struct virtio */
};
void virtio_init(struct virtio *v, struct devctx *c, struct pci_bus *bus, unsigned devfn, const struct virtio_setup *s);
void virtio_reset(struct virtio *v);
/* Runs `later` on the vCPU thread, soon. */
void virtio_later(struct virtio *v);
static inline bool virtio_has(const struct virtio *v, uint64_t feature)
{
    return v->features & v->offered & feature;
}
/* Has it no legacy interface? */
static inline bool virtio_modern_only(const struct virtio *v)
{
    return v->type->pci_device >= 0x1040;
}
/* May the device use its queues? Legacy drivers use them before they say DRIVER_OK. */
static inline bool virtio_live(const struct virtio *v)
{
    uint8_t need = virtio_has(v, VIRTIO_F_VERSION_1) ? VIRTIO_S_DRIVER_OK : VIRTIO_S_DRIVER_OK | VIRTIO_S_DRIVER;
    return (v->status & need) && !v->broken;
}
void virtio_set_status(struct virtio *v, uint8_t status);
void virtio_accept(struct virtio *v, unsigned half, uint32_t bits); /* features, 32 bits at a time */
/* The driver broke the protocol: log why, ask for a reset, stop. */
void virtio_break(struct virtio *v, const char *why);
void virtio_config_changed(struct virtio *v);
void virtio_signal(struct virtio *v, uint8_t isr, uint16_t vector);
uint8_t virtio_take_isr(struct virtio *v); /* read and clear, as the driver does */
/* A device table's `loaded` calls this first. */
int virtio_loaded(struct virtio *v, const char **why);

/* Fields of struct virtio v and of its queue n, embedded in struct s; every device table starts with these. */
#define VIRTIO_FIELDS(s)                                                                             \
    FIELD(s, v.features, F_U64), FIELD(s, v.device_select, F_U32), FIELD(s, v.driver_select, F_U32), \
        FIELD(s, v.queue_select, F_U16), FIELD(s, v.config_vector, F_U16), FIELD(s, v.status, F_U8), \
        FIELD(s, v.isr, F_U8), FIELD(s, v.generation, F_U8), FIELD(s, v.broken, F_BOOL)
#define VQ_FIELDS(s, n)                                                                                        \
    FIELD(s, v.vq[n].desc, F_U64), FIELD(s, v.vq[n].avail, F_U64), FIELD(s, v.vq[n].used, F_U64),              \
        FIELD(s, v.vq[n].size, F_U16), FIELD(s, v.vq[n].next_avail, F_U16), FIELD(s, v.vq[n].used_idx, F_U16), \
        FIELD(s, v.vq[n].signalled, F_U16), FIELD(s, v.vq[n].vector, F_U16),                                   \
        FIELD(s, v.vq[n].signalled_valid, F_BOOL), FIELD(s, v.vq[n].enabled, F_BOOL)

/* ---- PCI (virtio_pci.c) */
void virtio_pci_init(struct virtio *v, struct pci_bus *bus, unsigned devfn);

/* ---- rings (virtqueue.c). q is one of v's. */
bool vq_ready(const struct virtio *v, const struct vq *q);
/* Takes the next chain: true and *ret_c, false when there is none (the driver will then notify of the next one) or the
 * ring is broken. */
bool vq_pop(struct virtio *v, struct vq *q, struct vq_chain *ret_c);
/* Puts the chain that the last vq_pop took back. */
void vq_unpop(struct vq *q);
/* Reads again the chain of a request that was in flight when the state was saved. */
bool vq_reload(struct virtio *v, struct vq *q, uint16_t head, struct vq_chain *ret_c);
/* Gives a chain back, with the count of bytes written to its in-buffers; then vq_signal once for a batch. */
void vq_push(struct virtio *v, struct vq *q, uint16_t head, uint32_t written);
/* The two halves of vq_push, for chains that the driver must see at the same instant: fill the slot n entries ahead,
 * then publish count of them. */
void vq_fill(struct virtio *v, struct vq *q, unsigned n, uint16_t head, uint32_t written);
void vq_publish(struct virtio *v, struct vq *q, unsigned count);
void vq_signal(struct virtio *v, struct vq *q); /* an interrupt, if the driver wants one */
/* How many bytes were copied: less than len where the chain ends, or (the device is broken then) outside of RAM. */
uint64_t vq_out(struct virtio *v, const struct vq_chain *c, uint64_t off, void *dst, uint64_t len);
uint64_t vq_in(struct virtio *v, const struct vq_chain *c, uint64_t off, const void *src, uint64_t len);

static inline uint16_t get_le16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}
static inline uint32_t get_le32(const uint8_t *p)
{
    return get_le16(p) | (uint32_t)get_le16(p + 2) << 16;
}
static inline uint64_t get_le64(const uint8_t *p)
{
    return get_le32(p) | (uint64_t)get_le32(p + 4) << 32;
}
static inline void put_le16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}
static inline void put_le32(uint8_t *p, uint32_t v)
{
    put_le16(p, (uint16_t)v);
    put_le16(p + 2, (uint16_t)(v >> 16));
}
static inline void put_le64(uint8_t *p, uint64_t v)
{
    put_le32(p, (uint32_t)v);
    put_le32(p + 4, (uint32_t)(v >> 32));
}

#endif
