/* vmtest export: a machine with its snapshots as one file, or one of its disks in a format that others know. */
#include "cli/cmd.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "cli/life.h"
#include "src/archive/diskout.h"
#include "src/archive/moveat.h"
#include "src/archive/spawn.h"

struct export_opts {
    const char *disk, *format, *base;
    bool no_head;
};

const struct opt export_options[] = {
    {"disk", "SLOT", "not the machine, but this disk of it (\"disk0\")", offsetof(struct export_opts, disk), OPT_STR,
     0},
    {"format", "FORMAT", "of the disk's file: raw, qcow2 or vmdk; unless given, by the file's name",
     offsetof(struct export_opts, format), OPT_STR, 0},
    {"base", "DIR", "into a store of its own, which is sealed, to be put under others",
     offsetof(struct export_opts, base), OPT_STR, 0},
    {"no-head", NULL, "leave out what it did since the snapshot that it stands on",
     offsetof(struct export_opts, no_head), OPT_FLAG, 0},
    OPT_END(struct export_opts),
};

static void cleanup_image(struct image **i)
{
    image_close(*i);
}

static void cleanup_hold(struct snaplock **l)
{
    snapshot_release(*l);
}

/* The lock of a machine that is off. */
static int lock_stopped(struct cli *c, const struct machine_info *m, int *ret_fd, struct err *e)
{
    cleanup(cleanup_client) struct client *client = NULL;
    int r = cli_lock_or_connect(c, m, ret_fd, &client, e);

    if (!r && client)
        return err_set(e, VT_BUSY, "%s: is running; stop it, or name a snapshot or a time (%s@{0s})", m->name, m->name);
    return r;
}

static int export_disk(struct cli *c, struct target *t, const struct export_opts *o, const char *file, struct err *e)
{
    const char *format = o->format ? o->format : diskout_format(file);
    cleanup(snapshot_info_release) struct snapshot_info s = {0};
    cleanup(cleanup_hold) struct snaplock *hold = NULL;
    cleanup(cleanup_image) struct image *image = NULL;
    cleanup(cleanup_close) int lock = -1;
    bool snap = t->ref.snap[0];
    char size[UNITS_MAX];
    int r;

    if (!format)
        return err_set(e, VT_USAGE, "%s: does not say what format it is to have; give --format raw, qcow2 or vmdk",
                       file);
    if (!diskout_known(format))
        return err_set(e, VT_USAGE, "--format: \"%s\" is none of raw, qcow2, vmdk", format);
    if (t->ref.when) {
        r = image_open_past(c->store, t->machine.id, o->disk, t->ref.when, &image, e);
        if (r)
            err_prefix(e, r, "%s", t->machine.name);
    } else if (snap) {
        r = cli_snapshot(c, t, false, &s, e);
        if (!r)
            r = snapshot_hold(c->store, s.id, &hold, e);
        if (!r)
            r = image_open(c->store, s.id, o->disk, ROOT_QUIESCED, &image, e);
        if (r && s.id)
            err_prefix(e, r, "%s@%s", t->machine.name, s.name);
    } else {
        r = lock_stopped(c, &t->machine, &lock, e);
        if (!r)
            r = image_open_flushed(c->store, t->machine.id, o->disk, &image, e);
        if (r && lock >= 0)
            err_prefix(e, r, "%s", t->machine.name);
    }
    if (r)
        return r;
    r = diskout_write(image, format, file, e);
    if (r)
        return r;
    out_set(c, "machine", json_string(t->machine.name));
    if (t->ref.when)
        out_set(c, "time", out_time(t->ref.when));
    else if (snap)
        out_set(c, "snapshot", json_string(s.name));
    out_set(c, "disk", json_string(o->disk));
    out_set(c, "format", json_string(format));
    out_set(c, "bytes", json_integer((json_int_t)image_bytes(image)));
    out_done(c, size_format(size, image_bytes(image)), "exported %s of %s%s%s to %s", o->disk, t->machine.name,
             snap ? "@" : "",
             t->ref.when ? t->ref.snap
             : snap      ? s.name
                         : "",
             file);
    return 0;
}

static void told(struct cli *c, const struct machine_info *m, uint64_t snapshots, uint64_t pages, const char *to)
{
    cleanup(cleanup_free) char *detail = str_printf("%llu snapshot%s, %llu pages", (unsigned long long)snapshots,
                                                    snapshots == 1 ? "" : "s", (unsigned long long)pages);

    out_set(c, "machine", json_string(m->name));
    out_set(c, "snapshots", json_integer((json_int_t)snapshots));
    out_set(c, "pages", json_integer((json_int_t)pages));
    out_done(c, detail, "exported %s to %s", m->name, to);
}

/* Before a snapshot is taken for it. */
static int check_target(const char *path, struct err *e)
{
    struct stat st;

    return strcmp(path, "-") != 0 && lstat(path, &st) == 0 ? err_set(e, VT_EXISTS, "%s: is there already", path) : 0;
}

/* How the machine stands in the file. */
struct ending {
    int lock;                /* it is off, and stays so; else -1 */
    struct client *client;   /* it runs; else NULL */
    struct snapshot_info at; /* id 0: as it is */
    bool taken;              /* `at` was taken for this */
};

static void ending_release(struct ending *x)
{
    snapshot_info_release(&x->at);
    cleanup_client(&x->client);
    cleanup_close(&x->lock);
}

