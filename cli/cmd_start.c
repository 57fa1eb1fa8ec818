/* vmtest start: runs a machine. It waits until the guest's agent answers, since the next command of a script most often
 * needs a system that is up. */
#include "cli/cmd.h"

#include <limits.h>
#include <string.h>
#include <unistd.h>
#include "cli/life.h"
#include "src/offline.h"

struct start_opts {
    bool no_wait, paused, frozen;
    uint64_t timeout;
    const char *cache, *gdb, *pcap, *from, *clock;
};

const struct opt start_options[] = {
    {"from", "SNAP", "at this snapshot of it, or time (@{5m}): a revert and a start in one",
     offsetof(struct start_opts, from), OPT_STR, 0},
    {"no-wait", NULL, "return as soon as the guest runs", offsetof(struct start_opts, no_wait), OPT_FLAG, 0},
    {"timeout", "TIME", "how long to wait for the agent (2m unless given)", offsetof(struct start_opts, timeout),
     OPT_DURATION, 0},
    {"paused", NULL, "do not run the guest yet; implies --no-wait", offsetof(struct start_opts, paused), OPT_FLAG, 0},
    {"cache", "MODE", "safe, or unsafe: guest flushes may be lost with the host's power",
     offsetof(struct start_opts, cache), OPT_STR, 0},
    {"clock", "WHICH", "with --from, the guest's time of day: host (unless given), or snapshot",
     offsetof(struct start_opts, clock), OPT_STR, 0},
    {"frozen", NULL, "with --from, the guest goes on with the snapshot's clock and random numbers",
     offsetof(struct start_opts, frozen), OPT_FLAG, 0},
    {"gdb", "WHERE", "let gdb in there: a socket's path, or tcp::PORT on this host", offsetof(struct start_opts, gdb),
     OPT_STR, 0},
    {"pcap", "FILE", "write what goes over the network cards' wires to a file", offsetof(struct start_opts, pcap),
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

/* The machine, and with --from its snapshot, or time (else 0). SNAP may name the machine, too. */
static int find(struct cli *c, const struct start_opts *o, struct machine_info *ret, struct snapshot_info *ret_snap,
                int64_t *ret_when, struct err *e)
{
    cleanup(target_release) struct target t = {0};
    cleanup(machine_info_release) struct machine_info named = {0};
    char *word = (char *)o->from;
    int r = 0;

    if (!o->from)
        return cli_machine(c, c->words[0], false, ret, e);
    if (c->words[0])
        r = cli_machine(c, c->words[0], false, &named, e);
    if (!r && named.id && !strchr(o->from, '@'))
        r = cli_target(c, (char *[]){named.name, word}, 2, false, &t, e);
    else if (!r)
        r = cli_target(c, &word, 1, false, &t, e);
    if (!r && named.id && named.id != t.machine.id)
        r = err_set(e, VT_USAGE, "--from: %s is a snapshot of %s, not of %s", o->from, t.machine.name, named.name);
    if (!r && t.ref.when && (o->clock || o->frozen))
        r = err_set(e, VT_USAGE, "--from %s: of a time there is no memory; --clock and --frozen go with a snapshot",
                    o->from);
    if (!r && !t.ref.when)
        r = cli_snapshot(c, &t, false, ret_snap, e);
    if (r)
        return r;
    *ret_when = t.ref.when;
    *ret = t.machine;
    t.machine = (struct machine_info){0};
    return 0;
}

static int read_options(const struct start_opts *o, struct life_how *ret, struct err *e)
{
    if (o->cache && strcmp(o->cache, "safe") != 0 && strcmp(o->cache, "unsafe") != 0)
        return err_set(e, VT_USAGE, "--cache: \"%s\" is neither safe nor unsafe", o->cache);
    if (!o->from && (o->clock || o->frozen))
        return err_set(e, VT_USAGE, "--clock and --frozen go with --from");
    *ret = (struct life_how){
        .paused = o->paused, .cache_unsafe = o->cache && o->cache[0] == 'u', .frozen = o->frozen, .gdb = o->gdb};
    return life_clock(o->clock, &ret->keep_clock, e);
}

/* The monitor has another working directory. The file need not exist; NULL stays NULL. */
static int absolute(const char *path, char **ret, struct err *e)
{
    char here[PATH_MAX];

    if (!path)
        return 0;
    if (*path != '/' && !getcwd(here, sizeof here))
        return err_set(e, VT_FAIL, "the working directory: %m");
    *ret = *path == '/' ? strdup(path) : str_printf("%s/%s", here, path);
    return *ret ? 0 : err_set(e, VT_FAIL, "out of memory");
}

/* The machine is off: its disks become the snapshot's or the time's first, and the monitor takes up the memory, where
 * there is one. */
static int start(struct cli *c, const struct machine_info *m, const struct snapshot_info *s, int64_t when, int *lock,
                 struct life_how *how, struct client **ret, struct err *e)
{
    int r = s->id ? offline_revert(c->store, m, s, e) : when ? offline_revert_past(c->store, m, when, e) : 0;

    if (r)
        return err_prefix(e, r, "%s", m->name);
    how->snapshot = s->ram_bytes ? s->id : 0;
    return life_start(c, m, lock, how, ret, e);
}

int cmd_start(struct cli *c, void *opts, struct err *e)
{
    struct start_opts *o = opts;
    cleanup(machine_info_release) struct machine_info m = {0};
    cleanup(snapshot_info_release) struct snapshot_info s = {0};
    cleanup(cleanup_client) struct client *client = NULL;
    cleanup(cleanup_close) int lock = -1;
    cleanup(cleanup_free) char *pcap = NULL;
    char text[UNITS_MAX];
    struct life_how how;
    int64_t when = 0;
    bool already;
    int r = read_options(o, &how, e);

    if (!r)
        r = absolute(o->pcap, &pcap, e);
    how.pcap = pcap;

    if (!r)
        r = find(c, o, &m, &s, &when, e);
    if (!r)
        r = cli_lock_or_connect(c, &m, &lock, &client, e);
    if (r)
        return r;
    already = client != NULL;
    if (already && (o->gdb || o->pcap || o->from))
        return err_set(e, VT_BUSY, "%s: runs already; %s", m.name,
                       o->from  ? "revert it, or stop it first"
                       : o->gdb ? "--gdb is for when it starts"
                                : "--pcap is for when it starts");
    if (!already)
        r = start(c, &m, &s, when, &lock, &how, &client, e);
    if (!r && !o->no_wait && !o->paused)
        r = wait_for_agent(m.name, client, o->timeout ? o->timeout : DEFAULT_TIMEOUT, e);
    if (r == VT_GONE) {
        *e = (struct err){0};
        return err_set(e, r, "%s: ended before its agent answered (vmtest log %s says more)", m.name, m.name);
    }
    if (r)
        return r;
    out_set(c, "machine", json_string(m.name));
    if (s.id)
        out_set(c, "snapshot", json_string(s.name));
    if (when)
        out_set(c, "time", out_time(when));
    if (already)
        out_already(c, "%s runs already", m.name);
    else if (s.id)
        out_done(c, NULL, "started %s from %s", m.name, s.name);
    else if (when)
        out_done(c, NULL, "started %s from %s", m.name, time_format(text, when));
    else
        out_done(c, NULL, "started %s", m.name);
    return 0;
}
