#include "src/execport.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include "src/base/banned.h"
#include "src/base/io.h"
#include "src/base/units.h"
#include "src/base/util.h"
#include "src/exechelper.h"
#include "src/execwire.h"

#define CONNECT_NS   (10 * NS_PER_SEC)
#define HELLO_NS     (250 * NS_PER_MS) /* before it is said again; then twice as long */
#define QUIT_NS      (2 * NS_PER_SEC)
#define AGAIN_NS     (30 * NS_PER_SEC) /* after a helper that did not answer, before it is asked again */
#define LOOK_MS      500               /* how often a running session looks whether its helper is there */
#define QUEUE_MAX    (8u << 20)        /* of what waits for the guest; past it, what is not owed is dropped */
#define FRAMES_TOTAL (64u << 10)

struct execlink {
    struct execlink *next;
    uint32_t id;
    int wake_fd;
    struct execlink_state state;
    struct buf out[2];
    uint32_t granted; /* output bytes that the guest may still send */
};

struct execport {
    int fd, wake_fd; /* wake_fd: the thread looks at its queue again */
    int sync_fd;     /* readable: `synced`, `identity_done` or the generation has changed */
    const uint32_t *guest_open;
    pthread_mutex_t connecting; /* one at a time greets, installs, or changes the identity */
    pthread_mutex_t lock;       /* all below */
    pthread_t thread;
    bool has_thread, ending, shut;
    bool synced, seeking;
    uint64_t generation, failed_in; /* failed_in: generation + 1 of the last failure to connect */
    bool failed_silent;             /* there was one, and it did not answer; again after failed_until */
    uint64_t failed_until;
    struct err failure;
    uint8_t nonce[EW_NONCE];
    uint32_t version;
    bool identity_answered;
    uint32_t identity_done;
    struct buf in, out;
    struct execlink *links;
    unsigned nlinks;
    uint32_t last_id;
};

/* Posts an eventfd. */
static void wake(int fd)
{
    uint64_t one = 1;

    if (write(fd, &one, sizeof one) < 0)
        vt_assert(errno == EAGAIN || errno == EINTR);
}

static void unwake(int fd)
{
    uint64_t v;

    if (read(fd, &v, sizeof v) < 0)
        vt_assert(errno == EAGAIN || errno == EINTR);
}

bool execport_running(const struct execport *p)
{
    return !p->guest_open || __atomic_load_n(p->guest_open, __ATOMIC_ACQUIRE) != 0;
}

/* ---- with the lock held */

static void lose(struct execport *p, int code, const char *why)
{
    p->synced = p->seeking = false;
    for (struct execlink *l = p->links; l; l = l->next)
        if (!l->state.ended && !l->state.lost) {
            l->state.lost = err_set(&l->state.lost_err, code, "%s", why);
            wake(l->wake_fd);
        }
    wake(p->sync_fd);
}

/* A question of the old stream must not reach the new one. */
static void start_over(struct execport *p, const char *why)
{
    p->generation++;
    buf_clear(&p->in);
    buf_clear(&p->out);
    lose(p, VT_GONE, why);
}

static struct execlink *find(struct execport *p, uint32_t id)
{
    struct execlink *l = p->links;

    while (l && l->id != id)
        l = l->next;
    return l;
}

static int take_end(struct execlink *l, const struct execwire_frame *f, struct err *e)
{
    struct execlink_state *s = &l->state;
    size_t n = MIN(f->len - 8u, sizeof s->why - 1);

    s->how = execwire_u32(f->data);
    s->number = execwire_u32(f->data + 4);
    if (s->how > EW_FAILED || (s->how == EW_EXITED && s->number > 255) || (s->how == EW_KILLED && s->number > 127))
        return err_set(e, VT_CORRUPT, "an end that there is not");
    for (size_t i = 0; i < n; i++)
        s->why[i] = (char)(f->data[8 + i] < ' ' || f->data[8 + i] > '~' ? '?' : f->data[8 + i]);
    s->why[n] = 0;
    s->ended = true;
    return 0;
}

