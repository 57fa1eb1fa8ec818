#include "src/exec.h"

#include <ctype.h>
#include <string.h>
#include "src/base/banned.h"
#include "src/base/units.h"
#include "src/base/util.h"
#include "src/execplain.h"
#include "src/execsession.h"
#include "src/guestexec.h"

#define POLL_FIRST_NS (1 * NS_PER_MS)
#define POLL_LAST_NS  (50 * NS_PER_MS)

/* The command itself. $1 this text, $2 directory, $3 user, $4 how many words of environment follow, then the command.
 */
const char exec_launch[] =
    "self=$1 d=$2 u=$3 n=$4; shift 4\n"
    "if [ -n \"$u\" ]; then\n"
    "  g=$(id -g -- \"$u\") || exit 125\n"
    "  exec setpriv --reuid=\"$u\" --regid=\"$g\" --init-groups --reset-env"
    " /bin/sh -c \"$self\" sh \"$self\" \"$d\" '' \"$n\" \"$@\"\n"
    "fi\n"
    "[ -n \"$HOME\" ] || export HOME=/root\n"
    "[ -n \"$PATH\" ] || export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
    "while [ \"$n\" -gt 0 ]; do export \"$1\"; shift; n=$((n - 1)); done\n"
    "cd \"${d:-/}\" || exit 125\n"
    "exec \"$@\"\n";

void exec_result_release(struct exec_result *r)
{
    buf_release(&r->out);
    buf_release(&r->err);
}

static bool name_ok(const char *word)
{
    const char *p = word;

    if (!isalpha((unsigned char)*p) && *p != '_')
        return false;
    while (isalnum((unsigned char)*p) || *p == '_')
        p++;
    return *p == '=';
}

int exec_launch_words(const struct exec_spec *x, struct strlist *words, struct err *e)
{
    unsigned nenv = 0;

    if (!x->argv[0])
        return err_set(e, VT_USAGE, "no command");
    for (; x->env && x->env[nenv]; nenv++)
        if (!name_ok(x->env[nenv]))
            return err_set(e, VT_USAGE, "\"%s\" is not NAME=value", x->env[nenv]);
    strlist_add(words, exec_launch);
    strlist_add(words, x->dir ? x->dir : "");
    strlist_add(words, x->user ? x->user : "");
    strlist_addf(words, "%u", nenv);
    for (unsigned i = 0; i < nenv; i++)
        strlist_add(words, x->env[i]);
    for (size_t i = 0; x->argv[i]; i++)
        strlist_add(words, x->argv[i]);
    return words->failed ? err_set(e, VT_FAIL, "out of memory") : 0;
}

/* ---- short commands of our own */

static int wait_end(struct guestexec *g, const struct exec_spec *x, struct exec_result *ret, struct err *e)
{
    uint64_t begin = clock_mono_ns(), wait = POLL_FIRST_NS;

    for (;;) {
        bool given_up = guestexec_pause(x->cancel_fd, wait), ended = false;
        int rc = guestexec_poll(g, &ended, ret, e);

        if (rc < 0 || ended)
            return rc;
        if (given_up)
            return err_set(e, VT_GONE, "given up");
        if (x->timeout && clock_mono_ns() - begin >= x->timeout)
            return err_set(e, VT_TIMEOUT, "timed out after %g s", (double)x->timeout / (double)NS_PER_SEC);
        wait = MIN(wait + wait / 2, POLL_LAST_NS);
    }
}

int exec_run(struct agent *a, const struct exec_spec *x, const void *input, size_t input_len, struct exec_result *ret,
             struct err *e)
{
    cleanup(strlist_release) struct strlist words = {0};
    struct guestexec g;
    int rc = exec_launch_words(x, &words, e);

    *ret = (struct exec_result){0};
    if (rc == 0)
        rc = guestexec_start(a, exec_launch, (const char *const *)words.items, input, input_len, &g, e);
    return rc < 0 ? rc : wait_end(&g, x, ret, e);
}

int exec_script(struct agent *a, const char *script, const char *const *words, struct exec_result *ret, struct err *e)
{
    struct exec_spec x = {.cancel_fd = -1, .timeout = 600 * NS_PER_SEC};
    struct guestexec g;
    char *end;
    int rc = guestexec_start(a, script, words, NULL, 0, &g, e);

    *ret = (struct exec_result){0};
    if (rc == 0)
        rc = wait_end(&g, &x, ret, e);
    if (rc < 0 || ret->status == 0)
        return rc;
    while (ret->err.len && isspace((unsigned char)ret->err.data[ret->err.len - 1]))
        ret->err.data[--ret->err.len] = 0;
    end = ret->err.len ? strrchr(ret->err.data, '\n') : NULL;
    return err_set(e, VT_FAIL, "in the guest: %s", ret->err.len ? (end ? end + 1 : ret->err.data) : "failed");
}

/* ---- commands with streams */

int exec_streams(const struct exec_way *way, const struct exec_spec *x, int in, int out, int err, int *ret_status,
                 struct err *e)
{
    static const char *const shell[] = {"/bin/sh", "-l", NULL};
    struct exec_spec plain = *x;

    for (size_t i = 0; x->env && x->env[i]; i++)
        if (!name_ok(x->env[i]))
            return err_set(e, VT_USAGE, "\"%s\" is not NAME=value", x->env[i]);
    if (way->port)
        return execsession_run(way->port, x, in, out, err, ret_status, e);
    if (x->tty)
        return err_set(e, VT_FAIL, "the helper does not run in the guest (%s), and its agent has no terminals",
                       way->why_plain[0] ? way->why_plain : "it was not started");
    if (!x->argv[0])
        plain.argv = shell;
    return execplain_run(way->agent, &plain, in, out, err, ret_status, e);
}
