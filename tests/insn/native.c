/* The native runner: runs cases on the host CPU in a 32-bit code segment and reports everything that came out.
 *
 * A process of its own. Nothing but the tested code lives below 4 GiB, and FS and GS belong to the tested code too:
 * once the first case has run there is no thread-local storage. So after start-up nothing here may touch errno, the
 * stack protector, stdio or anything else that uses FS; system calls are made by hand, memcpy and memcmp are bound at
 * load time. Faults come as signals on an alternate stack; the handler notes the registers and sends the thread to
 * exit_fx, so that the vector state is the one at the fault. */
#include "insn.h"

#include <linux/futex.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

struct native_save {
    uint8_t fx_in[512], fx_out[512];
    uint32_t in_gpr[8];
    uint64_t in_eip, in_flags;
    uint32_t in_fsgs, pad[3];
    uint32_t out_gpr[8];
    uint64_t out_flags, host_rsp;
    /* the rest is the handler's */
    struct cpu_test_fault fault;
    uint32_t out_eip;
    uint64_t running, ticked; /* case number + 1 in the code, and at the last tick */
    struct insn_shm *shm;
    bool works; /* the first run came back */
};
_Static_assert(offsetof(struct native_save, fx_out) == SAVE_FX_OUT, "layout.h");
_Static_assert(offsetof(struct native_save, in_gpr) == SAVE_IN_GPR, "layout.h");
_Static_assert(offsetof(struct native_save, in_eip) == SAVE_IN_EIP, "layout.h");
_Static_assert(offsetof(struct native_save, in_flags) == SAVE_IN_FLAGS, "layout.h");
_Static_assert(offsetof(struct native_save, in_fsgs) == SAVE_IN_FSGS, "layout.h");
_Static_assert(offsetof(struct native_save, out_gpr) == SAVE_OUT_GPR, "layout.h");
_Static_assert(offsetof(struct native_save, out_flags) == SAVE_OUT_FLAGS, "layout.h");
_Static_assert(offsetof(struct native_save, host_rsp) == SAVE_HOST_RSP, "layout.h");

#define SAVE ((struct native_save *)(uintptr_t)SAVE_VA)

void native_enter(void);
extern const uint8_t exit_begin[], exit_fx[], exit_end[];

static long raw_syscall(long nr, long a, long b, long c, long d)
{
    long r;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = 0;
    register long r9 __asm__("r9") = 0;
    __asm__ volatile("syscall"
                     : "=a"(r)
                     : "0"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return r;
}

/* A fault in the runner itself: tells where (sprintf is not to be had here) and gives up. */
static void __attribute__((noreturn)) die(const greg_t *g)
{
    char text[] = "insn_native: fault outside the tested code: trap ................ rip ................ case "
                  "................\n";
    const uint64_t v[3] = {(uint64_t)g[REG_TRAPNO], (uint64_t)g[REG_RIP], SAVE->running - 1};
    static const uint8_t at[3] = {49, 70, 92};
    for (unsigned i = 0; i < 3; i++)
        for (unsigned k = 0; k < 16; k++)
            text[at[i] + k] = "0123456789abcdef"[v[i] >> (60 - 4 * k) & 15];
    raw_syscall(SYS_write, 2, (long)text, sizeof(text) - 1, 0);
    for (;;)
        raw_syscall(SYS_exit_group, 3, 0, 0, 0);
}

/* Says why there will be no runs; the test then reports a skip. */
static void __attribute__((noreturn)) refuse(const char *why)
{
    struct insn_shm *shm = SAVE->shm;
    memcpy(shm->message, why, strlen(why) + 1);
    __atomic_store_n(&shm->ready, RUNNER_NO_32, __ATOMIC_RELEASE);
    for (;;)
        raw_syscall(SYS_exit_group, 77, 0, 0, 0);
}

/* Signal handler: the state of the tested code, then on to exit_fx in 64-bit code. */
static void on_fault(int sig, siginfo_t *si, void *context)
{
    ucontext_t *uc = context;
    greg_t *g = uc->uc_mcontext.gregs;
    uint64_t sel = (uint64_t)g[REG_CSGSFS];
    static const uint8_t order[8] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI};

    if ((sel & 0xffff) != SEL_CODE32) {
        if (sig == SIGVTALRM)
            return;
        if (!SAVE->works)
            refuse("the host kernel does not run 32-bit code segments (no IA32 emulation)");
        die(g);
    }
    if (sig == SIGVTALRM) {
        if (SAVE->ticked != SAVE->running) {
            SAVE->ticked = SAVE->running;
            return;
        }
        SAVE->fault = (struct cpu_test_fault){.vector = VECTOR_HANG};
    } else {
        SAVE->fault.vector = (int)g[REG_TRAPNO];
        SAVE->fault.error = (uint32_t)g[REG_ERR];
        SAVE->fault.cr2 = SAVE->fault.vector == 14 ? (uint32_t)g[REG_CR2] : 0;
    }
    for (unsigned i = 0; i < 8; i++)
        SAVE->out_gpr[i] = (uint32_t)g[order[i]];
    SAVE->out_flags = (uint64_t)g[REG_EFL];
    SAVE->out_eip = (uint32_t)g[REG_RIP];

    g[REG_RIP] = EXIT_VA + (exit_fx - exit_begin);
    g[REG_RSP] = (greg_t)SAVE->host_rsp;
    g[REG_EFL] = 0x202;
    g[REG_CSGSFS] = (greg_t)((sel & 0x0000ffffffff0000u & ~0xffffull) | SEL_CODE64 | (uint64_t)SEL_DATA << 48);
}

