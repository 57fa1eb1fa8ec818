/* The native runner: runs cases on the host CPU, in a code segment of the mode that is tested, and reports everything
 * that came out.
 *
 * A process of its own. Nothing but the tested code lives below 4 GiB, and FS and GS belong to the tested code too:
 * once the first case has run there is no thread-local storage. So after start-up nothing here may touch errno, the
 * stack protector, stdio or anything else that uses FS; system calls are made by hand, memcpy and memcmp are bound at
 * load time. Faults come as signals on an alternate stack; the handler notes the registers and sends the thread to
 * exit_fx, so that the vector state is the one at the fault. */
#include "insn.h"

#include <asm/ldt.h>
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

struct xsave { /* the standard format, up to AVX */
    uint8_t fx[512];
    uint64_t xstate_bv, xcomp_bv, reserved[6];
    uint8_t ymmh[16][16];
    uint8_t pad[64];
};

struct native_save {
    struct xsave x_in, x_out;
    uint64_t in_gpr[16];
    uint64_t in_rip, in_flags, in_cs, in_ss;
    uint32_t in_ds, in_es;
    struct {
        uint32_t offset;
        uint16_t selector, pad;
    } in_far;
    uint64_t out_gpr[16];
    uint64_t out_flags, host_rsp, exit_rip;
    uint32_t inside, avx;
    /* the rest is C's */
    struct cpu_test_fault fault;
    uint64_t out_rip;
    uint64_t running, ticked; /* case number + 1 in the code, and at the last tick */
    struct insn_shm *shm;
    const struct mode *mode;
    bool works; /* the first run came back */
};
_Static_assert(offsetof(struct native_save, x_in) == SAVE_X_IN, "layout.h");
_Static_assert(offsetof(struct native_save, x_out) == SAVE_X_OUT, "layout.h");
_Static_assert(offsetof(struct native_save, in_gpr) == SAVE_IN_GPR, "layout.h");
_Static_assert(offsetof(struct native_save, in_rip) == SAVE_IN_RIP, "layout.h");
_Static_assert(offsetof(struct native_save, in_flags) == SAVE_IN_FLAGS, "layout.h");
_Static_assert(offsetof(struct native_save, in_cs) == SAVE_IN_CS, "layout.h");
_Static_assert(offsetof(struct native_save, in_ss) == SAVE_IN_SS, "layout.h");
_Static_assert(offsetof(struct native_save, in_ds) == SAVE_IN_DS, "layout.h");
_Static_assert(offsetof(struct native_save, in_es) == SAVE_IN_ES, "layout.h");
_Static_assert(offsetof(struct native_save, in_far) == SAVE_IN_FAR, "layout.h");
_Static_assert(offsetof(struct native_save, out_gpr) == SAVE_OUT_GPR, "layout.h");
_Static_assert(offsetof(struct native_save, out_flags) == SAVE_OUT_FLAGS, "layout.h");
_Static_assert(offsetof(struct native_save, host_rsp) == SAVE_HOST_RSP, "layout.h");
_Static_assert(offsetof(struct native_save, exit_rip) == SAVE_EXIT_RIP, "layout.h");
_Static_assert(offsetof(struct native_save, inside) == SAVE_INSIDE, "layout.h");
_Static_assert(offsetof(struct native_save, avx) == SAVE_AVX, "layout.h");
_Static_assert(sizeof(struct native_save) <= INSN_PAGE, "one page");

#define SAVE ((struct native_save *)(uintptr_t)SAVE_VA)

void native_enter(void);
void native_enter16(void);
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
    __atomic_store_n(&shm->ready, RUNNER_REFUSED, __ATOMIC_RELEASE);
    for (;;)
        raw_syscall(SYS_exit_group, 77, 0, 0, 0);
}

static void clear_flags(void)
{
    __asm__ volatile("leaq -128(%%rsp), %%rsp\n\tpushq $2\n\tpopfq\n\tleaq 128(%%rsp), %%rsp" : : : "memory", "cc");
}

