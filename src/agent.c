#include "src/agent.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include "src/base/banned.h"
#include "src/base/buf.h"
#include "src/base/io.h"
#include "src/base/json.h"
#include "src/base/units.h"
#include "src/base/util.h"
#include "src/wire.h"

#define ANSWER_MAX  (64u << 20) /* guest-exec-status carries up to 16 MiB twice, in base64 */
#define SYNC_MAX_MS 4000        /* the longest wait for one synchronisation before it is asked again */
#define THAW_MS     2000        /* for one try to thaw a guest that did not answer, and then as long until the next */

struct agent {
    int fd;
    pthread_mutex_t lock; /* recursive: agent_hold */
    struct wire in;
    bool synced;
    uint64_t synced_at; /* generation that it was synchronised in */
    uint32_t last_sync;
    atomic_uint_fast64_t generation;
    atomic_bool shut;
    int reset_fd; /* an eventfd: wakes a waiting call */
    bool frozen;  /* a freeze went out, and no thaw was answered */
    bool thawing; /* `thawer` runs */
    bool has_thawer;
    pthread_t thawer; /* tries again and again, since a guest that stays frozen hangs by and by */
    int end_fd;       /* an eventfd: it is to end */
};

int agent_new(int fd, struct agent **ret_agent, struct err *e)
{
    struct agent *a = calloc(1, sizeof *a);
    pthread_mutexattr_t attr;

    if (!a || io_set_nonblock(fd, true, e) < 0) {
        free(a);
        close(fd);
        return err_set(e, VT_FAIL, "out of memory");
    }
    a->fd = fd;
    a->in.max = ANSWER_MAX;
    a->reset_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    a->end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (a->reset_fd < 0 || a->end_fd < 0) {
        err_set(e, VT_FAIL, "eventfd: %m");
        cleanup_close(&a->reset_fd);
        cleanup_close(&a->end_fd);
        close(fd);
        free(a);
        return VT_FAIL;
    }
    /* Two agents of one guest, one after the other, must not take each other's answers for theirs. */
    a->last_sync = (uint32_t)(clock_mono_ns() / 1000) & 0x3fffffff;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&a->lock, &attr);
    pthread_mutexattr_destroy(&attr);
    *ret_agent = a;
    return 0;
}

static void wake(int fd)
{
    uint64_t one = 1;

    if (write(fd, &one, sizeof one) < 0)
        vt_assert(errno == EAGAIN || errno == EINTR);
}

