/* vmtest check: proves that the store holds what it says it holds. */
#include "cli/cmd.h"

#include "cli/resolve.h"

struct check_opts {
    bool quick;
};

const struct opt check_options[] = {
    {"quick", NULL, "follow every reference, but do not read the pages", offsetof(struct check_opts, quick), OPT_FLAG,
     0},
    OPT_END(struct check_opts),
};

struct gather {
    struct cli *c;
    json_t *problems;
};

static void problem(void *opaque, const char *line)
{
    struct gather *g = opaque;

    out_line(g->c, "%s", line);
    json_array_append_new(g->problems, json_string(line));
}

int cmd_check(struct cli *c, void *opts, struct err *e)
{
    struct check_opts *o = opts;
    struct gather g = {.c = c, .problems = json_array()};
    struct store_report rep = {0};
    char size[UNITS_MAX];
    int r;

    r = cli_store(c, false, e);
    if (!r)
        r = store_check(c->store, !o->quick, problem, &g, &rep, e);
    out_set(c, "problems", g.problems);
    if (r)
        return r;
    out_set(c, "machines", json_integer((json_int_t)rep.machines));
    out_set(c, "snapshots", json_integer((json_int_t)rep.snapshots));
    out_set(c, "frames", json_integer((json_int_t)rep.frames));
    out_set(c, "pages", json_integer((json_int_t)rep.pages));
    out_set(c, "bytes", json_integer((json_int_t)rep.pack_bytes));
    if (rep.problems) {
        out_line(c, "%llu problem%s found", (unsigned long long)rep.problems, rep.problems == 1 ? "" : "s");
        return 1;
    }
    out_done(c, "no damage found", "checked %llu machine%s, %llu snapshot%s, %s", (unsigned long long)rep.machines,
             rep.machines == 1 ? "" : "s", (unsigned long long)rep.snapshots, rep.snapshots == 1 ? "" : "s",
             size_format(size, rep.pack_bytes));
    return 0;
}
