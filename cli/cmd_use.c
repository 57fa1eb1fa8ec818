/* vmtest use: chooses the machine that verbs without one mean; without a word, says which that is. */
#include "cli/cmd.h"

#include <string.h>
#include "cli/resolve.h"
#include "cli/settings.h"

struct use_opts {
    bool none;
};

const struct opt use_options[] = {
    {"none", NULL, "choose none", offsetof(struct use_opts, none), OPT_FLAG, 0},
    OPT_END(struct use_opts),
};

int cmd_use(struct cli *c, void *opts, struct err *e)
{
    struct use_opts *o = opts;
    cleanup(machine_info_release) struct machine_info m = {0};
    bool show = !o->none && !c->words[0] && !c->machine;
    struct setting_value set = {0};
    int64_t id = 0;
    int r;

    if (o->none && (c->words[0] || c->machine))
        return err_set(e, VT_USAGE, "--none goes without a machine");
    r = o->none || show ? cli_store(c, 0, e) : cli_machine(c, c->words[0], false, &m, e);
    if (!r && show)
        r = store_use_get(c->store, &id, e);
    if (!r && show && !id)
        return err_set(e, VT_NOENT, "no machine was chosen");
    if (!r && show)
        r = machine_get(c->store, id, &m, e);
    if (!r && !show)
        r = store_use_set(c->store, o->none ? 0 : m.id, e);
    if (!r)
        r = settings_get(c, "machine", &set, e);
    if (r)
        return r;
    if (set.text && strcmp(set.text, show || !o->none ? m.name : "") != 0)
        out_note(c, "%s says %s, which goes before this", set.origin, set.text);
    out_set(c, "machine", o->none ? json_null() : json_string(m.name));
    if (show)
        out_line(c, "%s", m.name);
    else
        out_done(c, NULL, "using %s", o->none ? "no machine by default" : m.name);
    return 0;
}
