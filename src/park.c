#include "src/park.h"

#include <string.h>
#include <sys/inotify.h>
#include "src/base/banned.h"
#include "src/base/units.h"
#include "src/base/util.h"
#include "src/client.h"
#include "src/commands.h"

struct park {
    struct monitor *m;
    uint64_t idle;
    bool parked, store_gone;
    struct loop_timer timer;
    struct loop_fd store; /* an inotify descriptor */
    /* of the way back */
    struct revert_result reverted;
    struct err err;
    int rc;
    bool broken;
};

static void on_idle(void *opaque)
{
    struct park *p = opaque;

    monitor_shut(p->m, "nobody came");
}

/* Its database is gone, or its folder has another name. */
static void on_store(void *opaque, short re)
{
    struct park *p = opaque;
    char data[4096] __attribute__((aligned(8)));
    ssize_t n = read(p->store.fd, data, sizeof data);

    for (ssize_t at = 0; at + (ssize_t)sizeof(struct inotify_event) <= n;) {
        const struct inotify_event *ev = (const void *)(data + at);
        p->store_gone |= !ev->len || strcmp(ev->name, "store.db") == 0;
        at += (ssize_t)sizeof *ev + ev->len;
    }
    if (p->store_gone && p->parked)
        monitor_shut(p->m, "the store is gone");
}

int park_new(struct monitor *m, uint64_t idle, struct park **ret, struct err *e)
{
    struct park *p = calloc(1, sizeof *p);

    if (!p)
        return err_set(e, VT_FAIL, "out of memory");
    p->m = m;
    p->idle = idle;
    p->timer = (struct loop_timer){.fn = on_idle, .opaque = p};
    p->store =
        (struct loop_fd){.fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK), .events = POLLIN, .fn = on_store, .opaque = p};
    if (p->store.fd < 0 || inotify_add_watch(p->store.fd, store_dir(m->store),
                                             IN_DELETE | IN_MOVED_FROM | IN_MOVE_SELF | IN_DELETE_SELF) < 0) {
        int rc = err_set(e, VT_FAIL, "%s: cannot be watched: %m", store_dir(m->store));
        if (p->store.fd >= 0)
            close(p->store.fd);
        free(p);
        return rc;
    }
    loop_timer_add(m->loop, &p->timer);
    loop_add(m->loop, &p->store);
    *ret = p;
    return 0;
}

void park_free(struct park *p)
{
    if (!p)
        return;
    loop_timer_del(p->m->loop, &p->timer);
    loop_del(p->m->loop, &p->store);
    close(p->store.fd);
    free(p);
}

/* ---- back to the snapshot */

/* Does another one wait already? Where two look at once, one of them waits in vain. */
static bool place_is_taken(struct monitor *m)
{
    struct client *other = NULL;

    if (client_open(store_uuid(m->store), CLIENT_PARKED(m->fork_of), &other, NULL) != 0)
        return false;
    client_close(other);
    return true;
}

static int wait_for_next(struct park *p, struct err *e)
{
    struct monitor *m = p->m;
    char path[108];
    int rc = client_socket_path(store_uuid(m->store), CLIENT_PARKED(m->fork_of), true, path, sizeof path, e);

    if (rc == 0)
        rc = qmp_listen(m->qmp, path, e);
    if (rc == 0) {
        p->parked = true;
        p->timer.deadline = loop_now() + p->idle;
    }
    return rc;
}

static void on_back(void *opaque)
{
    struct park *p = opaque;
    struct monitor *m = p->m;

    if (m->state == RUN_SHUTDOWN)
        return;
    if (p->rc == 0 && p->store_gone)
        p->rc = err_set(&p->err, VT_NOENT, "the store is gone");
    if (p->rc == 0)
        p->rc = wait_for_next(p, &p->err);
    if (p->rc < 0) {
        log_msg(&m->log, LOG_ERROR, "%s: cannot be parked: %s", m->name, p->err.msg);
        monitor_shut(m, "owner-gone");
    }
}

static void begin(void *opaque)
{
    monitor_revert_begin(((struct park *)opaque)->m);
}

static void end(void *opaque)
{
    struct park *p = opaque;

    monitor_revert_end(p->m, p->rc, p->broken, POWER_PAUSED, &p->err);
}

static void *go_back(void *opaque)
{
    struct park *p = opaque;
    struct monitor *m = p->m;

    pthread_mutex_lock(&m->change);
    loop_call_wait(m->loop, begin, p);
    p->rc = capture_revert(m->capture, m->fork_of, LEAVE_DISKS, &p->reverted, &p->broken, &p->err);
    loop_call_wait(m->loop, end, p);
    pthread_mutex_unlock(&m->change);
    if (p->rc == 0 && place_is_taken(m))
        p->rc = err_set(&p->err, VT_BUSY, "another one waits there");
    loop_call(m->loop, on_back, p);
    atomic_fetch_sub(&m->jobs, 1);
    return NULL;
}

void park_back(struct park *p)
{
    struct monitor *m = p->m;
    pthread_attr_t attr;
    pthread_t thread;

    if (m->state == RUN_SHUTDOWN)
        return;
    atomic_fetch_add(&m->jobs, 1);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&thread, &attr, go_back, p) != 0) {
        atomic_fetch_sub(&m->jobs, 1);
        monitor_shut(m, "owner-gone");
    }
    pthread_attr_destroy(&attr);
}

static void on_owner_gone(void *opaque)
{
    park_back(opaque);
}

void cmd_take(void *opaque, struct qmp_call *call)
{
    struct monitor *m = opaque;
    struct park *p = m->park;
    struct err err = {0};
    bool frozen = json_is_true(json_object_get(call->args, "frozen"));
    bool keep = json_is_true(json_object_get(call->args, "keep-clock"));
    int rc = 0;

    if (!p || !p->parked)
        rc = err_set(&err, VT_BUSY, "the machine is not parked, or another was faster");
    if (rc == 0) {
        p->parked = false;
        p->timer.deadline = 0;
        qmp_unlisten(m->qmp);
        qmp_call_watch(call, on_owner_gone, p);
        m->frozen = frozen;
        m->keep_clock = keep || frozen;
        if (!m->keep_clock)
            vm_set_wall(m->machine->vm, clock_wall_ns() / (int64_t)NS_PER_SEC);
        rc = monitor_cont(m, &err);
    }
    answer(call, rc, NULL, &err);
}
