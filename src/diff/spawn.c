/* See spawn.h. */
#include "src/diff/spawn.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "src/base/buf.h"
#include "src/base/util.h"
#include "src/client.h"

extern char **environ;

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

static int run(struct strlist *argv, struct err *e)
{
    char path[PATH_MAX];
    int r = libexec_path("vmtest-fs", path, sizeof(path), e), status = 0;
    pid_t pid;

    if (r < 0)
        return r;
    if (argv->failed)
        return err_set(e, VT_FAIL, "out of memory");
    fflush(stdout);
    r = posix_spawn(&pid, path, NULL, NULL, argv->items, environ);
    if (r)
        return err_set(e, VT_FAIL, "cannot run %s: %s", path, strerror(r));
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return err_set(e, VT_FAIL, "cannot wait for %s: %m", path);
    if (WIFSIGNALED(status) && (WTERMSIG(status) == SIGINT || WTERMSIG(status) == SIGTERM))
        return err_set(e, VT_FAIL, "interrupted");
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGPIPE)
        return -VT_IO; /* who read the output has gone, as with any command in a pipe */
    if (WIFSIGNALED(status))
        return err_set(e, VT_CORRUPT, "the file-system reader crashed (signal %d); nothing was changed",
                       WTERMSIG(status));
    return WEXITSTATUS(status);
}

static void begin(struct strlist *argv, const char *verb)
{
    strlist_add(argv, "vmtest-fs");
    strlist_add(argv, verb);
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