static int link_frame(struct execlink *l, const struct execwire_frame *f, struct err *e)
{
    if (l->state.ended)
        return err_set(e, VT_CORRUPT, "something after the end");
    if (f->type == EW_OUT || f->type == EW_ERR) {
        if (f->len > l->granted)
            return err_set(e, VT_CORRUPT, "more than was asked for");
        l->granted -= f->len;
        buf_add(&l->out[f->type == EW_ERR], f->data, f->len);
        return buf_check(&l->out[f->type == EW_ERR], e);
    }
    if (f->type == EW_CREDIT && f->len == 4 && execwire_u32(f->data) <= EW_WINDOW - l->state.room) {
        l->state.room += execwire_u32(f->data);
        return 0;
    }
    if (f->type == EW_CLOSED) {
        l->state.closed = true;
        return 0;
    }
    if (f->type == EW_EXIT && f->len >= 8)
        return take_end(l, f, e);
    return err_set(e, VT_CORRUPT, "a frame of no kind");
}

static int take_frame(struct execport *p, const struct execwire_frame *f, struct err *e)
{
    struct execlink *l;
    int rc;

    if (f->session == 0) {
        if (f->type == EW_IDENTITY && f->len == 4) {
            p->identity_done = execwire_u32(f->data);
            p->identity_answered = true;
            wake(p->sync_fd);
        } else if (f->type != EW_HELLO) { /* said twice, it is answered twice */
            return err_set(e, VT_CORRUPT, "a frame of no kind");
        }
        return 0;
    }
    l = find(p, f->session);
    if (!l || l->state.lost)
        return 0; /* the session was given up a moment ago */
    rc = link_frame(l, f, e);
    wake(l->wake_fd);
    return rc;
}

static void take_input(struct execport *p)
{
    struct err err = {0};
    size_t used = 0, at = 0;
    int rc = 1;

    if (p->seeking && execwire_seek(p->in.data, p->in.len, p->nonce, &used, &p->version)) {
        p->seeking = false;
        p->synced = true;
        wake(p->sync_fd);
    }
    buf_drop(&p->in, used);
    if (p->seeking)
        return;
    if (!p->synced) {
        buf_clear(&p->in);
        return;
    }
    while (rc > 0) {
        struct execwire_frame f;
        rc = execwire_next(p->in.data + at, p->in.len - at, &f, &used, &err);
        if (rc > 0 && take_frame(p, &f, &err) < 0)
            rc = VT_CORRUPT;
        if (rc > 0)
            at += used;
    }
    if (rc == 0) {
        buf_drop(&p->in, at);
        return;
    }
    buf_clear(&p->in);
    err_prefix(&err, rc, "the helper in the guest sent");
    lose(p, VT_GONE, err.msg);
}

/* ---- the thread */

