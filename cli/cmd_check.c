/* vmtest check: proves that the store holds what it says it holds. */
#include "cli/cmd.h"

#include "cli/resolve.h"

struct check_opts {
    bool quick, deep, repair;
};

const struct opt check_options[] = {
    {"quick", NULL, "follow every reference, but do not read the pages", offsetof(struct check_opts, quick), OPT_FLAG,
     0},
    {"deep", NULL, "also read every page of every snapshot, as a restore does", offsetof(struct check_opts, deep),
     OPT_FLAG, 0},
    {"repair", NULL, "mend what can be", offsetof(struct check_opts, repair), OPT_FLAG, 0},
    OPT_END(struct check_opts),
};

struct gather {
    struct cli *c;
    json_t *problems;
    const char *prefix;
};

static void problem(void *opaque, const char *line)
{
    struct gather *g = opaque;

    out_line(g->c, "%s%s", g->prefix, line);
    json_array_append_new(g->problems, json_string(line));
}

static int look(struct cli *c, const struct check_opts *o, struct gather *g, struct store_report *ret, struct err *e)
{
    struct store_report images = {0};
    int r = store_check(c->store, !o->quick, problem, g, ret, e);

    if (!r && o->deep)
        r = store_check_images(c->store, problem, g, &images, e);
    ret->problems += images.problems;
    return r;
}

int cmd_check(struct cli *c, void *opts, struct err *e)
{
    struct check_opts *o = opts;
    struct gather g = {.c = c, .problems = json_array(), .prefix = ""};
    struct gather mended = {.c = c, .problems = json_array(), .prefix = "repaired: "};
    struct store_report rep = {0};
    char size[UNITS_MAX];
    uint64_t done = 0;
    int r = o->quick && o->deep ? err_set(e, VT_USAGE, "one of --quick and --deep at a time") : 0;

    if (!r)
        r = cli_store(c, STORE_DAMAGED, e);
    if (!r && o->repair)
        r = store_repair(c->store, problem, &mended, &done, e);
    if (!r)
        r = look(c, o, &g, &rep, e);
    out_set(c, "problems", g.problems);
    out_set(c, "repaired", mended.problems);
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
