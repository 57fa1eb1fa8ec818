#include "vmcore/port.h"

#include <sys/syscall.h>

#include "vmcore/rt.h"

void host_kick(const struct host_kick *k)
{
    uint64_t one = 1;
    if (k->fd >= 0)
        rt_syscall3(SYS_write, k->fd, (long)&one, sizeof one); /* a full counter is as good as a kick */
}

/* head and tail run freely; their difference is what the queue holds. A put and a drop end in a full barrier, so that
 * one of two holds: a producer that looks after its put sees that the consumer had emptied the queue (and kicks it), or
 * a consumer that looks after its drop sees the new byte (and goes on). */
uint32_t byteq_used(const struct byteq *q)
{
    return __atomic_load_n(&q->head, __ATOMIC_ACQUIRE) - __atomic_load_n(&q->tail, __ATOMIC_ACQUIRE);
}

uint32_t byteq_space(const struct byteq *q)
{
    return q->size - byteq_used(q);
}

static void copy_in(struct byteq *q, uint32_t at, const void *src, uint32_t len)
{
    uint32_t i = at & (q->size - 1), first = q->size - i < len ? q->size - i : len;
    memcpy(q->buf + i, src, first);
    memcpy(q->buf, (const uint8_t *)src + first, len - first);
}

static void copy_out(const struct byteq *q, uint32_t at, void *dst, uint32_t len)
{
    uint32_t i = at & (q->size - 1), first = q->size - i < len ? q->size - i : len;
    memcpy(dst, q->buf + i, first);
    memcpy((uint8_t *)dst + first, q->buf, len - first);
}

uint32_t byteq_put(struct byteq *q, const void *src, uint32_t len)
{
    uint32_t space = byteq_space(q), head = q->head;
    if (len > space)
        len = space;
    copy_in(q, head, src, len);
    __atomic_store_n(&q->head, head + len, __ATOMIC_SEQ_CST);
    return len;
}

uint32_t byteq_peek(const struct byteq *q, void *dst, uint32_t len)
{
    uint32_t used = byteq_used(q);
    if (len > used)
        len = used;
    copy_out(q, q->tail, dst, len);
    return len;
}

void byteq_drop(struct byteq *q, uint32_t len)
{
    uint32_t used = byteq_used(q);
    __atomic_store_n(&q->tail, q->tail + (len < used ? len : used), __ATOMIC_SEQ_CST);
}

bool netq_put(struct byteq *q, const void *frame, uint32_t len)
{
    uint32_t head = q->head;
    if (len > UINT32_MAX - 4 || byteq_space(q) < len + 4)
        return false;
    copy_in(q, head, &len, 4);
    copy_in(q, head + 4, frame, len);
    __atomic_store_n(&q->head, head + 4 + len, __ATOMIC_SEQ_CST); /* the frame appears whole */
    return true;
}

uint32_t netq_get(struct byteq *q, void *frame, uint32_t max)
{
    uint32_t len, tail = q->tail;
    if (byteq_used(q) < 4)
        return 0;
    copy_out(q, tail, &len, 4);
    copy_out(q, tail + 4, frame, len < max ? len : max);
    __atomic_store_n(&q->tail, tail + 4 + len, __ATOMIC_SEQ_CST);
    return len < max ? len : max;
}

void reqlist_push(struct reqlist *l, struct blk_req *r)
{
    struct blk_req *head = __atomic_load_n(&l->head, __ATOMIC_RELAXED);
    do
        r->next = head;
    while (!__atomic_compare_exchange_n(&l->head, &head, r, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED));
}

struct blk_req *reqlist_take_all(struct reqlist *l)
{
    struct blk_req *r = __atomic_exchange_n(&l->head, NULL, __ATOMIC_ACQUIRE), *oldest = NULL;
    while (r) {
        struct blk_req *next = r->next;
        r->next = oldest;
        oldest = r;
        r = next;
    }
    return oldest;
}
