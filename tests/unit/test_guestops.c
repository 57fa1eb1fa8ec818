/* Commands and copies against an agent whose guest is this host (hostagent.py, argv[2]; argv[1] is its interpreter). */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "src/agent.h"
#include "src/base/io.h"
#include "src/base/units.h"
#include "src/copy.h"
#include "src/exec.h"
#include "src/install.h"

struct bench {
    struct agent *agent;
    pid_t pid;
    char dir[64];
};

static const char *python, *script;

static int set_up(void **state)
{
    struct bench *b = calloc(1, sizeof *b);
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    b->pid = fork();
    if (b->pid == 0) {
        dup2(pair[1], 0);
        dup2(pair[1], 1);
        execl(python, python, script, (char *)NULL);
        _exit(127);
    }
    close(pair[1]);
    assert_int_equal(agent_new(pair[0], &b->agent, NULL), 0);
    assert_int_equal(agent_wait(b->agent, 20000, -1, NULL), 0);
    snprintf(b->dir, sizeof b->dir, "/tmp/vmtest-ops-XXXXXX");
    assert_non_null(mkdtemp(b->dir));
    *state = b;
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static int tear_down(void **state)
{
    struct bench *b = *state;

    agent_free(b->agent);
    waitpid(b->pid, NULL, 0);
    nftw(b->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(b);
    return 0;
}

/* A file that takes output, to look at afterwards. */
static int scratch(struct bench *b)
{
    int fd = open(b->dir, O_TMPFILE | O_RDWR, 0600);

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

static int sh(struct bench *b, const char *text, int in, int out, int err, int *ret_status, struct err *e)
{
    const char *argv[] = {"sh", "-c", text, NULL};
    struct exec_spec x = {.argv = argv, .cancel_fd = -1};

    return exec_streams(&(struct exec_way){.agent = b->agent}, &x, in, out, err, ret_status, e);
}

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
        {"pwd; umask", 0, "/\n0022\n", ""},
    };
    struct bench *b = *state;

    umask(022);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int out = scratch(b), err = scratch(b), status = -1;
        struct err e = {0};
        if (sh(b, cases[i].text, -1, out, err, &status, &e) < 0)
            fail_msg("%s: %s", cases[i].text, e.msg);
        assert_int_equal(status, cases[i].status);
        expect_file(out, cases[i].out);
        expect_file(err, cases[i].err);
    }
}

/* What a command leaves behind, with its outputs still open, keeps nobody waiting. */
static void test_left_behind(void **state)
{
    struct bench *b = *state;
    int out = scratch(b), status = -1;
    char pid[32] = {0};

    assert_int_equal(sh(b, "sleep 1000 & echo $!", -1, out, -1, &status, NULL), 0);
    assert_true(pread(out, pid, sizeof pid - 1, 0) > 1);
    assert_int_equal(kill((pid_t)strtol(pid, NULL, 10), SIGKILL), 0); /* it was still there */
    close(out);
}

static void test_words(void **state)
{
    static const char *const argv[] = {"printf", "[%s]", "a b", "", "$x", "'", "\"", "\\", "*", "-n", "--", "\n", NULL};
    static const char *const env[] = {"A=b  c", "EMPTY=", NULL}, *const bad_env[] = {"A-B=c", NULL};
    static const char *const show[] = {"sh", "-c", "echo \"$A|$EMPTY|$(pwd)\"", NULL};
    static const char *const missing[] = {"no-such-command-here", NULL}, *const denied[] = {"/etc/passwd", NULL};
    struct bench *b = *state;
    struct exec_spec x = {.argv = argv, .cancel_fd = -1};
    int out = scratch(b), status = -1;

    assert_int_equal(exec_streams(&(struct exec_way){.agent = b->agent}, &x, -1, out, -1, &status, NULL), 0);
    expect_file(out, "[a b][][$x]['][\"][\\][*][-n][--][\n]");
    x = (struct exec_spec){.argv = show, .env = env, .dir = "/usr", .cancel_fd = -1};
    out = scratch(b);
    assert_int_equal(exec_streams(&(struct exec_way){.agent = b->agent}, &x, -1, out, -1, &status, NULL), 0);
    expect_file(out, "b  c||/usr\n");
    x.dir = "/nonexistent";
    assert_int_equal(exec_streams(&(struct exec_way){.agent = b->agent}, &x, -1, -1, -1, &status, NULL), 0);
    assert_int_equal(status, 125);
    x = (struct exec_spec){.argv = show, .env = bad_env, .cancel_fd = -1};
    assert_int_equal(exec_streams(&(struct exec_way){.agent = b->agent}, &x, -1, -1, -1, &status, NULL), VT_USAGE);
    x = (struct exec_spec){.argv = missing, .cancel_fd = -1};
    assert_int_equal(exec_streams(&(struct exec_way){.agent = b->agent}, &x, -1, -1, -1, &status, NULL), 0);
    assert_int_equal(status, 127);
    x.argv = denied;
    assert_int_equal(exec_streams(&(struct exec_way){.agent = b->agent}, &x, -1, -1, -1, &status, NULL), 0);
    assert_int_equal(status, 126);
}