/* Signal handler: the state of the tested code, then on to exit_fx in 64-bit code. */
static void on_fault(int sig, siginfo_t *si, void *context)
{
    ucontext_t *uc = context;
    greg_t *g = uc->uc_mcontext.gregs;
    static const uint8_t order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                      REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

    clear_flags(); /* the tested code's AC is still set */
    if (!SAVE->inside) {
        if (sig == SIGVTALRM)
            return;
        if (!SAVE->works)
            refuse("the host does not run code of this mode");
        die(g);
    }
    if (sig == SIGVTALRM) {
        if (SAVE->ticked != SAVE->running) {
            SAVE->ticked = SAVE->running;
            return;
        }
        SAVE->fault = (struct cpu_test_fault){.vector = VECTOR_HANG};
    } else if (!SAVE->works) {
        refuse("the host does not run code of this mode");
    } else {
        SAVE->fault.vector = (int)g[REG_TRAPNO];
        SAVE->fault.error = (uint32_t)g[REG_ERR];
        SAVE->fault.cr2 = SAVE->fault.vector == 14 ? (uint64_t)g[REG_CR2] : 0;
    }
    SAVE->inside = 0;
    for (unsigned i = 0; i < 16; i++)
        SAVE->out_gpr[i] = (uint64_t)g[order[i]];
    SAVE->out_flags = (uint64_t)g[REG_EFL];
    SAVE->out_rip = (uint64_t)g[REG_RIP];

    g[REG_RIP] = EXIT_VA + (exit_fx - exit_begin);
    g[REG_RSP] = (greg_t)SAVE->host_rsp;
    g[REG_EFL] = 0x202;
    g[REG_CSGSFS] = (greg_t)(((uint64_t)g[REG_CSGSFS] & 0x0000ffffffff0000u) | SEL_CODE64 | (uint64_t)SEL_DATA << 48);
}

/* Maps len bytes of the memory file at a fixed address; NULL where the host refuses. The pages are there from the
 * start: a fault's error code tells whether a page is present. */
static void *map_fixed(uint64_t va, size_t len, int prot, int fd, off_t off)
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
    const struct mode *m = mode_get(shm->mode);
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
        if (mode_page(m, i) && map_fixed(mode_page(m, i), INSN_PAGE, prot, fd, (off_t)(i * INSN_PAGE)))
            continue;
        if (i < PAGE_LOW)
            fail(shm, "mapping the data pages at their addresses");
        page[i] = NULL;
    }
    shm->low = page[PAGE_LOW] && page[PAGE_LOW + 1];
    shm->wrap = page[PAGE_WRAP] && page[PAGE_WRAP + 1];
    shm->smc = page[PAGE_SMC] && page[PAGE_SMC + 1];
    shm->edge = page[PAGE_EDGE] != NULL;
    close(fd);
    if (!map_fixed(m->code, sizeof(shm->code), PROT_READ | PROT_EXEC, shm_fd, offsetof(struct insn_shm, code)))
        fail(shm, "mapping executable memory");
    if (shm->edge &&
        !map_fixed(m->code2, sizeof(shm->code), PROT_READ | PROT_EXEC, shm_fd, offsetof(struct insn_shm, code))) {
        munmap((void *)(uintptr_t)m->edge, INSN_PAGE);
        page[PAGE_EDGE] = NULL;
        shm->edge = 0;
    }
    if (!map_fixed(SAVE_VA, INSN_PAGE, PROT_READ | PROT_WRITE, -1, 0))
        fail(shm, "mapping the save page");
    uint8_t *stub = map_fixed(EXIT_VA, INSN_PAGE, PROT_READ | PROT_WRITE, -1, 0);
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

static void set_bases(uint64_t fs, uint64_t gs)
{
    uint32_t sel = SEL_DATA;
    __asm__ volatile("movl %0, %%fs\n\tmovl %0, %%gs" : : "r"(sel));
    if (SAVE->mode->mode == CPU_TEST_64)
        __asm__ volatile("wrfsbase %0\n\twrgsbase %1" : : "r"(fs), "r"(gs));
}

static void get_bases(uint64_t *fs, uint64_t *gs)
{
    *fs = *gs = 0;
    if (SAVE->mode->mode == CPU_TEST_64)
        __asm__ volatile("rdfsbase %0\n\trdgsbase %1" : "=r"(*fs), "=r"(*gs));
}

