/* The exit status and output of one-shot guests, with a machine that has no CPU. argv[1] is the monitor. */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

struct result {
    int status;
    char out[65536], err[4096];
};

static const char *monitor;

static void slurp(int fd, char *dst, size_t size)
{
    size_t n = 0;
    ssize_t r;

    while (n + 1 < size && (r = read(fd, dst + n, size - 1 - n)) > 0)
        n += (size_t)r;
    dst[n] = 0;
    close(fd);
}

/* Runs the monitor with the fake kernel `text` and up to two more words; `input` goes to its standard input. */
static void run(struct result *r, const char *text, const char *input, const char *a, const char *b)
{
    char kernel[] = "/tmp/vmtest-kernel-XXXXXX";
    int kfd = mkstemp(kernel), in[2], out[2], err[2], status;
    pid_t pid;

    assert_true(kfd >= 0);
    assert_int_equal(write(kfd, text, strlen(text)), strlen(text));
    close(kfd);
    assert_int_equal(pipe(in) | pipe(out) | pipe(err), 0);
    pid = fork();
    if (pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        dup2(err[1], 2);
        for (int fd = 3; fd < 64; fd++)
            close(fd);
        execl(monitor, monitor, "--oneshot", "--kernel", kernel, "--mem", "4M", a, b, (char *)NULL);
        _exit(99);
    }
    close(in[0]);
    close(out[1]);
    close(err[1]);
    if (input)
        assert_int_equal(write(in[1], input, strlen(input)), strlen(input));
    close(in[1]);
    slurp(out[0], r->out, sizeof r->out);
    slurp(err[0], r->err, sizeof r->err);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    r->status = WEXITSTATUS(status);
    unlink(kernel);
}

static void test_ends(void **state)
{
    static const struct {
        const char *text, *word;
        int status;
        const char *out, *err;
    } cases[] = {
        {"fakevm\nsay hello\npoweroff\n", NULL, 0, "hello\n", ""},
        {"fakevm\nexit 0\n", NULL, 1, "", ""},
        {"fakevm\nsay done\nexit 21\n", NULL, 43, "done\n", ""},
        {"fakevm\nexit 127\n", NULL, 255, "", ""},
        {"fakevm\ntriple\n", NULL, 1, "", "vmtest: run: the virtual CPU panicked (triple fault)\n"},
        {"fakevm\nsay a\nreset\nsay b\n", "--no-reboot", 0, "a\n", ""},
        {"fakevm\nfail no memory for code\n", NULL, 125, "", "vmtest: run: no memory for code\n"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct result r;
        run(&r, cases[i].text, NULL, cases[i].word, NULL);
        assert_string_equal(r.out, cases[i].out);
        assert_string_equal(r.err, cases[i].err);
        assert_int_equal(r.status, cases[i].status);
    }
}

static void test_timeout(void **state)
{
    struct result r;

    (void)state;
    run(&r, "fakevm\nsay up\nspin\n", NULL, "--timeout", "50ms");
    assert_int_equal(r.status, 124);
    assert_string_equal(r.out, "up\n");
    assert_string_equal(r.err, "vmtest: run: timed out after 0.05 s\n");
}

static void test_input(void **state)
{
    struct result r;

    (void)state;
    run(&r, "fakevm\necho\necho\npoweroff\n", "one\ntwo\n", NULL, NULL);
    assert_int_equal(r.status, 0);
    assert_string_equal(r.out, "one\ntwo\n");
}

/* More output than any queue holds: all of it arrives, in order. */
static void test_much_output(void **state)
{
    static char text[60000];
    size_t n = (size_t)snprintf(text, sizeof text, "fakevm\n");
    struct result r;
    const char *at;

    (void)state;
    for (int i = 0; i < 2000; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "say line number %05d\n", i);
    run(&r, text, NULL, NULL, NULL);
    assert_int_equal(r.status, 0);
    at = r.out;
    for (int i = 0; i < 2000; i++) {
        char want[32];
        int len = snprintf(want, sizeof want, "line number %05d\n", i);
        assert_memory_equal(at, want, (size_t)len);
        at += len;
    }
    assert_int_equal(*at, 0);
}

static void test_bad_words(void **state)
{
    struct result r;

    (void)state;
    run(&r, "not a kernel", NULL, NULL, NULL);
    assert_int_equal(r.status, 125);
    assert_non_null(strstr(r.err, ": not a fake kernel\n"));
    run(&r, "fakevm\n", NULL, "--mem", "lots");
    assert_int_equal(r.status, 64);
    assert_non_null(strstr(r.err, "\"lots\""));
    run(&r, "fakevm\n", NULL, "--surprise", NULL);
    assert_int_equal(r.status, 64);
    run(&r, "fakevm\n", NULL, "--initrd", "/nonexistent");
    assert_int_equal(r.status, 125);
    assert_non_null(strstr(r.err, "/nonexistent"));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ends),        cmocka_unit_test(test_timeout),   cmocka_unit_test(test_input),
        cmocka_unit_test(test_much_output), cmocka_unit_test(test_bad_words),
    };

    if (argc != 2)
        return 2;
    monitor = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
