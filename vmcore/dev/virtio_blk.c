/* Virtio block device. A chain takes a slot with a buffer of fixed size; a longer request goes through it piece by
 * piece, in order. Data crosses between guest memory and the buffer on this thread only, so the worker never sees guest
 * memory. */
#include <sys/mman.h>
#include <sys/syscall.h>
#include "vmcore/dev/virtio_blk.h"
#include "vmcore/rt.h"

enum {
    SLOTS = 64,
    SLOT_BUF = 256 * 1024,
    SECTOR = 512,
    HEADER = 16, /* type, reserved, sector */
    RANGE = 16,  /* of discard and write zeroes: sector, count, flags */
    RANGES_MAX = 32,
    RANGE_SECTORS_MAX = 1 << 21, /* 1 GiB */
    QUEUE = 256,

    T_IN = 0,
    T_OUT = 1,
    T_FLUSH = 4,
    T_GET_ID = 8,
    T_DISCARD = 11,
    T_WRITE_ZEROES = 13,

    S_OK = 0,
    S_IOERR = 1,
    S_UNSUPP = 2,

    ID_LEN = 20,
};
#define F_SEG_MAX      (1ull << 2)
#define F_RO           (1ull << 5)
#define F_BLK_SIZE     (1ull << 6)
#define F_FLUSH        (1ull << 9)
#define F_TOPOLOGY     (1ull << 10)
#define F_DISCARD      (1ull << 13)
#define F_WRITE_ZEROES (1ull << 14)

struct blk_slot {
    struct blk_req req;
    struct virtio_blk *dev;
    struct blk_slot *next, *prev; /* free list, or requests in order of their start */
    struct vq_chain chain;
    uint32_t type, era;
    uint64_t off;        /* bytes on the disk */
    uint64_t len, moved; /* bytes of data in the chain, and how many are done */
};

static struct vq *queue(struct virtio_blk *b)
{
    return &b->v.vq[0];
}

/* ---- slots */
static void slot_free(struct virtio_blk *b, struct blk_slot *s)
{
    s->next = b->free;
    b->free = s;
}

static void slot_enlist(struct virtio_blk *b, struct blk_slot *s)
{
    s->era = b->era;
    s->next = NULL;
    s->prev = b->newest;
    if (b->newest)
        b->newest->next = s;
    else
        b->oldest = s;
    b->newest = s;
}

static void slot_delist(struct virtio_blk *b, struct blk_slot *s)
{
    if (s->prev)
        s->prev->next = s->next;
    else
        b->oldest = s->next;
    if (s->next)
        s->next->prev = s->prev;
    else
        b->newest = s->prev;
}

/* Requests of this era are forgotten; their slots come back when the worker is through with them. */
static void forget_all(struct virtio_blk *b)
{
    b->era++;
    b->oldest = b->newest = NULL;
    b->restart_next = b->restart_count = 0;
}

/* ---- one request */
static void finish(struct virtio_blk *b, struct blk_slot *s, uint8_t status)
{
    const struct vq_chain *c = &s->chain;
    uint64_t written = s->type == T_IN || s->type == T_GET_ID ? s->moved + 1 : 1;

    if (vq_in(&b->v, c, c->in_len - 1, &status, 1) == 1)
        vq_push(&b->v, queue(b), c->head, (uint32_t)written);
    slot_delist(b, s);
    slot_free(b, s);
}

static void submit(struct blk_slot *s, enum blk_op op, uint64_t off, uint32_t len)
{
    s->req.op = (uint8_t)op;
    s->req.off = off;
    s->req.len = len;
    s->req.result = 0;
    s->dev->port.submit(s->dev->port.opaque, &s->req);
}

static bool in_disk(const struct virtio_blk *b, uint64_t sector, uint64_t sectors)
{
    uint64_t size = b->port.size / SECTOR;
    return sector <= size && sectors <= size - sector;
}

/* The next range of a discard or write zeroes. */
static void step_range(struct virtio_blk *b, struct blk_slot *s)
{
    uint8_t r[RANGE];

    if (vq_out(&b->v, &s->chain, HEADER + s->moved, r, RANGE) != RANGE) {
        finish(b, s, S_IOERR);
        return;
    }
    uint64_t sector = get_le64(r);
    uint32_t sectors = get_le32(r + 8), flags = get_le32(r + 12);
    if (flags & ~(s->type == T_WRITE_ZEROES ? 1u : 0u))
        finish(b, s, S_UNSUPP);
    else if (sectors > RANGE_SECTORS_MAX || !in_disk(b, sector, sectors))
        finish(b, s, S_IOERR);
    else
        submit(s, s->type == T_DISCARD ? BLK_DISCARD : BLK_ZERO, sector * SECTOR, sectors * SECTOR);
}

