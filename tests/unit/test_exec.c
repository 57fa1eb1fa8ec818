/* Commands by the helper, with this host for a guest: the helper itself (argv[1]) on a socket pair instead of its port.
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "src/base/io.h"
#include "src/base/units.h"
#include "src/exec.h"
#include "src/execcontrol.h"

struct bench {
    struct execport *port;
    uint32_t open; /* as the virtio port says it */
    pid_t pid;
};

static const char *helper;

static int set_up(void **state)
{
    struct bench *b = calloc(1, sizeof *b);
    char word[16];
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    fcntl(pair[0], F_SETFD, FD_CLOEXEC);
    b->pid = fork();
    if (b->pid == 0) {
        snprintf(word, sizeof word, "fd:%d", pair[1]);
        execl(helper, helper, word, (char *)NULL);
        _exit(127);
    }
    close(pair[1]);
    b->open = 1;
    assert_int_equal(execport_new(pair[0], &b->open, &b->port, NULL), 0);
    assert_int_equal(execport_connect(b->port, NULL, -1, NULL), 0);
    *state = b;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *b = *state;

    execport_free(b->port);
    waitpid(b->pid, NULL, 0);
    free(b);
    return 0;
}

static int scratch(void)
{
    int fd = memfd_create("scratch", MFD_CLOEXEC);

    assert_true(fd >= 0);
    return fd;
}

static void expect_file(int fd, const char *want)
{
    char got[4096] = {0};

    assert_true(pread(fd, got, sizeof got - 1, 0) >= 0);
    assert_string_equal(got, want);
    close(fd);
}

static int run(struct bench *b, struct exec_spec *x, int in, int out, int err, int *ret_status, struct err *e)
{
    if (!x->has_control && x->cancel_fd == 0)
        x->cancel_fd = -1;
    return exec_streams(&(struct exec_way){.port = b->port}, x, in, out, err, ret_status, e);
}

static void expect(struct bench *b, struct exec_spec *x, int status, const char *out, const char *err)
{
    int o = scratch(), d = scratch(), got = -1;
    struct err e = {0};

    if (run(b, x, -1, o, d, &got, &e) < 0)
        fail_msg("%s: %s", x->argv[0], e.msg);
    assert_int_equal(got, status);
    expect_file(o, out);
    expect_file(d, err);
}

#define SH(text) ((const char *const[]){"sh", "-c", text, NULL})

static void test_status(void **state)
{
    static const struct {
        const char *text;
        int status;
        const char *out, *err;
    } cases[] = {
        {"true", 0, "", ""},
        {"exit 255", 255, "", ""},
        {"echo out; echo err >&2; exit 3", 3, "out\n", "err\n"},
        {"kill -9 $$", 137, "", ""},
        {"cat", 0, "", ""}, /* no input is an empty one */
        {"pwd; umask; echo \"$HOME $USER\"", 0, "/\n0022\n/root root\n", ""},
        {"(sleep 0.02; echo late) & exit 4", 4, "late\n", ""},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct exec_spec x = {.argv = SH(cases[i].text)};
        expect(*state, &x, cases[i].status, cases[i].out, cases[i].err);
    }
}

static void test_what_cannot_run(void **state)
{
    static const char *const none[] = {"no-such-program", NULL}, *const data[] = {"/etc/passwd", NULL};
    struct exec_spec x = {.argv = none};
    int status = -1;
    struct err e = {0};

    expect(*state, &x, 127, "", "vmtest: no-such-program: command not found\n");
    x.argv = data;
    expect(*state, &x, 126, "", "vmtest: /etc/passwd: Permission denied\n");
    x.dir = "/no/such/directory";
    assert_int_equal(run(*state, &x, -1, -1, -1, &status, &e), VT_FAIL);
    assert_string_equal(e.msg, "/no/such/directory: No such file or directory");
    e = (struct err){0};
    x = (struct exec_spec){.argv = data, .user = "no-such-user"};
    assert_int_equal(run(*state, &x, -1, -1, -1, &status, &e), VT_FAIL);
    assert_string_equal(e.msg, "no-such-user: no such user in the guest");
}

