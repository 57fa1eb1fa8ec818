/* Runs in signal handlers, on whatever is left of the process: no allocation, no stdio, no locks; only system calls
 * that signal-safety(7) allows, and prctl. */
#include "src/base/lastwords.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>
#include "src/base/banned.h"
#include "src/base/util.h"

#define STACK_SIZE 65536

static const struct {
    int sig;
    const char *name;
} fatal[] = {
    {SIGSEGV, "SIGSEGV"}, {SIGBUS, "SIGBUS"},   {SIGFPE, "SIGFPE"}, {SIGILL, "SIGILL"},
    {SIGTRAP, "SIGTRAP"}, {SIGABRT, "SIGABRT"}, {SIGSYS, "SIGSYS"},
};

/* One line, cut where it is full. */
struct line {
    char text[400];
    size_t len;
};

static void add(struct line *l, const char *s)
{
    while (*s && l->len < sizeof l->text - 1)
        l->text[l->len++] = *s++;
}

static void add_number(struct line *l, uint64_t v, unsigned base)
{
    char digits[24];
    size_t n = sizeof digits;

    digits[--n] = 0;
    do {
        digits[--n] = "0123456789abcdef"[v % base];
        v /= base;
    } while (v);
    add(l, base == 16 ? "0x" : "");
    add(l, digits + n);
}

static bool hex(const char **p, uint64_t *ret)
{
    const char *s = *p;

    for (*ret = 0;; s++) {
        unsigned c = (unsigned char)*s, low = c | 0x20;
        if (c >= '0' && c <= '9')
            *ret = *ret << 4 | (c - '0');
        else if (low >= 'a' && low <= 'f')
            *ret = *ret << 4 | (low - 'a' + 10);
        else
            break;
    }
    if (s == *p)
        return false;
    *p = s;
    return true;
}

/* "7f00-7f40 r-xp 00001000 fe:00 12345   /usr/lib/libx.so": is at in it, and where in the file then? */
static bool line_has(const char *map, uint64_t at, struct line *out)
{
    uint64_t from, to, offset;
    const char *p = map, *file;

    if (!hex(&p, &from) || *p++ != '-' || !hex(&p, &to) || *p++ != ' ' || at < from || at >= to)
        return false;
    while (*p && *p != ' ')
        p++;
    if (*p++ != ' ' || !hex(&p, &offset))
        return false;
    file = strrchr(p, '/');
    add(out, file ? file + 1 : "memory");
    add(out, "+");
    add_number(out, at - from + offset, 16);
    return true;
}

/* "libc.so.6+0x2a1f0", as addr2line(1) and objdump(1) take it; the address itself where no file is behind it. */
static void add_place(struct line *out, uint64_t at)
{
    char data[1024], map[512];
    size_t len = 0;
    ssize_t n;
    bool found = false;
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);

    while (fd >= 0 && !found && (n = read(fd, data, sizeof data)) > 0)
        for (ssize_t i = 0; i < n && !found; i++) {
            if (data[i] != '\n') {
                if (len < sizeof map - 1)
                    map[len++] = data[i];
                continue;
            }
            map[len] = 0;
            found = line_has(map, at, out);
            len = 0;
        }
    if (fd >= 0)
        close(fd);
    if (!found)
        add_number(out, at, 16);
}

void last_words(int sig, const siginfo_t *si, const void *context)
{
    const ucontext_t *u = context;
    struct sigaction sa = {.sa_handler = SIG_DFL};
    struct line l = {0};
    char thread[17] = "";
    bool sent = si->si_code <= 0; /* by kill(2), tgkill(2): abort() and whoever may, not by an instruction */

    add(&l, "vmtest: died of signal ");
    add_number(&l, (uint64_t)sig, 10);
    for (size_t i = 0; i < ARRAY_LEN(fatal); i++)
        if (fatal[i].sig == sig) {
            add(&l, " (");
            add(&l, fatal[i].name);
            add(&l, ")");
        }
    if (prctl(PR_GET_NAME, thread) == 0) {
        add(&l, " in thread ");
        add(&l, thread);
    }
    add(&l, " at ");
    add_place(&l, (uint64_t)u->uc_mcontext.gregs[REG_RIP]);
    if (sent) {
        add(&l, ", sent by process ");
        add_number(&l, (uint64_t)si->si_pid, 10);
    } else {
        add(&l, ", address ");
        add_number(&l, (uint64_t)(uintptr_t)si->si_addr, 16);
    }
    l.text[l.len++] = '\n';
    sigaction(sig, &sa, NULL);
    if (write(STDERR_FILENO, l.text, l.len) < 0)
        return; /* nobody is left to tell */
    if (sent)   /* no instruction will raise it once more; it is blocked until the handler returns */
        syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), sig);
}

static void on_fatal(int sig, siginfo_t *si, void *context)
{
    last_words(sig, si, context);
}

void last_words_prepare(void)
{
    stack_t ss = {.ss_size = STACK_SIZE};

    /* of its own, since a stack that is full is one way to die; without it the words are said where they can be */
    ss.ss_sp = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (ss.ss_sp != MAP_FAILED && sigaltstack(&ss, NULL) < 0)
        munmap(ss.ss_sp, STACK_SIZE);
    for (size_t i = 0; i < ARRAY_LEN(fatal); i++) {
        struct sigaction sa = {.sa_sigaction = on_fatal, .sa_flags = SA_SIGINFO | SA_ONSTACK}, old;
        if (sigaction(fatal[i].sig, NULL, &old) == 0 && old.sa_handler == SIG_DFL) /* a sanitizer says more */
            sigaction(fatal[i].sig, &sa, NULL);
    }
}

void ending_signals(sigset_t *ret_set)
{
    static const int ending[] = {SIGINT,  SIGTERM, SIGHUP,  SIGQUIT,   SIGXCPU, SIGUSR1,
                                 SIGUSR2, SIGALRM, SIGPROF, SIGVTALRM, SIGPWR,  SIGIO};

    sigemptyset(ret_set);
    for (size_t i = 0; i < ARRAY_LEN(ending); i++)
        sigaddset(ret_set, ending[i]);
}
