/* See sandbox.h. The filter is an allow-list: reading and writing what is open already, memory, time, the end. A call
 * that is not on it fails with EPERM, so that a library that probes for something goes on without it. */
#include "src/diff/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "src/base/util.h"

/* AddressSanitizer maps terabytes and traces itself with threads: neither limit can hold under it. */
#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif

#if defined(VMTEST_SECCOMP) && !defined(SANITIZED)
#define HAVE_FILTER 1
#include <seccomp.h>
#endif

static void out_of_time(int sig)
{
    static const char msg[] = "vmtest-fs: out of time: the file system takes too long to read\n";
    ssize_t n = write(STDERR_FILENO, msg, sizeof(msg) - 1);

    (void)n;
    _exit(-VT_TIMEOUT);
}

bool sandbox_has_filter(void)
{
#ifdef HAVE_FILTER
    return true;
#else
    return false;
#endif
}

#ifdef HAVE_FILTER
static void release_filter(scmp_filter_ctx *f)
{
    if (*f)
        seccomp_release(*f);
}

static int filter(const struct sandbox_limits *l, struct err *e)
{
    static const int always[] = {
        SCMP_SYS(read),          SCMP_SYS(pread64),
        SCMP_SYS(readv),         SCMP_SYS(preadv),
        SCMP_SYS(write),         SCMP_SYS(writev),
        SCMP_SYS(lseek),         SCMP_SYS(close),
        SCMP_SYS(fstat),         SCMP_SYS(newfstatat),
        SCMP_SYS(statx),         SCMP_SYS(fcntl),
        SCMP_SYS(mmap),          SCMP_SYS(munmap),
        SCMP_SYS(mremap),        SCMP_SYS(mprotect),
        SCMP_SYS(madvise),       SCMP_SYS(brk),
        SCMP_SYS(futex),         SCMP_SYS(getrandom),
        SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday),
        SCMP_SYS(getpid),        SCMP_SYS(gettid),
        SCMP_SYS(geteuid),       SCMP_SYS(getuid),
        SCMP_SYS(rt_sigreturn),  SCMP_SYS(rt_sigprocmask),
        SCMP_SYS(rt_sigaction),  SCMP_SYS(sigaltstack),
        SCMP_SYS(sched_yield),   SCMP_SYS(restart_syscall),
        SCMP_SYS(nanosleep),     SCMP_SYS(clock_nanosleep),
        SCMP_SYS(tgkill),        SCMP_SYS(exit),
        SCMP_SYS(exit_group),
    };
    static const int to_make[] = {
        SCMP_SYS(openat),    SCMP_SYS(pwrite64), SCMP_SYS(mkdirat),   SCMP_SYS(mkdir),
        SCMP_SYS(symlinkat), SCMP_SYS(fchmod),   SCMP_SYS(utimensat), SCMP_SYS(ftruncate),
        SCMP_SYS(unlink),    SCMP_SYS(unlinkat), SCMP_SYS(linkat),
    };
    cleanup(release_filter) scmp_filter_ctx f = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    int r = f ? 0 : -ENOMEM;

    for (size_t i = 0; r == 0 && i < ARRAY_LEN(always); i++)
        r = seccomp_rule_add(f, SCMP_ACT_ALLOW, always[i], 0);
    for (size_t i = 0; r == 0 && l->make_files && i < ARRAY_LEN(to_make); i++)
        r = seccomp_rule_add(f, SCMP_ACT_ALLOW, to_make[i], 0);
    if (r == 0 && l->open_files && !l->make_files)
        r = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(openat), 1,
                             SCMP_A2(SCMP_CMP_MASKED_EQ, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY));
    if (r == 0)
        r = seccomp_load(f);
    return r < 0 ? err_set(e, VT_FAIL, "cannot set up the system-call filter: %s", strerror(-r)) : 0;
}
#endif

int sandbox_enter(const struct sandbox_limits *l, struct err *e)
{
    struct rlimit none = {0};

    if (l->seconds) {
        struct sigaction sa = {.sa_handler = out_of_time};

        sigaction(SIGALRM, &sa, NULL);
        alarm(l->seconds);
    }
#ifndef SANITIZED
    if (l->memory) {
        struct rlimit as = {.rlim_cur = l->memory, .rlim_max = l->memory};

        if (setrlimit(RLIMIT_AS, &as) < 0)
            return err_set(e, VT_FAIL, "cannot limit memory: %m");
    }
#endif
    if (setrlimit(RLIMIT_CORE, &none) < 0 || setrlimit(RLIMIT_NPROC, &none) < 0)
        return err_set(e, VT_FAIL, "cannot set limits: %m");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return err_set(e, VT_FAIL, "cannot give up privileges: %m");
#ifdef HAVE_FILTER
    return filter(l, e);
#else
    return 0;
#endif
}
