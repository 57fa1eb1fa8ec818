/* Ports of a private network in one process: learning, flooding, ports that died, that are full, that send nonsense. */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>
#include "src/base/units.h"
#include "src/net/switch.h"

enum { PORTS = 4, LEN = 60 };

struct vm {
    unsigned posts;
};

void vm_post(struct vm *vm, struct vm_event *ev)
{
    vm->posts++;
}

struct port {
    struct vm vm;
    struct netport net;
    struct nswitch *s;
};
struct bench {
    char dir[64];
    struct port p[PORTS];
};

static int open_dir(const struct bench *b)
{
    int fd = open(b->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static void plug(struct bench *b, unsigned n)
{
    struct err e = {0};

    assert_int_equal(netport_init(&b->p[n].net, 1 << 18), 0);
    if (switch_new(open_dir(b), &b->p[n].net, &b->p[n].s, &e))
        fail_msg("%s", e.msg);
    assert_true(b->p[n].net.kick.fd >= 0);
    switch_set_vm(b->p[n].s, &b->p[n].vm);
}

static void unplug(struct bench *b, unsigned n)
{
    switch_free(b->p[n].s);
    netport_release(&b->p[n].net);
    b->p[n].s = NULL;
}

static unsigned sockets(const struct bench *b)
{
    DIR *d = opendir(b->dir);
    unsigned n = 0;

    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n - 2;
}

static int set_up(void **state)
{
    struct bench *b = calloc(1, sizeof *b);

    snprintf(b->dir, sizeof b->dir, "/tmp/vmtest-switch-XXXXXX");
    assert_non_null(mkdtemp(b->dir));
    for (unsigned n = 0; n < PORTS; n++)
        plug(b, n);
    assert_int_equal(sockets(b), PORTS);
    *state = b;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *b = *state;

    for (unsigned n = 0; n < PORTS; n++)
        if (b->p[n].s)
            unplug(b, n);
    assert_int_equal(rmdir(b->dir), 0); /* nothing stays behind */
    free(b);
    return 0;
}

/* One turn of a loop that does not wait; returns the time-out that the port asked for. */
static int turn(struct bench *b, unsigned n)
{
    struct pollfd fds[2];
    int timeout = -1;

    assert_int_equal(switch_fill_pollfds(b->p[n].s, fds, 2, &timeout), 2);
    assert_true(poll(fds, 2, 0) >= 0);
    switch_poll(b->p[n].s, fds, 2, false);
    return timeout;
}

static void turns(struct bench *b)
{
    for (unsigned n = 0; n < PORTS; n++)
        if (b->p[n].s)
            turn(b, n);
    for (unsigned n = 0; n < PORTS; n++)
        if (b->p[n].s)
            turn(b, n);
}

/* A frame from machine `from` to machine `to`, 255: to all. */
static void put(struct bench *b, unsigned from, unsigned to, uint8_t what, uint32_t len)
{
    uint8_t *f = calloc(1, len);

    memcpy(f, to == 255 ? (uint8_t[6]){255, 255, 255, 255, 255, 255} : (uint8_t[6]){2, 0, 0, 0, 0, (uint8_t)to}, 6);
    memcpy(f + 6, (uint8_t[6]){2, 0, 0, 0, 0, (uint8_t)from}, 6);
    memset(f + 14, what, len - 14);
    assert_true(netq_put(&b->p[from].net.to_host, f, len));
    host_kick(&b->p[from].net.kick);
    free(f);
}

/* What machine n got next: its marker, or -1. */
static int got(struct bench *b, unsigned n)
{
    uint8_t f[20000];
    uint32_t len = netq_get(&b->p[n].net.to_guest, f, sizeof f);

    for (uint32_t i = 15; i < len; i++)
        assert_int_equal(f[i], f[14]);
    return len ? f[14] : -1;
}

static void test_learning(void **state)
{
    struct bench *b = *state;

    put(b, 0, 1, 1, LEN); /* nobody knows where 1 is */
    turns(b);
    assert_int_equal(got(b, 1), 1);
    assert_int_equal(got(b, 2), 1);
    assert_int_equal(got(b, 3), 1);
    assert_int_equal(got(b, 0), -1); /* not back to who sent it */
    assert_int_equal(b->p[1].vm.posts, 1);
    put(b, 1, 0, 2, LEN);
    turns(b);
    assert_int_equal(got(b, 0), 2);
    assert_int_equal(got(b, 2), -1);
    put(b, 0, 1, 3, LEN);
    put(b, 0, 255, 4, LEN);
    turns(b);
    assert_int_equal(got(b, 1), 3);
    for (unsigned n = 1; n < PORTS; n++)
        assert_int_equal(got(b, n), 4);
    /* an address that moves to another port is found there */
    uint8_t f[LEN] = {2, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 1};
    f[14] = 0;
    assert_true(netq_put(&b->p[3].net.to_host, f, sizeof f));
    turns(b);
    assert_int_equal(got(b, 0), 0);
    put(b, 0, 1, 5, LEN);
    turns(b);
    assert_int_equal(got(b, 1), -1);
    assert_int_equal(got(b, 3), 5);
}

static void test_sizes(void **state)
{
    struct bench *b = *state;

    put(b, 0, 255, 1, 16384);
    put(b, 0, 255, 2, 16385);
    put(b, 0, 255, 3, 14 + 1);
    assert_true(netq_put(&b->p[0].net.to_host, "short", 5));
    host_kick(&b->p[0].net.kick);
    turns(b);
    assert_int_equal(got(b, 1), 1);
    assert_int_equal(got(b, 1), 3);
    assert_int_equal(got(b, 1), -1);
    while (got(b, 2) >= 0)
        ;
    /* somebody else in the directory: frames without a sender, too long ones, and none at all */
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    DIR *d = opendir(b->dir);
    static uint8_t big[20000] = {2, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 9};
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.') {
            snprintf(a.sun_path, sizeof a.sun_path, "%.40s/%.60s", b->dir, e->d_name);
            assert_int_equal(sendto(fd, big, sizeof big, 0, (struct sockaddr *)&a, sizeof a), sizeof big);
            assert_int_equal(sendto(fd, big, 13, 0, (struct sockaddr *)&a, sizeof a), 13);
            assert_int_equal(sendto(fd, big, 0, 0, (struct sockaddr *)&a, sizeof a), 0);
            assert_int_equal(sendto(fd, big, LEN, 0, (struct sockaddr *)&a, sizeof a), LEN);
        }
    closedir(d);
    close(fd);
    turns(b);
    for (unsigned n = 0; n < PORTS; n++) {
        if (n == 3)
            while (got(b, n) > 0)
                ;
        else
            assert_int_equal(got(b, n), 0);
        assert_int_equal(got(b, n), -1);
    }
}

/* What a killed monitor leaves: a socket that refuses. It is removed, and its addresses are looked for anew. */
static void test_a_dead_port(void **state)
{
    struct bench *b = *state;
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct pollfd fds[2];
    int timeout = -1;

    put(b, 1, 255, 1, LEN);
    turns(b);
    for (unsigned n = 0; n < PORTS; n++)
        got(b, n);
    assert_int_equal(switch_fill_pollfds(b->p[1].s, fds, 2, &timeout), 2);
    socklen_t len = sizeof a;
    assert_int_equal(getsockname(fds[1].fd, (struct sockaddr *)&a, &len), 0);
    const char *name = strrchr(a.sun_path, '/');
    char kept[128], aside[128];
    snprintf(kept, sizeof kept, "%s%s", b->dir, name);
    snprintf(aside, sizeof aside, "%s/aside", b->dir);
    assert_int_equal(link(kept, aside), 0);
    unplug(b, 1);
    assert_int_equal(rename(aside, kept), 0); /* as if it had had no time to remove it */
    assert_int_equal(sockets(b), PORTS);
    put(b, 0, 1, 2, LEN);
    turns(b);
    assert_int_equal(sockets(b), PORTS - 1);
    assert_int_equal(got(b, 2), 2); /* it may be anywhere now */
    assert_int_equal(got(b, 3), 2);
    plug(b, 1); /* a new process */
    put(b, 0, 1, 3, LEN);
    turns(b);
    assert_int_equal(got(b, 1), 3);
    /* one that went properly */
    put(b, 1, 255, 4, LEN);
    turns(b);
    unplug(b, 1);
    put(b, 0, 1, 5, LEN);
    turns(b);
    assert_int_equal(sockets(b), PORTS - 1);
}

/* A port that does not take frames: they wait for a moment, in order, and others are not held up for long. */
static void test_a_full_port(void **state)
{
    struct bench *b = *state;
    unsigned sent = 0, seen = 0;
    int timeout;

    put(b, 1, 255, 0, LEN);
    turns(b);
    for (unsigned n = 0; n < PORTS; n++)
        got(b, n);
    do {
        put(b, 0, 1, (uint8_t)(++sent % 100), 8000);
        turn(b, 0);
        timeout = turn(b, 0);
    } while (timeout != 1 && sent < 2000);
    assert_true(sent < 2000); /* the system's queue has an end */
    put(b, 0, 1, (uint8_t)(++sent % 100), LEN);
    for (unsigned i = 0; i < 10; i++) {
        turn(b, 1);
        for (int v; (v = got(b, 1)) >= 0;)
            assert_int_equal(v, ++seen % 100);
        turn(b, 0);
    }
    assert_int_equal(seen, sent); /* none was lost */
    assert_int_equal(turn(b, 0), -1);
    /* one that never does: who sends goes on after a while */
    do {
        put(b, 0, 1, 1, 8000);
        turn(b, 0);
        timeout = turn(b, 0);
    } while (timeout != 1 && ++sent < 4000);
    put(b, 0, 2, 7, LEN);
    uint64_t begin = clock_mono_ns();
    while (got(b, 2) < 0) {
        turn(b, 0);
        turn(b, 2);
        assert_true(clock_mono_ns() - begin < 10 * NS_PER_SEC);
    }
    switch_discard(b->p[0].s);
    assert_int_equal(turn(b, 0), -1);
    /* the guest's own queue is full: lost, as in a card */
    for (unsigned i = 0; i < 4000; i++) {
        put(b, 2, 0, 1, 8000);
        turn(b, 2);
        turn(b, 0);
    }
    for (seen = 0; got(b, 0) >= 0; seen++)
        ;
    assert_in_range(seen, 1, (1 << 18) / 8000);
}

int main(void)
{
#define WITH(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {WITH(test_learning), WITH(test_sizes), WITH(test_a_dead_port),
                                       WITH(test_a_full_port)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
