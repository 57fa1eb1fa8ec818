/* The disk worker: order, completions, failures that wait, switching to another disk. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "src/base/util.h"
#include "src/blkworker.h"

enum { DISK = 1 << 20, REQS = 300 };

/* completions, in the order of their posting */
struct vm {
    pthread_mutex_t lock;
    pthread_cond_t posted;
    struct blk_req *done[REQS];
    unsigned count;
};

void vm_post(struct vm *vm, struct vm_event *ev)
{
    pthread_mutex_lock(&vm->lock);
    vm->done[vm->count++] = ev->opaque;
    pthread_cond_broadcast(&vm->posted);
    pthread_mutex_unlock(&vm->lock);
}

static void wait_done(struct vm *vm, unsigned n)
{
    pthread_mutex_lock(&vm->lock);
    while (vm->count < n)
        pthread_cond_wait(&vm->posted, &vm->lock);
    pthread_mutex_unlock(&vm->lock);
}

/* a disk in memory whose writes can be made to fail, and whose calls can be held up */
struct disk {
    struct blockdev dev;
    uint8_t bytes[DISK];
    pthread_mutex_t gate;
    int write_error, read_error;
    unsigned flushes, writes_at_flush, writes;
};

static struct disk *of(struct blockdev *b)
{
    struct disk *d = container_of(b, struct disk, dev);
    pthread_mutex_lock(&d->gate);
    pthread_mutex_unlock(&d->gate);
    return d;
}

static int disk_read(struct blockdev *b, void *dst, size_t len, uint64_t off, struct err *e)
{
    struct disk *d = of(b);
    if (d->read_error)
        return err_set(e, d->read_error, "bad block");
    memcpy(dst, d->bytes + off, len);
    return 0;
}

static int disk_write(struct blockdev *b, const void *src, size_t len, uint64_t off, struct err *e)
{
    struct disk *d = of(b);
    if (__atomic_load_n(&d->write_error, __ATOMIC_SEQ_CST))
        return err_set(e, d->write_error, "no space");
    memcpy(d->bytes + off, src, len);
    d->writes++;
    return 0;
}

static int disk_flush(struct blockdev *b, struct err *e)
{
    struct disk *d = of(b);
    d->flushes++;
    d->writes_at_flush = d->writes;
    return 0;
}

static int disk_discard(struct blockdev *b, uint64_t len, uint64_t off, bool zero, struct err *e)
{
    memset(of(b)->bytes + off, zero ? 0 : 0xdd, len);
    return 0;
}

static const struct blockdev_ops ops = {disk_read, disk_write, disk_flush, disk_discard, NULL};

struct t {
    struct vm vm;
    struct disk disk;
    struct blkworker *w;
    struct blkport port;
    struct blk_req req[REQS];
    uint8_t buf[REQS][512];
    unsigned used;
    /* what trouble() said */
    pthread_mutex_t lock;
    pthread_cond_t told;
    unsigned troubles;
    bool held;
    char msg[1024];
};

static void trouble(void *opaque, enum blk_op op, bool held, const struct err *why)
{
    struct t *t = opaque;
    pthread_mutex_lock(&t->lock);
    t->troubles++;
    t->held = held;
    snprintf(t->msg, sizeof t->msg, "%s", why->msg);
    pthread_cond_broadcast(&t->told);
    pthread_mutex_unlock(&t->lock);
}

static void wait_trouble(struct t *t, unsigned n)
{
    pthread_mutex_lock(&t->lock);
    while (t->troubles < n)
        pthread_cond_wait(&t->told, &t->lock);
    pthread_mutex_unlock(&t->lock);
}

static void disk_init(struct disk *d)
{
    d->dev = (struct blockdev){.ops = &ops, .size = DISK};
    pthread_mutex_init(&d->gate, NULL);
}

static struct t *start(void)
{
    struct t *t = calloc(1, sizeof *t);
    struct err e = {0};

    assert_non_null(t);
    pthread_mutex_init(&t->vm.lock, NULL);
    pthread_cond_init(&t->vm.posted, NULL);
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->told, NULL);
    disk_init(&t->disk);
    assert_int_equal(blkworker_new(&t->disk.dev, trouble, t, &t->w, &e), 0);
    blkworker_port(t->w, "a-serial-of-more-than-twenty", &t->port);
    assert_int_equal(blkworker_start(t->w, &t->vm, &e), 0);
    return t;
}

static void stop(struct t *t)
{
    blkworker_free(t->w);
    free(t);
}

static struct blk_req *submit(struct t *t, enum blk_op op, uint64_t off, uint32_t len, uint8_t fill)
{
    struct blk_req *r = &t->req[t->used];

    memset(t->buf[t->used], fill, 512);
    *r = (struct blk_req){.op = (uint8_t)op, .off = off, .len = len, .buf = t->buf[t->used], .result = 1};
    r->done.opaque = r;
    t->used++;
    t->port.submit(t->port.opaque, r);
    return r;
}

