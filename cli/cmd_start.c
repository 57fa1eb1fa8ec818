/* vmtest start: runs a machine. It waits until the guest's agent answers, since the next command of a script most often
 * needs a system that is up. */
#include "cli/cmd.h"

#include <string.h>
#include "cli/life.h"

struct start_opts {
    bool no_wait, paused;
    uint64_t timeout;
    const char *cache, *gdb;
};

const struct opt start_options[] = {
    {"no-wait", NULL, "return as soon as the guest runs", offsetof(struct start_opts, no_wait), OPT_FLAG, 0},
    {"timeout", "TIME", "how long to wait for the agent (2m unless given)", offsetof(struct start_opts, timeout),
     OPT_DURATION, 0},
    {"paused", NULL, "do not run the guest yet; implies --no-wait", offsetof(struct start_opts, paused), OPT_FLAG, 0},
    {"cache", "MODE", "safe, or unsafe: guest flushes may be lost with the host's power",
     offsetof(struct start_opts, cache), OPT_STR, 0},
    {"gdb", "WHERE", "let gdb in there: a socket's path, or tcp::PORT on this host", offsetof(struct start_opts, gdb),
     OPT_STR, 0},
    OPT_END(struct start_opts),
};

#define DEFAULT_TIMEOUT (120 * NS_PER_SEC)

static int wait_for_agent(const char *name, struct client *client, uint64_t timeout, struct err *e)
{
    struct err why = {0};
    char text[UNITS_MAX];
    int r = client_call(client, "vmtest-wait",
                        json_pack("{s:s, s:f}", "for", "agent", "timeout", (double)timeout / (double)NS_PER_SEC), NULL,
                        &why);

    if (r == VT_TIMEOUT)
        return err_set(e, r, "%s: runs, but no agent answered within %s (start --no-wait does not wait for one)", name,
                       duration_format(text, timeout));
    return r ? err_set(e, r, "%s: %s", name, why.msg) : 0;
}

int cmd_start(struct cli *c, void *opts, struct err *e)
{
    struct start_opts *o = opts;
    cleanup(machine_info_release) struct machine_info m = {0};
    cleanup(cleanup_client) struct client *client = NULL;
    cleanup(cleanup_close) int lock = -1;
    bool already;
    int r;

    if (o->cache && strcmp(o->cache, "safe") != 0 && strcmp(o->cache, "unsafe") != 0)
        return err_set(e, VT_USAGE, "--cache: \"%s\" is neither safe nor unsafe", o->cache);
    r = cli_machine(c, c->words[0], false, &m, e);
    if (!r)
        r = cli_lock_or_connect(c, &m, &lock, &client, e);
    if (r)
        return r;
    already = client != NULL;
    if (already && o->gdb)
        return err_set(e, VT_BUSY, "%s: runs already; --gdb is for when it starts", m.name);
    if (!already)
        r = life_start(c, &m, &lock, o->paused, o->cache && o->cache[0] == 'u', o->gdb, &client, e);
    if (!r && !o->no_wait && !o->paused)
        r = wait_for_agent(m.name, client, o->timeout ? o->timeout : DEFAULT_TIMEOUT, e);
    if (r == VT_GONE) {
        *e = (struct err){0};
        return err_set(e, r, "%s: ended before its agent answered (vmtest log %s says more)", m.name, m.name);
    }
    if (r)
        return r;
    out_set(c, "machine", json_string(m.name));
    if (already)
        out_already(c, "%s runs already", m.name);
    else
        out_done(c, NULL, "started %s", m.name);
    return 0;
}