void agent_free(struct agent *a)
{
    if (!a)
        return;
    agent_shut(a);
    if (a->has_thawer)
        pthread_join(a->thawer, NULL);
    close(a->fd);
    close(a->reset_fd);
    close(a->end_fd);
    wire_release(&a->in);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

void agent_reset(struct agent *a)
{
    atomic_fetch_add(&a->generation, 1);
    wake(a->reset_fd);
}

void agent_shut(struct agent *a)
{
    atomic_store(&a->shut, true);
    wake(a->end_fd);
    agent_reset(a);
}

uint64_t agent_generation(const struct agent *a)
{
    return atomic_load(&a->generation);
}

void agent_hold(struct agent *a)
{
    pthread_mutex_lock(&a->lock);
}

void agent_release(struct agent *a)
{
    pthread_mutex_unlock(&a->lock);
}

/* One exchange's limits. */
struct turn {
    uint64_t until;      /* clock_mono_ns */
    uint64_t generation; /* in which it began */
    int cancel_fd;       /* -1: none */
};

static int silent(struct err *e)
{
    return err_set(e, VT_GONE, "the guest agent does not answer (is qemu-guest-agent running in the guest?)");
}

static int check_turn(struct agent *a, const struct turn *t, struct err *e)
{
    if (atomic_load(&a->shut))
        return err_set(e, VT_GONE, "the machine has ended");
    if (atomic_load(&a->generation) != t->generation)
        return err_set(e, VT_GONE, "the machine was reverted or reset meanwhile");
    return 0;
}

/* Waits until fd has events. VT_TIMEOUT leaves e alone. */
static int wait_for(struct agent *a, const struct turn *t, short events, struct err *e)
{
    for (;;) {
        struct pollfd p[3] = {{.fd = a->fd, .events = events},
                              {.fd = a->reset_fd, .events = POLLIN},
                              {.fd = t->cancel_fd, .events = POLLIN}};
        uint64_t now = clock_mono_ns(), drain;
        int rc = check_turn(a, t, e);

        if (rc < 0)
            return rc;
        if (now >= t->until)
            return VT_TIMEOUT;
        if (poll(p, 3, (int)MIN((t->until - now) / NS_PER_MS + 1, (uint64_t)3600000)) < 0 && errno != EINTR)
            return err_set(e, VT_FAIL, "poll: %m");
        if (p[1].revents && read(a->reset_fd, &drain, sizeof drain) < 0 && errno != EAGAIN)
            return err_set(e, VT_FAIL, "eventfd: %m");
        if (p[2].revents)
            return err_set(e, VT_GONE, "given up");
        if (p[0].revents)
            return 0;
    }
}

static int send_text(struct agent *a, const struct turn *t, const char *text, size_t len, struct err *e)
{
    while (len) {
        ssize_t n = send(a->fd, text, len, MSG_NOSIGNAL);
        int rc = 0;

        if (n > 0) {
            text += n;
            len -= (size_t)n;
        } else if (n < 0 && errno != EAGAIN && errno != EINTR) {
            return err_set(e, VT_GONE, "the guest agent's port is gone: %m");
        } else {
            rc = wait_for(a, t, POLLOUT, e);
        }
        if (rc < 0) {
            a->synced = false; /* half a question may have gone out */
            return rc == VT_TIMEOUT ? silent(e) : rc;
        }
    }
    return 0;
}

static int send_command(struct agent *a, const struct turn *t, bool fresh, const char *command, json_t *args,
                        struct err *e)
{
    cleanup(cleanup_json) json_t *msg = json_object();
    cleanup(buf_release) struct buf text = {0};
    cleanup(cleanup_free) char *json = NULL;

    json_object_set_new(msg, "execute", json_string(command));
    if (args)
        json_object_set(msg, "arguments", args);
    json = json_text(msg);
    if (!json)
        return err_set(e, VT_FAIL, "%s: out of memory, or not UTF-8", command);
    if (fresh)
        buf_char(&text, '\xff'); /* the agent throws away what it had of an unfinished question */
    buf_str(&text, json);
    buf_char(&text, '\n');
    if (buf_check(&text, e) < 0)
        return VT_FAIL;
    return send_text(a, t, text.data, text.len, e);
}

/* The next object from the guest; malformed ones are passed over: a synchronised stream has none, an unsynchronised one
 * may hold anything. VT_TIMEOUT leaves e alone. */
static int receive(struct agent *a, const struct turn *t, json_t **ret, struct err *e)
{
    for (;;) {
        static const size_t chunk = 65536;
        cleanup(cleanup_free) char *data = NULL;
        int rc = wire_next(&a->in, ret, NULL);
        ssize_t n;

        if (rc > 0)
            return 0;
        if (rc < 0)
            continue;
        rc = wait_for(a, t, POLLIN, e);
        if (rc < 0)
            return rc;
        data = malloc(chunk);
        if (!data)
            return err_set(e, VT_FAIL, "out of memory");
        n = recv(a->fd, data, chunk, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            return err_set(e, VT_GONE, "the guest agent's port is gone");
        if (n > 0 && wire_feed(&a->in, data, (size_t)n, e) < 0)
            return VT_FAIL;
    }
}

/* Asks until the agent answers with the fresh number, or t ends. */
static int synchronise(struct agent *a, const struct turn *t, struct err *e)
{
    uint64_t wait = 500 * NS_PER_MS;
    int rc = VT_TIMEOUT;

    a->synced = false;
    wire_reset(&a->in);
    while (rc == VT_TIMEOUT && clock_mono_ns() < t->until) {
        struct turn once = *t;
        uint32_t id = ++a->last_sync & 0x3fffffff;

        once.until = MIN(t->until, clock_mono_ns() + wait);
        wait = MIN(wait * 2, (uint64_t)SYNC_MAX_MS * NS_PER_MS);
        cleanup(cleanup_json) json_t *args = json_pack("{s:I}", "id", (json_int_t)id);
        rc = send_command(a, t, true, "guest-sync-delimited", args, e);
        while (rc == 0) {
            cleanup(cleanup_json) json_t *msg = NULL;
            const json_t *value;
            rc = receive(a, &once, &msg, e);
            value = rc == 0 ? json_object_get(msg, "return") : NULL;
            if (json_is_integer(value) && json_integer_value(value) == id) {
                a->synced = true;
                a->synced_at = t->generation;
                return 0;
            }
        }
    }
    return rc == VT_TIMEOUT ? silent(e) : rc;
}

static bool cancelled(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, 0) > 0;
}

static struct turn turn_begin(struct agent *a, int timeout_ms, int cancel_fd)
{
    return (struct turn){.until = clock_mono_ns() + (uint64_t)timeout_ms * NS_PER_MS,
                         .generation = atomic_load(&a->generation),
                         .cancel_fd = cancel_fd};
}

static int answer_of(json_t *msg, const char *command, json_t **ret, struct err *e)
{
    json_t *value = json_object_get(msg, "return");
    const char *desc = json_string_value(json_object_get(json_object_get(msg, "error"), "desc"));

    if (value) {
        if (ret)
            *ret = json_incref(value);
        return 0;
    }
    if (desc)
        return err_set(e, VT_FAIL, "guest agent: %s: %s", command, desc);
    return err_set(e, VT_FAIL, "guest agent: %s: an answer without a result", command);
}

static int call_locked(struct agent *a, const char *command, json_t *args, int timeout_ms, json_t **ret, struct err *e)
{
    struct turn t = turn_begin(a, timeout_ms, -1);
    cleanup(cleanup_json) json_t *msg = NULL;
    int rc = check_turn(a, &t, e);

    if (rc == 0 && (!a->synced || a->synced_at != t.generation))
        rc = synchronise(a, &t, e);
    if (rc == 0)
        rc = send_command(a, &t, false, command, args, e);
    if (rc < 0)
        return rc;
    rc = receive(a, &t, &msg, e);
    if (rc < 0) {
        a->synced = false;
        return rc == VT_TIMEOUT ? silent(e) : rc;
    }
    return answer_of(msg, command, ret, e);
}

int agent_call(struct agent *a, const char *command, json_t *args, int timeout_ms, json_t **ret, struct err *e)
{
    int rc;

    agent_hold(a);
    rc = call_locked(a, command, args, timeout_ms, ret, e);
    agent_release(a);
    json_decref(args);
    return rc;
}

bool agent_synced(struct agent *a)
{
    bool yes;

    agent_hold(a);
    yes = a->synced && a->synced_at == atomic_load(&a->generation);
    agent_release(a);
    return yes;
}

/* In slices, so that other threads' calls get their turn while this one waits. */
int agent_wait(struct agent *a, int timeout_ms, int cancel_fd, struct err *e)
{
    struct turn whole = turn_begin(a, timeout_ms, cancel_fd);
    int rc;

    do {
        struct turn t = whole;
        struct err why = {0};

        agent_hold(a);
        t.generation = atomic_load(&a->generation); /* a revert meanwhile is no reason to give up */
        t.until = MIN(whole.until, clock_mono_ns() + NS_PER_SEC);
        rc = check_turn(a, &t, &why);
        if (rc == 0)
            rc = synchronise(a, &t, &why);
        agent_release(a);
        if (rc == 0)
            return 0;
        if (rc != VT_GONE || atomic_load(&a->shut) || cancelled(cancel_fd))
            return err_set(e, rc, "%s", why.msg);
    } while (clock_mono_ns() < whole.until);
    return err_set(e, VT_TIMEOUT, "the guest agent did not answer within %g s", timeout_ms / 1000.0);
}

static int count_call(struct agent *a, const char *command, int timeout_ms, unsigned *ret_count, struct err *e)
{
    cleanup(cleanup_json) json_t *result = NULL;
    int rc = agent_call(a, command, NULL, timeout_ms, &result, e);

    if (rc < 0)
        return rc;
    if (!json_is_integer(result))
        return err_set(e, VT_FAIL, "guest agent: %s: an answer that is not a number", command);
    *ret_count = (unsigned)json_integer_value(result);
    return 0;
}

int agent_freeze(struct agent *a, int timeout_ms, unsigned *ret_count, struct err *e)
{
    int rc;

    agent_hold(a);
    rc = count_call(a, "guest-fsfreeze-freeze", timeout_ms, ret_count, e);
    if (rc != VT_FAIL) /* it may have come through without an answer */
        a->frozen = true;
    agent_release(a);
    return rc;
}

static int thaw(struct agent *a, int timeout_ms, unsigned *ret_count, struct err *e)
{
    int rc = count_call(a, "guest-fsfreeze-thaw", timeout_ms, ret_count, e);

    if (rc == 0)
        a->frozen = false;
    return rc;
}

static void *thaw_later(void *opaque)
{
    struct agent *a = opaque;
    struct pollfd p = {.fd = a->end_fd, .events = POLLIN};
    unsigned count;

    do {
        agent_hold(a);
        if (a->frozen)
            thaw(a, THAW_MS, &count, NULL);
        if (!a->frozen || atomic_load(&a->shut)) {
            a->thawing = false;
            agent_release(a);
            break;
        }
        agent_release(a);
        poll(&p, 1, THAW_MS);
    } while (true);
    return NULL;
}

int agent_thaw(struct agent *a, int timeout_ms, unsigned *ret_count, struct err *e)
{
    int rc;

    agent_hold(a);
    rc = thaw(a, timeout_ms, ret_count, e);
    if (rc < 0 && a->frozen && !a->thawing && !atomic_load(&a->shut)) {
        if (a->has_thawer)
            pthread_join(a->thawer, NULL); /* one that has done its work */
        a->has_thawer = a->thawing = pthread_create(&a->thawer, NULL, thaw_later, a) == 0;
    }
    agent_release(a);
    return rc;
}

int agent_shutdown(struct agent *a, const char *mode, struct err *e)
{
    struct turn t;
    int rc;

    agent_hold(a);
    t = turn_begin(a, AGENT_TIMEOUT_MS, -1);
    rc = check_turn(a, &t, e);
    if (rc == 0 && (!a->synced || a->synced_at != t.generation))
        rc = synchronise(a, &t, e);
    if (rc == 0) {
        cleanup(cleanup_json) json_t *args = json_pack("{s:s}", "mode", mode);
        rc = send_command(a, &t, false, "guest-shutdown", args, e);
        a->synced = false; /* only an error would be answered; the next call's synchronisation passes over it */
    }
    agent_release(a);
    return rc;
}
