/* A hostile driver, a careless host and damaged saved states, against all virtio devices. An input is a list of
 * operations, a byte each with its arguments behind; the end of the input ends the run. What must not happen is seen by
 * the sanitizers (guest memory is one allocation), by assertions, and by the fuzzer's time limit. */
#include <stdlib.h>
#include <string.h>
#include "src/base/util.h"
#include "tests/dev/virtio_rig.h"
#include "vmcore/dev/virtio_blk.h"
#include "vmcore/dev/virtio_console.h"
#include "vmcore/dev/virtio_net.h"
#include "vmcore/dev/virtio_rng.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { DISK = 1 << 20, DEVICES = 4, OPS_MAX = 400, ARENA = 0x40000, RAM = 0x50000 };

struct fuzz {
    const uint8_t *p, *end;
    struct rig r;
    struct virtio_blk blk;
    struct virtio_console con;
    struct virtio_net net;
    struct virtio_rng rng;
    struct drv drv[DEVICES];
    struct chrport tty, agent, exec;
    struct netport port;
    struct blk_req *first, **last;
    unsigned loads; /* costly, so few an input */
};

static uint32_t take(struct fuzz *f, unsigned size)
{
    uint32_t v = 0;
    for (unsigned i = 0; i < size && f->p < f->end; i++)
        v |= (uint32_t)*f->p++ << 8 * i;
    return v;
}

/* Mostly low memory, where the rings lie; at times the edges. */
static uint64_t address(struct fuzz *f)
{
    uint32_t v = take(f, 2);

    switch (v >> 13) {
    case 7:
        return v & 1 ? RAM - (v & 0xff) : UINT64_MAX - (v & 0xff);
    case 6:
        return (uint64_t)v << 20;
    default:
        return (uint64_t)v * 4 % ARENA;
    }
}

static void submit(void *opaque, struct blk_req *r)
{
    struct fuzz *f = opaque;
    vt_assert(r->off <= DISK && r->len <= DISK - r->off);
    r->next = NULL;
    *f->last = r;
    f->last = &r->next;
}

static void serve(struct fuzz *f, unsigned n, int result)
{
    for (struct blk_req *r; n-- && (r = f->first);) {
        f->first = r->next;
        if (!f->first)
            f->last = &f->first;
        if (r->op == BLK_READ)
            memset(r->buf, 0x5a, r->len);
        r->result = result;
        vm_post(&f->r.vm, &r->done);
        rig_events(&f->r);
    }
}

static void op_start(struct fuzz *f, struct drv *d)
{
    uint32_t how = take(f, 1), low = take(f, 4);
    unsigned n = take(f, 1) % 9;

    f->r.brk = 0x1000;
    drv_find(d, &f->r, d->pci, how & 1);
    drv_start(d, low | (uint64_t)(how & 1) << 32, n, (uint16_t)(1u << (how >> 4)), how & 2);
}

static void op_add(struct fuzz *f, struct drv *d)
{
    unsigned q = take(f, 1) % 8, nout = take(f, 1) % 8, nin = take(f, 1) % 8, n = 0;
    struct sg s[16];

    if (!d->ring[q].size || nout + nin == 0)
        return;
    f->r.brk = 0x20000; /* indirect tables */
    for (; n < nout + nin; n++) {
        s[n].pa = address(f);
        s[n].len = take(f, 2);
    }
    drv_add(d, q, s, nout, s + nout, nin, take(f, 1) & 1);
    if (take(f, 1) & 1)
        drv_kick(d, q);
}

static void op_poke(struct fuzz *f)
{
    uint64_t at = address(f);
    for (unsigned n = 1 + take(f, 1) % 32; n--; at++) {
        uint8_t b = (uint8_t)take(f, 1);
        dma_write(&f->r.mem, at, &b, 1);
    }
}

static void op_registers(struct fuzz *f, struct drv *d, unsigned op)
{
    uint32_t off = take(f, 2), val = take(f, 4);
    unsigned size = 1u << take(f, 1) % 3;

    off &= ~(size - 1);
    if (op & 1)
        bus_mmio_write(&f->r.bus, (pci_get(d->pci, PCI_BAR0 + 16, 4) & ~15u) + off % 0x4000, val, size);
    else
        bus_io_write(&f->r.bus, (uint16_t)(d->io + off % 128), val, size);
    if (op & 1)
        bus_mmio_read(&f->r.bus, (pci_get(d->pci, PCI_BAR0 + 16, 4) & ~15u) + off % 0x4000, size);
    else
        bus_io_read(&f->r.bus, (uint16_t)(d->io + off % 128), size);
}

static void op_config(struct fuzz *f, struct drv *d)
{
    unsigned off = take(f, 1) & 0xfc, size = 1u << take(f, 1) % 3;
    uint32_t val = take(f, 4);

    pci_config_write(d->pci, off, val, size);
    pci_config_read(d->pci, off, size);
}