static void serves(void **state)
{
    struct t *t = start();
    struct blk_req *r;

    assert_string_equal(t->port.serial, "a-serial-of-more-tha");
    assert_int_equal(t->port.size, DISK);
    submit(t, BLK_WRITE, 512, 512, 0xab);
    submit(t, BLK_FLUSH, 0, 0, 0);
    r = submit(t, BLK_READ, 512, 512, 0);
    wait_done(&t->vm, 3);
    assert_int_equal(r->result, 0);
    assert_int_equal(r->buf[511], 0xab);
    submit(t, BLK_DISCARD, 0, 512, 0);
    submit(t, BLK_ZERO, 512, 512, 0);
    submit(t, BLK_ZERO, DISK, 0, 0);
    assert_int_equal(blkworker_quiesce(t->w, NULL), 0);
    assert_int_equal(t->vm.count, 6);
    assert_int_equal(t->disk.bytes[0], 0xdd);
    assert_int_equal(t->disk.bytes[512], 0);
    stop(t);
}

static void in_order(void **state)
{
    struct t *t = start();

    for (unsigned i = 0; i < REQS - 1; i++)
        submit(t, BLK_WRITE, 0, 512, (uint8_t)i);
    submit(t, BLK_FLUSH, 0, 0, 0);
    wait_done(&t->vm, REQS);
    for (unsigned i = 0; i < REQS; i++) {
        assert_ptr_equal(t->vm.done[i], &t->req[i]);
        assert_int_equal(t->req[i].result, 0);
    }
    assert_int_equal(t->disk.bytes[0], (uint8_t)(REQS - 2));
    assert_int_equal(t->disk.writes_at_flush, REQS - 1);
    stop(t);
}

static void full_disk_waits(void **state)
{
    struct t *t = start();
    struct blk_req *w;
    struct err e = {0};

    __atomic_store_n(&t->disk.write_error, VT_IO, __ATOMIC_SEQ_CST);
    w = submit(t, BLK_WRITE, 0, 512, 7);
    wait_trouble(t, 1);
    assert_true(t->held);
    assert_string_equal(t->msg, "no space");
    submit(t, BLK_READ, 0, 512, 0); /* what comes later waits too */
    assert_int_equal(blkworker_quiesce(t->w, &e), VT_BUSY);
    assert_int_equal(t->vm.count, 0);
    blkworker_retry(t->w);
    wait_trouble(t, 2);
    assert_int_equal(t->vm.count, 0);
    __atomic_store_n(&t->disk.write_error, 0, __ATOMIC_SEQ_CST);
    blkworker_retry(t->w);
    wait_done(&t->vm, 2);
    assert_int_equal(w->result, 0);
    assert_int_equal(t->req[1].result, 0);
    assert_int_equal(t->req[1].buf[0], 7);
    assert_int_equal(blkworker_quiesce(t->w, NULL), 0);
    stop(t);
}

static void failed_read_is_told(void **state)
{
    struct t *t = start();
    struct blk_req *r;

    t->disk.read_error = VT_CORRUPT;
    r = submit(t, BLK_READ, 0, 512, 0);
    wait_done(&t->vm, 1);
    assert_int_equal(r->result, VT_CORRUPT);
    assert_int_equal(t->troubles, 1);
    assert_false(t->held);
    stop(t);
}

static void switch_drops_what_waits(void **state)
{
    struct t *t = start();
    struct disk *other = calloc(1, sizeof *other);

    assert_non_null(other);
    disk_init(other);
    __atomic_store_n(&t->disk.write_error, VT_IO, __ATOMIC_SEQ_CST);
    submit(t, BLK_WRITE, 0, 512, 1);
    submit(t, BLK_WRITE, 512, 512, 2);
    wait_trouble(t, 1);
    blkworker_switch(t->w, &other->dev);
    assert_int_equal(t->vm.count, 2);
    assert_int_equal(t->req[0].result, VT_GONE);
    assert_int_equal(t->req[1].result, VT_GONE);
    submit(t, BLK_WRITE, 0, 512, 3);
    assert_int_equal(blkworker_quiesce(t->w, NULL), 0);
    assert_int_equal(t->req[2].result, 0);
    assert_int_equal(other->bytes[0], 3);
    assert_int_equal(other->bytes[512], 0);
    assert_int_equal(t->disk.bytes[0], 0);
    stop(t);
    free(other);
}

/* Stopping serves what was submitted, and gives up what is held. */
static void stopping(void **state)
{
    struct t *t = start();

    pthread_mutex_lock(&t->disk.gate);
    for (unsigned i = 0; i < 10; i++)
        submit(t, BLK_WRITE, 512 * i, 512, 9);
    pthread_mutex_unlock(&t->disk.gate);
    blkworker_stop(t->w);
    assert_int_equal(t->vm.count, 10);
    assert_int_equal(t->disk.bytes[9 * 512], 9);
    assert_int_equal(blkworker_start(t->w, &t->vm, NULL), 0);
    __atomic_store_n(&t->disk.write_error, VT_IO, __ATOMIC_SEQ_CST);
    submit(t, BLK_WRITE, 0, 512, 1);
    wait_trouble(t, 1);
    blkworker_stop(t->w);
    assert_int_equal(t->vm.count, 11);
    assert_int_equal(t->req[10].result, VT_GONE);
    stop(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(serves),
        cmocka_unit_test(in_order),
        cmocka_unit_test(full_disk_waits),
        cmocka_unit_test(failed_read_is_told),
        cmocka_unit_test(switch_drops_what_waits),
        cmocka_unit_test(stopping),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
