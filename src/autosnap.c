#include "src/autosnap.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include "src/base/banned.h"
#include "src/base/units.h"
#include "src/base/util.h"

#define QUIESCE_TIMEOUT (2 * NS_PER_SEC) /* nobody asked for it just now: a guest that is slow to answer is let be */

static const char prefix[] = "auto-";

/* "auto-20260131-120000", in UTC; a second one in the same second gets a letter more. */
static void make_name(struct monitor *m, char name[40])
{
    int64_t id;
    time_t now = (time_t)(clock_wall_ns() / (int64_t)NS_PER_SEC);
    struct tm tm;
    size_t n;

    gmtime_r(&now, &tm);
    n = strftime(name, 39, "auto-%Y%m%d-%H%M%S", &tm);
    for (char c = 'b'; c <= 'z' && snapshot_find(m->store, m->id, name, true, &id, NULL) == 0; c++) {
        name[n] = c;
        name[n + 1] = 0;
    }
}

static bool is_automatic(const char *name)
{
    static const char shape[] = "auto-00000000-000000";
    size_t n = strlen(name);

    for (size_t i = strlen(prefix); i < sizeof shape - 1 && i < n; i++)
        if (shape[i] == '0' ? name[i] < '0' || name[i] > '9' : name[i] != shape[i])
            return false;
    return !strncmp(name, prefix, strlen(prefix)) && (n == sizeof shape - 1 || n == sizeof shape);
}

/* [change held] The oldest come first in the list. */
static int drop_oldest(struct monitor *m, struct err *e)
{
    struct snapshot_info *list = NULL;
    size_t n = 0, have = 0;
    int rc = snapshot_list(m->store, m->id, &list, &n, e);

    for (size_t i = 0; i < n; i++)
        have += is_automatic(list[i].name);
    for (size_t i = 0; i < n && rc == 0 && have > m->config.auto_keep; i++) {
        if (!is_automatic(list[i].name))
            continue;
        have--;
        rc = capture_detach(m->capture, list[i].id, e);
        if (rc == 0)
            rc = snapshot_drop(m->store, list[i].id, e);
        if (rc == VT_BUSY) { /* a fork runs from it: the next time will do */
            *e = (struct err){0};
            rc = 0;
        }
    }
    snapshot_list_free(list, n);
    return rc;
}

static int take(struct monitor *m, struct err *e)
{
    char name[40];
    struct capture_spec spec = {.name = name, .quiesce = QUIESCE_AUTO, .quiesce_timeout = QUIESCE_TIMEOUT};
    struct capture_result r = {0};
    struct taken *taken = NULL;
    int rc = 0;

    pthread_mutex_lock(&m->change);
    if (m->state == RUN_RUNNING) { /* else it is as it was at the last one, or in trouble */
        make_name(m, name);
        rc = capture_take(m->capture, &spec, &taken, e);
    }
    pthread_mutex_unlock(&m->change);
    if (rc == 0 && taken)
        rc = capture_store(taken, &r, e);
    if (rc < 0 || !taken)
        return rc;
    log_msg(&m->log, LOG_INFO, "snapshot %s: %llu pages, stopped for %llu us", name, (unsigned long long)r.pages,
            (unsigned long long)r.stopped / 1000);
    pthread_mutex_lock(&m->change);
    rc = drop_oldest(m, e);
    pthread_mutex_unlock(&m->change);
    return rc;
}

static void *job(void *opaque)
{
    struct monitor *m = opaque;
    struct err err = {0};

    if (take(m, &err) < 0)
        log_msg(&m->log, LOG_ERROR, "automatic snapshot: %s", err.msg);
    store_maintain(m->store, NULL);
    pthread_mutex_lock(&m->change);
    head_prepare(m->head, NULL); /* an error comes again, and is told, when a snapshot needs it */
    pthread_mutex_unlock(&m->change);
    atomic_store(&m->auto_busy, false);
    atomic_fetch_sub(&m->jobs, 1);
    return NULL;
}

static void on_time(void *opaque)
{
    struct monitor *m = opaque;
    pthread_attr_t attr;
    pthread_t thread;

    m->auto_timer.deadline = loop_now() + m->config.auto_every_ms * NS_PER_MS;
    if (m->state != RUN_RUNNING || atomic_exchange(&m->auto_busy, true))
        return;
    atomic_fetch_add(&m->jobs, 1);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&thread, &attr, job, m)) {
        atomic_store(&m->auto_busy, false);
        atomic_fetch_sub(&m->jobs, 1);
    }
    pthread_attr_destroy(&attr);
}

void autosnap_arm(struct monitor *m)
{
    loop_timer_del(m->loop, &m->auto_timer);
    if (m->fork_of || !m->config.auto_every_ms)
        return;
    m->auto_timer =
        (struct loop_timer){.fn = on_time, .opaque = m, .deadline = loop_now() + m->config.auto_every_ms * NS_PER_MS};
    loop_timer_add(m->loop, &m->auto_timer);
}

static void arm(void *opaque)
{
    autosnap_arm(opaque);
}

int autosnap_set(struct monitor *m, uint64_t every_ms, unsigned keep, struct err *e)
{
    cleanup(cleanup_free) char *text = NULL;
    uint64_t was_every;
    unsigned was_keep;
    int rc;

    pthread_mutex_lock(&m->change);
    was_every = m->config.auto_every_ms;
    was_keep = m->config.auto_keep;
    m->config.auto_every_ms = every_ms;
    m->config.auto_keep = keep;
    text = config_text(&m->config);
    rc = text ? machine_set_config(m->store, m->id, text, e) : err_set(e, VT_FAIL, "out of memory");
    if (rc < 0) {
        m->config.auto_every_ms = was_every;
        m->config.auto_keep = was_keep;
    }
    pthread_mutex_unlock(&m->change);
    if (rc == 0)
        loop_call_wait(m->loop, arm, m);
    return rc;
}