static void op_host(struct fuzz *f)
{
    struct chrport *ports[] = {&f->tty, &f->agent, &f->exec};
    unsigned which = take(f, 1), len = take(f, 2) % 3000;
    struct chrport *p = ports[which % 3];
    static const uint8_t bytes[3000] = {1, 2, 3};
    uint8_t sink[3000];

    if (which & 4) {
        netq_put(&f->port.to_guest, bytes, len);
        netq_get(&f->port.to_host, sink, sizeof sink);
        vm_post(&f->r.vm, &f->port.rx_event);
        return;
    }
    if (which & 8)
        p->host_open = !p->host_open;
    if (which & 16)
        byteq_put(&p->to_guest, bytes, len);
    if (which & 32)
        byteq_drop(&p->to_host, len);
    vm_post(&f->r.vm, &p->rx_event);
}

static void op_damaged_load(struct fuzz *f)
{
    uint8_t *state;
    size_t len;

    vt_assert(state_save(&f->r.states, &state, &len, NULL) == 0);
    for (unsigned n = take(f, 1) % 8; n--;) {
        uint32_t at = take(f, 3) % len;
        state[at] = (uint8_t)take(f, 1);
    }
    if (state_load(&f->r.states, state, len, NULL))
        pci_bus_reset(&f->r.pci);
    free(state);
}

/* A state that loads comes back the same. */
static void op_load(struct fuzz *f)
{
    uint8_t *a, *b;
    size_t alen, blen;

    vt_assert(state_save(&f->r.states, &a, &alen, NULL) == 0);
    vt_assert(state_load(&f->r.states, a, alen, NULL) == 0);
    vt_assert(state_save(&f->r.states, &b, &blen, NULL) == 0);
    vt_assert(alen == blen && memcmp(a, b, alen) == 0);
    free(a);
    free(b);
}

static void step(struct fuzz *f)
{
    unsigned op = take(f, 1);
    struct drv *d = &f->drv[op >> 4 & 3];

    switch (op & 15) {
    case 0:
    case 1:
        op_start(f, d);
        break;
    case 2:
    case 3:
    case 4:
        op_add(f, d);
        break;
    case 5:
        bus_mmio_write(&f->r.bus, d->notify + 4 * (take(f, 1) % 8), 0, 2);
        break;
    case 6:
    case 7:
        op_poke(f);
        break;
    case 8:
    case 9:
        op_registers(f, d, op);
        break;
    case 10:
        op_config(f, d);
        break;
    case 11:
        op_host(f);
        break;
    case 12:
        rig_events(&f->r);
        break;
    case 13:
        serve(f, 1 + op / 64, op & 32 ? -1 : 0);
        break;
    case 14:
        if (f->loads++ < 8)
            op_load(f);
        break;
    case 15:
        if (f->loads++ < 8)
            op_damaged_load(f);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct fuzz *f = calloc(1, sizeof *f);
    struct chrport *ports[2];
    static const uint8_t mac[6] = {2};

    vt_assert(f);
    f->p = data;
    f->end = data + len;
    f->last = &f->first;
    rig_init_sized(&f->r, RAM);
    vt_assert(!chrport_init(&f->tty, "tty", 256, 256) && !chrport_init(&f->agent, "agent", 256, 256) &&
              !chrport_init(&f->exec, "exec", 256, 4096) && !netport_init(&f->port, 8192));
    ports[0] = &f->agent;
    ports[1] = &f->exec;
    const struct blkport disk = {.size = DISK, .submit = submit, .opaque = f};
    vt_assert(virtio_blk_init(&f->blk, &f->r.ctx, &f->r.pci, PCI_DEVFN(1, 0), "vblk0", &disk) == 0);
    virtio_console_init(&f->con, &f->r.ctx, &f->r.pci, PCI_DEVFN(2, 0), "vcon0", &f->tty, ports, 2);
    virtio_net_init(&f->net, &f->r.ctx, &f->r.pci, PCI_DEVFN(3, 0), "vnet0", mac, &f->port);
    virtio_rng_init(&f->rng, &f->r.ctx, &f->r.pci, PCI_DEVFN(4, 0), "vrng0");
    struct virtio *all[DEVICES] = {&f->blk.v, &f->con.v, &f->net.v, &f->rng.v};
    for (unsigned i = 0; i < DEVICES; i++)
        drv_find(&f->drv[i], &f->r, &all[i]->pci, true);
    for (unsigned n = 0; n < OPS_MAX && f->p < f->end; n++)
        step(f);
    serve(f, 1000, 0);
    rig_events(&f->r);
    virtio_blk_release(&f->blk);
    chrport_release(&f->tty);
    chrport_release(&f->agent);
    chrport_release(&f->exec);
    netport_release(&f->port);
    rig_release(&f->r);
    free(f);
    return 0;
}
