/* The monitor's socket: what an existing QMP client sees, several at once, hostile ones, and our own client against it.
 */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "src/base/io.h"
#include "src/base/json.h"
#include "src/client.h"
#include "src/loop.h"
#include "src/qmp.h"

struct server {
    struct loop *loop;
    struct qmp *qmp;
    pthread_t thread;
    struct qmp_call *parked; /* "later" keeps its call here */
};

static void cmd_echo(void *opaque, struct qmp_call *call)
{
    (void)opaque;
    qmp_return(call, json_incref(call->args));
}

static void cmd_fail(void *opaque, struct qmp_call *call)
{
    struct err err = {0};

    (void)opaque;
    err_set(&err, VT_IO, "no space \xe9left"); /* not UTF-8: it must arrive all the same */
    qmp_fail(call, &err);
}

static void cmd_later(void *opaque, struct qmp_call *call)
{
    ((struct server *)opaque)->parked = call;
}

/* Writes to the first descriptor, which came with the call. */
static void cmd_write(void *opaque, struct qmp_call *call)
{
    (void)opaque;
    if (call->nfds == 1)
        io_write_full(call->fds[0], "hello", 5, "fd", NULL);
    qmp_return(call, json_pack("{s:i}", "fds", (int)call->nfds));
}

static const struct qmp_command commands[] = {
    {"echo", cmd_echo}, {"fail", cmd_fail}, {"later", cmd_later}, {"write", cmd_write}, {0}};

static void *serve(void *opaque)
{
    loop_run(((struct server *)opaque)->loop);
    return NULL;
}

static int connect_raw(struct server *s)
{
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(qmp_serve(s->qmp, pair[0], NULL, NULL, NULL), 0);
    return pair[1];
}

static int set_up(void **state)
{
    struct server *s = calloc(1, sizeof *s);

    assert_int_equal(loop_new(&s->loop, NULL), 0);
    assert_int_equal(qmp_new(s->loop, commands, s, &s->qmp, NULL), 0);
    *state = s;
    return 0;
}

static void start(struct server *s)
{
    assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static int tear_down(void **state)
{
    struct server *s = *state;

    loop_stop(s->loop);
    pthread_join(s->thread, NULL);
    qmp_free(s->qmp);
    loop_free(s->loop);
    free(s);
    return 0;
}

/* The next line; the caller frees it. */
static char *get_line(int fd)
{
    char *line = calloc(1, 65536);
    size_t n = 0;

    while (n < 65535 && read(fd, line + n, 1) == 1)
        if (line[n++] == '\n')
            break;
    while (n && (line[n - 1] == '\n' || line[n - 1] == '\r'))
        line[--n] = 0;
    return line;
}

static void expect(int fd, const char *line)
{
    char *got = get_line(fd);

    assert_string_equal(got, line);
    free(got);
}

static void put(int fd, const char *text)
{
    assert_int_equal(io_write_full(fd, text, strlen(text), "socket", NULL), 0);
}

/* What a QMP client that knows nothing of us relies on. */
static void test_standard(void **state)
{
    struct server *s = *state;
    int fd = connect_raw(s);
    char *line;

    start(s);
    line = get_line(fd);
    assert_non_null(strstr(line, "{\"QMP\":{\"version\":{\"qemu\":{\"major\":"));
    assert_non_null(strstr(line, "\"capabilities\":[]"));
    free(line);
    put(fd, "{\"execute\":\"echo\"}");
    expect(fd, "{\"error\":{\"class\":\"CommandNotFound\",\"desc\":\"Expecting capabilities negotiation with "
               "'qmp_capabilities'\",\"code\":-64}}");
    put(fd, "{\"execute\":\"qmp_capabilities\"}");
    expect(fd, "{\"return\":{}}");
    put(fd, "{ \"execute\": \"echo\",\r\n \"arguments\": {\"a\": [1]}, \"id\": {\"x\": 1} }\r\n");
    expect(fd, "{\"return\":{\"a\":[1]},\"id\":{\"x\":1}}");
    put(fd, "{\"execute\":\"nothing\",\"id\":7}");
    expect(
        fd,
        "{\"error\":{\"class\":\"CommandNotFound\",\"desc\":\"The command nothing has not been found\",\"code\":-64},"
        "\"id\":7}");
    put(fd, "{\"execute\":\"fail\"}");
    expect(fd, "{\"error\":{\"class\":\"GenericError\",\"desc\":\"no space \xef\xbf\xbdleft\",\"code\":-74}}");
    put(fd, "{\"execute\":\"query-commands\"}");
    line = get_line(fd);
    assert_non_null(strstr(line, "{\"name\":\"later\"}"));
    free(line);
    close(fd);
}

static void test_malformed(void **state)
{
    static const char *const bad[] = {"nonsense\n",
                                      "{\"execute\":1}\n",
                                      "{\"execute\":\"echo\",\"arguments\":[]}\n",
                                      "{\"execute\":\"echo\",\"more\":1}\n",
                                      "{}\n",
                                      "[]\n",
                                      "{\"a\":}\n"};
    struct server *s = *state;
    int fd = connect_raw(s);

    start(s);
    free(get_line(fd));
    put(fd, "{\"execute\":\"qmp_capabilities\"}");
    expect(fd, "{\"return\":{}}");
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char *line;
        put(fd, bad[i]);
        line = get_line(fd);
        assert_true(strncmp(line, "{\"error\":{\"class\":\"GenericError\"", 31) == 0);
        free(line);
    }
    put(fd, "{\"execute\":\"echo\"}");
    expect(fd, "{\"return\":{}}");
    close(fd);
}

