/* See spawn.h. */
#include "src/diff/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/base/buf.h"
#include "src/base/util.h"
#include "src/client.h"

extern char **environ;

#define REPORT_FD 9 /* in vmtest-fs */

static void add_disk(struct strlist *argv, const char *option, const struct fs_disk *d)
{
    strlist_add(argv, option);
    if (d->when) {
        strlist_addf(argv, "store:%s:%lld:%s:at=%lld", d->store, (long long)d->id, d->slot, (long long)d->when);
        return;
    }
    strlist_addf(argv, "store:%s:%lld:%s:%s", d->store, (long long)d->id, d->slot,
                 d->head   ? "head"
                 : d->live ? "live"
                           : "quiesced");
}

static int start(struct strlist *argv, int report, pid_t *ret_pid, struct err *e)
{
    posix_spawn_file_actions_t actions;
    char path[PATH_MAX];
    int r = libexec_path("vmtest-fs", path, sizeof(path), e);

    if (r < 0)
        return r;
    if (argv->failed)
        return err_set(e, VT_FAIL, "out of memory");
    fflush(stdout);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, report, REPORT_FD);
    r = posix_spawn(ret_pid, path, &actions, NULL, argv->items, environ);
    posix_spawn_file_actions_destroy(&actions);
    return r ? err_set(e, VT_FAIL, "cannot run %s: %s", path, strerror(r)) : 0;
}

/* What went wrong, if anything; to the other end's end. */
static void read_report(int fd, char *dst, size_t size)
{
    size_t len = 0;
    ssize_t n;

    while (len < size - 1 && ((n = read(fd, dst + len, size - 1 - len)) > 0 || (n < 0 && errno == EINTR)))
        if (n > 0)
            len += (size_t)n;
    dst[len] = 0;
}

static int run(struct strlist *argv, struct err *e)
{
    char said[sizeof e->msg];
    int fds[2], r, status = 0;
    pid_t pid;

    if (pipe2(fds, O_CLOEXEC) < 0)
        return err_set(e, VT_FAIL, "pipe: %m");
    r = start(argv, fds[1], &pid, e);
    close(fds[1]);
    if (r == 0)
        read_report(fds[0], said, sizeof said);
    close(fds[0]);
    if (r < 0)
        return r;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return err_set(e, VT_FAIL, "cannot wait for vmtest-fs: %m");
    if (WIFSIGNALED(status) && (WTERMSIG(status) == SIGINT || WTERMSIG(status) == SIGTERM))
        return err_set(e, VT_FAIL, "interrupted");
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGPIPE)
        return -VT_IO; /* who read the output has gone, as with any command in a pipe */
    if (WIFSIGNALED(status))
        return err_set(e, VT_CORRUPT, "the file-system reader crashed (signal %d); nothing was changed",
                       WTERMSIG(status));
    return *said ? err_set(e, -WEXITSTATUS(status), "%s", said) : WEXITSTATUS(status);
}

static void begin(struct strlist *argv, const char *verb)
{
    strlist_add(argv, "vmtest-fs");
    strlist_add(argv, verb);
    strlist_addf(argv, "--report=%d", REPORT_FD);
}

int fs_run_diff(const struct fs_diff *d, struct err *e)
{
    static const char *const forms[] = {[FS_STAT] = "--stat", [FS_PATCH] = "--patch", [FS_JSON] = "--json"};
    cleanup(strlist_release) struct strlist argv = {0};

    begin(&argv, "diff");
    add_disk(&argv, "--a", &d->a);
    add_disk(&argv, "--b", &d->b);
    if (d->all)
        strlist_add(&argv, "--all");
    if (d->times)
        strlist_add(&argv, "--times");
    if (forms[d->form])
        strlist_add(&argv, forms[d->form]);
    return run(&argv, e);
}

int fs_run_ls(const struct fs_disk *d, const char *path, bool json, struct err *e)
{
    cleanup(strlist_release) struct strlist argv = {0};

    begin(&argv, "ls");
    add_disk(&argv, "--a", d);
    if (json)
        strlist_add(&argv, "--json");
    strlist_add(&argv, "--");
    strlist_add(&argv, path);
    return run(&argv, e);
}

int fs_run_cat(const struct fs_disk *d, const char *path, struct err *e)
{
    cleanup(strlist_release) struct strlist argv = {0};

    begin(&argv, "cat");
    add_disk(&argv, "--a", d);
    strlist_add(&argv, "--");
    strlist_add(&argv, path);
    return run(&argv, e);
}

int fs_run_get(const struct fs_disk *d, const char *path, const char *to, struct err *e)
{
    cleanup(strlist_release) struct strlist argv = {0};

    begin(&argv, "get");
    add_disk(&argv, "--a", d);
    strlist_add(&argv, "--to");
    strlist_add(&argv, to);
    strlist_add(&argv, "--");
    strlist_add(&argv, path);
    return run(&argv, e);
}
