/* vmtest exec: runs a command in a running guest; its status is ours. Without a command: a login shell. */
#include "cli/cmd.h"

#include <unistd.h>
#include "cli/guestcmd.h"
#include "cli/resolve.h"

struct exec_opts {
    struct guest_opts guest;
    bool tty;
};

const struct opt exec_options[] = {
    GUEST_OPTIONS(struct exec_opts, guest),
    {"tty", NULL, "give it a terminal", offsetof(struct exec_opts, tty), OPT_FLAG, 't'},
    OPT_END(struct exec_opts),
};

int cmd_exec(struct cli *c, void *opts, struct err *e)
{
    static const char *const shell[] = {NULL}; /* the user's own, as at a login */
    struct exec_opts *o = opts;
    cleanup(machine_info_release) struct machine_info m = {0};
    cleanup(cleanup_client) struct client *client = NULL;
    bool tty = o->tty || (!c->nguest && isatty(0));
    int r;

    if (c->has_guest && !c->nguest)
        return err_set(e, VT_USAGE, "no command after \"--\"");
    r = guest_opts_check(&o->guest, e);
    if (!r)
        r = cli_machine(c, c->words[0], false, &m, e);
    if (!r)
        r = cli_connect(c, &m, &client, e);
    if (r)
        return r;
    r = guest_command(c, client, &o->guest, c->nguest ? (const char *const *)c->guest : shell, tty, e);
    return r < 0 ? err_prefix(e, r, "%s", m.name) : r;
}
