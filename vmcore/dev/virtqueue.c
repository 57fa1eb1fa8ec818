/* Split virtqueues (virtio 1.1, section 2.6). Everything here is read from guest memory once, into locals, and checked
 * there: the driver may change its rings at any time. */
#include "vmcore/dev/virtio.h"
#include "vmcore/rt.h"

enum {
    DESC_SIZE = 16,
    DESC_F_NEXT = 1,
    DESC_F_WRITE = 2,
    DESC_F_INDIRECT = 4,

    AVAIL_F_NO_INTERRUPT = 1,
};

struct desc { /* as it lies in guest memory; the host is little-endian too */
    uint64_t addr;
    uint32_t len;
    uint16_t flags, next;
};
_Static_assert(sizeof(struct desc) == DESC_SIZE, "descriptor layout");

static bool ring_read16(struct virtio *v, uint64_t pa, uint16_t *ret)
{
    if (dma_read(v->mem, pa, ret, 2))
        return true;
    virtio_break(v, "ring outside of memory");
    return false;
}

static bool ring_write16(struct virtio *v, uint64_t pa, uint16_t val)
{
    if (dma_write(v->mem, pa, &val, 2))
        return true;
    virtio_break(v, "ring outside of memory");
    return false;
}

bool vq_ready(const struct virtio *v, const struct vq *q)
{
    return virtio_live(v) && q->enabled && q->size;
}

static bool chain_add(struct virtio *v, struct vq_chain *c, const struct desc *d)
{
    if (c->nout + c->nin == VQ_CHAIN_MAX) {
        virtio_break(v, "too many buffers in a chain");
        return false;
    }
    if (d->flags & DESC_F_WRITE) {
        c->nin++;
        c->in_len += d->len;
    } else if (c->nin) {
        virtio_break(v, "readable buffer after a writable one");
        return false;
    } else {
        c->nout++;
        c->out_len += d->len;
    }
    c->seg[c->nout + c->nin - 1] = (struct vq_seg){d->addr, d->len};
    return true;
}

static bool add_indirect(struct virtio *v, struct vq_chain *c, const struct desc *in)
{
    struct desc table[VQ_CHAIN_MAX];
    uint32_t n = in->len / DESC_SIZE;

    if (!virtio_has(v, VIRTIO_F_INDIRECT_DESC) || (in->flags & DESC_F_NEXT) || !n || in->len % DESC_SIZE ||
        n > VQ_CHAIN_MAX) {
        virtio_break(v, "bad indirect descriptor");
        return false;
    }
    if (!dma_read(v->mem, in->addr, table, in->len)) {
        virtio_break(v, "indirect table outside of memory");
        return false;
    }
    for (uint32_t i = 0, steps = 0;; i = table[i].next) {
        if (i >= n || steps++ == n || (table[i].flags & DESC_F_INDIRECT)) {
            virtio_break(v, "bad indirect table");
            return false;
        }
        if (!chain_add(v, c, &table[i]))
            return false;
        if (!(table[i].flags & DESC_F_NEXT))
            return true;
    }
}

static bool chain_load(struct virtio *v, struct vq *q, uint16_t head, struct vq_chain *c)
{
    c->head = head;
    c->nout = c->nin = 0;
    c->out_len = c->in_len = 0;
    for (unsigned i = head, steps = 0;;) {
        struct desc d;
        if (i >= q->size || steps++ == q->size) {
            virtio_break(v, "bad descriptor chain");
            return false;
        }
        if (!dma_read(v->mem, q->desc + (uint64_t)i * DESC_SIZE, &d, DESC_SIZE)) {
            virtio_break(v, "descriptors outside of memory");
            return false;
        }
        if (d.flags & DESC_F_INDIRECT)
            return add_indirect(v, c, &d);
        if (!chain_add(v, c, &d))
            return false;
        if (!(d.flags & DESC_F_NEXT))
            return true;
        i = d.next;
    }
}