static void test_user_environment_and_directory(void **state)
{
    static const char *const env[] = {"A=b c", "PATH=/usr/bin:/bin", "A=later", NULL};
    struct exec_spec x = {
        .argv = SH("id -un; pwd; echo \"$A|$PATH|$HOME\""), .env = env, .dir = "/usr", .user = "daemon"};

    if (getuid() == 0)
        expect(*state, &x, 0, "daemon\n/usr\nlater|/usr/bin:/bin|/usr/sbin\n", "");
    x.user = NULL;
    x.argv = SH("pwd; echo \"$A|$PATH\"");
    expect(*state, &x, 0, "/usr\nlater|/usr/bin:/bin\n", "");
}

static void *feed(void *opaque)
{
    int fd = *(int *)opaque;
    char block[65536];

    for (unsigned i = 0; i < 320; i++) {
        memset(block, (int)(i * 7), sizeof block);
        block[0] = (char)i;
        if (io_write_full(fd, block, sizeof block, "feed", NULL) < 0)
            break;
    }
    close(fd);
    return NULL;
}

static void test_long_streams_come_through_whole(void **state)
{
    struct exec_spec x = {.argv = SH("tee /dev/fd/2")};
    int in[2], out = scratch(), err = scratch(), status = -1;
    pthread_t thread;
    char a[65536], b[65536];

    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pthread_create(&thread, NULL, feed, &in[1]), 0);
    assert_int_equal(run(*state, &x, in[0], out, err, &status, NULL), 0);
    pthread_join(thread, NULL);
    assert_int_equal(status, 0);
    for (unsigned i = 0; i < 320; i++) {
        memset(a, (int)(i * 7), sizeof a);
        a[0] = (char)i;
        assert_int_equal(pread(out, b, sizeof b, (off_t)i * 65536), sizeof b);
        assert_memory_equal(a, b, sizeof a);
        assert_int_equal(pread(err, b, sizeof b, (off_t)i * 65536), sizeof b);
        assert_memory_equal(a, b, sizeof a);
    }
    assert_int_equal(pread(out, b, 1, 320 * 65536), 0);
    close(in[0]);
    close(out);
    close(err);
}

/* The writer of the input is not kept waiting by a command that takes none of it. */
static void test_input_that_nobody_reads(void **state)
{
    struct exec_spec x = {.argv = SH("exec <&-; sleep 0.05; exit 5")};
    int in[2], status = -1;
    pthread_t thread;

    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pthread_create(&thread, NULL, feed, &in[1]), 0);
    assert_int_equal(run(*state, &x, in[0], -1, -1, &status, NULL), 0);
    assert_int_equal(status, 5);
    close(in[0]);
    pthread_join(thread, NULL);
}

/* A host, or a chroot, without /dev/pts has no terminals to give. */
static void need_terminals(void)
{
    int fd = posix_openpt(O_RDWR | O_NOCTTY);
    const char *name = fd >= 0 && grantpt(fd) == 0 && unlockpt(fd) == 0 ? ptsname(fd) : NULL;
    bool there = name && access(name, R_OK | W_OK) == 0;

    if (fd >= 0)
        close(fd);
    if (!there) {
        print_message("this host has no /dev/pts\n");
        skip();
    }
}

static void test_terminal(void **state)
{
    struct exec_spec x = {.argv = SH("tty; stty size; echo err >&2; test -t 0 && test -t 1 && test -t 2"),
                          .tty = true,
                          .rows = 33,
                          .cols = 121};
    char got[256] = {0};
    int out = scratch(), status = -1;

    need_terminals();
    assert_int_equal(run(*state, &x, -1, out, -1, &status, NULL), 0);
    assert_int_equal(status, 0);
    assert_true(pread(out, got, sizeof got - 1, 0) > 0);
    assert_memory_equal(got, "/dev/pts/", 9);
    assert_non_null(strstr(got, "\r\n33 121\r\nerr\r\n"));
    close(out);
}

