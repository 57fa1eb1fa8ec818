#include "src/loop.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <time.h>
#include "src/base/banned.h"
#include "src/base/util.h"

#define MAX_POLL 1024

struct call {
    struct call *next;
    void (*fn)(void *opaque);
    void *opaque;
};

struct loop {
    struct loop_fd *fds;
    struct loop_timer *timers;
    struct loop_source *sources;
    pthread_mutex_t lock; /* guards calls */
    struct call *calls, **calls_end;
    int wake_fd;
    atomic_bool stop;
    pthread_t thread;
    atomic_bool running;
    struct pollfd set[MAX_POLL];
};

uint64_t loop_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int loop_new(struct loop **ret_loop, struct err *e)
{
    struct loop *l = calloc(1, sizeof *l);

    if (!l)
        return err_set(e, VT_FAIL, "out of memory");
    l->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (l->wake_fd < 0) {
        free(l);
        return err_set(e, VT_FAIL, "eventfd: %m");
    }
    pthread_mutex_init(&l->lock, NULL);
    l->calls_end = &l->calls;
    *ret_loop = l;
    return 0;
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    while (l->calls) {
        struct call *c = l->calls;
        l->calls = c->next;
        free(c);
    }
    close(l->wake_fd);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

void loop_add(struct loop *l, struct loop_fd *f)
{
    f->slot = -1;
    f->next = l->fds;
    l->fds = f;
}

void loop_del(struct loop *l, struct loop_fd *f)
{
    for (struct loop_fd **p = &l->fds; *p; p = &(*p)->next)
        if (*p == f) {
            *p = f->next;
            f->slot = -1;
            return;
        }
}

void loop_timer_add(struct loop *l, struct loop_timer *t)
{
    t->next = l->timers;
    l->timers = t;
}

void loop_timer_del(struct loop *l, struct loop_timer *t)
{
    for (struct loop_timer **p = &l->timers; *p; p = &(*p)->next)
        if (*p == t) {
            *p = t->next;
            return;
        }
}

void loop_source_add(struct loop *l, struct loop_source *s)
{
    s->count = -1;
    s->next = l->sources;
    l->sources = s;
}

void loop_source_del(struct loop *l, struct loop_source *s)
{
    for (struct loop_source **p = &l->sources; *p; p = &(*p)->next)
        if (*p == s) {
            *p = s->next;
            return;
        }
}

static void wake(struct loop *l)
{
    uint64_t one = 1;
    ssize_t n;

    do
        n = write(l->wake_fd, &one, sizeof one);
    while (n < 0 && errno == EINTR); /* EAGAIN: it is awake anyway */
}

void loop_call(struct loop *l, void (*fn)(void *opaque), void *opaque)
{
    struct call *c = calloc(1, sizeof *c);

    vt_assert(c);
    c->fn = fn;
    c->opaque = opaque;
    pthread_mutex_lock(&l->lock);
    *l->calls_end = c;
    l->calls_end = &c->next;
    pthread_mutex_unlock(&l->lock);
    wake(l);
}

struct waited {
    void (*fn)(void *opaque);
    void *opaque;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool done;
};

static void run_waited(void *opaque)
{
    struct waited *w = opaque;

    w->fn(w->opaque);
    pthread_mutex_lock(&w->lock);
    w->done = true;
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->lock);
}

void loop_call_wait(struct loop *l, void (*fn)(void *opaque), void *opaque)
{
    struct waited w = {.fn = fn, .opaque = opaque};

    if (!atomic_load(&l->running) || pthread_equal(l->thread, pthread_self())) {
        fn(opaque);
        return;
    }
    pthread_mutex_init(&w.lock, NULL);
    pthread_cond_init(&w.cond, NULL);
    loop_call(l, run_waited, &w);
    pthread_mutex_lock(&w.lock);
    while (!w.done)
        pthread_cond_wait(&w.cond, &w.lock);
    pthread_mutex_unlock(&w.lock);
    pthread_cond_destroy(&w.cond);
    pthread_mutex_destroy(&w.lock);
}

static void run_calls(struct loop *l)
{
    for (;;) {
        struct call *c;

        pthread_mutex_lock(&l->lock);
        c = l->calls;
        if (c) {
            l->calls = c->next;
            if (!l->calls)
                l->calls_end = &l->calls;
        }
        pthread_mutex_unlock(&l->lock);
        if (!c)
            return;
        c->fn(c->opaque);
        free(c);
    }
}

/* Milliseconds until the first timer, rounded up, at most `limit` (-1: none). */
static int timer_wait(const struct loop *l, int limit)
{
    uint64_t now = loop_now();

    for (const struct loop_timer *t = l->timers; t; t = t->next) {
        uint64_t ms;
        if (!t->deadline)
            continue;
        ms = t->deadline <= now ? 0 : (t->deadline - now + 999999u) / 1000000u;
        if (limit < 0 || ms < (uint64_t)limit)
            limit = ms > 3600000u ? 3600000 : (int)ms;
    }
    return limit;
}

static void run_timers(struct loop *l)
{
    uint64_t now = loop_now();
    struct loop_timer *t = l->timers;

    while (t) {
        if (t->deadline && t->deadline <= now) {
            t->deadline = 0;
            t->fn(t->opaque);
            t = l->timers; /* fn may have changed the list; disarmed ones are passed over */
        } else {
            t = t->next;
        }
    }
}

/* Calls back each ready descriptor. A callback may add and remove watches, so the list is walked from its start after
 * each one: lists are short, and a slot is cleared before its call. */
static void dispatch_fds(struct loop *l)
{
    struct loop_fd *f = l->fds;

    while (f) {
        short re = f->slot >= 0 ? l->set[f->slot].revents : 0;
        f->slot = -1;
        if (re) {
            f->fn(f->opaque, re);
            f = l->fds;
        } else {
            f = f->next;
        }
    }
}

void loop_turn(struct loop *l, int timeout_ms)
{
    int n = 0, rc;
    uint64_t drain;

    timeout_ms = timer_wait(l, timeout_ms);
    l->set[n++] = (struct pollfd){.fd = l->wake_fd, .events = POLLIN};
    for (struct loop_fd *f = l->fds; f; f = f->next) {
        f->slot = -1;
        if (f->idle || n == MAX_POLL)
            continue;
        f->slot = n;
        l->set[n++] = (struct pollfd){.fd = f->fd, .events = f->events};
    }
    for (struct loop_source *s = l->sources; s; s = s->next) {
        s->first = n;
        s->count = s->prepare(s->opaque, l->set + n, MAX_POLL - n, &timeout_ms);
        n += s->count;
    }
    rc = poll(l->set, (nfds_t)n, timeout_ms);
    if (rc < 0)
        for (int i = 0; i < n; i++)
            l->set[i].revents = 0;
    if (l->set[0].revents && read(l->wake_fd, &drain, sizeof drain) < 0)
        vt_assert(errno == EAGAIN || errno == EINTR);
    for (struct loop_source *s = l->sources; s; s = s->next) {
        if (s->count >= 0)
            s->dispatch(s->opaque, l->set + s->first, s->count, rc < 0);
        s->count = -1;
    }
    dispatch_fds(l);
    run_timers(l);
    run_calls(l);
}

void loop_run(struct loop *l)
{
    l->thread = pthread_self();
    atomic_store(&l->running, true);
    while (!atomic_load(&l->stop))
        loop_turn(l, -1);
    atomic_store(&l->running, false);
    run_calls(l); /* whoever waits in loop_call_wait must not wait for ever */
}

void loop_stop(struct loop *l)
{
    atomic_store(&l->stop, true);
    wake(l);
}
