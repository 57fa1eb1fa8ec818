/* The NBD server, one connection, byte for byte against the protocol's document; and over sockets, what bounds hold. */
#include "tests/unit/unit.h"

#include <endian.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "src/nbd.h"

#define SIZE 65536u

static int read_some(void *opaque, void *dst, uint32_t len, uint64_t off, struct err *e)
{
    if (off == 30000)
        return err_set(e, VT_CORRUPT, "packs/7.pack: damaged");
    for (uint32_t i = 0; i < len; i++)
        ((uint8_t *)dst)[i] = (uint8_t)((off + i) / 4096);
    return 0;
}

/* The first page is zero, so is all from 32768 on. */
static int extent(void *opaque, uint64_t off, uint64_t max, uint64_t *ret_len, bool *ret_zero, struct err *e)
{
    uint64_t end = off < 4096 ? 4096 : off < 32768 ? 32768 : SIZE;

    *ret_zero = off < 4096 || off >= 32768;
    *ret_len = MIN(max, end - off);
    return 0;
}

static const struct nbd_export disk = {"disk0", SIZE, read_some, extent, NULL};

static void add(struct buf *b, unsigned bytes, uint64_t v)
{
    while (bytes--)
        buf_char(b, (char)(v >> 8 * bytes));
}

static uint64_t num(struct nbd_conn *c, unsigned bytes)
{
    uint64_t v = 0;

    assert_true(c->out.len >= bytes);
    for (unsigned i = 0; i < bytes; i++)
        v = v << 8 | (uint8_t)c->out.data[i];
    buf_drop(&c->out, bytes);
    return v;
}

static void text(struct nbd_conn *c, const char *want)
{
    assert_true(c->out.len >= strlen(want));
    assert_memory_equal(c->out.data, want, strlen(want));
    buf_drop(&c->out, strlen(want));
}

static void run(struct nbd_conn *c)
{
    while (nbd_conn_step(c))
        ;
}

static void start(struct nbd_conn *c, uint32_t flags)
{
    nbd_conn_init(c, &disk);
    text(c, "NBDMAGICIHAVEOPT");
    assert_int_equal(num(c, 2), 3);
    add(&c->in, 4, flags);
}

static void option(struct nbd_conn *c, uint32_t opt, const struct buf *data)
{
    buf_str(&c->in, "IHAVEOPT");
    add(&c->in, 4, opt);
    add(&c->in, 4, data ? data->len : 0);
    if (data)
        buf_add(&c->in, data->data, data->len);
    run(c);
}

static void reply_is(struct nbd_conn *c, uint32_t opt, uint32_t type, uint32_t len)
{
    assert_int_equal(num(c, 8), 0x3e889045565a9);
    assert_int_equal(num(c, 4), opt);
    assert_int_equal(num(c, 4), type);
    assert_int_equal(num(c, 4), len);
}

static void go(struct nbd_conn *c, const char *name)
{
    struct buf b = {0};

    add(&b, 4, strlen(name));
    buf_str(&b, name);
    add(&b, 2, 1);
    add(&b, 2, 3);
    option(c, 7, &b);
    buf_release(&b);
}

static void meta(struct nbd_conn *c, uint32_t opt, const char *query)
{
    struct buf b = {0};

    add(&b, 4, 0);
    add(&b, 4, query ? 1 : 0);
    if (query) {
        add(&b, 4, strlen(query));
        buf_str(&b, query);
    }
    option(c, opt, &b);
    buf_release(&b);
}

static void request(struct nbd_conn *c, uint16_t flags, uint16_t type, uint64_t off, uint32_t len)
{
    add(&c->in, 4, 0x25609513);
    add(&c->in, 2, flags);
    add(&c->in, 2, type);
    buf_str(&c->in, "cookie42");
    add(&c->in, 8, off);
    add(&c->in, 4, len);
    run(c);
}

static void simple_is(struct nbd_conn *c, uint32_t error)
{
    assert_int_equal(num(c, 4), 0x67446698);
    assert_int_equal(num(c, 4), error);
    text(c, "cookie42");
}

static void chunk_is(struct nbd_conn *c, uint16_t type, uint32_t len)
{
    assert_int_equal(num(c, 4), 0x668e33ef);
    assert_int_equal(num(c, 2), 1); /* the only one */
    assert_int_equal(num(c, 2), type);
    text(c, "cookie42");
    assert_int_equal(num(c, 4), len);
}

