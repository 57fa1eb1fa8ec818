/* vmtest delete: removes one snapshot. Its children keep all they need. */
#include "cli/cmd.h"

#include "cli/life.h"

struct delete_opts {
    bool now;
};

const struct opt delete_options[] = {
    {"now", NULL, "take its space back at once: vmtest undo cannot bring it back", offsetof(struct delete_opts, now),
     OPT_FLAG, 0},
    OPT_END(struct delete_opts),
};

int cmd_delete(struct cli *c, void *opts, struct err *e)
{
    struct delete_opts *o = opts;
    cleanup(target_release) struct target t = {0};
    cleanup(snapshot_info_release) struct snapshot_info s = {0};
    cleanup(cleanup_client) struct client *client = NULL;
    cleanup(cleanup_close) int lock = -1;
    const int64_t begun = clock_wall_ns();
    int r;

    r = cli_target(c, c->words, c->nwords, true, &t, e);
    if (!r)
        r = cli_snapshot(c, &t, true, &s, e);
    if (!r)
        r = cli_lock_or_connect(c, &t.machine, &lock, &client, e);
    if (r)
        return r;
    life_end_parked(c, s.id);
    if (client)
        r = client_call(client, "vmtest-delete", json_pack("{s:I}", "id", (json_int_t)s.id), NULL, e);
    else
        r = snapshot_delete(c->store, s.id, e);
    if (r)
        return err_prefix(e, r, "%s@%s", t.machine.name, s.name);
    if (o->now)
        r = undo_forget(c->store, t.machine.id, begun, e);
    if (r)
        return r;
    out_set(c, "machine", json_string(t.machine.name));
    out_set(c, "snapshot", json_string(s.name));
    out_done(c, NULL, "deleted %s of %s", s.name, t.machine.name);
    life_tidy(c, &lock);
    return 0;
}
