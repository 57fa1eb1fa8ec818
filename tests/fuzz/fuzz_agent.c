/* A hostile guest agent. It synchronises as a real one does; each other question gets the next piece of the input for
 * an answer (pieces end with a NUL byte), and when there is none left the port closes. Every caller must come back. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "src/agent.h"
#include "src/base/buf.h"
#include "src/exec.h"
#include "src/guestfile.h"
#include "src/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct guest {
    int fd;
    const uint8_t *p, *end;
};

/* False: the input is used up. */
static bool reply(struct guest *g, const json_t *msg)
{
    const char *command = json_string_value(json_object_get(msg, "execute"));
    const uint8_t *nul;
    size_t n;

    if (command && strcmp(command, "guest-sync-delimited") == 0) {
        char line[80];
        int k = snprintf(line, sizeof line, "\xff{\"return\": %lld}\n",
                         (long long)json_integer_value(json_object_get(json_object_get(msg, "arguments"), "id")));
        return send(g->fd, line, (size_t)k, MSG_NOSIGNAL) == k;
    }
    if (g->p == g->end)
        return false;
    nul = memchr(g->p, 0, (size_t)(g->end - g->p));
    n = nul ? (size_t)(nul - g->p) : (size_t)(g->end - g->p);
    if (n && send(g->fd, g->p, n, MSG_NOSIGNAL) != (ssize_t)n)
        return false;
    g->p += nul ? n + 1 : n;
    return send(g->fd, "\xff{}\n", 4, MSG_NOSIGNAL) == 4; /* an answer in any case: silence is only a time-out */
}

static void *guest_main(void *opaque)
{
    struct guest *g = opaque;
    struct wire w = {.max = 1 << 20};
    bool more = true;
    char data[4096];
    ssize_t n;

    while (more && (n = read(g->fd, data, sizeof data)) > 0) {
        json_t *msg = NULL;
        int rc;
        wire_feed(&w, data, (size_t)n, NULL);
        while (more && (rc = wire_next(&w, &msg, NULL)) != 0)
            if (rc > 0) {
                more = reply(g, msg);
                json_decref(msg);
            }
    }
    shutdown(g->fd, SHUT_RDWR);
    wire_release(&w);
    return NULL;
}

static void use(struct agent *a)
{
    static const char *const argv[] = {"true", NULL};
    struct exec_spec x = {.argv = argv, .cancel_fd = -1, .timeout = 1};
    struct exec_result r = {0};
    struct guestfile f;
    struct buf b = {0};
    unsigned n = 0;
    bool eof = false;
    int status = 0;

    exec_run(a, &x, NULL, 0, &r, NULL);
    vt_assert(r.status >= 0 && r.status <= 255);
    exec_result_release(&r);
    if (exec_streams(&(struct exec_way){.agent = a}, &x, -1, -1, -1, &status, NULL) == 0)
        vt_assert(status >= 0 && status <= 255);
    if (guestfile_open(a, "/x", "r", &f, NULL) == 0) {
        while (!eof && guestfile_read(&f, &b, &eof, NULL) == 0 && b.len < 3 * GUESTFILE_CHUNK)
            ;
        guestfile_write(&f, "hello", 5, NULL);
        guestfile_close(&f, NULL);
    }
    buf_release(&b);
    agent_freeze(a, 1000, &n, NULL);
    agent_thaw(a, 1000, &n, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct guest g = {.p = data, .end = data + (len > 16384 ? 16384 : len)};
    struct agent *a = NULL;
    pthread_t thread;
    int pair[2];

    vt_assert(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    g.fd = pair[1];
    vt_assert(agent_new(pair[0], &a, NULL) == 0);
    vt_assert(pthread_create(&thread, NULL, guest_main, &g) == 0);
    use(a);
    agent_free(a);
    pthread_join(thread, NULL);
    close(pair[1]);
    return 0;
}