/* Reads from fd until the text is there. */
static void await(int fd, const char *text)
{
    char got[4096] = {0};
    size_t n = 0;

    while (!strstr(got, text)) {
        ssize_t k = read(fd, got + n, sizeof got - 1 - n);
        assert_true(k > 0);
        n += (size_t)k;
    }
}

struct running {
    struct bench *bench;
    struct exec_spec spec;
    int in, out, err, status, rc;
    struct err e;
    pthread_t thread;
};

static void *run_main(void *opaque)
{
    struct running *r = opaque;

    r->rc = run(r->bench, &r->spec, r->in, r->out, r->err, &r->status, &r->e);
    return NULL;
}

static void test_signals_and_resizing(void **state)
{
    struct running r = {.bench = *state,
                        .in = -1,
                        .err = -1,
                        .spec = {.argv = SH("trap 'stty size; exit 9' WINCH; trap 'echo usr1' USR1; echo ready; "
                                            "while :; do sleep 0.01; done"),
                                 .tty = true,
                                 .rows = 10,
                                 .cols = 20,
                                 .cancel_fd = -1,
                                 .has_control = true}};
    struct exec_control c = {.what = EXEC_SIGNAL, .number = SIGUSR1};
    int control[2], out[2];

    need_terminals();
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, control), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    r.spec.control_fd = control[0];
    r.out = out[1];
    assert_int_equal(pthread_create(&r.thread, NULL, run_main, &r), 0);
    await(out[0], "ready");
    assert_int_equal(write(control[1], &c, sizeof c), sizeof c);
    await(out[0], "usr1");
    c = (struct exec_control){.what = EXEC_RESIZE, .rows = 44, .cols = 55};
    assert_int_equal(write(control[1], &c, sizeof c), sizeof c);
    await(out[0], "44 55");
    pthread_join(r.thread, NULL);
    assert_int_equal(r.rc, 0);
    assert_int_equal(r.status, 9);
    close(control[0]);
    close(control[1]);
    close(out[0]);
    close(out[1]);
}

static void test_time_out(void **state)
{
    struct exec_spec x = {.argv = SH("echo before; trap '' TERM; sleep 100"), .timeout = 100 * NS_PER_MS};
    int out = scratch(), status = -1;
    struct err e = {0};

    assert_int_equal(run(*state, &x, -1, out, -1, &status, &e), VT_TIMEOUT);
    assert_string_equal(e.msg, "timed out after 0.1 s");
    expect_file(out, "before\n");
}

static void test_reset_ends_it(void **state)
{
    struct bench *b = *state;
    struct running r = {
        .bench = b, .in = -1, .err = -1, .spec = {.argv = SH("echo ready; cat; sleep 100"), .cancel_fd = -1}};
    struct exec_spec x = {.argv = SH("echo again")};
    int out[2];

    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    r.out = out[1];
    assert_int_equal(pthread_create(&r.thread, NULL, run_main, &r), 0);
    await(out[0], "ready");
    execport_reset(b->port);
    pthread_join(r.thread, NULL);
    assert_int_equal(r.rc, VT_GONE);
    assert_non_null(strstr(r.e.msg, "reverted"));
    assert_false(execport_connected(b->port));
    assert_int_equal(execport_connect(b->port, NULL, -1, NULL), 0);
    expect(b, &x, 0, "again\n", "");
    close(out[0]);
    close(out[1]);
}

/* A cut anywhere in the frames of either way: each time after another amount of them. */
static void test_resets_amid_full_streams(void **state)
{
    static const char *const argv[] = {"cat", NULL}, *const again[] = {"echo", "again", NULL};
    struct bench *b = *state;

    for (size_t i = 0; i < 40; i++) {
        struct running r = {.bench = b, .err = -1, .spec = {.argv = argv, .cancel_fd = -1}};
        struct exec_spec x = {.argv = again};
        int in[2], out[2];
        char data[8191];
        pthread_t feeder;

        assert_int_equal(pipe2(in, O_CLOEXEC), 0);
        assert_int_equal(pipe2(out, O_CLOEXEC), 0);
        r.in = in[0];
        r.out = out[1];
        assert_int_equal(pthread_create(&feeder, NULL, feed, &in[1]), 0);
        assert_int_equal(pthread_create(&r.thread, NULL, run_main, &r), 0);
        for (size_t n = 0; n <= i; n++)
            assert_true(read(out[0], data, sizeof data) > 0);
        execport_reset(b->port);
        pthread_join(r.thread, NULL);
        assert_int_equal(r.rc, VT_GONE);
        close(in[0]);
        pthread_join(feeder, NULL);
        assert_int_equal(execport_connect(b->port, NULL, -1, NULL), 0);
        expect(b, &x, 0, "again\n", "");
        close(out[0]);
        close(out[1]);
    }
}

