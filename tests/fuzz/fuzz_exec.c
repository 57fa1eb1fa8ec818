/* A hostile helper in the guest. It answers greetings as a real one does; when the first command has been started it
 * says what the input holds, and the port closes. What it says must end in the command's end or in an error, with no
 * more output than there was room for. The input also goes through the parsers as it is. */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "src/base/buf.h"
#include "src/base/util.h"
#include "src/exec.h"
#include "src/execwire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct guest {
    int fd;
    const uint8_t *data;
    size_t len;
};

static void greet(const struct guest *g, const uint8_t *nonce)
{
    static const uint8_t version[4] = {EW_VERSION};
    uint8_t payload[EW_NONCE + 4];
    struct buf b = {0};

    memcpy(payload, nonce, EW_NONCE);
    memcpy(payload + EW_NONCE, version, sizeof version);
    execwire_put(&b, EW_HELLO, 0, payload, sizeof payload);
    vt_assert(send(g->fd, b.data, b.len, MSG_NOSIGNAL) == (ssize_t)b.len);
    buf_release(&b);
}

/* What a nonblocking send does not take at once goes while the other side reads. */
static void say(const struct guest *g)
{
    size_t done = 0;

    while (done < g->len) {
        ssize_t n = send(g->fd, g->data + done, g->len - done, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        done += (size_t)n;
    }
}

static void *guest_main(void *opaque)
{
    const struct guest *g = opaque;
    struct execwire_frame f = {0};
    struct buf in = {0};
    bool said = false;
    char data[4096];
    ssize_t n;

    while (!said && (n = read(g->fd, data, sizeof data)) > 0) {
        size_t zeros = 0, used = 0;
        buf_add(&in, data, (size_t)n);
        while (zeros < in.len && in.data[zeros] == 0)
            zeros++;
        buf_drop(&in, zeros);
        while (!said && execwire_next(in.data, in.len, &f, &used, NULL) > 0) {
            if (f.type == EW_HELLO)
                greet(g, f.data);
            said = f.type == EW_START;
            buf_drop(&in, used);
        }
    }
    if (said)
        say(g);
    shutdown(g->fd, SHUT_WR);
    while (read(g->fd, data, sizeof data) > 0)
        ;
    buf_release(&in);
    return NULL;
}

static void use(struct execport *p)
{
    static const char *const argv[] = {"true", NULL};
    struct exec_way way = {.port = p};
    struct exec_spec x = {.argv = argv, .cancel_fd = -1};
    uint32_t done = 0;
    struct err e = {0};
    int status = -1;

    vt_assert(execport_connect(p, NULL, -1, NULL) == 0);
    if (exec_streams(&way, &x, -1, -1, -1, &status, &e) == 0)
        vt_assert(status >= 0 && status <= 255);
    else
        vt_assert(e.code < 0 && *e.msg);
    execport_identity(p, EW_SEEDED | EW_CLOCK, NULL, -1, &done, NULL);
    vt_assert((done & ~(uint32_t)(EW_SEEDED | EW_CLOCK)) == 0);
}

static void parse(const uint8_t *data, size_t len)
{
    static const uint8_t nonce[EW_NONCE] = "0123456789abcdef";
    struct execwire_frame f;
    size_t used = 0, at = 0;
    uint32_t version;

    while (execwire_next(data + at, len - at, &f, &used, NULL) > 0) {
        vt_assert(used <= len - at && f.len <= EW_PAYLOAD && f.data >= data && f.data + f.len <= data + len);
        at += used;
    }
    if (execwire_seek(data, len, nonce, &used, &version))
        vt_assert(used >= EW_HEAD + EW_NONCE + 4 + EW_TAIL);
    vt_assert(used <= len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct guest g = {.data = data, .len = len > 65536 ? 65536 : len};
    struct execport *p = NULL;
    pthread_t thread;
    int pair[2];

    parse(data, len);
    vt_assert(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    g.fd = pair[1];
    vt_assert(execport_new(pair[0], NULL, &p, NULL) == 0);
    vt_assert(pthread_create(&thread, NULL, guest_main, &g) == 0);
    use(p);
    execport_free(p);
    pthread_join(thread, NULL);
    close(pair[1]);
    return 0;
}
