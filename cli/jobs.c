#include "cli/jobs.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define LINE_MAX_BYTES (64u << 10) /* a longer one is cut */
#define OURS           125

struct stream {
    int fd; /* -1: ended */
    struct buf text;
};

struct job {
    pid_t pid;
    int status;
    struct stream out, err;
};

struct jobs {
    struct cli *c;
    unsigned n, running;
    struct job *job;
    int signals;
    sigset_t before;
};

char *jobs_word(const char *word, unsigned job)
{
    struct buf b = {0};
    const char *at;

    for (; (at = strstr(word, "{}")) != NULL; word = at + 2) {
        buf_add(&b, word, (size_t)(at - word));
        buf_printf(&b, "%u", job);
    }
    buf_str(&b, word);
    return buf_steal(&b);
}

/* ---- a child */

static void become_job(const struct jobs *j, const int out[2], const int err[2])
{
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

    prctl(PR_SET_PDEATHSIG, SIGTERM);
    dup2(null, STDIN_FILENO);
    dup2(out[1], STDOUT_FILENO);
    dup2(err[1], STDERR_FILENO);
    close(null);
    close(j->signals);
    for (unsigned i = 0; i < j->n; i++) {
        if (j->job[i].out.fd > 0)
            close(j->job[i].out.fd);
        if (j->job[i].err.fd > 0)
            close(j->job[i].err.fd);
    }
    for (unsigned k = 0; k < 2; k++) {
        close(out[k]);
        close(err[k]);
    }
    pthread_sigmask(SIG_SETMASK, &j->before, NULL);
}

/* 1 in the child. */
static int start(struct jobs *j, struct job *job, struct err *e)
{
    int out[2], err[2] = {-1, -1};

    if (pipe2(out, O_CLOEXEC) < 0)
        return err_set(e, VT_FAIL, "pipe: %m");
    job->pid = pipe2(err, O_CLOEXEC) < 0 ? -1 : fork();
    if (job->pid == 0) {
        become_job(j, out, err);
        return 1;
    }
    close(out[1]);
    if (err[1] >= 0)
        close(err[1]);
    job->out.fd = out[0];
    job->err.fd = err[0];
    if (job->pid < 0)
        return err_set(e, VT_FAIL, "cannot start a job: %m");
    j->running++;
    return 0;
}

/* ---- the parent */

static void print_lines(unsigned number, struct stream *s, FILE *to)
{
    char *end;

    while (s->text.len &&
           ((end = memchr(s->text.data, '\n', s->text.len)) || s->text.len >= LINE_MAX_BYTES || s->fd < 0)) {
        size_t n = end ? (size_t)(end - s->text.data) : s->text.len;
        fprintf(to, "%u: ", number);
        fwrite(s->text.data, 1, n, to);
        putc('\n', to);
        buf_drop(&s->text, end ? n + 1 : n);
    }
    fflush(to);
}

/* keep: the text is looked at when it is whole. */
static void take(struct stream *s, unsigned number, FILE *to, bool keep)
{
    char data[16384];
    ssize_t n = read(s->fd, data, sizeof data);

    if (n > 0)
        buf_add(&s->text, data, (size_t)n);
    else if (n == 0 || errno != EINTR)
        close(steal_fd(&s->fd));
    if (!keep)
        print_lines(number, s, to);
}

static void forward_signal(const struct jobs *j)
{
    struct signalfd_siginfo si;

    if (read(j->signals, &si, sizeof si) != sizeof si || si.ssi_code == SI_KERNEL) /* a terminal tells them, too */
        return;
    for (unsigned i = 0; i < j->n; i++)
        if (j->job[i].pid > 0)
            kill(j->job[i].pid, (int)si.ssi_signo);
}

static void reap(struct jobs *j, struct job *job)
{
    int status = 0;
    pid_t r;

    do
        r = waitpid(job->pid, &status, 0);
    while (r < 0 && errno == EINTR);
    job->status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    job->pid = 0;
    j->running--;
}

