/* vmtest gc: gives the space of what was deleted back to the file system. */
#include "cli/cmd.h"

#include "cli/resolve.h"

struct gc_opts {
    bool dry_run, now;
    const char *keep;
};

const struct opt gc_options[] = {
    {"dry-run", NULL, "only say what it would free", offsetof(struct gc_opts, dry_run), OPT_FLAG, 'n'},
    {"now", NULL, "also what is kept for vmtest undo", offsetof(struct gc_opts, now), OPT_FLAG, 0},
    {"keep", "TIME", "from now on, keep what is replaced for so long (1d unless set)", offsetof(struct gc_opts, keep),
     OPT_STR, 0},
    OPT_END(struct gc_opts),
};

static const char *plural(uint64_t n)
{
    return n == 1 ? "" : "s";
}

static void report(struct cli *c, const struct gc_stats *st, bool plan)
{
    cleanup(cleanup_free) char *detail = NULL;
    char size[UNITS_MAX];

    detail = str_printf("%llu snapshot%s, %llu pack%s, %llu log%s; %llu pack%s made smaller",
                        (unsigned long long)st->snapshots, plural(st->snapshots), (unsigned long long)st->packs,
                        plural(st->packs), (unsigned long long)st->logs, plural(st->logs),
                        (unsigned long long)st->repacked, plural(st->repacked));
    out_set(c, "snapshots", json_integer((json_int_t)st->snapshots));
    out_set(c, "packs", json_integer((json_int_t)st->packs));
    out_set(c, "logs", json_integer((json_int_t)st->logs));
    out_set(c, "repacked", json_integer((json_int_t)st->repacked));
    out_set(c, "bytes", json_integer((json_int_t)st->bytes));
    out_set(c, "dry_run", json_boolean(plan));
    out_done(c, detail, "%s %s", plan ? "would free" : "freed", size_format(size, st->bytes));
}

int cmd_gc(struct cli *c, void *opts, struct err *e)
{
    struct gc_opts *o = opts;
    struct gc_stats stats = {0};
    uint64_t keep = 0;
    int r = o->keep ? duration_parse(o->keep, &keep, e) : 0;

    if (r)
        return err_prefix(e, r, "--keep");
    if (keep > INT64_MAX / 4)
        return err_set(e, VT_USAGE, "--keep: \"%s\" is too long", o->keep);
    r = cli_store(c, 0, e);
    if (!r && o->dry_run) {
        r = store_gc_plan(c->store, o->now, &stats, e);
        if (!r)
            report(c, &stats, true);
        return r;
    }
    if (!r && o->keep)
        r = undo_keep_set(c->store, (int64_t)keep, e);
    if (!r && o->now)
        r = undo_forget_all(c->store, e);
    if (!r)
        r = store_gc(c->store, &stats, e);
    if (!r)
        r = store_maintain(c->store, e); /* and what a killed process left behind */
    if (!r)
        report(c, &stats, false);
    return r;
}