/* Longer than guest-exec carries, both ways. */
static void test_long(void **state)
{
    struct bench *b = *state;
    int in = scratch(b), out = scratch(b), status = -1;
    struct err e = {0};
    struct stat st;
    char tail[8] = {0};

    assert_int_equal(ftruncate(in, 20 << 20), 0);
    assert_int_equal(pwrite(in, "the end", 7, (20 << 20) - 7), 7);
    if (sh(b, "cat; exit 9", in, out, -1, &status, &e) < 0)
        fail_msg("%s", e.msg);
    assert_int_equal(status, 9);
    assert_int_equal(fstat(out, &st), 0);
    assert_int_equal(st.st_size, 20 << 20);
    assert_int_equal(pread(out, tail, 7, (20 << 20) - 7), 7);
    assert_string_equal(tail, "the end");
    close(in);
    close(out);
}

struct talk {
    struct bench *b;
    int in, out, status, rc;
};

static void *talk_main(void *opaque)
{
    struct talk *t = opaque;

    t->rc = sh(t->b, "while read -r l; do echo \"got $l\"; done; echo bye", t->in, t->out, -1, &t->status, NULL);
    return NULL;
}

static void expect_line(int fd, const char *want)
{
    char got[64] = {0};

    for (size_t n = 0; n < sizeof got - 1 && read(fd, got + n, 1) == 1; n++)
        if (got[n] == '\n')
            break;
    assert_string_equal(got, want);
}

/* Output comes while the command runs, input goes to it as it comes, and its end is the command's end of file. */
static void test_live(void **state)
{
    struct talk t = {.b = *state};
    int in[2], out[2];
    pthread_t thread;

    assert_int_equal(pipe(in) | pipe(out), 0);
    t.in = in[0];
    t.out = out[1];
    assert_int_equal(pthread_create(&thread, NULL, talk_main, &t), 0);
    assert_int_equal(write(in[1], "one\n", 4), 4);
    expect_line(out[0], "got one\n");
    assert_int_equal(write(in[1], "two\n", 4), 4);
    expect_line(out[0], "got two\n");
    close(in[1]);
    expect_line(out[0], "bye\n");
    pthread_join(thread, NULL);
    assert_int_equal(t.rc, 0);
    assert_int_equal(t.status, 0);
    close(in[0]);
    close(out[0]);
    close(out[1]);
}

/* An input that never ends does not keep a command that needs none. */
static void test_open_input(void **state)
{
    struct bench *b = *state;
    int in[2], status = -1;

    assert_int_equal(pipe(in), 0);
    assert_int_equal(sh(b, "exit 4", in[0], -1, -1, &status, NULL), 0);
    assert_int_equal(status, 4);
    close(in[0]);
    close(in[1]);
}

