#include "guest.h"

#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define EXIT_NO_MODE 3
#define HANG_SECONDS 10 /* for one case; it takes microseconds */

/* ---- the child */

struct machine {
    const struct mode *mode;
    struct cpu_test *t;
    uint8_t *page[MEM_PAGES];
    uint8_t *code[2][CODE_PAGES]; /* at either place */
};

static void make_ldt(struct machine *m)
{
    uint64_t desc[SEGMENTS16];
    for (unsigned i = 0; i < SEGMENTS16; i++) {
        struct mode_segment s = mode_ldt(m->mode, i);
        desc[i] = (s.limit & 0xffff) | (uint64_t)(s.base & 0xffffff) << 16 | (uint64_t)(s.code ? 0xfb : 0xf3) << 40 |
                  (uint64_t)(s.limit >> 16) << 48 | (uint64_t)(s.base >> 24) << 56;
    }
    cpu_test_set_ldt(m->t, desc, SEGMENTS16);
    cpu_test_set_selector(m->t, 1, SEL_CODE16);
    cpu_test_set_selector(m->t, 2, SEL_STACK16);
    cpu_test_set_selector(m->t, 3, SEL_DATA16);
}

static int machine_new(struct machine *m, const struct insn_shm *in, const char *model)
{
    m->mode = mode_get(in->mode);
    int r = cpu_test_new(in->mode, model, &m->t);
    if (r)
        return r;
    if (in->mode == CPU_TEST_16)
        make_ldt(m);
    for (unsigned i = 0; i < MEM_PAGES; i++) {
        m->page[i] = NULL;
        if (i >= PAGE_SMC    ? !in->smc
            : i >= PAGE_WRAP ? !in->wrap
            : i >= PAGE_EDGE ? !in->edge
                             : i >= PAGE_LOW && !in->low)
            continue;
        m->page[i] = cpu_test_map(m->t, mode_page(m->mode, i),
                                  (i == PAGE_RO ? 0u : CPU_TEST_WRITE) | (i < PAGE_SMC ? CPU_TEST_NOEXEC : 0u));
        if (!m->page[i])
            return VT_FAIL;
    }
    for (unsigned i = 0; i < CODE_PAGES; i++) {
        m->code[0][i] = cpu_test_map(m->t, m->mode->code + i * INSN_PAGE, 0);
        m->code[1][i] = m->page[PAGE_EDGE] ? cpu_test_map(m->t, m->mode->code2 + i * INSN_PAGE, 0) : NULL;
        if (!m->code[0][i] || (m->page[PAGE_EDGE] && !m->code[1][i]))
            return VT_FAIL;
    }
    return 0;
}

static void lay_out(const struct machine *m, const struct insn_case *c, uint8_t *const page[CODE_PAGES])
{
    for (unsigned k = 0; k < c->len && c->shape != SHAPE_SMC; k++) {
        uint64_t at = mode_code_offset(m->mode, c->code_va) + k;
        page[at / INSN_PAGE][at % INSN_PAGE] = c->code[k];
    }
}

/* Lays out the code of the batch and the memory it starts from. */
static void machine_load(struct machine *m, const struct insn_shm *in, uint32_t n)
{
    for (unsigned place = 0; place < 2 && m->code[place][0]; place++) {
        for (unsigned i = 0; i < CODE_PAGES; i++)
            memset(m->code[place][i], 0xcc, INSN_PAGE);
        for (uint32_t i = 0; i < n; i++)
            lay_out(m, &in->cases[i], m->code[place]);
    }
    cpu_test_flush_code(m->t);
    for (unsigned i = 0; i < MEM_PAGES; i++)
        if (m->page[i])
            memcpy(m->page[i], in->base + i * INSN_PAGE, INSN_PAGE);
}

static void machine_run(struct machine *m, const struct insn_case *c, const uint8_t *base, struct insn_result *r)
{
    mem_poke(m->mode, m->page, c);
    if (c->shape == SHAPE_SMC)
        cpu_test_flush_code(m->t);
    r->out = c->in;
    r->fault = (struct cpu_test_fault){.vector = -1};
    cpu_test_run(m->t, &r->out, m->mode->mask, &r->fault);
    mem_collect(m->page, base, r);
    if (c->shape == SHAPE_SMC)
        cpu_test_flush_code(m->t);
}

