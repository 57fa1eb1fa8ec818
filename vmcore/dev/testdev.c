#include "vmcore/dev/testdev.h"

#include "vmcore/rt.h"

static uint32_t data_read(void *dev, uint32_t off, unsigned size)
{
    return ((struct testdev *)dev)->data >> 8 * off;
}

static void data_write(void *dev, uint32_t off, uint32_t val, unsigned size)
{
    ((struct testdev *)dev)->data = val << 8 * off;
}

static uint32_t none_read(void *dev, uint32_t off, unsigned size)
{
    return 0;
}

static void flush_write(void *dev, uint32_t off, uint32_t val, unsigned size)
{
}

static void irq_write(void *dev, uint32_t off, uint32_t val, unsigned size)
{
    const struct testdev *d = dev;
    d->irq.fn(d->irq.opaque, off, (val & 0xff) != 0);
}

static uint32_t mem_read(void *dev, uint32_t off, unsigned size)
{
    uint32_t val = 0;
    memcpy(&val, ((struct testdev *)dev)->mem + off, size);
    return val;
}

static void mem_write(void *dev, uint32_t off, uint32_t val, unsigned size)
{
    memcpy(((struct testdev *)dev)->mem + off, &val, size);
}

static const struct bus_ops data_ops = {data_read, data_write, 1, 4};
static const struct bus_ops flush_ops = {none_read, flush_write, 1, 4};
static const struct bus_ops irq_ops = {none_read, irq_write, 1, 1};
static const struct bus_ops mem_ops = {mem_read, mem_write, 1, 4};

static const struct field testdev_fields[] = {
    FIELD(struct testdev, data, F_U32),
    FIELD_BYTES(struct testdev, mem),
    FIELD_END,
};
static const struct state_table testdev_table = {"testdev", 1, testdev_fields, NULL, NULL};

void testdev_init(struct testdev *d, struct devctx *c, struct irq_line irq)
{
    memset(d, 0, sizeof *d);
    d->irq = irq;
    bus_map(c->bus, &d->data_win, false, 0xe0, 4, &data_ops, d, "testdev-data");
    bus_map(c->bus, &d->flush_win, false, 0xe4, 4, &flush_ops, d, "testdev-flush");
    bus_map(c->bus, &d->irq_win, false, 0x2000, TESTDEV_INPUTS, &irq_ops, d, "testdev-irq");
    bus_map(c->bus, &d->mem_win, true, TESTDEV_BASE, sizeof d->mem, &mem_ops, d, "testdev-mem");
    c->add_state(c, &d->state, "testdev", &testdev_table, d);
}

void testdev_reset(struct testdev *d)
{
    d->data = 0;
    memset(d->mem, 0, sizeof d->mem);
}
