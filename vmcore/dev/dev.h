/* What a device may touch: its register windows, interrupt lines, the virtual clock, guest memory (DMA), a port to a
 * backend. Everything here runs on the vCPU thread, between blocks or while halted: no locks, no blocking, general
 * registers only, no libc beyond vmcore/rt.h. A device is one file and one struct without static state; its state is a
 * const table of named, versioned fields which drives save, load, dump and compare. Restored state is hostile input. */
#ifndef VT_DEV_H
#define VT_DEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- interrupt line: a value handed in at wiring; level 0 or 1 */
struct irq_line {
    void (*fn)(void *opaque, unsigned n, int level);
    void *opaque;
    unsigned n;
};
static inline void irq_set(const struct irq_line *l, int level)
{
    if (l->fn)
        l->fn(l->opaque, l->n, level);
}

/* ---- register windows. The bus checks and splits: ops see only sizes in [min_size, max_size], naturally aligned when
 * the guest's access was. Unclaimed reads give all ones. size is in bytes: 1, 2 or 4. */
struct bus;
struct bus_ops {
    uint32_t (*read)(void *dev, uint32_t off, unsigned size);
    void (*write)(void *dev, uint32_t off, uint32_t val, unsigned size);
    uint8_t min_size, max_size; /* 0 means 1 and 4 */
};
struct bus_window {
    struct bus_window *next;
    const struct bus_ops *ops;
    void *dev;
    const char *name;
    uint64_t base, len;
    bool mapped, mmio;
};
/* w is embedded in the device. Mapping an already mapped window moves it. Overlap: the newest wins. */
void bus_map(struct bus *b, struct bus_window *w, bool mmio, uint64_t base, uint64_t len, const struct bus_ops *ops,
             void *dev, const char *name);
void bus_unmap(struct bus *b, struct bus_window *w);
uint32_t bus_io_read(struct bus *b, uint16_t port, unsigned size);
void bus_io_write(struct bus *b, uint16_t port, uint32_t val, unsigned size);
uint64_t bus_mmio_read(struct bus *b, uint64_t pa, unsigned size); /* size 1, 2, 4, 8 */
void bus_mmio_write(struct bus *b, uint64_t pa, uint64_t val, unsigned size);

/* ---- the one virtual clock (ns since the machine's start; stopped while paused) and its timers */
struct vclock;
struct vtimer {
    struct vtimer *next;
    uint64_t deadline; /* virtual ns; UINT64_MAX: not armed */
    void (*fn)(void *opaque);
    void *opaque;
};
uint64_t vclock_now(struct vclock *c);
/* Seconds since 1970 (UTC) that the guest's wall clock shows. */
int64_t vclock_wall(struct vclock *c);
void vtimer_init(struct vclock *c, struct vtimer *t, void (*fn)(void *opaque), void *opaque);
void vtimer_set(struct vclock *c, struct vtimer *t, uint64_t deadline); /* UINT64_MAX disarms */

/* ---- guest memory by physical address (DMA): through the one door; counts as a write for self-modifying code, dirty
 * pages and versions. False: outside of RAM (nothing, or only a part before the hole, was transferred). */
struct mem;
bool dma_read(struct mem *m, uint64_t pa, void *dst, uint64_t len);
bool dma_write(struct mem *m, uint64_t pa, const void *src, uint64_t len);
/* The guest says that it needs nothing of this: pages of RAM that lie in it as a whole are zero from now on, and cost
 * nothing; what is not RAM is left out. */
void dma_discard(struct mem *m, uint64_t pa, uint64_t len);

/* ---- video RAM: pages of the machine's that only the display adapter knows, numbered from 0. Pointers are to 4096
 * bytes and good until the next call. */
enum vram_slot { VRAM_FRAME_BUFFER, VRAM_WINDOW };
uint32_t vram_pages(const struct mem *m);
const uint8_t *vram_read(struct mem *m, uint32_t page);
uint8_t *vram_write(struct mem *m, uint32_t page, uint32_t off, uint32_t len); /* these bytes are about to change */
/* The pages from first on appear at the guest-physical address pa; pages 0: the slot's appear nowhere. */
void vram_map(struct mem *m, enum vram_slot slot, uint64_t pa, uint32_t pages, uint32_t first);

/* ---- state tables */
enum field_type { F_U8, F_U16, F_U32, F_U64, F_BOOL, F_BYTES };
struct field {
    const char *name;
    uint32_t off;   /* offsetof in the device struct */
    uint32_t count; /* elements (F_BYTES: bytes) */
    uint8_t type;
    uint8_t since; /* first version of the table that has it; older saves leave the reset value */
};
struct state_table {
    const char *name;
    uint32_t version;
    const struct field *fields; /* ends with name NULL */
    /* Validates what was loaded (ranges, indices); returns 0 or -1 and sets *why. Then re-derives lines, timers, maps.
     */
    int (*loaded)(void *dev, const char **why);
    void (*before_save)(void *dev); /* may be NULL */
};
#define FIELD_COUNT_(s, m) (sizeof(((s *)0)->m) / sizeof(((s *)0)->m[0]))
#define FIELD(s, m, t)              \
    {                               \
#m, offsetof(s, m), 1, t, 1 \
    }
#define FIELD_SINCE(s, m, t, v)     \
    {                               \
#m, offsetof(s, m), 1, t, v \
    }
#define FIELD_ARRAY(s, m, t)                         \
    {                                                \
#m, offsetof(s, m), FIELD_COUNT_(s, m), t, 1 \
    }
#define FIELD_BYTES(s, m)                                   \
    {                                                       \
#m, offsetof(s, m), sizeof(((s *)0)->m), F_BYTES, 1 \
    }
#define FIELD_END \
    {             \
        0         \
    }

/* One instance's entry in the machine's list; embedded in the device or the board. */
struct state_entry {
    struct state_entry *next;
    const char *instance; /* unique in the machine: "uart0" */
    const struct state_table *table;
    void *dev;
};

/* ---- handed to every device at its init */
struct devctx {
    struct bus *bus;
    struct vclock *clock;
    struct mem *mem;
    void (*add_state)(struct devctx *c, struct state_entry *e, const char *instance, const struct state_table *t,
                      void *dev);
    void *opaque; /* the machine */
};

#endif
