#include "src/net/switch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "src/base/banned.h"
#include "src/base/units.h"
#include "src/base/util.h"
#include "src/net/pcap.h"

enum {
    FRAME_MIN = 14,
    FRAME_MAX = 16384,   /* what cards take; longer ones are dropped */
    FRAMES_A_TURN = 256, /* so that a guest that only sends cannot keep the loop */
    KNOWN_MAX = 1024,    /* addresses; the one that was heard from longest ago makes room */
    PEER_NAME = 40,
    SEND_BUFFER = 1 << 20,
};
#define HOLD_NS (50 * NS_PER_MS)
static const char suffix[] = ".port";

struct known {
    uint8_t mac[6];
    char peer[PEER_NAME];
    uint64_t heard;
};

struct nswitch {
    struct netport *port;
    struct vm *vm;
    struct pcap *pcap;
    int dirfd, fd, kick_fd;
    char name[PEER_NAME];
    struct known known[KNOWN_MAX];
    unsigned nknown;
    bool delivered; /* frames for the guest since rx_event was last posted */
    bool more;      /* not all were taken */
    /* The frame in out[] waits for a peer that has no room. */
    uint32_t held;
    uint64_t held_since;
    uint8_t out[FRAME_MAX + 1], in[FRAME_MAX + 1]; /* a byte more shows what is too long */
};

/* ---- who is where */

static bool to_many(const uint8_t *mac)
{
    return mac[0] & 1;
}

static struct known *find(struct nswitch *s, const uint8_t *mac)
{
    for (unsigned i = 0; i < s->nknown; i++)
        if (memcmp(s->known[i].mac, mac, 6) == 0)
            return &s->known[i];
    return NULL;
}

static void learn(struct nswitch *s, const uint8_t *mac, const char *peer)
{
    struct known *k = find(s, mac);

    if (to_many(mac))
        return;
    if (!k && s->nknown < KNOWN_MAX) {
        k = &s->known[s->nknown++];
    } else if (!k) {
        k = &s->known[0];
        for (unsigned i = 1; i < KNOWN_MAX; i++)
            if (s->known[i].heard < k->heard)
                k = &s->known[i];
    }
    memcpy(k->mac, mac, 6);
    snprintf(k->peer, sizeof k->peer, "%s", peer);
    k->heard = clock_mono_ns();
}

static void forget(struct nswitch *s, const char *peer)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < s->nknown; i++)
        if (strcmp(s->known[i].peer, peer) != 0)
            s->known[kept++] = s->known[i];
    s->nknown = kept;
}

/* ---- sending */

/* By way of the directory's descriptor: a path of any length is short so. */
static socklen_t address(const struct nswitch *s, const char *peer, struct sockaddr_un *ret)
{
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(ret->sun_path, sizeof ret->sun_path, "/proc/self/fd/%d/%s", s->dirfd, peer);
    return sizeof *ret;
}

/* 0 or an errno. One that is dead is forgotten, and its socket removed. */
static int send_to(struct nswitch *s, const char *peer, uint32_t len)
{
    char name[PEER_NAME];
    struct sockaddr_un a;
    socklen_t alen;

    snprintf(name, sizeof name, "%s", peer); /* it may lie in what forget() moves */
    alen = address(s, name, &a);
    if (sendto(s->fd, s->out, len, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&a, alen) >= 0)
        return 0;
    int err = errno;
    if (err == ECONNREFUSED || err == ENOENT) {
        forget(s, name);
        if (err == ECONNREFUSED)
            unlinkat(s->dirfd, name, 0);
    }
    return err;
}

static bool is_port(const char *name)
{
    size_t len = strlen(name), tail = sizeof suffix - 1;

    return len > tail && len < PEER_NAME && strcmp(name + len - tail, suffix) == 0;
}

