#include "src/archive/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include "src/base/buf.h"
#include "src/base/json.h"
#include "src/base/util.h"
#include "src/client.h"

extern char **environ;

#define REPORT_FD 9 /* in the child */

static int start(struct strlist *argv, int report, pid_t *ret_pid, struct err *e)
{
    posix_spawn_file_actions_t actions;
    char path[PATH_MAX];
    int r = libexec_path("vmtest-archive", path, sizeof path, e);

    if (r)
        return r;
    if (argv->failed)
        return err_set(e, VT_FAIL, "out of memory");
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, report, REPORT_FD);
    r = posix_spawn(ret_pid, path, &actions, NULL, argv->items, environ);
    posix_spawn_file_actions_destroy(&actions);
    return r ? err_set(e, VT_FAIL, "cannot run %s: %s", path, strerror(r)) : 0;
}

/* Reads what the child reports, to the end. */
static void read_report(int fd, struct buf *ret)
{
    char data[1024];
    ssize_t n;

    while ((n = read(fd, data, sizeof data)) > 0 || (n < 0 && errno == EINTR))
        if (n > 0)
            buf_add(ret, data, (size_t)n);
}

static int judge(int status, const struct buf *said, struct archive_result *ret, struct err *e)
{
    static const char where[] = "vmtest-archive's report";
    cleanup(cleanup_json) json_t *j = NULL;
    uint64_t id = 0;
    const char *error;
    int r;

    if (WIFSIGNALED(status) && (WTERMSIG(status) == SIGINT || WTERMSIG(status) == SIGTERM))
        return err_set(e, VT_FAIL, "interrupted");
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGPIPE)
        return err_set(e, VT_IO, "standard output was closed");
    if (WIFSIGNALED(status) || !said->len)
        return err_set(e, VT_FAIL, "vmtest-archive ended without a word (status %d)", status);
    r = json_parse(said->data, said->len, where, &j, e);
    if (r)
        return r;
    error = json_string_value(json_object_get(j, "error"));
    if (error)
        return err_set(e, (int)json_integer_value(json_object_get(j, "code")), "%s", error);
    r = json_get_u64(j, "id", JSON_REQUIRED, &id, where, e);
    if (!r)
        r = json_get_u64(j, "snapshots", JSON_REQUIRED, &ret->snapshots, where, e);
    if (!r)
        r = json_get_u64(j, "pages", JSON_REQUIRED, &ret->pages, where, e);
    if (!r)
        r = json_get_u64(j, "bytes", JSON_REQUIRED, &ret->bytes, where, e);
    ret->machine = (int64_t)id;
    return r;
}

static int run(struct strlist *argv, struct archive_result *ret, struct err *e)
{
    cleanup(buf_release) struct buf said = {0};
    cleanup(cleanup_close) int in = -1;
    int fds[2], status = 0, r;
    pid_t pid;

    if (pipe2(fds, O_CLOEXEC) < 0)
        return err_set(e, VT_FAIL, "pipe: %m");
    in = fds[0];
    r = start(argv, fds[1], &pid, e);
    close(fds[1]);
    if (r)
        return r;
    read_report(in, &said);
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return err_set(e, VT_FAIL, "cannot wait for vmtest-archive: %m");
    return judge(status, &said, ret, e);
}

int archive_export(const char *store, int64_t machine, int lock_fd, int64_t at, const char *file,
                   struct archive_result *ret, struct err *e)
{
    cleanup(strlist_release) struct strlist argv = {0};

    if (lock_fd >= 0)
        fcntl(lock_fd, F_SETFD, 0);
    strlist_add(&argv, "vmtest-archive");
    strlist_add(&argv, "--store");
    strlist_add(&argv, store);
    strlist_addf(&argv, "--machine=%lld", (long long)machine);
    if (at)
        strlist_addf(&argv, "--at=%lld", (long long)at);
    strlist_addf(&argv, "--report=%d", REPORT_FD);
    strlist_add(&argv, "--");
    strlist_add(&argv, "export");
    strlist_add(&argv, file);
    return run(&argv, ret, e);
}

int archive_import(const char *store, const char *name, const char *file, struct archive_result *ret, struct err *e)
{
    cleanup(strlist_release) struct strlist argv = {0};

    strlist_add(&argv, "vmtest-archive");
    strlist_add(&argv, "--store");
    strlist_add(&argv, store);
    if (name)
        strlist_addf(&argv, "--name=%s", name);
    strlist_addf(&argv, "--report=%d", REPORT_FD);
    strlist_add(&argv, "--");
    strlist_add(&argv, "import");
    strlist_add(&argv, file);
    return run(&argv, ret, e);
}
