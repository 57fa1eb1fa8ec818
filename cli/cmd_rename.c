/* vmtest rename: gives a snapshot another name. (A machine's own name is changed by `set --name`.) */
#include "cli/cmd.h"

#include "cli/life.h"

const struct opt rename_options[] = {OPT_END(struct no_opts)};

int cmd_rename(struct cli *c, void *opts, struct err *e)
{
    cleanup(target_release) struct target t = {0};
    cleanup(snapshot_info_release) struct snapshot_info s = {0};
    cleanup(cleanup_client) struct client *client = NULL;
    cleanup(cleanup_close) int lock = -1;
    const char *name = c->words[c->nwords - 1];
    int r;

    r = name_valid(name, e);
    if (!r)
        r = cli_target(c, c->words, c->nwords - 1, true, &t, e);
    if (!r)
        r = cli_snapshot(c, &t, true, &s, e);
    if (!r)
        r = cli_lock_or_connect(c, &t.machine, &lock, &client, e);
    if (r)
        return r;
    if (client)
        r = client_call(client, "vmtest-rename", json_pack("{s:I, s:s}", "id", (json_int_t)s.id, "name", name), NULL,
                        e);
    else
        r = snapshot_rename(c->store, s.id, name, e);
    if (r)
        return err_prefix(e, r, "%s", t.machine.name);
    out_set(c, "machine", json_string(t.machine.name));
    out_set(c, "snapshot", json_string(name));
    out_set(c, "was", json_string(s.name));
    out_done(c, NULL, "renamed %s of %s to %s", s.name, t.machine.name, name);
    return 0;
}
