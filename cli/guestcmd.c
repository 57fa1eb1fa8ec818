#include "cli/guestcmd.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include "cli/forward.h"
#include "cli/tty.h"
#include "src/base/io.h"

/* What one stream of a guest may hold in a JSON object; more is an error rather than a cut. */
#define CAPTURE_MAX (64u << 20)

int guest_opts_check(const struct guest_opts *o, struct err *e)
{
    for (size_t i = 0; i < o->env.n; i++)
        if (!strchr(o->env.items[i], '=') || o->env.items[i][0] == '=')
            return err_set(e, VT_USAGE, "--env: \"%s\" is not NAME=VALUE", o->env.items[i]);
    return 0;
}

static int take_captured(struct cli *c, const char *key, int fd, struct err *e)
{
    cleanup(buf_release) struct buf b = {0};
    struct stat st;
    size_t got = 0;
    void *p;
    int r;

    if (fstat(fd, &st) < 0)
        return err_set(e, VT_FAIL, "%s: %m", key);
    if (st.st_size > (off_t)CAPTURE_MAX)
        return err_set(e, VT_FAIL, "%s of the command is longer than %u MiB; run it without --json", key,
                       CAPTURE_MAX >> 20);
    p = buf_reserve(&b, (size_t)st.st_size);
    if (!p)
        return buf_check(&b, e);
    r = io_pread_full(fd, p, (size_t)st.st_size, 0, &got, key, e);
    if (!r)
        out_set(c, key, json_string_lossy(p, got));
    return r;
}

static int run_captured(struct cli *c, struct client *client, struct client_exec *x, int *ret_status, struct err *e)
{
    cleanup(cleanup_close) int out = memfd_create("stdout", MFD_CLOEXEC);
    cleanup(cleanup_close) int err = memfd_create("stderr", MFD_CLOEXEC);
    int r, kept;

    if (out < 0 || err < 0)
        return err_set(e, VT_FAIL, "cannot make a memory file: %m");
    x->out = out;
    x->err = err;
    r = client_exec(client, x, ret_status, e);
    /* what was said before a time-out is often what one wants to see */
    kept = take_captured(c, "stdout", out, e);
    if (!kept)
        kept = take_captured(c, "stderr", err, e);
    return r ? r : kept;
}

/* The user's terminal type, unless the command is given another. */
static void tty_env(const struct guest_opts *o, struct strlist *ret)
{
    const char *term = getenv("TERM");

    strlist_addf(ret, "TERM=%s", term && *term ? term : "dumb");
    for (size_t i = 0; i < o->env.n; i++)
        strlist_add(ret, o->env.items[i]);
}

/* With our signals, and our terminal where we have one. */
static int run_attached(struct cli *c, struct client *client, struct client_exec *x, int *ret_status, struct err *e)
{
    cleanup(forward_end) struct forward f;
    int r = forward_begin(&f, x->tty && !c->json, e);

    if (r)
        return r;
    x->has_control = true;
    x->control = f.stream;
    x->rows = f.rows;
    x->cols = f.cols;
    if (c->json)
        return run_captured(c, client, x, ret_status, e);
    return client_exec(client, x, ret_status, e);
}

int guest_command(struct cli *c, struct client *client, const struct guest_opts *o, const char *const *argv, bool tty,
                  struct err *e)
{
    cleanup(strlist_release) struct strlist env = {0};
    if (tty)
        tty_env(o, &env);
    struct client_exec x = {.argv = argv,
                            .env = (const char *const *)(tty ? env.items : o->env.items),
                            .dir = o->dir,
                            .user = o->user,
                            .tty = tty,
                            .timeout = (double)o->timeout / (double)NS_PER_SEC,
                            .in = 0,
                            .out = 1,
                            .err = 2};
    int status = 0, r = env.failed ? err_set(e, VT_FAIL, "out of memory") : 0;

    if (!r)
        r = run_attached(c, client, &x, &status, e);
    out_set(c, "guest_status", r ? json_null() : json_integer(status));
    if (!r)
        out_set(c, "error", json_null());
    out_set(c, "seconds", out_seconds(clock_mono_ns() - c->started));
    return r ? r : status;
}