/* Runs from SAVE->in_rip with what is in the save page. */
static void enter(void)
{
    bool far = SAVE->mode->mode == CPU_TEST_16;
    SAVE->in_cs = SAVE->mode->mode == CPU_TEST_64 ? SEL_CODE64 : SEL_CODE32;
    SAVE->in_ss = far ? SEL_STACK16 : SEL_DATA;
    SAVE->in_ds = far ? SEL_DATA16 : SEL_DATA;
    SAVE->in_es = SEL_DATA;
    SAVE->in_far.offset = (uint32_t)SAVE->in_rip;
    SAVE->in_far.selector = SEL_CODE16;
    if (far)
        native_enter16();
    else
        native_enter();
}

static void run_case(const struct insn_case *c, struct insn_result *r, uint8_t *page[MEM_PAGES], const uint8_t *base,
                     uint64_t number)
{
    struct native_save *s = SAVE;
    mem_poke(s->mode, page, c);
    memcpy(s->x_in.fx, c->in.fx, sizeof(s->x_in.fx));
    memcpy(s->x_in.ymmh, c->in.ymmh, sizeof(s->x_in.ymmh));
    s->x_in.xstate_bv = 7;
    memcpy(s->in_gpr, c->in.gpr, sizeof(s->in_gpr));
    s->in_rip = c->in.rip;
    s->in_flags = c->in.rflags;
    s->fault = (struct cpu_test_fault){.vector = 3};
    s->out_rip = c->in.rip + c->len + 1; /* the jump stands for an INT3 */
    s->running = number + 1;
    set_bases(c->in.fs_base, c->in.gs_base);
    enter();
    get_bases(&r->out.fs_base, &r->out.gs_base);
    for (unsigned i = 0; i < 16; i++)
        r->out.gpr[i] = i < s->mode->gprs ? s->out_gpr[i] & s->mode->mask : 0;
    memcpy(r->out.fx, s->x_out.fx, sizeof(r->out.fx));
    memcpy(r->out.ymmh, s->x_out.ymmh, sizeof(r->out.ymmh));
    r->out.rip = s->out_rip;
    r->out.rflags = s->out_flags;
    r->fault = s->fault;
    mem_collect(page, base, r);
}

static void make_ldt(struct insn_shm *shm)
{
    for (unsigned i = 0; i < SEGMENTS16; i++) {
        struct mode_segment seg = mode_ldt(SAVE->mode, i);
        struct user_desc d = {
            .entry_number = i, .base_addr = seg.base, .limit = seg.limit, .contents = seg.code ? 2 : 0, .useable = 1};
        if (syscall(SYS_modify_ldt, 1, &d, sizeof(d)) == 0)
            continue;
        snprintf(shm->message, sizeof(shm->message), "no 16-bit code segment: modify_ldt: %m");
        __atomic_store_n(&shm->ready, RUNNER_REFUSED, __ATOMIC_RELEASE);
        exit(77);
    }
}

/* What the mode needs of the host beside memory. */
static void prepare(struct insn_shm *shm)
{
    SAVE->shm = shm;
    SAVE->mode = mode_get(shm->mode);
    SAVE->exit_rip = EXIT_VA;
    SAVE->avx = shm->avx = __builtin_cpu_supports("avx") != 0;
    if (shm->mode == CPU_TEST_16)
        make_ldt(shm);
    if (shm->mode == CPU_TEST_64 && !(getauxval(AT_HWCAP2) & 2))
        refuse("the host kernel does not let programs set FS and GS bases (FSGSBASE)");
}

/* The first way into the tested code and back: a no-op and the jump. From here on there is no thread-local storage. */
static void first_run(struct insn_shm *shm)
{
    const struct mode *m = SAVE->mode;
    SAVE->in_gpr[4] = m->stack + INSN_PAGE - m->ss_base;
    SAVE->in_rip = m->code - m->cs_base;
    SAVE->in_flags = 0x202;
    SAVE->x_in.xstate_bv = 7;
    __asm__ volatile("fxsave %0" : "=m"(SAVE->x_in.fx));
    shm->code[0] = 0x90;
    native_put_exit(m, shm->code + 1);
    set_bases(0, 0);
    enter();
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
    prepare(shm);
    first_run(shm);
    __atomic_store_n(&shm->ready, RUNNER_READY, __ATOMIC_RELEASE);
    raw_syscall(SYS_futex, (long)&shm->ready, FUTEX_WAKE, 1, 0);
    serve(shm, page);
}
