/* vmtest diff: which files, packages and units differ between two snapshots, or a snapshot and the disk as it is now.
 * The reading is done by vmtest-fs, which prints; this finds out what is meant. */
#include "cli/cmd.h"

#include "cli/resolve.h"
#include "src/diff/spawn.h"

struct diff_opts {
    bool stat, patch, all, times;
    const char *disk;
};

const struct opt diff_options[] = {
    {"stat", NULL, "say how much changed in each file", offsetof(struct diff_opts, stat), OPT_FLAG, 0},
    {"patch", NULL, "show changed text as a patch", offsetof(struct diff_opts, patch), OPT_FLAG, 'p'},
    {"all", NULL, "also what any running system changes: logs, caches, times", offsetof(struct diff_opts, all),
     OPT_FLAG, 'a'},
    {"times", NULL, "also files of which only times differ", offsetof(struct diff_opts, times), OPT_FLAG, 0},
    {"disk", "SLOT", "compare this disk (disk0 unless given)", offsetof(struct diff_opts, disk), OPT_STR, 0},
    OPT_END(struct diff_opts),
};

/* One word: a snapshot or a time, of `machine` where the word names none. */
static int find_side(struct cli *c, const char *word, const char *machine, struct fs_disk *ret, struct err *e)
{
    cleanup(target_release) struct target t = {0};
    cleanup(snapshot_info_release) struct snapshot_info s = {0};
    int r = name_ref_parse(word, true, &t.ref, e);

    if (!r)
        r = cli_machine(c, t.ref.machine[0] ? t.ref.machine : machine, false, &t.machine, e);
    if (!r && t.ref.when) {
        ret->id = t.machine.id;
        ret->when = t.ref.when;
        return 0;
    }
    if (!r)
        r = cli_snapshot(c, &t, false, &s, e);
    if (r)
        return r;
    ret->id = s.id;
    return 0;
}

/* The disk of A's machine as it is now. */
static int find_head(struct cli *c, const struct name_ref *a, const char *machine, struct fs_disk *ret, struct err *e)
{
    cleanup(machine_info_release) struct machine_info m = {0};
    int r = cli_machine(c, a->machine[0] ? a->machine : machine, false, &m, e);

    ret->id = m.id;
    ret->head = true;
    return r;
}

int cmd_diff(struct cli *c, void *opts, struct err *e)
{
    struct diff_opts *o = opts;
    const char *machine = c->nwords == 3 ? c->words[0] : NULL;
    const char *a = c->words[c->nwords == 3], *b = c->nwords > 1 ? c->words[c->nwords - 1] : NULL;
    const char *slot = o->disk ? o->disk : "disk0";
    struct fs_diff d = {.all = o->all, .times = o->times};
    struct name_ref ra, rb = {0};
    int r;

    if (c->json + o->stat + o->patch > 1)
        return err_set(e, VT_USAGE, "one of --json, --stat and --patch at a time");
    r = name_ref_parse(a, true, &ra, e);
    if (!r && b)
        r = name_ref_parse(b, true, &rb, e);
    /* a machine that one word names is the other's too */
    if (!r && !machine)
        machine = ra.machine[0] ? ra.machine : rb.machine[0] ? rb.machine : NULL;
    if (!r)
        r = find_side(c, a, machine, &d.a, e);
    if (!r)
        r = b ? find_side(c, b, machine, &d.b, e) : find_head(c, &ra, machine, &d.b, e);
    if (r)
        return r;
    d.a.store = d.b.store = store_dir(c->store);
    d.a.slot = d.b.slot = slot;
    d.form = c->json ? FS_JSON : o->stat ? FS_STAT : o->patch ? FS_PATCH : FS_LIST;
    return fs_run_diff(&d, e);
}
