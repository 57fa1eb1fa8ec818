#include "tests/dev/period_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define VT_RT_NO_RENAME
#include "src/base/util.h"
#include "vmcore/rt.h"

enum { FAR = 10 }; /* ms */

/* ---- what the machine gives devices */

bool dma_read(struct mem *m, uint64_t pa, void *dst, uint64_t len)
{
    if (pa > RIG_RAM || len > RIG_RAM - pa)
        return false;
    memcpy(dst, m->bytes + pa, len);
    return true;
}

bool dma_write(struct mem *m, uint64_t pa, const void *src, uint64_t len)
{
    if (pa > RIG_RAM || len > RIG_RAM - pa)
        return false;
    memcpy(m->bytes + pa, src, len);
    return true;
}

void vm_post(struct vm *vm, struct vm_event *ev)
{
    if (ev->pending)
        return;
    ev->pending = 1;
    ev->next = NULL;
    *vm->last = ev;
    vm->last = &ev->next;
}

void rt_log(struct vm *vm, const char *fmt, ...)
{
}

void rig_events(struct rig *r)
{
    struct vm_event *ev = r->vm.first;
    r->vm.first = NULL;
    r->vm.last = &r->vm.first;
    while (ev) {
        struct vm_event *next = ev->next;
        ev->pending = 0;
        ev->fn(ev);
        ev = next;
    }
}

static void add_state(struct devctx *c, struct state_entry *e, const char *instance, const struct state_table *t,
                      void *dev)
{
    state_add(&container_of(c, struct rig, ctx)->states, e, instance, t, dev);
}

static void on_irq(void *opaque, unsigned n, int level)
{
    struct rig *r = opaque;
    r->irq_up += level && !r->irq;
    r->irq = level;
}

/* ---- disks */

static void submit(void *opaque, struct blk_req *req)
{
    struct rig_disk *d = opaque;
    assert_null(d->waiting);
    d->waiting = req;
}

static void serve(struct rig_disk *d, struct vm *vm)
{
    struct blk_req *q = steal(&d->waiting);

    assert_true(q->off <= d->size && q->len <= d->size - q->off);
    q->result = d->result;
    if (q->op == BLK_READ) {
        d->reads++;
        if (!d->result)
            memcpy(q->buf, d->bytes + q->off, q->len);
    } else if (q->op == BLK_WRITE) {
        assert_false(d->read_only);
        d->writes++;
        if (!d->result)
            memcpy(d->bytes + q->off, q->buf, q->len);
    } else {
        assert_int_equal(q->op, BLK_FLUSH);
        d->flushes++;
    }
    vm_post(vm, &q->done);
}

unsigned rig_serve(struct rig *r)
{
    unsigned n = 0;
    for (unsigned i = 0; i < FLOPPY_DRIVES; i++)
        if (r->disk[i].waiting) {
            serve(&r->disk[i], &r->vm);
            n++;
        }
    rig_events(r);
    return n;
}

void rig_settle(struct rig *r)
{
    for (unsigned i = 0; i < 20000; i++) {
        uint64_t next = vclock_next_deadline(&r->clock), now = vclock_now(&r->clock);
        rig_events(r);
        if (rig_serve(r))
            continue;
        if (next == UINT64_MAX || next > now + FAR * MS)
            return;
        vclock_advance(&r->clock, next - now);
    }
    fail_msg("the machine does not come to rest");
}

/* ---- the machine */

static void make(struct rig *r)
{
    static const uint8_t mac[6] = {0x52, 0x54, 0x00, 0xab, 0xcd, 0xef};
    const struct blkport *port[FLOPPY_DRIVES] = {0};
    struct blkport ports[FLOPPY_DRIVES];

    r->vm.last = &r->vm.first;
    bus_init(&r->bus);
    state_list_init(&r->states);
    r->ctx =
        (struct devctx){.bus = &r->bus, .clock = &r->clock, .mem = &r->mem, .add_state = add_state, .opaque = &r->vm};
    vclock_init(&r->clock, &r->ctx, 0);
    pci_bus_init(&r->pci, &r->ctx);
    for (unsigned i = 0; i < FLOPPY_DRIVES; i++) {
        if (r->disk[i].size == UINT32_MAX)
            continue;
        ports[i] = (struct blkport){
            .size = r->disk[i].size, .read_only = r->disk[i].read_only, .submit = submit, .opaque = &r->disk[i]};
        port[i] = &ports[i];
    }
    dma8237_init(&r->dma, &r->ctx);
    floppy_init(&r->floppy, &r->ctx, &r->dma, (struct irq_line){on_irq, r, 6}, port);
    assert_int_equal(netport_init(&r->net, 1 << 16), 0);
    r->net.kick.fd = -1;
    ne2000_init(&r->ne, &r->ctx, &r->pci, PCI_DEVFN(16, 0), "ne2k0", mac, &r->net);
}

struct rig *rig_new(const uint32_t sizes[FLOPPY_DRIVES])
{
    struct rig *r = calloc(1, sizeof *r);

