/* vmtest stop: asks the guest to shut down, or with --force takes its power away. */
#include "cli/cmd.h"

#include "cli/life.h"

struct stop_opts {
    bool force;
    uint64_t timeout;
};

const struct opt stop_options[] = {
    {"force", NULL, "take the power away", offsetof(struct stop_opts, force), OPT_FLAG, 'f'},
    {"timeout", "TIME", "how long the guest may take (2m unless given)", offsetof(struct stop_opts, timeout),
     OPT_DURATION, 0},
    OPT_END(struct stop_opts),
};

#define DEFAULT_TIMEOUT (120 * NS_PER_SEC)

/* A monitor that has ended meanwhile is what was asked for; an error from one that lives is not. */
static int still_on(const char *name, struct client *client, int r, const struct err *why, struct err *e)
{
    if (client_call(client, "query-status", NULL, NULL, NULL))
        return 0;
    return err_set(e, r, "%s: %s (stop --force takes its power away)", name, why->msg);
}

static int shut_down(const char *name, struct client *client, uint64_t timeout, struct err *e)
{
    struct err why = {0};
    char text[UNITS_MAX];
    int r = client_call(client, "system_powerdown", NULL, NULL, &why);

    if (!r)
        r = client_call(client, "vmtest-wait",
                        json_pack("{s:s, s:f}", "for", "off", "timeout", (double)timeout / (double)NS_PER_SEC), NULL,
                        &why);
    if (r == VT_TIMEOUT)
        return err_set(e, r, "%s: has not shut down within %s (stop --force takes its power away)", name,
                       duration_format(text, timeout));
    return r ? still_on(name, client, r, &why, e) : 0;
}

int cmd_stop(struct cli *c, void *opts, struct err *e)
{
    struct stop_opts *o = opts;
    cleanup(machine_info_release) struct machine_info m = {0};
    cleanup(cleanup_client) struct client *client = NULL;
    cleanup(cleanup_close) int lock = -1;
    bool already;
    int r;

    r = cli_machine(c, c->words[0], false, &m, e);
    if (!r)
        r = cli_lock_or_connect(c, &m, &lock, &client, e);
    if (r)
        return r;
    already = client == NULL;
    if (!already && !o->force)
        r = shut_down(m.name, client, o->timeout ? o->timeout : DEFAULT_TIMEOUT, e);
    if (!already && !r)
        r = life_end(c, &m, client, e);
    if (r)
        return r;
    out_set(c, "machine", json_string(m.name));
    if (already)
        out_already(c, "%s is off already", m.name);
    else
        out_done(c, NULL, "stopped %s", m.name);
    return 0;
}