static void child(struct guest_shm *shm, const struct insn_shm *in, const char *model, uint32_t done)
{
    struct machine m;
    int r;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0}); /* a death is a result, and its memory is large */
    if ((r = machine_new(&m, in, model)))
        _exit(r == VT_GONE ? EXIT_NO_MODE : 2);
    __atomic_store_n(&shm->ready, 1, __ATOMIC_RELEASE);
    syscall(SYS_futex, &shm->ready, FUTEX_WAKE, 1, NULL, NULL, 0);
    for (;;) {
        uint32_t go;
        while ((go = __atomic_load_n(&shm->go, __ATOMIC_ACQUIRE)) == done)
            syscall(SYS_futex, &shm->go, FUTEX_WAIT, done, NULL, NULL, 0);
        machine_load(&m, in, shm->n);
        for (uint32_t i = shm->first; i < shm->n; i++) {
            __atomic_store_n(&shm->at, i + 1, __ATOMIC_RELEASE);
            machine_run(&m, &in->cases[i], in->base, &shm->results[i]);
            __atomic_fetch_add(&shm->steps, 1, __ATOMIC_RELEASE);
        }
        __atomic_store_n(&shm->at, 0, __ATOMIC_RELEASE);
        for (unsigned i = 0; i < cpu_test_rows() && i < MAX_ROWS; i++)
            shm->covered[i] |= cpu_test_row_hits(m.t, i) != 0;
        done = go;
        __atomic_store_n(&shm->done, done, __ATOMIC_RELEASE);
        syscall(SYS_futex, &shm->done, FUTEX_WAKE, 1, NULL, NULL, 0);
    }
}

/* ---- the parent */

/* Waits while *word == value, for at most a second. */
static void futex_wait(uint32_t *word, uint32_t value)
{
    struct timespec second = {.tv_sec = 1};
    syscall(SYS_futex, word, FUTEX_WAIT, value, &second, NULL, 0);
}

static int spawn(struct guest *g, uint32_t done, struct err *e)
{
    g->shm->ready = 0;
    g->shm->at = 0;
    g->pid = fork();
    if (g->pid < 0)
        return err_set(e, VT_FAIL, "fork: %m");
    if (g->pid == 0) {
        child(g->shm, g->in, g->model, done);
        _exit(0);
    }
    while (!__atomic_load_n(&g->shm->ready, __ATOMIC_ACQUIRE)) {
        int status;
        futex_wait(&g->shm->ready, 0);
        if (!g->shm->ready && waitpid(g->pid, &status, WNOHANG) == g->pid) {
            g->pid = 0;
            if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_NO_MODE)
                return err_set(e, VT_GONE, "the translator does not run code of this mode yet");
            return err_set(e, VT_FAIL, "the translated machine did not start");
        }
    }
    return 0;
}

int guest_start(struct guest *g, struct insn_shm *in, const char *model, struct err *e)
{
    *g = (struct guest){.in = in, .model = model};
    void *p = mmap(NULL, sizeof(*g->shm), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return err_set(e, VT_FAIL, "shared memory for the translated side: %m");
    g->shm = p;
    return spawn(g, 0, e);
}

void guest_stop(struct guest *g)
{
    if (g->pid > 0) {
        kill(g->pid, SIGKILL);
        waitpid(g->pid, NULL, 0);
    }
    if (g->shm)
        munmap(g->shm, sizeof(*g->shm));
    *g = (struct guest){0};
}

void guest_submit(struct guest *g, uint32_t n)
{
    g->shm->first = 0;
    g->shm->n = n;
    __atomic_store_n(&g->shm->go, ++g->batch, __ATOMIC_RELEASE);
    syscall(SYS_futex, &g->shm->go, FUTEX_WAKE, 1, NULL, NULL, 0);
}

/* The child ended, or hangs, in a case: notes that as its result, and goes on behind it with a new child. */
static int resume(struct guest *g, int vector, struct err *e)
{
    uint32_t at = __atomic_load_n(&g->shm->at, __ATOMIC_ACQUIRE);
    g->pid = 0;
    if (at == 0)
        return err_set(e, VT_FAIL, "the translated side ended outside of a case (%d)", vector - VECTOR_DIED);
    g->shm->results[at - 1] = (struct insn_result){.fault.vector = vector};
    g->shm->first = at;
    return spawn(g, g->batch - 1, e);
}

int guest_wait(struct guest *g, struct err *e)
{
    uint32_t done;
    uint64_t steps = 0;
    unsigned still = 0;
    while ((done = __atomic_load_n(&g->shm->done, __ATOMIC_ACQUIRE)) != g->batch) {
        int status, r = 0;
        futex_wait(&g->shm->done, done);
        if (waitpid(g->pid, &status, WNOHANG) == g->pid) {
            if (g->shm->done == g->batch)
                return 0;
            r = resume(g, VECTOR_DIED + (WIFSIGNALED(status) ? WTERMSIG(status) : 0), e);
        } else if (g->shm->at && steps == __atomic_load_n(&g->shm->steps, __ATOMIC_ACQUIRE)) {
            if (++still > HANG_SECONDS) {
                kill(g->pid, SIGKILL);
                waitpid(g->pid, NULL, 0);
                r = resume(g, VECTOR_HANG, e);
                still = 0;
            }
        } else {
            still = 0;
        }
        if (r)
            return r;
        steps = __atomic_load_n(&g->shm->steps, __ATOMIC_ACQUIRE);
    }
    return 0;
}
