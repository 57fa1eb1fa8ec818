/* vmtest import: takes in what vmtest export wrote. */
#include "cli/cmd.h"

#include <stdio.h>
#include "cli/resolve.h"
#include "src/archive/spawn.h"
#include "src/config.h"

struct import_opts {
    const char *name, *base;
};

const struct opt import_options[] = {
    {"name", "NAME", "call the machine so (as it was called, unless given)", offsetof(struct import_opts, name),
     OPT_STR, 0},
    {"base", "DIR", "the machine of a sealed store, which is left where it is", offsetof(struct import_opts, base),
     OPT_STR, 0},
    OPT_END(struct import_opts),
};

/* Files of the host that the machine names, but that did not come along. */
static void note_missing(struct cli *c, const struct machine_info *m)
{
    cleanup(config_release) struct machine_config cfg = {0};

    if (config_parse(m->config, &cfg, NULL))
        return;
    const struct {
        const char *what, *path;
    } files[] = {{"kernel", cfg.kernel}, {"initrd", cfg.initrd}, {"bios", cfg.bios}, {"cdrom", cfg.cdrom}};
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        if (files[i].path && *files[i].path && access(files[i].path, R_OK))
            out_note(c, "%s: its %s, %s, is not on this host; vmtest set --%s says where it is", m->name, files[i].what,
                     files[i].path, files[i].what);
}

int cmd_import(struct cli *c, void *opts, struct err *e)
{
    struct import_opts *o = opts;
    cleanup(machine_info_release) struct machine_info m = {0};
    cleanup(cleanup_free) char *detail = NULL;
    struct archive_result res = {0};
    struct move_stats stats = {0};
    int r = o->name ? name_valid(o->name, e) : 0;

    if (!r && !o->base && !c->nwords)
        r = err_set(e, VT_USAGE, "the file is missing");
    if (!r)
        r = cli_store(c, STORE_CREATE, e);
    if (!r && o->base)
        r = base_import(c->store, o->base, c->words[0], o->name, &res.machine, &stats, e);
    else if (!r)
        r = archive_import(store_dir(c->store), o->name, c->words[0], &res, e);
    if (!r)
        r = machine_get(c->store, res.machine, &m, e);
    if (r)
        return r;
    if (o->base)
        res.snapshots = stats.snapshots;
    note_missing(c, &m);
    detail = str_printf("%llu snapshot%s, %llu pages", (unsigned long long)res.snapshots, res.snapshots == 1 ? "" : "s",
                        (unsigned long long)res.pages);
    out_set(c, "machine", json_string(m.name));
    out_set(c, "id", json_integer(m.id));
    out_set(c, "snapshots", json_integer((json_int_t)res.snapshots));
    out_set(c, "pages", json_integer((json_int_t)res.pages));
    out_done(c, detail, "imported %s", m.name);
    return 0;
}
