/* The agent's protocol against a scripted agent on a socket pair, with replies as QEMU's guest agent gives them. */
#include "tests/unit/unit.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include "src/agent.h"
#include "src/b64.h"
#include "src/base/io.h"
#include "src/exec.h"
#include "src/guestfile.h"
#include "src/wire.h"

/* A guest agent: answers guest-sync-delimited, and each other command with the next line of its script. A line "-" is
 * no answer at all; a line that begins with "+" goes out before the next answer, unasked for. */
struct fake {
    int fd;
    const char *const *script;
    unsigned at, syncs;
    char asked[65536]; /* the commands that came, a line each */
    pthread_t thread;
    struct agent *agent;
};

static void say(struct fake *f, const char *text)
{
    io_write_full(f->fd, text, strlen(text), "agent", NULL);
}

static void serve_one(struct fake *f, json_t *msg)
{
    const char *command = json_string_value(json_object_get(msg, "execute"));
    json_t *args = json_object_get(msg, "arguments");
    char *text = args ? json_dumps(args, JSON_COMPACT) : NULL, line[200];
    size_t used = strlen(f->asked);

    if (strcmp(command, "guest-sync-delimited") == 0) {
        f->syncs++;
        snprintf(line, sizeof line, "\xff{\"return\": %lld}\n",
                 (long long)json_integer_value(json_object_get(args, "id")));
        say(f, line);
    } else {
        snprintf(f->asked + used, sizeof f->asked - used, "%s %s\n", command, text ? text : "");
        if (f->script[f->at] && strcmp(f->script[f->at], "-") != 0)
            say(f, f->script[f->at]);
        if (f->script[f->at])
            __atomic_fetch_add(&f->at, 1, __ATOMIC_RELEASE);
    }
    free(text);
}

static void *serve(void *opaque)
{
    struct fake *f = opaque;
    struct wire w = {.max = 1 << 20};
    char data[4096];
    ssize_t n;

    while ((n = read(f->fd, data, sizeof data)) > 0) {
        json_t *msg = NULL;
        int rc;
        wire_feed(&w, data, (size_t)n, NULL);
        while ((rc = wire_next(&w, &msg, NULL)) != 0)
            if (rc > 0) {
                serve_one(f, msg);
                json_decref(msg);
            }
    }
    wire_release(&w);
    return NULL;
}

static void begin(struct fake *f, const char *const *script)
{
    int pair[2];

    *f = (struct fake){.script = script};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    f->fd = pair[1];
    assert_int_equal(agent_new(pair[0], &f->agent, NULL), 0);
    assert_int_equal(pthread_create(&f->thread, NULL, serve, f), 0);
}

static void end(struct fake *f)
{
    agent_free(f->agent);
    pthread_join(f->thread, NULL);
    close(f->fd);
}

static void test_calls(void **state)
{
    static const char *const script[] = {
        "{\"return\": {}}\n",
        "{\"error\": {\"class\": \"GenericError\", \"desc\": \"Command guest-nope has not been found\"}}\n",
        "{\"return\": 3}\n",
        "{\"return\": \"three\"}\n",
        "{\"neither\": 1}\n",
        NULL};
    struct fake f;
    struct err err = {0};
    unsigned n = 0;

    (void)state;
    begin(&f, script);
    assert_int_equal(agent_call(f.agent, "guest-ping", NULL, 5000, NULL, NULL), 0);
    assert_int_equal(agent_call(f.agent, "guest-nope", NULL, 5000, NULL, &err), VT_FAIL);
    assert_string_equal(err.msg, "guest agent: guest-nope: Command guest-nope has not been found");
    assert_int_equal(agent_freeze(f.agent, 5000, &n, NULL), 0);
    assert_int_equal(n, 3);
    assert_int_equal(agent_thaw(f.agent, 5000, &n, NULL), VT_FAIL); /* not a number */
    assert_int_equal(agent_call(f.agent, "guest-ping", NULL, 5000, NULL, NULL), VT_FAIL);
    assert_int_equal(f.syncs, 1); /* one for the whole connection */
    end(&f);
}

/* No answer in time is VT_GONE; the answer that comes late is never taken for the next call's. */
static void test_late_answer(void **state)
{
    static const char *const script[] = {"-", "{\"return\": \"mine\"}\n", NULL};
    struct fake f;
    struct err err = {0};
    json_t *result = NULL;

    (void)state;
    begin(&f, script);
    assert_int_equal(agent_call(f.agent, "guest-info", NULL, 50, NULL, &err), VT_GONE);
    assert_non_null(strstr(err.msg, "does not answer"));
    say(&f, "{\"return\": \"very late\"}\nrubbish\n");
    assert_int_equal(agent_call(f.agent, "guest-info", NULL, 5000, &result, NULL), 0);
    assert_int_equal(f.syncs, 2);
    assert_string_equal(json_string_value(result), "mine");
    json_decref(result);
    end(&f);
}

