/* vmtest gc: gives the space of what was deleted back to the file system. */
#include "cli/cmd.h"

#include "cli/resolve.h"

const struct opt gc_options[] = {OPT_END(struct no_opts)};

int cmd_gc(struct cli *c, void *opts, struct err *e)
{
    cleanup(cleanup_free) char *detail = NULL;
    struct gc_stats stats = {0};
    char size[UNITS_MAX];
    int r;

    r = cli_store(c, false, e);
    if (!r)
        r = store_maintain(c->store, e); /* what was abandoned goes first: it may be the last to hold a pack */
    if (!r)
        r = store_gc(c->store, &stats, e);
    if (r)
        return r;
    detail = str_printf("%llu snapshot%s, %llu pack%s", (unsigned long long)stats.snapshots,
                        stats.snapshots == 1 ? "" : "s", (unsigned long long)stats.packs, stats.packs == 1 ? "" : "s");
    out_set(c, "snapshots", json_integer((json_int_t)stats.snapshots));
    out_set(c, "packs", json_integer((json_int_t)stats.packs));
    out_set(c, "bytes", json_integer((json_int_t)stats.bytes));
    out_done(c, detail, "freed %s", size_format(size, stats.bytes));
    return 0;
}