bool vq_pop(struct virtio *v, struct vq *q, struct vq_chain *ret_c)
{
    uint16_t idx, head;

    if (!vq_ready(v, q) || !ring_read16(v, q->avail + 2, &idx))
        return false;
    if (idx == q->next_avail && virtio_has(v, VIRTIO_F_EVENT_IDX)) {
        /* avail_event lies behind the used ring; look again after it is set, or a chain could go unnoticed */
        if (!ring_write16(v, q->used + 4 + 8ull * q->size, q->next_avail))
            return false;
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        if (!ring_read16(v, q->avail + 2, &idx))
            return false;
    }
    if (idx == q->next_avail)
        return false;
    if ((uint16_t)(idx - q->next_avail) > q->size) {
        virtio_break(v, "available index runs ahead of the ring");
        return false;
    }
    if (!ring_read16(v, q->avail + 4 + 2ull * (q->next_avail & (q->size - 1)), &head))
        return false;
    if (!chain_load(v, q, head, ret_c))
        return false;
    q->next_avail++;
    return true;
}

void vq_unpop(struct vq *q)
{
    q->next_avail--;
}

bool vq_reload(struct virtio *v, struct vq *q, uint16_t head, struct vq_chain *ret_c)
{
    return vq_ready(v, q) && chain_load(v, q, head, ret_c);
}

void vq_fill(struct virtio *v, struct vq *q, unsigned n, uint16_t head, uint32_t written)
{
    uint32_t entry[2] = {head, written};
    uint16_t slot = (uint16_t)(q->used_idx + n) & (q->size - 1);

    if (vq_ready(v, q) && !dma_write(v->mem, q->used + 4 + 8ull * slot, entry, 8))
        virtio_break(v, "used ring outside of memory");
}

void vq_publish(struct virtio *v, struct vq *q, unsigned count)
{
    if (!vq_ready(v, q))
        return;
    q->used_idx = (uint16_t)(q->used_idx + count);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    ring_write16(v, q->used + 2, q->used_idx);
}

void vq_push(struct virtio *v, struct vq *q, uint16_t head, uint32_t written)
{
    vq_fill(v, q, 0, head, written);
    vq_publish(v, q, 1);
}

void vq_signal(struct virtio *v, struct vq *q)
{
    uint16_t old = q->signalled, now = q->used_idx, val;
    bool valid = q->signalled_valid;

    if (!vq_ready(v, q))
        return;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (virtio_has(v, VIRTIO_F_EVENT_IDX)) {
        if (!ring_read16(v, q->avail + 4 + 2ull * q->size, &val)) /* used_event, behind the available ring */
            return;
        q->signalled = now;
        q->signalled_valid = true;
        if (valid && (uint16_t)(now - val - 1) >= (uint16_t)(now - old))
            return;
    } else {
        if (!ring_read16(v, q->avail, &val) || (val & AVAIL_F_NO_INTERRUPT))
            return;
    }
    virtio_signal(v, VIRTIO_ISR_QUEUE, q->vector);
}

static uint64_t copy_segs(struct virtio *v, const struct vq_seg *s, unsigned n, uint64_t off, uint8_t *dst,
                          const uint8_t *src, uint64_t len)
{
    uint64_t done = 0;

    for (; n && done < len; n--, s++) {
        if (off >= s->len) {
            off -= s->len;
            continue;
        }
        uint64_t part = s->len - off;
        if (part > len - done)
            part = len - done;
        bool ok =
            dst ? dma_read(v->mem, s->pa + off, dst + done, part) : dma_write(v->mem, s->pa + off, src + done, part);
        if (!ok) {
            virtio_break(v, "buffer outside of memory");
            return done;
        }
        done += part;
        off = 0;
    }
    return done;
}

uint64_t vq_out(struct virtio *v, const struct vq_chain *c, uint64_t off, void *dst, uint64_t len)
{
    return copy_segs(v, c->seg, c->nout, off, dst, NULL, len);
}

uint64_t vq_in(struct virtio *v, const struct vq_chain *c, uint64_t off, const void *src, uint64_t len)
{
    return copy_segs(v, c->seg + c->nout, c->nin, off, NULL, src, len);
}