/* A guest whose agent fell silent between freeze and thaw is thawed when it answers again, without being asked to. */
static void test_thaw_again(void **state)
{
    static const char *const script[] = {"{\"return\": 2}\n",  "-", "-", "{\"return\": 2}\n",
                                         "{\"return\": {}}\n", NULL};
    static const char want[] = "guest-fsfreeze-freeze \nguest-fsfreeze-thaw \nguest-fsfreeze-thaw \n"
                               "guest-fsfreeze-thaw \n";
    struct fake f;
    unsigned n = 0, tries = 30000;

    (void)state;
    begin(&f, script);
    assert_int_equal(agent_freeze(f.agent, 5000, &n, NULL), 0);
    assert_int_equal(agent_thaw(f.agent, 50, &n, NULL), VT_GONE);
    while (__atomic_load_n(&f.at, __ATOMIC_ACQUIRE) < 4 && tries--)
        poll(NULL, 0, 1);
    assert_string_equal(f.asked, want);
    assert_int_equal(agent_call(f.agent, "guest-ping", NULL, 5000, NULL, NULL), 0);
    end(&f);
    assert_string_equal(f.asked + strlen(want), "guest-ping \n"); /* and no more of them */

    begin(&f, (const char *const[]){"{\"return\": 2}\n", "-", NULL}); /* it never answers, and the machine ends */
    assert_int_equal(agent_freeze(f.agent, 5000, &n, NULL), 0);
    assert_int_equal(agent_thaw(f.agent, 50, &n, NULL), VT_GONE);
    end(&f);
}

static void *reset_soon(void *opaque)
{
    struct fake *f = opaque;

    while (!strstr(f->asked, "guest-exec-status")) /* the call is under way */
        sched_yield();
    agent_reset(f->agent);
    return NULL;
}

/* A revert under a command: it ends with VT_GONE, and the next call works on the new guest. */
static void test_revert(void **state)
{
    static const char *const script[] = {"{\"return\": {\"pid\": 17}}\n", "-", "{\"return\": {}}\n", NULL};
    static const char *const argv[] = {"sleep", "1000", NULL};
    struct exec_spec x = {.argv = argv, .cancel_fd = -1};
    struct exec_result r;
    struct fake f;
    struct err err = {0};
    pthread_t thread;

    (void)state;
    begin(&f, script);
    assert_int_equal(pthread_create(&thread, NULL, reset_soon, &f), 0);
    assert_int_equal(exec_run(f.agent, &x, NULL, 0, &r, &err), VT_GONE);
    assert_non_null(strstr(err.msg, "reverted"));
    pthread_join(thread, NULL);
    exec_result_release(&r);
    assert_int_equal(agent_call(f.agent, "guest-ping", NULL, 5000, NULL, NULL), 0);
    assert_int_equal(f.syncs, 2);
    end(&f);
}

static void test_exec(void **state)
{
    static const struct {
        const char *answer;
        int rc, status;
        const char *out;
    } cases[] = {
        {"{\"return\": {\"exitcode\": 0, \"out-data\": \"aGkK\", \"exited\": true}}\n", 0, 0, "hi\n"},
        {"{\"return\": {\"exitcode\": 255, \"exited\": true}}\n", 0, 255, ""},
        {"{\"return\": {\"signal\": 9, \"exited\": true}}\n", 0, 137, ""},
        {"{\"return\": {\"exitcode\": 0, \"exited\": true, \"out-data\": \"aGkK\", \"out-truncated\": true}}\n",
         VT_FAIL, 0, "hi\n"},
        {"{\"return\": {\"exitcode\": 0, \"exited\": true, \"out-data\": \"a?kK\"}}\n", VT_FAIL, 0, ""},
        {"{\"return\": {\"exited\": true}}\n", VT_FAIL, 0, ""},
    };
    static const char *const argv[] = {"echo", "hi", NULL};
    struct exec_spec x = {.argv = argv, .cancel_fd = -1};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *script[] = {"{\"return\": {\"pid\": 17}}\n", "{\"return\": {\"exited\": false}}\n", cases[i].answer,
                                NULL};
        struct exec_result r;
        struct fake f;

        begin(&f, script);
        assert_int_equal(exec_run(f.agent, &x, NULL, 0, &r, NULL), cases[i].rc);
        if (cases[i].rc == 0)
            assert_int_equal(r.status, cases[i].status);
        assert_string_equal(buf_cstr(&r.out), cases[i].out);
        exec_result_release(&r);
        end(&f);
    }
}