/* Maps len bytes of the memory file at a fixed low address; NULL where the host refuses. The pages are there from the
 * start: a fault's error code tells whether a page is present. */
static void *map_low(uint32_t va, size_t len, int prot, int fd, off_t off)
{
    void *p = mmap((void *)(uintptr_t)va, len, prot,
                   MAP_POPULATE | MAP_FIXED_NOREPLACE | (fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED), fd, off);
    if (p == MAP_FAILED)
        return NULL;
    mlock(p, len); /* where the limit allows */
    return p;
}

static void __attribute__((noreturn)) fail(struct insn_shm *shm, const char *what)
{
    snprintf(shm->message, sizeof(shm->message), "%s: %m", what);
    __atomic_store_n(&shm->ready, RUNNER_FAILED, __ATOMIC_RELEASE);
    exit(2);
}

static void map_all(struct insn_shm *shm, int shm_fd, uint8_t *page[MEM_PAGES])
{
    int fd = memfd_create("insn-data", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, MEM_BYTES) < 0)
        fail(shm, "memory for the data pages");
    uint8_t *alias = mmap(NULL, MEM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (alias == MAP_FAILED)
        fail(shm, "mapping the data pages");
    for (unsigned i = 0; i < MEM_PAGES; i++) {
        int prot = i == PAGE_RO ? PROT_READ : PROT_READ | PROT_WRITE;
        if (i >= PAGE_SMC)
            prot |= PROT_EXEC;
        page[i] = alias + i * INSN_PAGE;
        if (map_low(mem_page_va(i), INSN_PAGE, prot, fd, (off_t)(i * INSN_PAGE)))
            continue;
        if (i < PAGE_LOW)
            fail(shm, "mapping below 4 GiB");
        page[i] = NULL;
    }
    shm->low = page[PAGE_LOW] && page[PAGE_LOW + 1];
    shm->smc = page[PAGE_SMC] && page[PAGE_SMC + 1];
    close(fd);
    if (!map_low(CODE_VA, sizeof(shm->code), PROT_READ | PROT_EXEC, shm_fd, offsetof(struct insn_shm, code)))
        fail(shm, "mapping executable memory below 4 GiB");
    if (!map_low(SAVE_VA, INSN_PAGE, PROT_READ | PROT_WRITE, -1, 0))
        fail(shm, "mapping the save page");
    uint8_t *stub = map_low(EXIT_VA, INSN_PAGE, PROT_READ | PROT_WRITE, -1, 0);
    if (!stub)
        fail(shm, "mapping the exit page");
    memcpy(stub, exit_begin, (size_t)(exit_end - exit_begin));
    if (mprotect(stub, INSN_PAGE, PROT_READ | PROT_EXEC) < 0)
        fail(shm, "making the exit page executable");
}