static void test_helper_that_ends(void **state)
{
    struct bench *b = *state;
    struct running r = {
        .bench = b, .in = -1, .err = -1, .spec = {.argv = SH("echo ready; kill -9 $PPID; sleep 1"), .cancel_fd = -1}};
    int out[2];

    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    r.out = out[1];
    assert_int_equal(pthread_create(&r.thread, NULL, run_main, &r), 0);
    pthread_join(r.thread, NULL);
    assert_int_equal(r.rc, VT_GONE);
    __atomic_store_n(&b->open, 0, __ATOMIC_RELEASE);
    assert_int_equal(execport_connect(b->port, NULL, -1, NULL), VT_NOENT);
    close(out[0]);
    close(out[1]);
}

/* A daemon that keeps its outputs open neither keeps anybody waiting nor dies of it. */
static void test_daemon(void **state)
{
    struct bench *b = *state;
    struct exec_spec x = {.argv = SH("sh -c 'while echo still; do sleep 0.01; done' & echo $!")};
    char got[64] = {0};
    int out = scratch(), status = -1, pid;
    uint64_t begin = clock_mono_ns();

    assert_int_equal(run(b, &x, -1, out, -1, &status, NULL), 0);
    assert_in_range(clock_mono_ns() - begin, 0, 20 * NS_PER_SEC);
    assert_true(pread(out, got, sizeof got - 1, 0) > 0);
    pid = (int)strtol(strncmp(got, "still\n", 6) ? got : got + 6, NULL, 10);
    assert_true(pid > 1);
    x.argv = SH("echo next");
    expect(b, &x, 0, "next\n", "");
    assert_int_equal(kill(pid, 0), 0);
    kill(pid, SIGKILL);
    close(out);
}

static void test_many_at_once(void **state)
{
    static const char *const argv[] = {"sh", "-c", "head -c 3000000 /dev/zero; exit 6", NULL};
    struct running r[8];
    int out[8];

    for (unsigned i = 0; i < 8; i++) {
        out[i] = scratch();
        r[i] = (struct running){
            .bench = *state, .in = -1, .out = out[i], .err = -1, .spec = {.argv = argv, .cancel_fd = -1}};
        assert_int_equal(pthread_create(&r[i].thread, NULL, run_main, &r[i]), 0);
    }
    for (unsigned i = 0; i < 8; i++) {
        pthread_join(r[i].thread, NULL);
        assert_int_equal(r[i].rc, 0);
        assert_int_equal(r[i].status, 6);
        assert_int_equal(lseek(out[i], 0, SEEK_END), 3000000);
        close(out[i]);
    }
}

static bool runs_here(void)
{
    int status = -1;
    pid_t pid = fork();

    if (pid == 0) {
        execl(helper, helper, "--check", (char *)NULL);
        _exit(errno == ENOEXEC ? 77 : 127);
    }
    return waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 77;
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_status, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_cannot_run, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_user_environment_and_directory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_long_streams_come_through_whole, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_input_that_nobody_reads, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_terminal, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_signals_and_resizing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_time_out, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_reset_ends_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_resets_amid_full_streams, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_helper_that_ends, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_daemon, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_many_at_once, set_up, tear_down),
    };

    helper = argc > 1 ? argv[1] : "";
    if (!runs_here()) {
        printf("this host does not run %s\n", helper);
        return 77; /* skipped: a kernel without 32-bit programs */
    }
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