/* Submits the next piece, or completes the request where none is left. */
static void step(struct virtio_blk *b, struct blk_slot *s)
{
    uint64_t part = s->len - s->moved;

    if (!part) {
        finish(b, s, S_OK);
        return;
    }
    if (s->type == T_DISCARD || s->type == T_WRITE_ZEROES) {
        step_range(b, s);
        return;
    }
    if (part > SLOT_BUF)
        part = SLOT_BUF;
    if (s->type == T_OUT && vq_out(&b->v, &s->chain, HEADER + s->moved, s->req.buf, part) != part)
        finish(b, s, S_IOERR);
    else
        submit(s, s->type == T_OUT ? BLK_WRITE : BLK_READ, s->off + s->moved, (uint32_t)part);
}

static void get_id(struct virtio_blk *b, struct blk_slot *s)
{
    uint64_t len = s->chain.in_len - 1;
    if (len > ID_LEN)
        len = ID_LEN;
    s->moved = vq_in(&b->v, &s->chain, 0, b->port.serial, len);
    finish(b, s, S_OK);
}

static void start(struct virtio_blk *b, struct blk_slot *s)
{
    const struct vq_chain *c = &s->chain;
    uint8_t h[HEADER];

    s->len = s->moved = 0;
    s->type = T_FLUSH;
    slot_enlist(b, s);
    if (!c->in_len || vq_out(&b->v, c, 0, h, HEADER) != HEADER) {
        virtio_break(&b->v, "request without header or status");
        slot_delist(b, s);
        slot_free(b, s);
        return;
    }
    s->type = get_le32(h);
    uint64_t sector = get_le64(h + 8);
    bool writes = s->type != T_IN && s->type != T_FLUSH && s->type != T_GET_ID;
    if (writes && b->port.read_only) {
        finish(b, s, S_IOERR);
        return;
    }
    switch (s->type) {
    case T_IN:
    case T_OUT:
        s->len = s->type == T_IN ? c->in_len - 1 : c->out_len - HEADER;
        s->off = sector * SECTOR;
        if (s->len % SECTOR || !in_disk(b, sector, s->len / SECTOR))
            finish(b, s, S_IOERR);
        else
            step(b, s);
        break;
    case T_FLUSH:
        submit(s, BLK_FLUSH, 0, 0);
        break;
    case T_GET_ID:
        get_id(b, s);
        break;
    case T_DISCARD:
    case T_WRITE_ZEROES:
        s->len = c->out_len - HEADER;
        if (!s->len || s->len % RANGE || s->len / RANGE > RANGES_MAX) {
            s->len = 0;
            finish(b, s, S_UNSUPP);
        } else {
            step(b, s);
        }
        break;
    default:
        finish(b, s, S_UNSUPP);
    }
}

/* Starts what can be started: first what a restore found in flight, in its order, then new chains. */
static void run(struct virtio_blk *b)
{
    struct vq *q = queue(b);
    uint16_t before = q->used_idx;

    for (unsigned budget = QUEUE; b->free; budget--) {
        struct blk_slot *s = b->free;
        if (!budget) { /* a driver that lets us write to its ring could keep us here for ever */
            virtio_later(&b->v);
            break;
        }
        if (b->restart_next < b->restart_count) {
            if (!vq_reload(&b->v, q, b->restart[b->restart_next++], &s->chain))
                continue;
        } else if (!vq_pop(&b->v, q, &s->chain)) {
            break;
        }
        b->free = s->next;
        start(b, s);
    }
    if (q->used_idx != before)
        vq_signal(&b->v, q);
}

static void request_done(struct vm_event *ev)
{
    struct blk_slot *s = ev->opaque;
    struct virtio_blk *b = s->dev;
    struct vq *q = queue(b);
    uint16_t before = q->used_idx;

    if (s->era != b->era) {
        slot_free(b, s);
    } else if (s->req.result < 0) {
        finish(b, s, S_IOERR);
    } else if (s->type == T_FLUSH) {
        finish(b, s, S_OK);
    } else {
        if (s->type == T_IN)
            vq_in(&b->v, &s->chain, s->moved, s->req.buf, s->req.len); /* outside of RAM: broken, nobody waits */
        s->moved += s->type == T_IN || s->type == T_OUT ? s->req.len : RANGE;
        step(b, s);
    }
    if (q->used_idx != before)
        vq_signal(&b->v, q);
    run(b);
}

/* ---- the device */
static void blk_notify(struct virtio *v, unsigned n)
{
    run((struct virtio_blk *)v);
}

static void blk_reset(struct virtio *v)
{
    forget_all((struct virtio_blk *)v);
}

static void blk_later(struct vm_event *ev)
{
    run(ev->opaque);
}

