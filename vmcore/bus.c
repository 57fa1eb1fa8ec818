#include "vmcore/bus.h"

#include "vmcore/rt.h"

static void drop_cache(struct bus_cache *c)
{
    for (unsigned i = 0; i < BUS_CACHE; i++)
        c[i].key = UINT64_MAX;
}

void bus_init(struct bus *b)
{
    memset(b, 0, sizeof *b);
    drop_cache(b->io_cache);
    drop_cache(b->mmio_cache);
}

void bus_unmap(struct bus *b, struct bus_window *w)
{
    if (!w->mapped)
        return;
    struct bus_window **p = w->mmio ? &b->mmio : &b->io;
    while (*p && *p != w)
        p = &(*p)->next;
    if (*p)
        *p = w->next;
    w->mapped = false;
    w->next = NULL;
    drop_cache(w->mmio ? b->mmio_cache : b->io_cache);
    b->generation += w->mmio;
}

void bus_map(struct bus *b, struct bus_window *w, bool mmio, uint64_t base, uint64_t len, const struct bus_ops *ops,
             void *dev, const char *name)
{
    bus_unmap(b, w);
    struct bus_window **head = mmio ? &b->mmio : &b->io;
    *w = (struct bus_window){.next = *head, .ops = ops, .dev = dev, .name = name, .base = base, .len = len};
    w->mapped = true;
    w->mmio = mmio;
    *head = w;
    drop_cache(mmio ? b->mmio_cache : b->io_cache);
    b->generation += mmio;
}

static struct bus_window *find(struct bus_window *w, uint64_t addr)
{
    while (w && addr - w->base >= w->len)
        w = w->next;
    return w;
}

static struct bus_window *find_io(struct bus *b, uint16_t port)
{
    struct bus_cache *c = &b->io_cache[port & (BUS_CACHE - 1)];
    if (c->key != port) {
        c->key = port;
        c->w = find(b->io, port);
    }
    return c->w;
}

/* Only windows made of whole granules are cached, and only where no other window begins or ends inside the granule. */
static bool granule_is_uniform(const struct bus *b, uint64_t key)
{
    uint64_t mask = (1u << BUS_GRANULE) - 1;
    for (const struct bus_window *w = b->mmio; w; w = w->next)
        if (((w->base & mask) && w->base >> BUS_GRANULE == key) ||
            (((w->base + w->len) & mask) && (w->base + w->len) >> BUS_GRANULE == key))
            return false;
    return true;
}

static struct bus_window *find_mmio(struct bus *b, uint64_t pa)
{
    uint64_t key = pa >> BUS_GRANULE;
    struct bus_cache *c = &b->mmio_cache[key & (BUS_CACHE - 1)];
    if (c->key == key)
        return c->w;
    struct bus_window *w = find(b->mmio, pa);
    if (granule_is_uniform(b, key)) {
        c->key = key;
        c->w = w;
    }
    return w;
}

bool bus_mmio_claimed(struct bus *b, uint64_t pa, uint64_t len)
{
    for (const struct bus_window *w = b->mmio; w; w = w->next)
        if (pa < w->base + w->len && w->base < pa + len)
            return true;
    return false;
}

static uint32_t ones(unsigned size)
{
    return size == 4 ? UINT32_MAX : (1u << size * 8) - 1;
}

/* An access that lies whole inside w, widened or split to what its ops take. */
static uint32_t window_read(const struct bus_window *w, uint32_t off, unsigned size)
{
    unsigned min = w->ops->min_size ? w->ops->min_size : 1, max = w->ops->max_size ? w->ops->max_size : 4;
    if (!w->ops->read)
        return ones(size);
    if (size < min) {
        uint32_t at = off & ~(min - 1);
        return w->ops->read(w->dev, at, min) >> (off - at) * 8 & ones(size);
    }
    if (size <= max)
        return w->ops->read(w->dev, off, size) & ones(size);
    uint32_t v = 0;
    for (unsigned i = 0; i < size; i += max)
        v |= (w->ops->read(w->dev, off + i, max) & ones(max)) << i * 8;
    return v;
}

static void window_write(const struct bus_window *w, uint32_t off, uint32_t val, unsigned size)
{
    unsigned min = w->ops->min_size ? w->ops->min_size : 1, max = w->ops->max_size ? w->ops->max_size : 4;
    if (!w->ops->write)
        return;
    val &= ones(size);
    if (size < min) {
        uint32_t at = off & ~(min - 1);
        w->ops->write(w->dev, at, val << (off - at) * 8, min);
    } else if (size <= max) {
        w->ops->write(w->dev, off, val, size);
    } else {
        for (unsigned i = 0; i < size; i += max)
            w->ops->write(w->dev, off + i, val >> i * 8 & ones(max), max);
    }
}

/* The window at an access's first byte takes it whole if it reaches to the last one, even where a newer window lies
 * over a later byte: the PCI address register at CF8h against the reset port at CF9h. */
static bool whole(const struct bus_window *w, uint64_t addr, unsigned size)
{
    return addr - w->base + size <= w->len;
}

uint32_t bus_io_read(struct bus *b, uint16_t port, unsigned size)
{
    struct bus_window *w = find_io(b, port);
    if (w && whole(w, port, size))
        return window_read(w, port - (uint32_t)w->base, size);
    if (size == 1)
        return ones(1);
    unsigned h = size / 2;
    return bus_io_read(b, port, h) | bus_io_read(b, (uint16_t)(port + h), h) << h * 8;
}

void bus_io_write(struct bus *b, uint16_t port, uint32_t val, unsigned size)
{
    struct bus_window *w = find_io(b, port);
    if (w && whole(w, port, size)) {
        window_write(w, port - (uint32_t)w->base, val, size);
    } else if (size > 1) {
        unsigned h = size / 2;
        bus_io_write(b, port, val & ones(h), h);
        bus_io_write(b, (uint16_t)(port + h), val >> h * 8, h);
    }
}

uint64_t bus_mmio_read(struct bus *b, uint64_t pa, unsigned size)
{
    if (size == 8)
        return bus_mmio_read(b, pa, 4) | bus_mmio_read(b, pa + 4, 4) << 32;
    struct bus_window *w = find_mmio(b, pa);
    if (w && whole(w, pa, size))
        return window_read(w, (uint32_t)(pa - w->base), size);
    if (size == 1)
        return ones(1);
    unsigned h = size / 2;
    return bus_mmio_read(b, pa, h) | bus_mmio_read(b, pa + h, h) << h * 8;
}

void bus_mmio_write(struct bus *b, uint64_t pa, uint64_t val, unsigned size)
{
    if (size == 8) {
        bus_mmio_write(b, pa, (uint32_t)val, 4);
        bus_mmio_write(b, pa + 4, val >> 32, 4);
        return;
    }
    struct bus_window *w = find_mmio(b, pa);
    if (w && whole(w, pa, size)) {
        window_write(w, (uint32_t)(pa - w->base), (uint32_t)val, size);
    } else if (size > 1) {
        unsigned h = size / 2;
        bus_mmio_write(b, pa, val & ones(h), h);
        bus_mmio_write(b, pa + h, val >> h * 8, h);
    }
}
