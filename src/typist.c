#include "src/typist.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "src/base/banned.h"
#include "src/base/units.h"
#include "src/base/util.h"

#define LOOK_MS 200 /* how often a wait looks whether the guest has taken anything at all */

struct typist {
    struct inputport port;
    struct vm *vm;
    pthread_mutex_t turn; /* held for a whole text */
    pthread_mutex_t lock; /* the port's producer */
    unsigned buttons;
    atomic_uint discards;
};

int typist_new(struct typist **ret, struct err *e)
{
    struct typist *t = calloc(1, sizeof *t);

    if (!t || inputport_init(&t->port) < 0) {
        free(t);
        return err_set(e, VT_FAIL, "out of memory");
    }
    t->port.kick.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (t->port.kick.fd < 0) {
        int rc = err_set(e, VT_FAIL, "eventfd: %m");
        inputport_release(&t->port);
        free(t);
        return rc;
    }
    pthread_mutex_init(&t->turn, NULL);
    pthread_mutex_init(&t->lock, NULL);
    *ret = t;
    return 0;
}

void typist_free(struct typist *t)
{
    if (!t)
        return;
    close(t->port.kick.fd);
    inputport_release(&t->port);
    pthread_mutex_destroy(&t->turn);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

struct inputport *typist_port(struct typist *t)
{
    return &t->port;
}

void typist_set_vm(struct typist *t, struct vm *vm)
{
    t->vm = vm;
}

void typist_discard(struct typist *t)
{
    pthread_mutex_lock(&t->lock);
    byteq_drop(&t->port.keys, UINT32_MAX);
    byteq_drop(&t->port.mouse, UINT32_MAX);
    __atomic_store_n(&t->port.withdraw, 0, __ATOMIC_RELEASE);
    atomic_fetch_add(&t->discards, 1);
    host_kick(&t->port.kick);
    pthread_mutex_unlock(&t->lock);
}

/* Until the guest's side has dropped what was withdrawn there is no room, or it would go, too. */
static bool withdrawing(struct typist *t)
{
    return __atomic_load_n(&t->port.withdraw, __ATOMIC_ACQUIRE) != 0;
}

static void withdraw(struct typist *t)
{
    pthread_mutex_lock(&t->lock);
    __atomic_store_n(&t->port.withdraw, 1, __ATOMIC_RELEASE);
    vm_post(t->vm, &t->port.rx_event);
    pthread_mutex_unlock(&t->lock);
}

/* As many whole events as there is room for. */
static size_t put(struct typist *t, const struct input_key *keys, size_t n)
{
    pthread_mutex_lock(&t->lock);
    if (withdrawing(t))
        n = 0;
    n = MIN(n, (size_t)(byteq_space(&t->port.keys) / sizeof *keys));
    byteq_put(&t->port.keys, keys, (uint32_t)(n * sizeof *keys));
    if (n)
        vm_post(t->vm, &t->port.rx_event);
    pthread_mutex_unlock(&t->lock);
    return n;
}

static int await_room(struct typist *t, const struct typist_stop *stop, struct err *e)
{
    struct pollfd p[3] = {{.fd = t->port.kick.fd, .events = POLLIN},
                          {.fd = stop->gone_fd, .events = POLLIN},
                          {.fd = stop->end_fd, .events = POLLIN}};
    uint64_t count;

    if (poll(p, ARRAY_LEN(p), LOOK_MS) < 0 && errno != EINTR)
        return err_set(e, VT_FAIL, "poll: %m");
    if (read(t->port.kick.fd, &count, sizeof count) < 0)
        vt_assert(errno == EAGAIN || errno == EINTR);
    if (p[2].revents)
        return err_set(e, VT_GONE, "the machine ended while it was typed to");
    if (p[1].revents)
        return err_set(e, VT_FAIL, "nobody waits for it any more");
    return 0;
}

static int type(struct typist *t, const struct input_key *keys, size_t n, const struct typist_stop *stop,
                size_t *ret_taken, struct err *e)
{
    unsigned discards = atomic_load(&t->discards);
    uint64_t moved_at = clock_mono_ns();
    size_t sent = 0;
    int rc;

    for (;;) {
        size_t left;

        sent += put(t, keys + sent, n - sent);
        left = byteq_used(&t->port.keys) / sizeof *keys;
        if (atomic_load(&t->discards) != discards)
            return err_set(e, VT_GONE, "the machine was reverted while it was typed to");
        if (sent - MIN(left, sent) > *ret_taken) {
            *ret_taken = sent - left;
            moved_at = clock_mono_ns();
        }
        if (*ret_taken == n)
            return 0;
        if (clock_mono_ns() - moved_at > stop->stall_ns)
            return err_set(e, VT_GONE, "the guest does not read its keyboard: it took %zu of %zu presses and releases",
                           *ret_taken, n);
        rc = await_room(t, stop, e);
        if (rc < 0)
            return rc;
    }
}

int typist_type(struct typist *t, const struct input_key *keys, size_t n, const struct typist_stop *stop,
                size_t *ret_taken, struct err *e)
{
    int rc;

    *ret_taken = 0;
    pthread_mutex_lock(&t->turn);
    rc = type(t, keys, n, stop, ret_taken, e);
    if (rc < 0)
        withdraw(t);
    pthread_mutex_unlock(&t->turn);
    return rc;
}

int typist_keys(struct typist *t, const struct input_key *keys, size_t n, struct err *e)
{
    int rc = 0;

    pthread_mutex_lock(&t->lock);
    if (withdrawing(t) || byteq_space(&t->port.keys) < n * sizeof *keys) {
        rc = err_set(e, VT_BUSY, "the guest does not read its keyboard");
    } else {
        byteq_put(&t->port.keys, keys, (uint32_t)(n * sizeof *keys));
        vm_post(t->vm, &t->port.rx_event);
    }
    pthread_mutex_unlock(&t->lock);
    return rc;
}

int typist_mouse(struct typist *t, int dx, int dy, int dz, unsigned mask, unsigned down, struct err *e)
{
    struct input_mouse ev = {.dx = (int16_t)dx, .dy = (int16_t)dy, .dz = (int16_t)dz};
    int rc = 0;

    pthread_mutex_lock(&t->lock);
    ev.buttons = (uint16_t)((t->buttons & ~mask) | (down & mask));
    if (byteq_space(&t->port.mouse) < sizeof ev) {
        rc = err_set(e, VT_BUSY, "the guest does not read its mouse");
    } else {
        t->buttons = ev.buttons;
        byteq_put(&t->port.mouse, &ev, sizeof ev);
        vm_post(t->vm, &t->port.rx_event);
    }
    pthread_mutex_unlock(&t->lock);
    return rc;
}