static const struct virtio_type blk_type = {
    .id = VIRTIO_ID_BLOCK,
    .pci_device = 0x1001,
    .class_code = 0x010000,
    .notify = blk_notify,
    .reset = blk_reset,
};

static void blk_before_save(void *dev)
{
    struct virtio_blk *b = dev;
    uint16_t n = 0;

    rt_memset(b->inflight, 0, sizeof(b->inflight));
    for (const struct blk_slot *s = b->oldest; s; s = s->next)
        b->inflight[n++] = s->chain.head;
    for (unsigned i = b->restart_next; i < b->restart_count && n < VQ_SIZE_MAX; i++)
        b->inflight[n++] = b->restart[i];
    b->inflight_count = n;
}

static int blk_loaded(void *dev, const char **why)
{
    struct virtio_blk *b = dev;

    forget_all(b);
    if (b->inflight_count > VQ_SIZE_MAX) {
        *why = "count of requests in flight";
        return -1;
    }
    for (unsigned i = 0; i < b->inflight_count; i++) {
        if (b->inflight[i] >= queue(b)->size) {
            *why = "request in flight";
            return -1;
        }
        b->restart[i] = b->inflight[i];
    }
    b->restart_count = b->inflight_count;
    return virtio_loaded(&b->v, why);
}

static const struct field blk_fields[] = {
    VIRTIO_FIELDS(struct virtio_blk),
    VQ_FIELDS(struct virtio_blk, 0),
    FIELD(struct virtio_blk, inflight_count, F_U16),
    FIELD_ARRAY(struct virtio_blk, inflight, F_U16),
    FIELD_END,
};
static const struct state_table blk_table = {
    .name = "virtio-blk",
    .version = 1,
    .fields = blk_fields,
    .loaded = blk_loaded,
    .before_save = blk_before_save,
};

static void fill_config(struct virtio_blk *b)
{
    put_le64(b->config, b->port.size / SECTOR);
    put_le32(b->config + 12, VQ_CHAIN_MAX - 2); /* seg_max: header and status take two */
    put_le32(b->config + 20, SECTOR);
    b->config[24] = 3;           /* physical blocks of 4 KiB */
    put_le16(b->config + 26, 1); /* min_io_size, logical blocks */
    put_le32(b->config + 28, 0); /* opt_io_size: none */
    put_le16(b->config + 34, 1); /* num_queues */
    put_le32(b->config + 36, RANGE_SECTORS_MAX);
    put_le32(b->config + 40, RANGES_MAX);
    put_le32(b->config + 44, 8); /* discard_sector_alignment: 4 KiB */
    put_le32(b->config + 48, RANGE_SECTORS_MAX);
    put_le32(b->config + 52, RANGES_MAX);
    b->config[56] = 1; /* write zeroes may unmap */
}

static size_t mapping_size(void)
{
    return SLOTS * (sizeof(struct blk_slot) + SLOT_BUF);
}

static struct blk_slot *map_slots(void)
{
    long map = rt_syscall6(SYS_mmap, 0, (long)mapping_size(), PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return map < 0 && map > -4096 ? NULL : (struct blk_slot *)map;
}

int virtio_blk_init(struct virtio_blk *b, struct devctx *c, struct pci_bus *bus, unsigned devfn, const char *name,
                    const struct blkport *p)
{
    static const uint16_t sizes[] = {QUEUE};
    uint64_t writes = p->read_only ? F_RO : F_DISCARD | F_WRITE_ZEROES;

    b->slots = map_slots();
    if (!b->slots)
        return -1;
    b->port = *p;
    uint8_t *buf = (uint8_t *)(b->slots + SLOTS);
    b->free = NULL;
    for (unsigned i = SLOTS; i-- > 0;) {
        struct blk_slot *s = &b->slots[i];
        s->dev = b;
        s->req.buf = buf + (size_t)i * SLOT_BUF;
        s->req.done = (struct vm_event){.fn = request_done, .opaque = s};
        slot_free(b, s);
    }
    fill_config(b);
    virtio_init(&b->v, c, bus, devfn,
                &(struct virtio_setup){
                    .type = &blk_type,
                    .offered = F_SEG_MAX | F_BLK_SIZE | F_FLUSH | F_TOPOLOGY | writes,
                    .config = b->config,
                    .config_len = sizeof(b->config),
                    .nvq = 1,
                    .vq_size = sizes,
                    .table = &blk_table,
                    .dev = b,
                    .name = name,
                    .later = blk_later,
                });
    return 0;
}

void virtio_blk_release(struct virtio_blk *b)
{
    if (b->slots)
        rt_syscall3(SYS_munmap, (long)b->slots, (long)mapping_size(), 0);
    b->slots = NULL;
}