/* An error's number, within a structured reply. */
static uint32_t error_of(struct nbd_conn *c)
{
    uint32_t error, len;

    assert_int_equal(num(c, 4), 0x668e33ef);
    assert_int_equal(num(c, 2), 1);
    assert_int_equal(num(c, 2), 0x8001);
    text(c, "cookie42");
    len = (uint32_t)num(c, 4);
    error = (uint32_t)num(c, 4);
    assert_int_equal(num(c, 2), len - 6);
    buf_drop(&c->out, len - 6);
    assert_int_equal(c->out.len, 0);
    return error;
}

static void an_old_client_reads(void **state)
{
    struct nbd_conn c;
    struct buf name = {0};

    start(&c, 1);
    option(&c, 1, &name);
    assert_int_equal(num(&c, 8), SIZE);
    assert_int_equal(num(&c, 2), 0x103); /* flags, read-only, many connections */
    assert_int_equal(c.out.len, 124);
    buf_clear(&c.out);
    assert_true(nbd_conn_serving(&c));
    request(&c, 0, 0, 4095, 2);
    simple_is(&c, 0);
    assert_int_equal(num(&c, 2), 1);
    request(&c, 0, 0, 30000, 10);
    simple_is(&c, 5);
    assert_int_equal(c.out.len, 0);
    request(&c, 0, 0, SIZE - 1, 2);
    simple_is(&c, 22);
    request(&c, 0, 0, UINT64_MAX, 2);
    simple_is(&c, 22);
    request(&c, 0, 0, 0, 0);
    simple_is(&c, 22);
    request(&c, 0, 7, 0, 512);
    simple_is(&c, 22); /* no context */
    request(&c, 0, 3, 0, 0);
    simple_is(&c, 1);
    request(&c, 0, 2, 0, 0);
    assert_true(c.closed);
    assert_int_equal(c.out.len, 0);
    nbd_conn_release(&c);
}

static void a_new_client_negotiates(void **state)
{
    struct nbd_conn c;

    start(&c, 3);
    meta(&c, 10, "base:allocation"); /* not before structured replies */
    reply_is(&c, 10, 0x80000003, 0);
    option(&c, 5, NULL); /* TLS */
    reply_is(&c, 5, 0x80000001, 0);
    option(&c, 3, NULL);
    reply_is(&c, 3, 2, 9);
    assert_int_equal(num(&c, 4), 5);
    text(&c, "disk0");
    reply_is(&c, 3, 1, 0);
    option(&c, 8, NULL);
    reply_is(&c, 8, 1, 0);
    meta(&c, 9, NULL);
    reply_is(&c, 9, 4, 19);
    assert_int_equal(num(&c, 4), 0);
    text(&c, "base:allocation");
    reply_is(&c, 9, 1, 0);
    meta(&c, 10, "qemu:dirty-bitmap:x");
    reply_is(&c, 10, 1, 0);
    meta(&c, 10, "base:allocation");
    reply_is(&c, 10, 4, 19);
    assert_int_equal(num(&c, 4), 1);
    text(&c, "base:allocation");
    reply_is(&c, 10, 1, 0);
    go(&c, "disk1");
    reply_is(&c, 7, 0x80000006, 0);
    assert_false(nbd_conn_serving(&c));
    go(&c, "disk0");
    reply_is(&c, 7, 3, 12);
    assert_int_equal(num(&c, 2), 0);
    assert_int_equal(num(&c, 8), SIZE);
    assert_int_equal(num(&c, 2), 0x183);
    reply_is(&c, 7, 3, 14);
    assert_int_equal(num(&c, 2), 3);
    assert_int_equal(num(&c, 4), 1);
    assert_int_equal(num(&c, 4), 4096);
    assert_int_equal(num(&c, 4), NBD_READ_MAX);
    reply_is(&c, 7, 1, 0);
    assert_true(nbd_conn_serving(&c));

    request(&c, 0, 0, 8192, 4096);
    chunk_is(&c, 1, 8 + 4096);
    assert_int_equal(num(&c, 8), 8192);
    assert_int_equal(num(&c, 1), 2);
    buf_drop(&c.out, 4095);
    request(&c, 0, 0, 0, 4096); /* zero: no bytes are sent */
    chunk_is(&c, 2, 12);
    assert_int_equal(num(&c, 8), 0);
    assert_int_equal(num(&c, 4), 4096);
    assert_int_equal(c.out.len, 0);
    request(&c, 0, 7, 0, SIZE);
    chunk_is(&c, 5, 4 + 3 * 8);
    assert_int_equal(num(&c, 4), 1);
    assert_int_equal(num(&c, 8), 4096ull << 32 | 3);
    assert_int_equal(num(&c, 8), 28672ull << 32);
    assert_int_equal(num(&c, 8), 32768ull << 32 | 3);
    request(&c, 8, 7, 5000, 100); /* one extent, within the request */
    chunk_is(&c, 5, 12);
    assert_int_equal(num(&c, 4), 1);
    assert_int_equal(num(&c, 8), 100ull << 32);
    request(&c, 0, 0, 30000, 2000);
    assert_int_equal(error_of(&c), 5);
    request(&c, 0, 0, SIZE, 1);
    assert_int_equal(error_of(&c), 22);
    nbd_conn_release(&c);
}