static int gather(struct jobs *j, struct err *e)
{
    struct pollfd *p = calloc(2 * j->n + 1, sizeof *p);

    if (!p)
        return err_set(e, VT_FAIL, "out of memory");
    while (j->running) {
        for (unsigned i = 0; i < j->n; i++) {
            p[2 * i] = (struct pollfd){.fd = j->job[i].out.fd, .events = POLLIN};
            p[2 * i + 1] = (struct pollfd){.fd = j->job[i].err.fd, .events = POLLIN};
        }
        p[2 * j->n] = (struct pollfd){.fd = j->signals, .events = POLLIN};
        if (poll(p, 2 * j->n + 1, -1) < 0)
            continue;
        if (p[2 * j->n].revents)
            forward_signal(j);
        for (unsigned i = 0; i < j->n; i++) {
            struct job *job = &j->job[i];
            if (p[2 * i].revents)
                take(&job->out, i + 1, stdout, j->c->json);
            if (p[2 * i + 1].revents)
                take(&job->err, i + 1, stderr, false);
            if (job->pid > 0 && job->out.fd < 0 && job->err.fd < 0)
                reap(j, job);
        }
    }
    free(p);
    return 0;
}

static void add_object(json_t *to, const struct job *job, unsigned number)
{
    json_t *o = NULL;

    if (json_parse(buf_cstr(&job->out.text), job->out.text.len, "a job's result", &o, NULL) < 0 || !json_is_object(o)) {
        json_decref(o);
        o = json_object();
    }
    json_object_set_new(o, "job", json_integer((json_int_t)number));
    json_object_set_new(o, "status", json_integer(job->status));
    json_array_append_new(to, o);
}

/* The worst status; who had which one is said where it was not 0. */
static int conclude(struct jobs *j)
{
    json_t *all = j->c->json ? json_array() : NULL;
    int worst = 0;

    for (unsigned i = 0; i < j->n; i++) {
        struct job *job = &j->job[i];
        if (job->status == OURS || (worst != OURS && job->status > worst))
            worst = job->status;
        if (job->status)
            out_note(j->c, "job %u ended with status %d", i + 1, job->status);
        if (all)
            add_object(all, job, i + 1);
    }
    if (all)
        out_set(j->c, "jobs", all);
    return worst;
}

static void release(struct jobs *j)
{
    for (unsigned i = 0; i < j->n; i++) {
        buf_release(&j->job[i].out.text);
        buf_release(&j->job[i].err.text);
    }
    free(j->job);
}

int jobs_run(struct cli *c, unsigned n, unsigned *ret_job, struct err *e)
{
    struct jobs j = {.c = c, .n = n, .job = calloc(n, sizeof *j.job), .signals = -1};
    sigset_t set;
    int r = 0, gathered;

    *ret_job = 0;
    if (!j.job)
        return err_set(e, VT_FAIL, "out of memory");
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGQUIT);
    pthread_sigmask(SIG_BLOCK, &set, &j.before);
    j.signals = signalfd(-1, &set, SFD_CLOEXEC);
    fflush(stdout);
    for (unsigned i = 0; i < n; i++)
        j.job[i].out.fd = j.job[i].err.fd = -1;
    for (unsigned i = 0; i < n && !r; i++) {
        r = start(&j, &j.job[i], e);
        if (r == 1) {
            release(&j);
            *ret_job = i + 1;
            return 0;
        }
    }
    for (unsigned i = 0; i < n && r; i++)
        if (j.job[i].pid > 0)
            kill(j.job[i].pid, SIGTERM);
    gathered = gather(&j, e);
    if (!r)
        r = gathered ? gathered : conclude(&j);
    close(j.signals);
    pthread_sigmask(SIG_SETMASK, &j.before, NULL);
    release(&j);
    return r;
}