static void test_timeout(void **state)
{
    static const char *const argv[] = {"sh", "-c", "echo begun; sleep 1000", NULL};
    struct bench *b = *state;
    struct exec_spec x = {.argv = argv, .cancel_fd = -1, .timeout = 300 * NS_PER_MS};
    int out = scratch(b), status = -1;
    struct err e = {0};

    assert_int_equal(exec_streams(&(struct exec_way){.agent = b->agent}, &x, -1, out, -1, &status, &e), VT_TIMEOUT);
    assert_non_null(strstr(e.msg, "0.3 s"));
    expect_file(out, "begun\n"); /* what it had said */
}

/* The host has no virtio port, so that the helper gets as far as looking for one. */
static void test_helper_that_cannot_run(void **state)
{
    struct bench *b = *state;
    struct execport *p = NULL;
    const uint32_t closed = 0;
    struct err e = {0};
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(execport_new(pair[0], &closed, &p, NULL), 0);
    assert_int_equal(execport_connect(p, NULL, -1, NULL), VT_NOENT);
    assert_int_equal(execport_connect(p, b->agent, -1, &e), VT_FAIL);
    assert_string_equal(e.msg, "in the guest: the helper finds no port");
    assert_false(execport_connected(p));
    /* It is not tried again, until the guest is another one. */
    e = (struct err){0};
    assert_int_equal(execport_connect(p, NULL, -1, &e), VT_FAIL);
    assert_string_equal(e.msg, "in the guest: the helper finds no port");
    execport_reset(p);
    assert_int_equal(execport_connect(p, NULL, -1, NULL), VT_NOENT);
    execport_free(p);
    close(pair[1]);
}

static void test_terminal_without_helper(void **state)
{
    static const char *const argv[] = {"true", NULL};
    struct bench *b = *state;
    struct exec_way way = {.agent = b->agent, .why_plain = "no port"};
    struct exec_spec x = {.argv = argv, .cancel_fd = -1, .tty = true};
    struct err e = {0};
    int status;

    assert_int_equal(exec_streams(&way, &x, -1, -1, -1, &status, &e), VT_FAIL);
    assert_string_equal(e.msg, "the helper does not run in the guest (no port), and its agent has no terminals");
}

static void test_no_reader(void **state)
{
    struct bench *b = *state;
    int out[2], status = -1;

    assert_int_equal(pipe(out), 0);
    close(out[0]);
    assert_int_equal(sh(b, "while echo y; do sleep 0.01; done", -1, out[1], -1, &status, NULL), VT_IO);
    close(out[1]);
}

static void put_file(const char *dir, const char *name, const char *text, mode_t mode)
{
    char path[200];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(io_replace_file(AT_FDCWD, path, text, strlen(text), mode, NULL), 0);
    assert_int_equal(chmod(path, mode), 0);
}

static char *at(struct bench *b, const char *name)
{
    char *path = str_printf("%s/%s", b->dir, name);

    assert_non_null(path);
    return path;
}

static void expect_text(struct bench *b, const char *name, const char *want, mode_t mode)
{
    cleanup(cleanup_free) char *path = at(b, name);
    cleanup(buf_release) struct buf text = {0};
    struct stat st;

    assert_int_equal(io_read_file(AT_FDCWD, path, 1 << 20, &text, NULL), 0);
    assert_string_equal(buf_cstr(&text), want);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, mode);
}

/* A tree with everything in it, there and back. */
static void test_tree(void **state)
{
    struct bench *b = *state;
    cleanup(cleanup_free) char *from = at(b, "from"), *sub = at(b, "from/sub dir"), *link = at(b, "from/link"),
                               *there = at(b, "there"), *back = at(b, "back"), *copied = at(b, "there/from"),
                               *back_link = at(b, "back/link"), *big = at(b, "from/big"), *big_back = at(b, "back/big");
    struct copy_count n = {0};
    struct err e = {0};
    char target[32] = {0};
    struct stat st;

    assert_int_equal(mkdir(from, 0755) | mkdir(sub, 0700) | mkdir(there, 0755), 0);
    put_file(from, "a", "hello\n", 0640);
    put_file(sub, "b \"'$x\n", "quoted\n", 0755);
    assert_int_equal(symlink("../nowhere", link), 0);
    put_file(from, "big", "start", 0600);
    assert_int_equal(truncate(big, (9 << 20) + 1), 0);
    if (copy_in(b->agent, from, there, &n, &e) < 0) /* there is a directory: the copy goes inside */
        fail_msg("%s", e.msg);
    assert_int_equal(n.files, 4);
    assert_int_equal(n.bytes, (9 << 20) + 1 + 6 + 7);
    expect_text(b, "there/from/a", "hello\n", 0640);
    if (copy_out(b->agent, copied, back, &n, &e) < 0) /* back is not there: it is the copy's name */
        fail_msg("%s", e.msg);
    assert_int_equal(n.files, 4);
    expect_text(b, "back/a", "hello\n", 0640);
    expect_text(b, "back/sub dir/b \"'$x\n", "quoted\n", 0755);
    assert_true(readlink(back_link, target, sizeof target - 1) > 0);
    assert_string_equal(target, "../nowhere");
    assert_int_equal(stat(big_back, &st), 0);
    assert_int_equal(st.st_size, (9 << 20) + 1);
}

