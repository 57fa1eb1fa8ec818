/* The vCPU thread's surroundings: signals, the alternate stack, the GS base, and the thread that turns a due timer into
 * the attention word. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "src/base/lastwords.h"
#include "src/base/util.h"
#include "vmcore/fault.h"
#include "vmcore/clock.h"
#include "vmcore/vm.h"

#ifndef ARCH_SET_GS
#define ARCH_SET_GS 0x1001
#endif
#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1u << 31)
#endif
#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

static const int fault_signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};

void fault_fatal(int sig, siginfo_t *si, void *context)
{
    last_words(sig, si, context);
}

static void *ticker_main(void *opaque)
{
    struct vm *vm = opaque;
    uint64_t n;

    while (read(vm->timer_fd, &n, sizeof n) == (ssize_t)sizeof n) {
        cpu_set_attn(vm->cpu, ATTN_TIMER);
        if (__atomic_load_n(&vm->asleep, __ATOMIC_SEQ_CST))
            syscall(SYS_futex, &vm->cpu->attn, 129 /* FUTEX_WAKE_PRIVATE */, 1, NULL, NULL, 0);
    }
    return NULL;
}

static int start_ticker(struct vm *vm, struct err *e)
{
    int r;

    vm->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    if (vm->timer_fd < 0)
        return err_set(e, VT_FAIL, "no timer: %s", strerror(errno));
    r = pthread_create(&vm->ticker, NULL, ticker_main, vm);
    if (r)
        return err_set(e, VT_FAIL, "no thread for timers: %s", strerror(r));
    vm->ticker_on = true;
    return 0;
}

/* The host counter's rate, by CLOCK_MONOTONIC over 5 ms. Of several readings of the pair the closest counts, so that a
 * preemption in between does not. */
static uint64_t read_pair(uint64_t *ret_ns)
{
    uint64_t best = UINT64_MAX, tsc = 0;

    for (unsigned i = 0; i < 20; i++) {
        struct timespec ts;
        uint64_t a = __builtin_ia32_rdtsc(), b;
        clock_gettime(CLOCK_MONOTONIC, &ts);
        b = __builtin_ia32_rdtsc();
        if (b - a < best) {
            best = b - a;
            tsc = a + (b - a) / 2;
            *ret_ns = (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
        }
    }
    return tsc;
}

static uint64_t measure_tsc_hz(void)
{
    const struct timespec rest = {.tv_nsec = 5000000};
    uint64_t ns0, ns1, t0 = read_pair(&ns0), t1;

    clock_nanosleep(CLOCK_MONOTONIC, 0, &rest, NULL); /* its machine is being restored meanwhile */
    t1 = read_pair(&ns1);
    return mul_div(t1 - t0, NS_PER_S, ns1 - ns0);
}

int vm_thread_init(struct vm *vm, struct err *e)
{
    size_t size = getauxval(AT_MINSIGSTKSZ) + 65536;
    sigset_t set;
    stack_t ss = {.ss_flags = (int)SS_AUTODISARM};
    int r;

    sigfillset(&set); /* the ticker is made with everything blocked */
    pthread_sigmask(SIG_SETMASK, &set, NULL);
    r = start_ticker(vm, e);
    if (r)
        return r;
    vm->cpu->tsc_hz = measure_tsc_hz();
    for (unsigned i = 0; i < ARRAY_LEN(fault_signals); i++)
        sigdelset(&set, fault_signals[i]);
    pthread_sigmask(SIG_SETMASK, &set, NULL);
    vm->alt_stack = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (vm->alt_stack == MAP_FAILED) {
        vm->alt_stack = NULL;
        return err_set(e, VT_FAIL, "no memory for a signal stack");
    }
    vm->alt_size = size;
    ss.ss_sp = vm->alt_stack;
    ss.ss_size = size;
    if (sigaltstack(&ss, NULL) != 0)
        return err_set(e, VT_FAIL, "sigaltstack with SS_AUTODISARM: %s", strerror(errno));
    for (unsigned i = 0; i < ARRAY_LEN(fault_signals); i++) {
        struct sigaction sa = {.sa_sigaction = fault_handler, .sa_flags = SA_SIGINFO | SA_ONSTACK};
        sigfillset(&sa.sa_mask);
        sigaction(fault_signals[i], &sa, NULL);
    }
    if (syscall(SYS_arch_prctl, ARCH_SET_GS, vm->cpu) != 0)
        return err_set(e, VT_FAIL, "arch_prctl(ARCH_SET_GS): %s", strerror(errno));
    return 0;
}
