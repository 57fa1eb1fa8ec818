/* A process that dies of a signal says which, where and in what thread, and dies of it all the same. */
#include "tests/unit/unit.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include "src/base/lastwords.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#endif

static void of_abort(void)
{
    abort();
}

static void of_a_signal(void)
{
    raise(SIGSYS);
}

#ifndef SANITIZED /* which says it its own way */
static void of_a_write(void)
{
    char *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    page[0] = 1;
}

static int deeper(volatile char *above, unsigned levels)
{
    volatile char here[4096];

    here[0] = above[0];
    return levels ? deeper(here, levels - 1) + here[0] : 0;
}

static void of_a_full_stack(void)
{
    volatile char first = 0;

    exit(deeper(&first, 1u << 30));
}

static void *write_in_thread(void *opaque)
{
    (void)opaque;
    prctl(PR_SET_NAME, "worker");
    of_a_write();
    return NULL;
}

static void of_a_thread(void)
{
    pthread_t t;

    pthread_create(&t, NULL, write_in_thread, NULL);
    pthread_join(t, NULL);
}
#endif

static void words_of(void (*die)(void), char *ret_text, size_t size, int *ret_sig)
{
    static const int dropped[] = {SIGSEGV, SIGSYS};
    const struct rlimit none = {0, 0};
    int p[2], status;
    size_t n = 0;
    ssize_t r;
    pid_t pid;

    assert_int_equal(pipe(p), 0);
    pid = fork();
    if (pid == 0) {
        setrlimit(RLIMIT_CORE, &none);
        prctl(PR_SET_NAME, "victim");
        dup2(p[1], STDERR_FILENO);
        for (size_t i = 0; i < ARRAY_LEN(dropped); i++) /* the test library's handlers */
            signal(dropped[i], SIG_DFL);
        last_words_prepare();
        die();
        _exit(99);
    }
    close(p[1]);
    while (n + 1 < size && (r = read(p[0], ret_text + n, size - 1 - n)) > 0)
        n += (size_t)r;
    ret_text[n] = 0;
    close(p[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    *ret_sig = WTERMSIG(status);
}

static void test_words(void **state)
{
    static const struct {
        void (*die)(void);
        int sig;
        const char *start, *part;
    } cases[] = {
        {of_abort, SIGABRT, "vmtest: died of signal 6 (SIGABRT) in thread victim at ", ", sent by process "},
        {of_a_signal, SIGSYS, "vmtest: died of signal 31 (SIGSYS) in thread victim at ", ", sent by process "},
#ifndef SANITIZED
        {of_a_write, SIGSEGV, "vmtest: died of signal 11 (SIGSEGV) in thread victim at test_lastwords+0x",
         ", address 0x"},
        {of_a_full_stack, SIGSEGV, "vmtest: died of signal 11 (SIGSEGV) in thread victim at test_lastwords+0x",
         ", address 0x"},
        {of_a_thread, SIGSEGV, "vmtest: died of signal 11 (SIGSEGV) in thread worker at test_lastwords+0x",
         ", address 0x"},
#endif
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[1024];
        int sig;

        words_of(cases[i].die, text, sizeof text, &sig);
        assert_int_equal(sig, cases[i].sig);
        assert_int_equal(strncmp(text, cases[i].start, strlen(cases[i].start)), 0);
        assert_non_null(strstr(text, cases[i].part));
        assert_int_equal(strchr(text, '\n') - text, strlen(text) - 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_words)};

    return cmocka_run_group_tests_name("last words", tests, NULL, NULL);
}