/* Commands of one client wait for one another, those of another one do not. */
static void test_order(void **state)
{
    struct server *s = *state;
    int a = connect_raw(s), b = connect_raw(s);

    start(s);
    free(get_line(a));
    free(get_line(b));
    put(a, "{\"execute\":\"qmp_capabilities\"}{\"execute\":\"later\",\"id\":1}{\"execute\":\"echo\",\"id\":2}");
    expect(a, "{\"return\":{}}");
    put(b, "{\"execute\":\"qmp_capabilities\"}{\"execute\":\"echo\",\"id\":3}");
    expect(b, "{\"return\":{}}");
    expect(b, "{\"return\":{},\"id\":3}");
    qmp_event(s->qmp, "STOP", NULL);
    for (int i = 0; i < 2; i++) {
        char *line = get_line(i ? a : b);
        assert_true(strncmp(line, "{\"event\":\"STOP\",\"timestamp\":{\"seconds\":", 39) == 0);
        free(line);
    }
    assert_false(qmp_call_gone(s->parked));
    qmp_return(s->parked, json_pack("{s:i}", "late", 1));
    expect(a, "{\"return\":{\"late\":1},\"id\":1}");
    expect(a, "{\"return\":{},\"id\":2}");
    close(a);
    close(b);
}

/* A client that hangs up under its command: the command can see it, and its answer harms nobody. */
static void test_hang_up(void **state)
{
    struct server *s = *state;
    int a = connect_raw(s), b = connect_raw(s);
    uint64_t v;

    start(s);
    free(get_line(a));
    free(get_line(b));
    put(b, "{\"execute\":\"qmp_capabilities\"}");
    expect(b, "{\"return\":{}}");
    put(a, "{\"execute\":\"qmp_capabilities\"}");
    expect(a, "{\"return\":{}}");
    put(a, "{\"execute\":\"later\"}");
    while (!__atomic_load_n(&s->parked, __ATOMIC_ACQUIRE))
        sched_yield();
    close(a);
    fcntl(qmp_call_gone_fd(s->parked), F_SETFL, 0);
    assert_int_equal(read(qmp_call_gone_fd(s->parked), &v, sizeof v), sizeof v); /* waits for it */
    assert_true(qmp_call_gone(s->parked));
    qmp_return(s->parked, NULL);
    put(b, "{\"execute\":\"echo\"}");
    expect(b, "{\"return\":{}}");
    close(b);
}

static void test_client(void **state)
{
    struct server *s = *state;
    struct client *c = NULL;
    struct err err = {0};
    json_t *result = NULL, *event = NULL;
    int raw = connect_raw(s), p[2];
    char got[8] = {0};

    start(s);
    assert_int_equal(client_open_fd(raw, &c, &err), 0);
    assert_int_equal(client_call(c, "echo", json_pack("{s:s}", "a", "b"), &result, &err), 0);
    assert_string_equal(json_string_value(json_object_get(result, "a")), "b");
    json_decref(result);
    qmp_event(s->qmp, "RESUME", json_pack("{s:i}", "n", 1));
    assert_int_equal(client_call(c, "fail", NULL, NULL, &err), VT_IO);
    assert_int_equal(err.code, VT_IO);
    assert_non_null(strstr(err.msg, "no space"));
    assert_int_equal(client_event(c, 5000, &event, NULL), 0);
    assert_string_equal(json_string_value(json_object_get(event, "event")), "RESUME");
    json_decref(event);
    assert_int_equal(client_event(c, 10, &event, NULL), VT_TIMEOUT);
    assert_int_equal(pipe(p), 0);
    assert_int_equal(client_call_fds(c, "write", NULL, &p[1], 1, &result, NULL), 0);
    assert_int_equal(json_integer_value(json_object_get(result, "fds")), 1);
    json_decref(result);
    close(p[1]);
    assert_int_equal(read(p[0], got, sizeof got), 5);
    assert_string_equal(got, "hello");
    assert_int_equal(read(p[0], got, sizeof got), 0); /* the server's copy is closed with the call */
    close(p[0]);
    client_close(c);
}

/* A word that JSON cannot carry is refused, not left out. */
static void test_exec_words(void **state)
{
    static const char *const argv[] = {"printf", "\xff", NULL};
    struct server *s = *state;
    struct client *c = NULL;
    struct err err = {0};
    int status = 0, raw = connect_raw(s);

    start(s);
    assert_int_equal(client_open_fd(raw, &c, &err), 0);
    assert_int_equal(client_exec(c, &(struct client_exec){.argv = argv, .in = -1, .out = 1, .err = 2}, &status, &err),
                     VT_USAGE);
    client_close(c);
}

static void test_socket(void **state)
{
    static const char uuid[] = "01234567-89ab-cdef-0123-456789abcdef";
    struct server *s = *state;
    char dir[] = "/tmp/vmtest-run-XXXXXX", path[108];
    struct client *c = NULL;
    struct err err = {0};
    struct stat st;

    assert_non_null(mkdtemp(dir));
    setenv("XDG_RUNTIME_DIR", dir, 1);
    assert_int_equal(client_open(uuid, 5, &c, &err), VT_BUSY);
    err = (struct err){0};
    assert_int_equal(client_socket_path(uuid, 5, true, path, sizeof path, &err), 0);
    assert_int_equal(qmp_listen(s->qmp, path, &err), 0);
    start(s);
    assert_int_equal(client_open(uuid, 5, &c, &err), 0);
    assert_int_equal(client_open(uuid, 6, &c, &err), VT_BUSY);
    *strrchr(path, '/') = 0;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    client_close(c);
}

int main(void)
{
#define WITH_SERVER(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH_SERVER(test_standard), WITH_SERVER(test_malformed),  WITH_SERVER(test_order),  WITH_SERVER(test_hang_up),
        WITH_SERVER(test_client),   WITH_SERVER(test_exec_words), WITH_SERVER(test_socket),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
