/* Starting a monitor: client.h's second half. The child gets a pipe, over which it says once that its machine stands or
 * why it does not, and for an ephemeral machine one end of a socket pair. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include "src/base/banned.h"
#include "src/base/buf.h"
#include "src/base/json.h"
#include "src/base/units.h"
#include "src/base/util.h"
#include "src/client.h"

#define START_TIMEOUT (60 * NS_PER_SEC)

int libexec_path(const char *program, char *ret_path, size_t size, struct err *e)
{
    static const char *const beside[] = {"../src", "../src/diff", "../libexec/vmtest", "../lib/vmtest", "."};
    const char *env = getenv("VMTEST_LIBEXEC");
    char exe[PATH_MAX];
    ssize_t n;

    if (env && *env) {
        if ((size_t)snprintf(ret_path, size, "%s/%s", env, program) < size && access(ret_path, X_OK) == 0)
            return 0;
        return err_set(e, VT_NOENT, "no %s in VMTEST_LIBEXEC (%s)", program, env);
    }
    n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n > 0) {
        char *slash;
        exe[n] = 0;
        slash = strrchr(exe, '/');
        if (slash)
            *slash = 0;
        for (size_t i = 0; i < ARRAY_LEN(beside); i++)
            if ((size_t)snprintf(ret_path, size, "%s/%s/%s", exe, beside[i], program) < size &&
                access(ret_path, X_OK) == 0)
                return 0;
    }
    if ((size_t)snprintf(ret_path, size, "%s/%s", VMTEST_LIBEXECDIR, program) < size && access(ret_path, X_OK) == 0)
        return 0;
    return err_set(e, VT_NOENT, "%s is not installed (looked in %s)", program, VMTEST_LIBEXECDIR);
}

struct words {
    char *argv[24];
    char text[16][32];
    unsigned n, numbers;
};

static void word(struct words *w, const char *s)
{
    vt_assert(w->n + 1 < ARRAY_LEN(w->argv));
    w->argv[w->n++] = (char *)s;
}

static void number(struct words *w, const char *option, long long v)
{
    vt_assert(w->numbers < ARRAY_LEN(w->text));
    word(w, option);
    snprintf(w->text[w->numbers], sizeof w->text[0], "%lld", v);
    word(w, w->text[w->numbers++]);
}

/* In the child: nothing but exec and its preparation. */
static void become_monitor(const struct monitor_spec *s, const char *path, struct words *w, const int *keep, int nkeep)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int log = s->log ? open(s->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;

    setsid();
    dup2(null, STDIN_FILENO);
    dup2(null, STDOUT_FILENO);
    dup2(log >= 0 ? log : null, STDERR_FILENO);
    for (int i = 0; i < nkeep; i++)
        if (keep[i] >= 0)
            fcntl(keep[i], F_SETFD, 0);
    execv(path, w->argv);
    _exit(127);
}

/* The monitor's one line: {"ready": true} or {"error": {"code", "desc"}}. */
static int await_ready(int fd, pid_t pid, struct err *e)
{
    uint64_t until = clock_mono_ns() + START_TIMEOUT;
    cleanup(buf_release) struct buf line = {0};
    cleanup(cleanup_json) json_t *msg = NULL;
    const json_t *error;

    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        uint64_t now = clock_mono_ns();
        char data[2048];
        ssize_t n;

        if (now >= until)
            return err_set(e, VT_TIMEOUT, "the monitor did not start within a minute");
        if (poll(&p, 1, (int)((until - now) / NS_PER_MS) + 1) <= 0)
            continue;
        n = read(fd, data, sizeof data);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        buf_add(&line, data, (size_t)n);
        if (line.len && line.data[line.len - 1] == '\n')
            break;
    }
    if (line.len == 0) {
        int status = 0;
        if (waitpid(pid, &status, 0) == pid && WIFSIGNALED(status))
            return err_set(e, VT_FAIL, "the monitor was killed by signal %d as it started", WTERMSIG(status));
        return err_set(e, VT_FAIL, "the monitor ended with status %d as it started", WEXITSTATUS(status));
    }
    if (json_parse(line.data, line.len, "the monitor's first line", &msg, e) < 0)
        return VT_CORRUPT;
    error = json_object_get(msg, "error");
    if (!error)
        return 0;
    return err_set(e, (int)json_integer_value(json_object_get(error, "code")), "%s",
                   json_string_value(json_object_get(error, "desc")));
}

int monitor_spawn(const struct monitor_spec *s, struct client **ret_client, struct err *e)
{
    int ready[2] = {-1, -1}, pair[2] = {-1, -1}, rc, keep[3];
    cleanup(cleanup_close) int ready_in = -1;
    cleanup(cleanup_close) int ours = -1;
    struct words w = {0};
    char path[PATH_MAX];
    pid_t pid;

    vt_assert(s->machine || ret_client);
    rc = libexec_path("vmtest-monitor", path, sizeof path, e);
    if (rc < 0)
        return rc;
    if (pipe2(ready, O_CLOEXEC) < 0)
        return err_set(e, VT_FAIL, "pipe: %m");
    if (ret_client && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        close(ready[0]);
        close(ready[1]);
        return err_set(e, VT_FAIL, "socketpair: %m");
    }
    ready_in = ready[0];
    ours = pair[0];
    word(&w, "vmtest-monitor");
    word(&w, "--store");
    word(&w, s->store);
    if (s->machine)
        number(&w, "--machine", s->machine);
    if (s->snapshot)
        number(&w, s->machine ? "--restore" : "--fork", s->snapshot);
    number(&w, "--ready-fd", ready[1]);
    if (pair[1] >= 0)
        number(&w, "--client-fd", pair[1]);
    if (s->lock_fd >= 0)
        number(&w, "--lock-fd", s->lock_fd);
    if (s->park)
        number(&w, "--park", (long long)s->park);
    if (s->snapshot_memory)
        number(&w, "--snapshot-memory", (long long)s->snapshot_memory);
    if (s->gdb) {
        word(&w, "--gdb");
        word(&w, s->gdb);
    }
    if (s->pcap) {
        word(&w, "--pcap");
        word(&w, s->pcap);
    }
    if (s->paused)
        word(&w, "--paused");
    if (s->cache_unsafe)
        word(&w, "--cache-unsafe");
    if (s->frozen)
        word(&w, "--frozen");
    if (s->keep_clock)
        word(&w, "--keep-clock");
    keep[0] = ready[1];
    keep[1] = pair[1];
    keep[2] = s->lock_fd;
    pid = fork();
    if (pid == 0)
        become_monitor(s, path, &w, keep, 3);
    close(ready[1]);
    if (pair[1] >= 0)
        close(pair[1]);
    if (pid < 0)
        return err_set(e, VT_FAIL, "cannot start %s: %m", path);
    rc = await_ready(ready_in, pid, e);
    if (rc == 0 && ret_client)
        rc = client_open_fd(steal_fd(&ours), ret_client, e);
    return rc;
}
