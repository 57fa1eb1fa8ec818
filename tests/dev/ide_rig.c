#include "tests/dev/ide_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static unsigned channel(unsigned base)
{
    return base == SEC;
}

static unsigned master(unsigned base)
{
    return MASTER + 8 * channel(base);
}

/* ---- the host's side */

static void submit(void *opaque, struct blk_req *q)
{
    struct ide_rig *t = *(struct ide_rig **)opaque;

    q->next = NULL;
    *t->last = q;
    t->last = &q->next;
    t->submitted++;
}

static unsigned medium_of(const struct ide_rig *t, const struct blk_req *q)
{
    for (unsigned n = 0; n < 2; n++)
        if (q == &t->ide.ch[n].req)
            return 2 * n + t->ide.ch[n].select;
    fail_msg("a request of nobody");
    return 0;
}

/* Whose request is stale may have been the other drive's, before a reset: then it is only dropped. */
bool ide_rig_serve(struct ide_rig *t)
{
    struct blk_req *q = t->first;

    if (!q)
        return false;
    t->first = q->next;
    if (!t->first)
        t->last = &t->first;
    unsigned n = medium_of(t, q);
    q->result = t->result;
    if (t->ide.ch[n / 2].stale)
        q->result = -1;
    else if (q->result == 0) {
        assert_true(q->off % 512 == 0 && q->len % 512 == 0 && q->len <= IDE_PIECE);
        assert_true(q->off <= t->medium[n].size && q->len <= t->medium[n].size - q->off);
        if (q->op == BLK_READ)
            memcpy(q->buf, t->medium[n].bytes + q->off, q->len);
        else if (q->op == BLK_WRITE)
            memcpy(t->medium[n].bytes + q->off, q->buf, q->len);
        t->flushes += q->op == BLK_FLUSH;
        t->writes += q->op == BLK_WRITE;
    }
    vm_post(&t->r.vm, &q->done);
    return true;
}

void ide_rig_settle(struct ide_rig *t)
{
    do
        rig_events(&t->r);
    while (ide_rig_serve(t));
}

static void on_irq(void *opaque, unsigned n, int level)
{
    struct ide_rig *t = opaque;

    t->irqs[n] += level && !t->irq[n];
    t->irq[n] = level;
}

/* ---- the machine */

static void build(struct ide_rig *t, const struct ide_rig_drive drives[IDE_DRIVES])
{
    struct irq_line irq[2] = {{on_irq, t, 0}, {on_irq, t, 1}};
    struct ide_config config[IDE_DRIVES] = {0};

    t->last = &t->first;
    rig_init(&t->r);
    for (unsigned n = 0; n < IDE_DRIVES; n++) {
        t->medium[n].rig = t;
        t->medium[n].size = drives[n].sectors * 512ull;
        t->medium[n].bytes = malloc(t->medium[n].size + 1);
        assert_non_null(t->medium[n].bytes);
        for (uint64_t i = 0; i < t->medium[n].size; i++)
            t->medium[n].bytes[i] = (uint8_t)(i * 7 + (i >> 9) + n * 31);
        config[n] = (struct ide_config){drives[n].kind,
                                        {.size = t->medium[n].size,
                                         .read_only = drives[n].read_only,
                                         .serial = "vt-ide",
                                         .submit = submit,
                                         .opaque = &t->medium[n].rig}};
    }
    assert_int_equal(ide_init(&t->ide, &t->r.ctx, &t->r.pci, PCI_DEVFN(1, 1), config, irq), 0);
}

struct ide_rig *ide_rig_new(const struct ide_rig_drive drives[IDE_DRIVES])
{
    struct ide_rig *t = calloc(1, sizeof *t);

    assert_non_null(t);
    build(t, drives);
    pci_config_write(&t->ide.pci, 0x20, MASTER, 4);
    pci_config_write(&t->ide.pci, 0x40, 0x80008000, 4);
    pci_config_write(&t->ide.pci, PCI_COMMAND, PCI_CMD_IO | PCI_CMD_MASTER, 2);
    return t;
}

void ide_rig_free(struct ide_rig *t)
{
    ide_rig_settle(t);
    ide_release(&t->ide);
    for (unsigned n = 0; n < IDE_DRIVES; n++)
        free(t->medium[n].bytes);
    rig_release(&t->r);
    free(t);
}

struct ide_rig *ide_rig_move(struct ide_rig *t)
{
    struct ide_rig *fresh = calloc(1, sizeof *fresh);
    struct ide_rig_drive drives[IDE_DRIVES];
    uint8_t *data, *again;
    size_t len, again_len;
    struct err e = {0};
    char *diff;

