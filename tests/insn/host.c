#include "host.h"

#include <errno.h>
#include <signal.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define INT3 0xcc

/* Waits while *word == value, for at most a second. */
static void futex_wait(uint32_t *word, uint32_t value)
{
    struct timespec second = {.tv_sec = 1};
    syscall(SYS_futex, word, FUTEX_WAIT, value, &second, NULL, 0);
}

static int runner_ended(struct host *h, struct err *e)
{
    int status;
    if (waitpid(h->pid, &status, WNOHANG) != h->pid)
        return 0;
    h->pid = 0;
    return err_set(e, VT_FAIL, "the native runner died (%s %d)", WIFSIGNALED(status) ? "signal" : "status",
                   WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

int host_start(struct host *h, const char *path, const struct mode *mode, struct err *e)
{
    *h = (struct host){0};
    int fd = memfd_create("insn-shm", 0);
    if (fd < 0 || ftruncate(fd, sizeof(*h->shm)) < 0)
        return err_set(e, VT_FAIL, "shared memory for the native runner: %m");
    void *p = mmap(NULL, sizeof(*h->shm), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) {
        close(fd);
        return err_set(e, VT_FAIL, "shared memory for the native runner: %m");
    }
    h->shm = p;
    h->shm->mode = mode->mode;
    h->pid = fork();
    if (h->pid == 0) {
        char arg[16];
        snprintf(arg, sizeof(arg), "%d", fd);
        execl(path, path, arg, (char *)NULL);
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        _exit(127);
    }
    close(fd);
    if (h->pid < 0)
        return err_set(e, VT_FAIL, "fork: %m");
    uint32_t ready;
    while ((ready = __atomic_load_n(&h->shm->ready, __ATOMIC_ACQUIRE)) == 0) {
        int r = runner_ended(h, e);
        if (r)
            return r;
        futex_wait(&h->shm->ready, 0);
    }
    if (ready == RUNNER_REFUSED)
        return err_set(e, VT_GONE, "%s", h->shm->message);
    return ready == RUNNER_READY ? 0 : err_set(e, VT_FAIL, "the native runner: %s", h->shm->message);
}

void host_stop(struct host *h)
{
    if (h->pid > 0) {
        kill(h->pid, SIGKILL);
        waitpid(h->pid, NULL, 0);
    }
    if (h->shm)
        munmap(h->shm, sizeof(*h->shm));
    *h = (struct host){0};
}

void host_submit(struct host *h, uint32_t n)
{
    struct insn_shm *shm = h->shm;
    const struct mode *m = mode_get(shm->mode);
    uint8_t back[EXIT_MAX];
    unsigned n_back = native_put_exit(m, back);
    memset(shm->code, INT3, sizeof(shm->code));
    for (uint32_t i = 0; i < n; i++) {
        const struct insn_case *c = &shm->cases[i];
        if (c->shape == SHAPE_SMC)
            continue;
        uint8_t *at = shm->code + mode_code_offset(m, c->code_va);
        memcpy(at, c->native, c->len);
        if (!c->int3_end && !c->open_end)
            memcpy(at + c->len, back, n_back);
    }
    shm->n = n;
    __atomic_store_n(&shm->go, ++h->batch, __ATOMIC_RELEASE);
    syscall(SYS_futex, &shm->go, FUTEX_WAKE, 1, NULL, NULL, 0);
}

int host_wait(struct host *h, struct err *e)
{
    uint32_t done;
    while ((done = __atomic_load_n(&h->shm->done, __ATOMIC_ACQUIRE)) != h->batch) {
        int r = runner_ended(h, e);
        if (r)
            return r;
        futex_wait(&h->shm->done, done);
    }
    return 0;
}