    assert_non_null(r);
    r->mem.bytes = calloc(1, RIG_RAM);
    assert_non_null(r->mem.bytes);
    for (unsigned i = 0; i < FLOPPY_DRIVES; i++) {
        struct rig_disk *d = &r->disk[i];
        d->size = sizes[i];
        if (d->size == UINT32_MAX || !d->size)
            continue;
        d->bytes = malloc(d->size);
        assert_non_null(d->bytes);
        for (uint32_t k = 0; k < d->size; k++)
            d->bytes[k] = (uint8_t)(k / 512 * 7 + k * 3 + i);
    }
    make(r);
    return r;
}

void rig_free(struct rig *r)
{
    netport_release(&r->net);
    for (unsigned i = 0; i < FLOPPY_DRIVES; i++)
        free(r->disk[i].bytes);
    free(r->mem.bytes);
    free(r);
}

void rig_out(struct rig *r, uint16_t port, uint8_t v)
{
    bus_io_write(&r->bus, port, v, 1);
}
uint8_t rig_in(struct rig *r, uint16_t port)
{
    return (uint8_t)bus_io_read(&r->bus, port, 1);
}

/* ---- state */

static struct rig *twin(struct rig *r)
{
    struct rig *n = calloc(1, sizeof *n);
    assert_non_null(n);
    memcpy(n->disk, r->disk, sizeof n->disk);
    for (unsigned i = 0; i < FLOPPY_DRIVES; i++)
        n->disk[i].waiting = NULL;
    n->mem = r->mem;
    make(n);
    return n;
}

static void forget(struct rig *r)
{
    netport_release(&r->net);
    free(r);
}

struct rig *rig_reload(struct rig *r)
{
    struct rig *fresh = twin(r);
    uint8_t *a, *b;
    size_t alen, blen;
    char *diff;
    struct err e = {0};

    assert_int_equal(state_save(&r->states, &a, &alen, &e), 0);
    if (state_load(&fresh->states, a, alen, &e))
        fail_msg("%s", e.msg);
    assert_int_equal(state_save(&fresh->states, &b, &blen, &e), 0);
    assert_int_equal(state_compare(a, alen, b, blen, &diff, &e), 0);
    assert_string_equal(diff, "");
    assert_int_equal(fresh->irq, r->irq);
    assert_int_equal(fresh->ne.pci.intx, r->ne.pci.intx);
    assert_int_equal(vclock_next_deadline(&fresh->clock), vclock_next_deadline(&r->clock));
    free(a);
    free(b);
    free(diff);
    fresh->irq_up = r->irq_up;
    forget(r);
    rig_events(fresh);
    return fresh;
}

void rig_refuses(struct rig *r, const char *instance, const char *field, unsigned index, uint8_t value)
{
    struct rig *fresh = twin(r);
    uint8_t *data, *at;
    size_t len;
    struct err e = {0};

    assert_int_equal(state_save(&r->states, &data, &len, &e), 0);
    /* The field's bytes follow "name type count" after the instance's name. */
    at = memmem(data, len, instance, strlen(instance));
    while (at && at[-1] != strlen(instance))
        at = memmem(at + 1, len - (size_t)(at + 1 - data), instance, strlen(instance));
    assert_non_null(at);
    for (at += strlen(instance); at < data + len; at++)
        if (at[0] == strlen(field) && !memcmp(at + 1, field, strlen(field)))
            break;
    assert_true(at < data + len);
    at[1 + strlen(field) + 5 + index] = value;
    assert_int_equal(state_load(&fresh->states, data, len, &e), VT_CORRUPT);
    assert_non_null(strstr(e.msg, instance));
    free(data);
    forget(fresh);
}

static void go_on(struct rig *r)
{
    for (unsigned i = 0; i < 40; i++) {
        uint64_t next = vclock_next_deadline(&r->clock), now = vclock_now(&r->clock);
        rig_events(r);
        if (!rig_serve(r) && next != UINT64_MAX && next > now && next - now < 1000 * MS)
            vclock_advance(&r->clock, next - now);
        rig_out(r, 0x0a, 2);
        for (uint16_t port = 0x3f2; port < 0x3f8; port++)
            rig_in(r, port);
        rig_out(r, 0x3f5, (uint8_t)i);
        for (uint16_t port = 0; port < 0x20; port++)
            bus_io_read(&r->bus, (uint16_t)(0xc000 + port), 1);
        bus_io_write(&r->bus, 0xc010, i, 2);
        netq_put(&r->net.to_guest, r->mem.bytes, 1000);
        vm_post(&r->vm, &r->net.rx_event);
    }
}

bool rig_survives(struct rig *r, size_t index, uint8_t flip)
{
    struct rig *fresh = twin(r);
    uint8_t *data, *again;
    size_t len, again_len;
    bool taken;

    assert_int_equal(state_save(&r->states, &data, &len, NULL), 0);
    data[index % len] ^= flip;
    taken = state_load(&fresh->states, data, len, NULL) == 0;
    if (taken) {
        go_on(fresh);
        assert_int_equal(state_save(&fresh->states, &again, &again_len, NULL), 0);
        assert_int_equal(again_len, len);
        free(again);
    }
    free(data);
    forget(fresh);
    return taken;
}

uint32_t rig_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(*seed >> 33);
}