/* The snapshot that the machine stands on. */
static int find_current(struct cli *c, const struct machine_info *m, int64_t *ret, struct err *e)
{
    struct snapshot_info *list = NULL;
    size_t n = 0;
    int r = snapshot_list(c->store, m->id, &list, &n, e);

    *ret = 0;
    for (size_t i = 0; i < n; i++)
        if (list[i].current)
            *ret = list[i].id;
    snapshot_list_free(list, n);
    return r || *ret ? r : err_set(e, VT_NOENT, "%s: --no-head: stands on no snapshot", m->name);
}

/* What a machine that runs is now goes into the file as a snapshot, with its memory. */
static int take(struct cli *c, const struct machine_info *m, struct ending *x, int64_t *ret, struct err *e)
{
    cleanup(cleanup_json) json_t *a = NULL;
    char name[NAME_MAX_LEN + 1];
    int r;

    life_dated_name(c, m->id, "export-", name);
    r = client_call(x->client, "vmtest-snapshot",
                    json_pack("{s:s, s:s}", "name", name, "note", "as it was when it was exported"), &a, e);
    if (r)
        return err_prefix(e, r, "%s", m->name);
    x->taken = true;
    if (json_string_value(json_object_get(a, "warning")))
        out_note(c, "%s: %s", m->name, json_string_value(json_object_get(a, "warning")));
    *ret = (int64_t)answer_u64(a, "id");
    return 0;
}

static int settle(struct cli *c, const struct machine_info *m, bool no_head, struct ending *x, struct err *e)
{
    int64_t id = 0;
    int r = cli_lock_or_connect(c, m, &x->lock, &x->client, e);

    if (!r && no_head)
        r = find_current(c, m, &id, e);
    else if (!r && x->client)
        r = take(c, m, x, &id, e);
    return r || !id ? r : snapshot_get(c->store, id, &x->at, e);
}

/* The machine goes on as if nothing had been. */
static int unsettle(struct cli *c, const struct machine_info *m, struct ending *x, int r)
{
    struct err why = {0};

    if (x->taken && x->at.id && life_drop(c, m->id, x->at.id, x->client, &why))
        out_note(c, "%s@%s stays: %s", m->name, x->at.name, why.msg);
    if (r || !x->at.id)
        return r;
    out_set(c, "head", json_string(x->at.name));
    if (x->taken)
        out_note(c, "%s runs: as it is now, it is in there as %s", m->name, x->at.name);
    else
        out_note(c, "what %s did since %s is left out", m->name, x->at.name);
    return 0;
}

static int write_file(struct cli *c, const struct machine_info *m, const char *file, struct ending *x, struct err *e)
{
    struct archive_result res = {0};
    int r = archive_export(store_dir(c->store), m->id, x->lock, x->at.id, file, &res, e);

    if (!r && strcmp(file, "-") != 0) /* else standard output is the file */
        told(c, m, res.snapshots, res.pages, file);
    return r;
}

static int write_base(struct cli *c, const struct machine_info *m, const char *dir, struct ending *x, struct err *e)
{
    cleanup(moveat_release) struct moveat at = {0};
    struct move_stats stats = {0};
    int r = x->at.id ? moveat_begin(c->store, m->id, x->at.id, &at, e) : 0;

    if (!r)
        r = base_export(c->store, m->id, x->at.id ? &at.at : NULL, dir, &stats, e);
    if (!r)
        told(c, m, stats.snapshots, stats.pages, dir);
    return r;
}

static int export_machine(struct cli *c, const struct machine_info *m, const struct export_opts *o, const char *file,
                          struct err *e)
{
    cleanup(ending_release) struct ending x = {.lock = -1};
    int r = o->base ? 0 : check_target(file, e);

    if (!r)
        r = settle(c, m, o->no_head, &x, e);
    if (!r)
        r = o->base ? write_base(c, m, o->base, &x, e) : write_file(c, m, file, &x, e);
    return unsettle(c, m, &x, r);
}

int cmd_export(struct cli *c, void *opts, struct err *e)
{
    struct export_opts *o = opts;
    bool named = c->nwords == (o->base ? 1 : 2);
    cleanup(target_release) struct target t = {0};
    const char *file;
    int r;

    if (c->nwords > (o->base ? 1 : 2) || (!o->base && !c->nwords))
        return err_set(e, VT_USAGE, "%s", o->base ? "--base DIR takes the place of FILE" : "the file is missing");
    if (o->base && o->disk)
        return err_set(e, VT_USAGE, "--base or --disk, not both");
    file = o->base ? NULL : c->words[c->nwords - 1];
    r = named ? name_ref_parse(c->words[0], false, &t.ref, e) : 0;
    if (!r && t.ref.snap[0] && !o->disk)
        r = err_set(e, VT_USAGE, "%s: a machine is exported with all its snapshots; a snapshot's disk with --disk",
                    c->words[0]);
    if (!r && o->format && !o->disk)
        r = err_set(e, VT_USAGE, "--format is a disk's; give --disk");
    if (!r && o->no_head && o->disk)
        r = err_set(e, VT_USAGE, "--no-head is a machine's; name the snapshot that the disk is to be of");
    if (!r)
        r = cli_machine(c, t.ref.machine, false, &t.machine, e);
    if (r)
        return r;
    return o->disk ? export_disk(c, &t, o, file, e) : export_machine(c, &t.machine, o, file, e);
}