static void a_write_is_refused_and_passed_over(void **state)
{
    struct nbd_conn c;
    struct buf name = {0};

    start(&c, 3);
    option(&c, 1, &name);
    buf_clear(&c.out);
    request(&c, 0, 1, 0, 100000);
    simple_is(&c, 1);
    for (unsigned i = 0; i < 100000; i += 1000) {
        char junk[1000] = {0};
        buf_add(&c.in, junk, sizeof junk);
        run(&c);
        assert_int_equal(c.in.len, 0);
    }
    request(&c, 0, 0, 4096, 1);
    simple_is(&c, 0);
    assert_int_equal(num(&c, 1), 1);
    nbd_conn_release(&c);
}

static void nonsense_ends_it(void **state)
{
    struct nbd_conn c;
    struct buf b = {0};

    start(&c, 0); /* no fixed newstyle */
    run(&c);
    assert_true(c.closed);
    nbd_conn_release(&c);
    start(&c, 0x80000001);
    run(&c);
    assert_true(c.closed);
    nbd_conn_release(&c);
    start(&c, 3);
    buf_str(&c.in, "NBDMAGIC........");
    run(&c);
    assert_true(c.closed);
    nbd_conn_release(&c);
    start(&c, 3); /* an option of 4 GiB is not waited for */
    buf_str(&c.in, "IHAVEOPT");
    add(&c.in, 4, 7);
    add(&c.in, 4, UINT32_MAX);
    run(&c);
    assert_true(c.closed);
    nbd_conn_release(&c);
    start(&c, 3); /* lengths within an option that lead past it */
    add(&b, 4, 1000);
    add(&b, 2, 0);
    option(&c, 7, &b);
    reply_is(&c, 7, 0x80000003, 0);
    option(&c, 8, NULL);
    buf_clear(&c.out);
    buf_clear(&b);
    add(&b, 4, 0);
    add(&b, 4, UINT32_MAX);
    option(&c, 10, &b);
    reply_is(&c, 10, 0x80000003, 0);
    buf_clear(&b);
    buf_str(&b, "other");
    option(&c, 1, &b); /* no such export, and no way to say so */
    assert_true(c.closed);
    nbd_conn_release(&c);
    buf_release(&b);
}

struct served {
    int listener, stop;
    bool once;
    int result;
};

static void *serve(void *opaque)
{
    struct served *s = opaque;

    s->result = nbd_serve(&disk, s->listener, -1, s->stop, s->once, NULL);
    return NULL;
}

static int join(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(addr.sun_path, sizeof addr.sun_path, "%s", path);
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    return fd;
}

/* 'N' from a greeting, or 0: sent away. */
static char greeting(int fd)
{
    char c = 0;

    return recv(fd, &c, 1, MSG_WAITALL) == 1 ? c : 0;
}

static void places_are_few(void **state)
{
    char dir[] = "/tmp/vmtest-nbd-XXXXXX", path[64];
    struct served s = {.once = false};
    int fds[9], stop[2], second;
    pthread_t t;

    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/s", dir);
    assert_int_equal(nbd_listen_unix(path, &s.listener, NULL), 0);
    assert_int_equal(nbd_listen_unix(path, &second, NULL), VT_EXISTS); /* one listens there */
    assert_int_equal(pipe(stop), 0);
    s.stop = stop[0];
    assert_int_equal(pthread_create(&t, NULL, serve, &s), 0);
    for (unsigned i = 0; i < 9; i++) {
        fds[i] = join(path);
        assert_int_equal(greeting(fds[i]), i < 8 ? 'N' : 0);
    }
    close(fds[3]); /* its place is another's */
    for (char got = 0; !got; got = greeting(fds[8])) {
        close(fds[8]);
        fds[8] = join(path);
    }
    close(stop[1]);
    pthread_join(t, NULL);
    assert_int_equal(s.result, 0);
    for (unsigned i = 0; i < 9; i++)
        if (i != 3)
            close(fds[i]);
    close(s.listener);
    close(stop[0]);
    assert_int_equal(nbd_listen_unix(path, &second, NULL), 0); /* the one that was left there goes */
    close(second);
    unlink(path);
    rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_old_client_reads),
        cmocka_unit_test(a_new_client_negotiates),
        cmocka_unit_test(a_write_is_refused_and_passed_over),
        cmocka_unit_test(nonsense_ends_it),
        cmocka_unit_test(places_are_few),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