/* False: the stream is gone. */
static bool receive(struct execport *p)
{
    void *room = buf_reserve(&p->in, FRAMES_TOTAL);
    ssize_t n = room ? recv(p->fd, room, FRAMES_TOTAL, MSG_DONTWAIT) : -1;

    if (!room)
        return false;
    if (n > 0) {
        p->in.len += (size_t)n;
        take_input(p);
    }
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

static bool transmit(struct execport *p)
{
    ssize_t n = send(p->fd, p->out.data, p->out.len, MSG_DONTWAIT | MSG_NOSIGNAL);

    if (n > 0)
        buf_drop(&p->out, (size_t)n);
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

static void *thread_main(void *opaque)
{
    struct execport *p = opaque;
    bool alive = true;

    pthread_mutex_lock(&p->lock);
    while (!p->ending) {
        struct pollfd f[2] = {{.fd = p->wake_fd, .events = POLLIN}, {.fd = alive ? p->fd : -1, .events = POLLIN}};
        int timeout = p->links && p->guest_open ? LOOK_MS : -1;

        if (p->out.len)
            f[1].events |= POLLOUT;
        pthread_mutex_unlock(&p->lock);
        poll(f, 2, timeout);
        pthread_mutex_lock(&p->lock);
        if (f[0].revents)
            unwake(p->wake_fd);
        if (p->out.len && (f[1].revents & POLLOUT))
            alive &= transmit(p);
        if (f[1].revents & (POLLIN | POLLHUP | POLLERR))
            alive &= receive(p);
        if (!alive)
            lose(p, VT_GONE, "the port to the guest is gone");
        else if (p->links && p->synced && !execport_running(p))
            lose(p, VT_GONE, "the helper in the guest has ended under the command");
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

static int start_thread(struct execport *p, struct err *e)
{
    int rc = p->has_thread ? 0 : pthread_create(&p->thread, NULL, thread_main, p);

    p->has_thread = rc == 0;
    return rc ? err_set(e, VT_FAIL, "cannot start a thread: %s", strerror(rc)) : 0;
}

/* ---- life */

int execport_new(int fd, const uint32_t *guest_open, struct execport **ret_port, struct err *e)
{
    struct execport *p = calloc(1, sizeof *p);

    if (!p) {
        close(fd);
        return err_set(e, VT_FAIL, "out of memory");
    }
    p->fd = fd;
    p->guest_open = guest_open;
    p->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    p->sync_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&p->lock, NULL);
    pthread_mutex_init(&p->connecting, NULL);
    if (p->wake_fd < 0 || p->sync_fd < 0) {
        err_set(e, VT_FAIL, "eventfd: %m");
        execport_free(p);
        return VT_FAIL;
    }
    *ret_port = p;
    return 0;
}

void execport_free(struct execport *p)
{
    if (!p)
        return;
    vt_assert(!p->links);
    if (p->has_thread) {
        pthread_mutex_lock(&p->lock);
        p->ending = true;
        pthread_mutex_unlock(&p->lock);
        wake(p->wake_fd);
        pthread_join(p->thread, NULL);
    }
    close(p->fd);
    if (p->wake_fd >= 0)
        close(p->wake_fd);
    if (p->sync_fd >= 0)
        close(p->sync_fd);
    buf_release(&p->in);
    buf_release(&p->out);
    pthread_mutex_destroy(&p->lock);
    pthread_mutex_destroy(&p->connecting);
    free(p);
}

void execport_reset(struct execport *p)
{
    pthread_mutex_lock(&p->lock);
    start_over(p, "the machine was reverted, reset or stopped under the command");
    pthread_mutex_unlock(&p->lock);
}

void execport_shut(struct execport *p)
{
    pthread_mutex_lock(&p->lock);
    p->shut = true;
    start_over(p, "the machine has ended");
    pthread_mutex_unlock(&p->lock);
}

/* ---- connecting */

enum waited { WAITED_EVENT, WAITED_LONG, WAITED_CANCEL };

static enum waited wait_sync(struct execport *p, uint64_t until, int cancel_fd)
{
    struct pollfd f[2] = {{.fd = p->sync_fd, .events = POLLIN}, {.fd = cancel_fd, .events = POLLIN}};
    uint64_t now = clock_mono_ns();

    poll(f, 2, now < until ? (int)((until - now) / NS_PER_MS) + 1 : 0);
    if (f[1].revents)
        return WAITED_CANCEL;
    if (f[0].revents)
        unwake(p->sync_fd);
    return f[0].revents ? WAITED_EVENT : WAITED_LONG;
}

static int still(const struct execport *p, uint64_t generation, struct err *e)
{
    if (p->shut)
        return err_set(e, VT_GONE, "the machine has ended");
    if (p->generation != generation)
        return err_set(e, VT_GONE, "the machine was reverted, reset or stopped meanwhile");
    return 0;
}

static int hello(struct execport *p, uint64_t generation, struct err *e)
{
    int rc;

    pthread_mutex_lock(&p->lock);
    rc = still(p, generation, e);
    if (rc == 0)
        rc = start_thread(p, e);
    if (rc == 0 && p->out.len < QUEUE_MAX) {
        p->seeking = true;
        execwire_put_hello(&p->out, p->nonce);
        rc = buf_check(&p->out, e);
    }
    pthread_mutex_unlock(&p->lock);
    wake(p->wake_fd);
    return rc;
}

/* Greets until there is an answer. VT_TIMEOUT comes without a message. */
static int greet(struct execport *p, uint64_t generation, int cancel_fd, struct err *e)
{
    uint64_t until = clock_mono_ns() + CONNECT_NS, wait = HELLO_NS, again = 0;

    pthread_mutex_lock(&p->lock);
    if (getrandom(p->nonce, sizeof p->nonce, 0) != (ssize_t)sizeof p->nonce) {
        pthread_mutex_unlock(&p->lock);
        return err_set(e, VT_FAIL, "getrandom: %m");
    }
    buf_clear(&p->in);
    pthread_mutex_unlock(&p->lock);
    for (;;) {
        uint64_t now = clock_mono_ns();
        bool synced;
        int rc;

        pthread_mutex_lock(&p->lock);
        rc = still(p, generation, e);
        synced = p->synced;
        pthread_mutex_unlock(&p->lock);
        if (rc < 0 || synced)
            return rc;
        if (now >= until)
            return VT_TIMEOUT;
        if (now >= again) {
            rc = hello(p, generation, e);
            if (rc < 0)
                return rc;
            again = now + wait;
            wait *= 2;
        }
        if (wait_sync(p, MIN(until, again), cancel_fd) == WAITED_CANCEL)
            return err_set(e, VT_GONE, "given up");
    }
}

/* One of another version stays behind in old snapshots. */
static void quit(struct execport *p, int cancel_fd)
{
    uint64_t until = clock_mono_ns() + QUIT_NS;

    pthread_mutex_lock(&p->lock);
    execwire_put(&p->out, EW_QUIT, 0, NULL, 0);
    p->synced = false;
    pthread_mutex_unlock(&p->lock);
    wake(p->wake_fd);
    while (p->guest_open && execport_running(p) && clock_mono_ns() < until)
        if (wait_sync(p, clock_mono_ns() + 20 * NS_PER_MS, cancel_fd) == WAITED_CANCEL)
            return;
}

static int connect_once(struct execport *p, struct agent *a, uint64_t generation, int cancel_fd, struct err *e)
{
    int rc = 0;

    if (!execport_running(p))
        rc = a ? exechelper_install(a, e) : err_set(e, VT_NOENT, "no helper runs in the guest");
    if (rc == 0)
        rc = greet(p, generation, cancel_fd, e);
    return rc == VT_TIMEOUT ? err_set(e, VT_FAIL, "the helper in the guest does not answer") : rc;
}

/* Whoever had the port open and did not answer may be gone, or come round. */
static bool has_failed(const struct execport *p)
{
    return p->failed_in == p->generation + 1 &&
           (!p->failed_silent || (execport_running(p) && clock_mono_ns() < p->failed_until));
}

static int connect_locked(struct execport *p, struct agent *a, int cancel_fd, struct err *e)
{
    uint64_t generation;
    bool current;
    int rc;

    pthread_mutex_lock(&p->lock);
    if (p->synced && !execport_running(p))
        lose(p, VT_GONE, "the helper in the guest has ended under the command");
    generation = p->generation;
    current = p->synced;
    rc = has_failed(p) ? err_set(e, p->failure.code, "%s", p->failure.msg) : still(p, generation, e);
    pthread_mutex_unlock(&p->lock);
    if (rc < 0 || current)
        return rc;
    rc = connect_once(p, a, generation, cancel_fd, e);
    if (rc == 0 && p->version != EW_VERSION) {
        quit(p, cancel_fd);
        rc = connect_once(p, a, generation, cancel_fd, e);
        if (rc == 0 && p->version != EW_VERSION)
            rc = err_set(e, VT_FAIL, "the helper in the guest speaks version %u, not %u", p->version, EW_VERSION);
    }
    pthread_mutex_lock(&p->lock);
    p->failed_in = 0;
    if (rc == VT_FAIL) {
        p->failed_in = generation + 1;
        p->failed_silent = execport_running(p);
        p->failed_until = clock_mono_ns() + AGAIN_NS;
        p->synced = p->seeking = false;
        p->failure = (struct err){0};
        err_set(&p->failure, rc, "%s", e ? e->msg : "no helper");
    }
    pthread_mutex_unlock(&p->lock);
    return rc;
}

int execport_connect(struct execport *p, struct agent *a, int cancel_fd, struct err *e)
{
    int rc;

    pthread_mutex_lock(&p->connecting);
    rc = connect_locked(p, a, cancel_fd, e);
    pthread_mutex_unlock(&p->connecting);
    return rc;
}

bool execport_connected(struct execport *p)
{
    bool yes;

    pthread_mutex_lock(&p->lock);
    yes = p->synced && execport_running(p);
    pthread_mutex_unlock(&p->lock);
    return yes;
}

/* ---- identity */

static int ask_identity(struct execport *p, uint32_t flags, const struct ew_mac *mac, struct err *e)
{
    int64_t now = clock_wall_ns();
    struct ew_identity id = {
        .flags = flags, .sec = (uint64_t)(now / (int64_t)NS_PER_SEC), .nsec = (uint32_t)(now % (int64_t)NS_PER_SEC)};
    int rc = 0;

    if (flags & EW_MAC)
        memcpy(id.mac, mac, sizeof id.mac);
    if (getrandom(id.seed, sizeof id.seed, 0) != (ssize_t)sizeof id.seed)
        return err_set(e, VT_FAIL, "getrandom: %m");
    pthread_mutex_lock(&p->lock);
    if (!p->synced)
        rc = err_set(e, VT_GONE, "the helper in the guest is gone");
    p->identity_answered = false;
    if (rc == 0)
        execwire_put(&p->out, EW_IDENTITY, 0, &id, sizeof id);
    pthread_mutex_unlock(&p->lock);
    explicit_bzero(&id, sizeof id);
    wake(p->wake_fd);
    return rc;
}

static int identity_locked(struct execport *p, uint32_t flags, const struct ew_mac *mac, int cancel_fd,
                           uint32_t *ret_done, struct err *e)
{
    uint64_t until = clock_mono_ns() + CONNECT_NS;
    int rc = ask_identity(p, flags, mac, e);

    while (rc == 0) {
        bool answered;
        pthread_mutex_lock(&p->lock);
        answered = p->identity_answered;
        *ret_done = p->identity_done & flags;
        if (!answered && !p->synced)
            rc = err_set(e, VT_GONE, "the helper in the guest is gone");
        pthread_mutex_unlock(&p->lock);
        if (answered)
            return 0;
        if (clock_mono_ns() >= until)
            return err_set(e, VT_GONE, "the helper in the guest does not answer");
        if (rc == 0 && wait_sync(p, until, cancel_fd) == WAITED_CANCEL)
            return err_set(e, VT_GONE, "given up");
    }
    return rc;
}

int execport_identity(struct execport *p, uint32_t flags, const struct ew_mac mac[EW_MACS], int cancel_fd,
                      uint32_t *ret_done, struct err *e)
{
    int rc;

    *ret_done = 0;
    pthread_mutex_lock(&p->connecting);
    rc = identity_locked(p, flags, mac, cancel_fd, ret_done, e);
    pthread_mutex_unlock(&p->connecting);
    return rc;
}

/* ---- sessions */

int execport_link(struct execport *p, struct execlink **ret_link, struct err *e)
{
    struct execlink *l = calloc(1, sizeof *l);
    int rc = 0;

    if (!l)
        return err_set(e, VT_FAIL, "out of memory");
    l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->wake_fd < 0) {
        free(l);
        return err_set(e, VT_FAIL, "eventfd: %m");
    }
    l->state.room = EW_WINDOW;
    pthread_mutex_lock(&p->lock);
    if (!p->synced)
        rc = err_set(e, VT_GONE, "the machine was reverted, reset or stopped meanwhile");
    else if (p->nlinks == EW_SESSIONS)
        rc = err_set(e, VT_BUSY, "%u commands run in the guest already", EW_SESSIONS);
    if (rc == 0) {
        p->last_id = p->last_id == UINT32_MAX ? 1 : p->last_id + 1;
        l->id = p->last_id;
        l->next = p->links;
        p->links = l;
        p->nlinks++;
    }
    pthread_mutex_unlock(&p->lock);
    if (rc < 0) {
        close(l->wake_fd);
        free(l);
        return rc;
    }
    *ret_link = l;
    return 0;
}

void execport_unlink(struct execport *p, struct execlink *l)
{
    if (!l)
        return;
    execlink_send(p, l, EW_DROP, NULL, 0); /* nothing where it has ended */
    pthread_mutex_lock(&p->lock);
    for (struct execlink **at = &p->links; *at; at = &(*at)->next)
        if (*at == l) {
            *at = l->next;
            p->nlinks--;
            break;
        }
    pthread_mutex_unlock(&p->lock);
    buf_release(&l->out[0]);
    buf_release(&l->out[1]);
    close(l->wake_fd);
    free(l);
}

int execlink_fd(const struct execlink *l)
{
    return l->wake_fd;
}

void execlink_take(struct execport *p, struct execlink *l, struct execlink_state *ret, struct buf out[2])
{
    pthread_mutex_lock(&p->lock);
    unwake(l->wake_fd);
    *ret = l->state;
    for (unsigned i = 0; i < 2; i++) {
        if (out[i].len == 0) {
            struct buf empty = out[i];
            out[i] = l->out[i];
            l->out[i] = empty;
        } else if (l->out[i].len) {
            buf_add(&out[i], l->out[i].data, l->out[i].len);
        }
        buf_clear(&l->out[i]);
    }
    pthread_mutex_unlock(&p->lock);
}

void execlink_send(struct execport *p, struct execlink *l, uint8_t type, const void *payload, size_t len)
{
    bool owed = type != EW_SIGNAL && type != EW_RESIZE;

    pthread_mutex_lock(&p->lock);
    if (!l->state.lost && !l->state.ended && p->synced && (owed || p->out.len < QUEUE_MAX)) {
        if (type == EW_DATA) {
            vt_assert(len <= l->state.room);
            l->state.room -= (uint32_t)len;
        } else if (type == EW_CREDIT) {
            l->granted += execwire_u32(payload);
        }
        execwire_put(&p->out, type, l->id, payload, len);
    }
    pthread_mutex_unlock(&p->lock);
    wake(p->wake_fd);
}

/* In one go: the words of two commands must not mix. */
void execlink_start(struct execport *p, struct execlink *l, const struct ew_start *how, const struct buf *words)
{
    pthread_mutex_lock(&p->lock);
    if (!l->state.lost && p->synced) {
        for (size_t at = 0; at < words->len; at += EW_PAYLOAD)
            execwire_put(&p->out, EW_WORDS, l->id, words->data + at, MIN(words->len - at, (size_t)EW_PAYLOAD));
        execwire_put(&p->out, EW_START, l->id, how, sizeof *how);
        l->granted = how->credit;
    }
    pthread_mutex_unlock(&p->lock);
    wake(p->wake_fd);
}
