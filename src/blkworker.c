#include "src/blkworker.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include "src/base/util.h"
#include "src/blksubmit.h"

struct blkworker {
    struct blkinbox inbox;
    struct blockdev *dev;
    blkworker_trouble *trouble;
    void *opaque;
    struct vm *vm;
    pthread_t thread;
    bool started;

    pthread_mutex_t lock; /* what follows */
    pthread_cond_t changed;
    struct blk_req *waiting; /* taken from the inbox, oldest first */
    bool busy;               /* a request is being served */
    bool held;               /* the oldest waiting one failed */
    bool retry, drop, stop;  /* orders */
};

static int serve(struct blockdev *d, struct blk_req *r, struct err *e)
{
    switch (r->op) {
    case BLK_READ:
        return r->len ? d->ops->pread(d, r->buf, r->len, r->off, e) : 0;
    case BLK_WRITE:
        return r->len ? d->ops->pwrite(d, r->buf, r->len, r->off, e) : 0;
    case BLK_FLUSH:
        return d->ops->flush(d, e);
    case BLK_DISCARD:
    case BLK_ZERO:
        return r->len ? d->ops->discard(d, r->len, r->off, r->op == BLK_ZERO, e) : 0;
    }
    return err_set(e, VT_FAIL, "unknown disk request %u", r->op);
}

/* [locked] Appends what was submitted since. */
static void take_inbox(struct blkworker *w)
{
    struct blk_req **end = &w->waiting;

    while (*end)
        end = &(*end)->next;
    *end = reqlist_take_all(&w->inbox.list);
}

/* [locked] The request is the device's again as soon as it is posted. */
static void complete(struct blkworker *w, struct blk_req *r, int result)
{
    w->waiting = r->next;
    r->next = NULL;
    r->result = result;
    vm_post(w->vm, &r->done);
}

/* [locked] */
static void drop_all(struct blkworker *w)
{
    take_inbox(w);
    while (w->waiting)
        complete(w, w->waiting, VT_GONE);
    w->held = w->drop = false;
}

/* [locked; unlocks while it serves] */
static void serve_oldest(struct blkworker *w)
{
    struct blk_req *r = w->waiting;
    struct blockdev *dev = w->dev;
    struct err e = {0};

    w->busy = true;
    pthread_mutex_unlock(&w->lock);
    int result = serve(dev, r, &e);
    bool hold = result < 0 && r->op != BLK_READ;
    if (result < 0 && w->trouble)
        w->trouble(w->opaque, r->op, hold, &e);
    pthread_mutex_lock(&w->lock);
    w->busy = false;
    if (hold)
        w->held = true;
    else
        complete(w, r, result);
}

static void *worker_main(void *arg)
{
    struct blkworker *w = arg;

    pthread_mutex_lock(&w->lock);
    for (;;) {
        uint32_t seen = __atomic_load_n(&w->inbox.count, __ATOMIC_SEQ_CST);

        if (w->retry)
            w->held = w->retry = false;
        if (w->drop || (w->stop && w->held))
            drop_all(w);
        if (!w->waiting)
            take_inbox(w);
        if (w->waiting && !w->held) {
            serve_oldest(w);
            continue;
        }
        pthread_cond_broadcast(&w->changed);
        if (w->stop)
            break;
        pthread_mutex_unlock(&w->lock);
        blkinbox_wait(&w->inbox, seen);
        pthread_mutex_lock(&w->lock);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

int blkworker_new(struct blockdev *dev, blkworker_trouble *trouble, void *opaque, struct blkworker **ret_w,
                  struct err *e)
{
    struct blkworker *w = calloc(1, sizeof *w);

    if (!w)
        return err_set(e, VT_FAIL, "out of memory");
    w->dev = dev;
    w->trouble = trouble;
    w->opaque = opaque;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, NULL);
    *ret_w = w;
    return 0;
}

void blkworker_port(struct blkworker *w, const char *serial, struct blkport *ret_port)
{
    *ret_port = (struct blkport){
        .size = w->dev->size,
        .read_only = w->dev->read_only,
        .submit = blksubmit,
        .opaque = &w->inbox,
    };
    memcpy(ret_port->serial, serial, strnlen(serial, sizeof ret_port->serial - 1));
}

int blkworker_start(struct blkworker *w, struct vm *vm, struct err *e)
{
    sigset_t all, old;

    w->vm = vm;
    w->stop = false;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int r = pthread_create(&w->thread, NULL, worker_main, w);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (r)
        return err_set(e, VT_FAIL, "disk thread: %s", strerror(r));
    w->started = true;
    return 0;
}

static void order(struct blkworker *w, bool *what)
{
    pthread_mutex_lock(&w->lock);
    *what = true;
    pthread_mutex_unlock(&w->lock);
    blkinbox_wake(&w->inbox);
}

void blkworker_stop(struct blkworker *w)
{
    if (!w->started)
        return;
    order(w, &w->stop);
    pthread_join(w->thread, NULL);
    w->started = false;
}

void blkworker_free(struct blkworker *w)
{
    if (!w)
        return;
    blkworker_stop(w);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

/* [locked] Is all that was submitted served? */
static bool idle(const struct blkworker *w)
{
    return !w->busy && !w->waiting && !__atomic_load_n(&w->inbox.list.head, __ATOMIC_SEQ_CST);
}

int blkworker_quiesce(struct blkworker *w, struct err *e)
{
    int r = 0;

    pthread_mutex_lock(&w->lock);
    while (w->started && !idle(w) && !(w->held && !w->busy && !w->retry))
        pthread_cond_wait(&w->changed, &w->lock);
    if (w->held)
        r = err_set(e, VT_BUSY, "a disk write waits for room or for the disk to work again");
    pthread_mutex_unlock(&w->lock);
    return r;
}

void blkworker_retry(struct blkworker *w)
{
    order(w, &w->retry);
}

void blkworker_switch(struct blkworker *w, struct blockdev *dev)
{
    order(w, &w->drop);
    pthread_mutex_lock(&w->lock);
    while (w->started && (w->drop || w->busy))
        pthread_cond_wait(&w->changed, &w->lock);
    w->drop = false;
    w->dev = dev;
    pthread_mutex_unlock(&w->lock);
}