static void catch_signals(struct insn_shm *shm)
{
    size_t size = (getauxval(AT_MINSIGSTKSZ) ? getauxval(AT_MINSIGSTKSZ) : 16384) + 65536;
    stack_t st = {.ss_size = size};
    st.ss_sp = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (st.ss_sp == MAP_FAILED || sigaltstack(&st, NULL) < 0)
        fail(shm, "signal stack");
    static const int sigs[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGVTALRM};
    struct sigaction sa = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    for (unsigned i = 0; i < sizeof(sigs) / sizeof(sigs[0]); i++)
        if (sigaction(sigs[i], &sa, NULL) < 0)
            fail(shm, "sigaction");
    struct itimerval tick = {.it_interval = {.tv_usec = 200000}, .it_value = {.tv_usec = 200000}};
    setitimer(ITIMER_VIRTUAL, &tick, NULL);
}

static void run_case(const struct insn_case *c, struct insn_result *r, uint8_t *page[MEM_PAGES], const uint8_t *base,
                     uint64_t number)
{
    mem_poke(page, c);
    memcpy(SAVE->fx_in, c->in.fx, sizeof(SAVE->fx_in));
    for (unsigned i = 0; i < 8; i++)
        SAVE->in_gpr[i] = (uint32_t)c->in.gpr[i];
    SAVE->in_eip = c->in.rip;
    SAVE->in_flags = c->in.rflags;
    SAVE->in_fsgs = SEL_DATA;
    SAVE->fault = (struct cpu_test_fault){.vector = 3};
    SAVE->out_eip = c->code_va + c->len + 1; /* the far jump stands for an INT3 */
    SAVE->running = number + 1;
    native_enter();
    for (unsigned i = 0; i < 8; i++)
        r->out.gpr[i] = SAVE->out_gpr[i];
    memcpy(r->out.fx, SAVE->fx_out, sizeof(r->out.fx));
    r->out.rip = SAVE->out_eip;
    r->out.rflags = (uint32_t)SAVE->out_flags;
    r->fault = SAVE->fault;
    mem_collect(page, base, r);
}

/* The first way into 32-bit code and back: a no-op and the far jump. From here on there is no thread-local storage. */
static void first_run(struct insn_shm *shm)
{
    SAVE->shm = shm;
    SAVE->in_gpr[4] = STACK_VA + INSN_PAGE;
    SAVE->in_eip = CODE_VA;
    SAVE->in_flags = 0x202;
    SAVE->in_fsgs = SEL_DATA;
    __asm__ volatile("fxsave %0" : "=m"(SAVE->fx_in));
    static const uint8_t go[] = {
        0x90, 0xea, EXIT_VA & 0xff, EXIT_VA >> 8 & 0xff, EXIT_VA >> 16 & 0xff, EXIT_VA >> 24, SEL_CODE64, 0};
    memcpy(shm->code, go, sizeof(go));
    native_enter();
    SAVE->works = true;
}

static void serve(struct insn_shm *shm, uint8_t *page[MEM_PAGES])
{
    uint64_t number = 0;
    for (uint32_t batch = 1;; batch++) {
        uint32_t go;
        while ((go = __atomic_load_n(&shm->go, __ATOMIC_ACQUIRE)) != batch)
            raw_syscall(SYS_futex, (long)&shm->go, FUTEX_WAIT, go, 0);
        for (unsigned i = 0; i < MEM_PAGES; i++)
            if (page[i])
                memcpy(page[i], shm->base + i * INSN_PAGE, INSN_PAGE);
        for (uint32_t i = 0; i < shm->n; i++) {
            uint32_t k = shm->reverse ? shm->n - 1 - i : i;
            if (!shm->cases[k].skip_native)
                run_case(&shm->cases[k], &shm->results[k], page, shm->base, number++);
        }
        __atomic_store_n(&shm->done, batch, __ATOMIC_RELEASE);
        raw_syscall(SYS_futex, (long)&shm->done, FUTEX_WAKE, 1, 0);
    }
}

int main(int argc, char **argv)
{
    int fd = argc == 2 ? atoi(argv[1]) : -1;
    if (fd < 0) {
        fprintf(stderr, "usage: %s FD (started by insn_test)\n", argv[0]);
        return 64;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    struct insn_shm *shm = mmap(NULL, sizeof(*shm), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (shm == MAP_FAILED) {
        perror("insn_native: shared memory");
        return 2;
    }
    uint8_t *page[MEM_PAGES];
    map_all(shm, fd, page);
    catch_signals(shm);
    first_run(shm);
    __atomic_store_n(&shm->ready, RUNNER_READY, __ATOMIC_RELEASE);
    raw_syscall(SYS_futex, (long)&shm->ready, FUTEX_WAKE, 1, 0);
    serve(shm, page);
}