static void test_names(void **state)
{
    struct bench *b = *state;
    cleanup(cleanup_free) char *file = at(b, "file"), *other = at(b, "other"), *missing = at(b, "missing"),
                               *under = at(b, "no/where"), *dir = at(b, "nodir/");
    struct copy_count n = {0};

    put_file(b->dir, "file", "text", 0644);
    assert_int_equal(copy_in(b->agent, file, other, &n, NULL), 0);
    expect_text(b, "other", "text", 0644);
    assert_int_equal(copy_out(b->agent, file, other, &n, NULL), 0); /* an existing file is replaced */
    assert_int_equal(copy_in(b->agent, missing, other, &n, NULL), VT_NOENT);
    assert_int_equal(copy_in(b->agent, file, under, &n, NULL), VT_FAIL);
    assert_int_equal(copy_in(b->agent, file, dir, &n, NULL), VT_FAIL);
    assert_int_equal(copy_out(b->agent, missing, other, &n, NULL), VT_NOENT);
    assert_int_equal(copy_out(b->agent, file, under, &n, NULL), VT_NOENT);
    assert_int_equal(copy_out(b->agent, file, dir, &n, NULL), VT_NOENT);
}

static void test_bytes(void **state)
{
    struct bench *b = *state;
    cleanup(cleanup_free) char *path = at(b, "bytes");
    struct copy_count n = {0};
    int in = scratch(b), out = scratch(b);

    assert_int_equal(write(in, "some bytes", 10), 10);
    lseek(in, 0, SEEK_SET);
    assert_int_equal(copy_in_fd(b->agent, in, path, &n, NULL), 0);
    assert_int_equal(n.bytes, 10);
    assert_int_equal(copy_out_fd(b->agent, path, out, &n, NULL), 0);
    assert_int_equal(n.bytes, 10);
    expect_file(out, "some bytes");
    close(in);
}

static void test_install_check(void **state)
{
    struct bench *b = *state;
    cleanup(cleanup_free) char *deb = at(b, "x.deb"), *rpm = at(b, "x.rpm"), *none = at(b, "none.deb");

    put_file(b->dir, "x.deb", "!<arch>\ndebian-binary   1 ", 0644);
    put_file(b->dir, "x.rpm", "", 0644);
    assert_int_equal(install_check(deb, NULL), 0);
    assert_int_equal(install_check(rpm, NULL), VT_USAGE);
    assert_int_equal(install_check(none, NULL), VT_NOENT);
    put_file(b->dir, "x.deb", "PK", 0644);
    assert_int_equal(install_check(deb, NULL), VT_CORRUPT);
}

int main(int argc, char **argv)
{
#define WITH(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH(test_status),
        WITH(test_left_behind),
        WITH(test_words),
        WITH(test_long),
        WITH(test_live),
        WITH(test_open_input),
        WITH(test_timeout),
        WITH(test_no_reader),
        WITH(test_helper_that_cannot_run),
        WITH(test_terminal_without_helper),
        WITH(test_tree),
        WITH(test_names),
        WITH(test_bytes),
        WITH(test_install_check),
    };

    if (argc != 3)
        return 2;
    python = argv[1];
    script = argv[2];
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
