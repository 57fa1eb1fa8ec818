/* vmtest export: a machine with its snapshots as one file, or one of its disks in a format that others know. */
#include "cli/cmd.h"

#include <stdio.h>
#include <string.h>
#include "cli/resolve.h"
#include "src/archive/diskout.h"
#include "src/archive/spawn.h"

struct export_opts {
    const char *disk, *format, *base;
};

const struct opt export_options[] = {
    {"disk", "SLOT", "not the machine, but this disk of it (\"disk0\")", offsetof(struct export_opts, disk), OPT_STR,
     0},
    {"format", "FORMAT", "of the disk's file: raw, qcow2 or vmdk; unless given, by the file's name",
     offsetof(struct export_opts, format), OPT_STR, 0},
    {"base", "DIR", "into a store of its own, which is sealed, to be put under others",
     offsetof(struct export_opts, base), OPT_STR, 0},
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
static int lock_stopped(struct cli *c, const struct machine_info *m, const char *hint, int *ret_fd, struct err *e)
{
    cleanup(cleanup_client) struct client *client = NULL;
    int r = cli_lock_or_connect(c, m, ret_fd, &client, e);

    return !r && client ? err_set(e, VT_BUSY, "%s: is running; %s", m->name, hint) : r;
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
        r = lock_stopped(c, &t->machine, "stop it, or name a snapshot", &lock, e);
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

static int export_machine(struct cli *c, const struct machine_info *m, const char *file, struct err *e)
{
    cleanup(cleanup_close) int lock = -1;
    struct archive_result res = {0};
    int r = lock_stopped(c, m, "stop it first", &lock, e);

    if (!r)
        r = archive_export(store_dir(c->store), m->id, lock, file, &res, e);
    if (r)
        return r;
    if (strcmp(file, "-") != 0) /* else standard output is the file */
        told(c, m, res.snapshots, res.pages, file);
    return 0;
}

static int export_base(struct cli *c, const struct machine_info *m, const char *dir, struct err *e)
{
    cleanup(cleanup_close) int lock = -1;
    struct move_stats stats = {0};
    int r = lock_stopped(c, m, "stop it first", &lock, e);

    if (!r)
        r = base_export(c->store, m->id, dir, &stats, e);
    if (!r)
        told(c, m, stats.snapshots, stats.pages, dir);
    return r;
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
    if (!r)
        r = cli_machine(c, t.ref.machine, false, &t.machine, e);
    if (r)
        return r;
    if (o->base)
        return export_base(c, &t.machine, o->base, e);
    return o->disk ? export_disk(c, &t, o, file, e) : export_machine(c, &t.machine, file, e);
}