/* To all others; who has no room loses it. */
static void flood(struct nswitch *s, uint32_t len)
{
    int fd = openat(s->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *d;

    if (!dir) {
        if (fd >= 0)
            close(fd);
        return;
    }
    while ((d = readdir(dir)))
        if (is_port(d->d_name) && strcmp(d->d_name, s->name) != 0)
            send_to(s, d->d_name, len);
    closedir(dir);
}

/* False: the frame waits. */
static bool forward(struct nswitch *s, uint32_t len)
{
    const struct known *k = to_many(s->out) ? NULL : find(s, s->out);
    int err = k ? send_to(s, k->peer, len) : ENOENT;

    if (err == EAGAIN || err == ENOBUFS)
        return false;
    if (err == ENOENT || err == ECONNREFUSED)
        flood(s, len);
    return true;
}

static void take_frames(struct nswitch *s)
{
    s->more = false;
    if (s->held) {
        if (!forward(s, s->held) && clock_mono_ns() - s->held_since < HOLD_NS)
            return;
        s->held = 0;
    }
    for (unsigned left = FRAMES_A_TURN; left; left--) {
        uint32_t len = netq_get(&s->port->to_host, s->out, sizeof s->out);

        if (!len)
            return;
        if (len < FRAME_MIN || len > FRAME_MAX)
            continue;
        if (s->pcap)
            pcap_write(s->pcap, s->out, len);
        if (!forward(s, len)) {
            s->held = len;
            s->held_since = clock_mono_ns();
            return;
        }
    }
    s->more = true;
}

/* ---- receiving */

/* The sender's name, of which only the last part says anything: the rest is a descriptor of its own. */
static const char *sender(const struct sockaddr_un *a, socklen_t len)
{
    const char *slash;

    if (len <= offsetof(struct sockaddr_un, sun_path) || !memchr(a->sun_path, 0, sizeof a->sun_path))
        return NULL;
    slash = strrchr(a->sun_path, '/');
    return slash && is_port(slash + 1) ? slash + 1 : NULL;
}

static void receive(struct nswitch *s)
{
    for (unsigned left = FRAMES_A_TURN; left; left--) {
        struct sockaddr_un from = {0};
        socklen_t alen = sizeof from;
        ssize_t n = recvfrom(s->fd, s->in, sizeof s->in, MSG_DONTWAIT, (struct sockaddr *)&from, &alen);
        const char *peer;

        if (n < 0 && errno != EINTR)
            return;
        if (n < FRAME_MIN || n > FRAME_MAX)
            continue;
        peer = sender(&from, alen);
        if (peer)
            learn(s, s->in + 6, peer);
        if (s->pcap)
            pcap_write(s->pcap, s->in, (size_t)n);
        if (s->vm && netq_put(&s->port->to_guest, s->in, (uint32_t)n))
            s->delivered = true;
    }
}

/* ---- life */

static int open_port(struct nswitch *s, struct err *e)
{
    int size = SEND_BUFFER;
    struct sockaddr_un a;
    socklen_t alen;
    uint64_t number;

    if (getrandom(&number, sizeof number, 0) != sizeof number)
        return err_set(e, VT_FAIL, "getrandom: %m");
    snprintf(s->name, sizeof s->name, "%016llx%s", (unsigned long long)number, suffix);
    s->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s->fd < 0)
        return err_set(e, VT_FAIL, "socket: %m");
    setsockopt(s->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    alen = address(s, s->name, &a);
    if (bind(s->fd, (struct sockaddr *)&a, alen) < 0) {
        *s->name = 0;
        return err_set(e, err_from_errno(errno), "private network: bind: %m");
    }
    return 0;
}

int switch_new(int dirfd, struct netport *port, struct nswitch **ret, struct err *e)
{
    struct nswitch *s = calloc(1, sizeof *s);
    int rc;

    if (!s) {
        close(dirfd);
        return err_set(e, VT_FAIL, "out of memory");
    }
    s->port = port;
    s->dirfd = dirfd;
    s->fd = -1;
    s->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    rc = s->kick_fd < 0 ? err_set(e, VT_FAIL, "eventfd: %m") : open_port(s, e);
    if (rc < 0) {
        switch_free(s);
        return rc;
    }
    port->kick.fd = s->kick_fd;
    *ret = s;
    return 0;
}

void switch_free(struct nswitch *s)
{
    if (!s)
        return;
    s->port->kick.fd = -1;
    if (s->fd >= 0 && *s->name)
        unlinkat(s->dirfd, s->name, 0);
    if (s->fd >= 0)
        close(s->fd);
    if (s->kick_fd >= 0)
        close(s->kick_fd);
    close(s->dirfd);
    free(s);
}

void switch_set_vm(struct nswitch *s, struct vm *vm)
{
    s->vm = vm;
}

void switch_capture(struct nswitch *s, struct pcap *p)
{
    s->pcap = p;
}

void switch_discard(struct nswitch *s)
{
    s->held = 0;
    while (netq_get(&s->port->to_host, s->out, sizeof s->out))
        ;
}

/* ---- the loop */

int switch_fill_pollfds(void *nswitch, struct pollfd *fds, int max, int *timeout_ms)
{
    struct nswitch *s = nswitch;
    int wait = s->more ? 0 : s->held ? 1 : -1;

    if (max < 2)
        return 0;
    fds[0] = (struct pollfd){.fd = s->kick_fd, .events = s->held ? 0 : POLLIN};
    fds[1] = (struct pollfd){.fd = s->fd, .events = POLLIN};
    if (wait >= 0 && (*timeout_ms < 0 || wait < *timeout_ms))
        *timeout_ms = wait;
    return 2;
}

void switch_poll(void *nswitch, const struct pollfd *fds, int count, bool failed)
{
    struct nswitch *s = nswitch;
    uint64_t v;

    if (read(s->kick_fd, &v, sizeof v) < 0) { /* nothing there: the look at the queue below costs little */
    }
    take_frames(s);
    if (count > 1 && fds[1].revents)
        receive(s);
    if (s->delivered && s->vm) {
        s->delivered = false;
        vm_post(s->vm, &s->port->rx_event);
    }
}
