/* vmtest rm: removes a machine with all its snapshots. Needs the whole name: what it takes away is much. */
#include "cli/cmd.h"

#include "cli/life.h"

struct rm_opts {
    bool force, now;
};

const struct opt rm_options[] = {
    {"force", NULL, "also a running one: take its power away first", offsetof(struct rm_opts, force), OPT_FLAG, 'f'},
    {"now", NULL, "take its space back at once: vmtest undo cannot bring it back", offsetof(struct rm_opts, now),
     OPT_FLAG, 0},
    OPT_END(struct rm_opts),
};

int cmd_rm(struct cli *c, void *opts, struct err *e)
{
    struct rm_opts *o = opts;
    cleanup(machine_info_release) struct machine_info m = {0};
    cleanup(cleanup_client) struct client *client = NULL;
    cleanup(cleanup_close) int lock = -1;
    const int64_t begun = clock_wall_ns();
    cleanup(cleanup_free) char *detail = NULL;
    char size[UNITS_MAX];
    int r;

    r = cli_machine(c, c->words[0], true, &m, e);
    if (!r)
        r = cli_lock_or_connect(c, &m, &lock, &client, e);
    if (r)
        return r;
    if (client) {
        if (!o->force)
            return err_set(e, VT_BUSY, "%s: is running (stop it first, or give --force)", m.name);
        r = life_end(c, &m, client, e);
        if (!r)
            r = machine_lock(c->store, m.id, &lock, e);
    }
    life_end_all_parked(c, m.id);
    if (!r)
        r = machine_rm(c->store, m.id, e);
    if (!r && o->now)
        r = undo_forget(c->store, m.id, begun, e);
    if (r)
        return r;
    out_set(c, "machine", json_string(m.name));
    out_set(c, "snapshots", json_integer((json_int_t)m.snapshots));
    detail = str_printf("%llu snapshot%s, %s", (unsigned long long)m.snapshots, m.snapshots == 1 ? "" : "s",
                        size_format(size, m.own_bytes));
    out_done(c, detail, "removed %s", m.name);
    life_tidy(c, &lock);
    return 0;
}