    assert_non_null(fresh);
    for (unsigned n = 0; n < IDE_DRIVES; n++) {
        const struct ide_drive *d = &t->ide.ch[n / 2].drive[n % 2];
        drives[n] = (struct ide_rig_drive){d->kind, (uint32_t)(t->medium[n].size / 512), d->port.read_only};
    }
    assert_int_equal(state_save(&t->r.states, &data, &len, &e), 0);
    build(fresh, drives);
    for (unsigned n = 0; n < IDE_DRIVES; n++)
        memcpy(fresh->medium[n].bytes, t->medium[n].bytes, t->medium[n].size);
    memcpy(fresh->r.mem.bytes, t->r.mem.bytes, t->r.mem.size);
    fresh->r.brk = t->r.brk;
    memcpy(fresh->irq, t->irq, sizeof t->irq);
    if (state_load(&fresh->r.states, data, len, &e))
        fail_msg("%s", e.msg);
    assert_int_equal(fresh->submitted, 0); /* not before the machine runs: its memory may not be there yet */
    assert_int_equal(state_save(&fresh->r.states, &again, &again_len, &e), 0);
    assert_int_equal(state_compare(data, len, again, again_len, &diff, &e), 0);
    assert_string_equal(diff, "");
    free(diff);
    free(data);
    free(again);
    t->result = -1; /* what the old one still wants goes nowhere */
    ide_rig_free(t);
    return fresh;
}

/* ---- the driver's */

uint8_t rd(struct ide_rig *t, unsigned port)
{
    return (uint8_t)bus_io_read(&t->r.bus, (uint16_t)port, 1);
}
void wr(struct ide_rig *t, unsigned port, uint8_t val)
{
    bus_io_write(&t->r.bus, (uint16_t)port, val, 1);
}
uint16_t rd16(struct ide_rig *t, unsigned port)
{
    return (uint16_t)bus_io_read(&t->r.bus, (uint16_t)port, 2);
}
void wr16(struct ide_rig *t, unsigned port, uint16_t val)
{
    bus_io_write(&t->r.bus, (uint16_t)port, val, 2);
}
uint32_t rd32(struct ide_rig *t, unsigned port)
{
    return bus_io_read(&t->r.bus, (uint16_t)port, 4);
}
void wr32(struct ide_rig *t, unsigned port, uint32_t val)
{
    bus_io_write(&t->r.bus, (uint16_t)port, val, 4);
}

void ide_command(struct ide_rig *t, unsigned base, uint8_t device, uint32_t lba, uint8_t count, uint8_t command)
{
    wr(t, base + 6, (uint8_t)(device | (device & 0x40 ? lba >> 24 & 15 : 0)));
    wr(t, base + 2, count);
    wr(t, base + 3, (uint8_t)lba);
    wr(t, base + 4, (uint8_t)(lba >> 8));
    wr(t, base + 5, (uint8_t)(lba >> 16));
    wr(t, base + 7, command);
}

void ide_command_ext(struct ide_rig *t, unsigned base, uint8_t device, uint64_t lba, uint16_t count, uint8_t command)
{
    wr(t, base + 6, device);
    wr(t, base + 2, (uint8_t)(count >> 8));
    wr(t, base + 3, (uint8_t)(lba >> 24));
    wr(t, base + 4, (uint8_t)(lba >> 32));
    wr(t, base + 5, (uint8_t)(lba >> 40));
    wr(t, base + 2, (uint8_t)count);
    wr(t, base + 3, (uint8_t)lba);
    wr(t, base + 4, (uint8_t)(lba >> 8));
    wr(t, base + 5, (uint8_t)(lba >> 16));
    wr(t, base + 7, command);
}

uint8_t ide_wait(struct ide_rig *t, unsigned base)
{
    ide_rig_settle(t);
    assert_true(t->irq[channel(base)]);
    uint8_t status = rd(t, base + 7);
    assert_false(t->irq[channel(base)]);
    return status;
}

void pio_in(struct ide_rig *t, unsigned base, void *dst, unsigned len)
{
    for (unsigned i = 0; i < len; i += 2) {
        uint16_t w = rd16(t, base);
        memcpy((uint8_t *)dst + i, &w, len - i < 2 ? 1 : 2);
    }
}

void pio_out(struct ide_rig *t, unsigned base, const void *src, unsigned len)
{
    for (unsigned i = 0; i < len; i += 2) {
        uint16_t w;
        memcpy(&w, (const uint8_t *)src + i, 2);
        wr16(t, base, w);
    }
}

void dma_table(struct ide_rig *t, unsigned base, const struct prd *prd, unsigned n)
{
    uint32_t at = rig_alloc(&t->r, 8 * n, 8);

    for (unsigned i = 0; i < n; i++) {
        put_le32(rig_at(&t->r, at + 8 * i), prd[i].addr);
        put_le32(rig_at(&t->r, at + 8 * i + 4), prd[i].len | (prd[i].last ? 0x80000000u : 0));
    }
    wr32(t, master(base) + 4, at);
}

void dma_start(struct ide_rig *t, unsigned base, bool to_memory)
{
    wr(t, master(base), to_memory ? 8 : 0);
    wr(t, master(base) + 2, 6);
    wr(t, master(base), to_memory ? 9 : 1);
}

uint8_t dma_stop(struct ide_rig *t, unsigned base)
{
    uint8_t status = rd(t, master(base) + 2);

    wr(t, master(base), 0);
    wr(t, master(base) + 2, 6);
    return status;
}