/* Past its time the command is killed in the guest, and the status is the time-out's. */
static void test_exec_timeout(void **state)
{
    static const char *const script[] = {"{\"return\": {\"pid\": 17}}\n", "{\"return\": {\"exited\": false}}\n",
                                         "{\"return\": {\"pid\": 18}}\n",
                                         "{\"return\": {\"exited\": true, \"exitcode\": 143}}\n", NULL};
    static const char *const argv[] = {"sleep", "1000", NULL};
    struct exec_spec x = {.argv = argv, .cancel_fd = -1, .timeout = 1};
    struct fake f;
    int status = 0;

    (void)state;
    begin(&f, script);
    assert_int_equal(exec_streams(&(struct exec_way){.agent = f.agent}, &x, -1, -1, -1, &status, NULL), VT_TIMEOUT);
    assert_non_null(strstr(f.asked, "kill -TERM"));
    end(&f);
}

static void test_file(void **state)
{
    static const char *const script[] = {"{\"return\": 1000}\n",
                                         "{\"return\": {\"count\": 3, \"eof\": false}}\n",
                                         "{\"return\": {\"count\": 2, \"eof\": false}}\n",
                                         "{\"return\": {\"count\": 3, \"buf-b64\": \"YWJj\", \"eof\": false}}\n",
                                         "{\"return\": {\"count\": 0, \"buf-b64\": \"\", \"eof\": true}}\n",
                                         "{\"return\": {\"count\": 9, \"eof\": false}}\n",
                                         NULL};
    struct buf data = {0};
    struct guestfile file;
    struct fake f;
    bool eof = true;

    (void)state;
    begin(&f, script);
    assert_int_equal(guestfile_open(f.agent, "/x", "r+", &file, NULL), 0);
    assert_int_equal(guestfile_write(&file, "abcde", 5, NULL), 0); /* in two calls: the first wrote less */
    assert_non_null(strstr(f.asked, "\"buf-b64\":\"YWJjZGU=\""));
    assert_non_null(strstr(f.asked, "\"buf-b64\":\"ZGU=\""));
    assert_int_equal(guestfile_read(&file, &data, &eof, NULL), 0);
    assert_false(eof);
    assert_int_equal(guestfile_read(&file, &data, &eof, NULL), 0);
    assert_true(eof);
    assert_string_equal(buf_cstr(&data), "abc");
    assert_int_equal(guestfile_write(&file, "abc", 3, NULL), VT_FAIL); /* it claims more than it got */
    agent_reset(f.agent);
    assert_int_equal(guestfile_read(&file, &data, &eof, NULL), VT_GONE); /* that file is of another time */
    buf_release(&data);
    end(&f);
}

static void test_b64(void **state)
{
    static const struct {
        const char *plain, *text;
    } cases[] = {{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foobar", "Zm9vYmFy"}}; /* RFC 4648 §10 */
    static const char *const bad[] = {"Zg=", "Z", "Zg==Zg==", "Zm9v\n", "Z===", "====", "Zm 9"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf b = {0};
        char *text = b64_encode(cases[i].plain, strlen(cases[i].plain));
        assert_string_equal(text, cases[i].text);
        assert_true(b64_decode(text, strlen(text), &b));
        assert_string_equal(buf_cstr(&b), cases[i].plain);
        free(text);
        buf_release(&b);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct buf b = {0};
        assert_false(b64_decode(bad[i], strlen(bad[i]), &b));
        buf_release(&b);
    }
}

static void test_shut(void **state)
{
    static const char *const script[] = {NULL};
    struct fake f;
    struct err err = {0};

    (void)state;
    begin(&f, script);
    agent_shut(f.agent);
    assert_int_equal(agent_call(f.agent, "guest-ping", NULL, 5000, NULL, &err), VT_GONE);
    assert_int_equal(agent_wait(f.agent, 5000, -1, NULL), VT_GONE);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls),  cmocka_unit_test(test_late_answer), cmocka_unit_test(test_thaw_again),
        cmocka_unit_test(test_revert), cmocka_unit_test(test_exec),        cmocka_unit_test(test_exec_timeout),
        cmocka_unit_test(test_file),   cmocka_unit_test(test_b64),         cmocka_unit_test(test_shut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
