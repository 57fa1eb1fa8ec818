/* vmtest snapshot: keeps the state of a machine under a name. */
#include "cli/cmd.h"

#include <string.h>
#include "cli/life.h"
#include "cli/progress.h"
#include "src/offline.h"

struct snapshot_opts {
    const char *note, *quiesce;
    uint64_t quiesce_timeout;
    bool async, progress;
};

const struct opt snapshot_options[] = {
    {"note", "TEXT", "a note to keep with it", offsetof(struct snapshot_opts, note), OPT_STR, 0},
    {"quiesce", "HOW", "auto, require or no: have the guest settle its file systems",
     offsetof(struct snapshot_opts, quiesce), OPT_STR, 0},
    {"quiesce-timeout", "TIME", "how long that may take (10s unless given)",
     offsetof(struct snapshot_opts, quiesce_timeout), OPT_DURATION, 0},
    {"async", NULL, "return when it is taken, not when it is stored", offsetof(struct snapshot_opts, async), OPT_FLAG,
     0},
    {"progress", NULL, "say how far it is, though nobody looks on; with --json an object a line",
     offsetof(struct snapshot_opts, progress), OPT_FLAG, 0},
    OPT_END(struct snapshot_opts),
};

struct watched {
    const char *name;
    struct progress *progress;
};

static bool on_event(void *opaque, const json_t *event)
{
    const json_t *data = json_object_get(event, "data");
    const struct watched *w = opaque;
    const char *name = json_string_value(json_object_get(data, "name"));

    if (strcmp(json_string_value(json_object_get(event, "event")), "VMTEST_SNAPSHOT_PROGRESS") != 0)
        return false;
    if (name && strcmp(name, w->name) == 0) /* others may be stored at the same time */
        progress_show(w->progress, answer_u64(data, "pages"), answer_u64(data, "of"));
    return true;
}

static int of_running(struct cli *c, const struct target *t, const struct snapshot_opts *o, struct client *client,
                      struct err *e)
{
    cleanup(cleanup_json) json_t *a = NULL;
    cleanup(cleanup_free) char *detail = NULL;
    cleanup(cleanup_free) char *what = NULL;
    struct progress p = {.c = c, .asked = o->progress};
    struct watched watched = {t->ref.snap, &p};
    char stopped[UNITS_MAX];
    json_t *args = json_pack("{s:s, s:s*, s:s*}", "name", t->ref.snap, "note", o->note, "quiesce", o->quiesce);
    double stopped_s;
    int r;

    if (o->quiesce_timeout)
        json_object_set_new(args, "quiesce-timeout", out_seconds(o->quiesce_timeout));
    if (o->async)
        json_object_set_new(args, "async", json_true());
    what = str_printf("snapshot %s of %s", t->ref.snap, t->machine.name);
    p.what = what ? what : t->ref.snap;
    client_on_event(client, on_event, &watched);
    r = client_call(client, "vmtest-snapshot", args, &a, e);
    client_on_event(client, NULL, NULL);
    progress_end(&p);
    if (r)
        return err_prefix(e, r, "%s", t->machine.name);
    if (json_string_value(json_object_get(a, "warning")))
        out_note(c, "%s: %s", t->machine.name, json_string_value(json_object_get(a, "warning")));
    stopped_s = json_number_value(json_object_get(a, "stopped_seconds"));
    duration_format(stopped, stopped_s > 0 ? (uint64_t)(stopped_s * (double)NS_PER_SEC) : 0);
    if (o->async) {
        detail = str_printf("being stored, stopped for %s", stopped);
        out_set(c, "memory", json_boolean(json_is_true(json_object_get(a, "ram"))));
        out_set(c, "stored", json_false());
        out_set(c, "stopped_seconds", json_real(stopped_s));
        out_done(c, detail, "snapshot %s of %s taken", t->ref.snap, t->machine.name);
        return 0;
    }
    detail = str_printf("%llu pages, %llu blocks, stopped for %s", (unsigned long long)answer_u64(a, "pages"),
                        (unsigned long long)answer_u64(a, "blocks"), stopped);
    out_set(c, "id", json_integer((json_int_t)answer_u64(a, "id")));
    out_set(c, "memory", json_boolean(json_is_true(json_object_get(a, "ram"))));
    out_set(c, "pages", json_integer((json_int_t)answer_u64(a, "pages")));
    out_set(c, "blocks", json_integer((json_int_t)answer_u64(a, "blocks")));
    out_set(c, "stopped_seconds", json_real(stopped_s));
    out_done(c, detail, "snapshot %s of %s", t->ref.snap, t->machine.name);
    return 0;
}

static int of_stopped(struct cli *c, const struct target *t, const struct snapshot_opts *o, struct err *e)
{
    cleanup(cleanup_free) char *detail = NULL;
    struct snap_stats stats = {0};
    int64_t id = 0;
    int r;

    r = offline_snapshot(c->store, &t->machine, t->ref.snap, o->note, &id, &stats, e);
    if (r)
        return err_prefix(e, r, "%s", t->machine.name);
    detail = str_printf("disks only, %llu pages", (unsigned long long)stats.pages);
    out_set(c, "id", json_integer(id));
    out_set(c, "memory", json_false());
    out_set(c, "pages", json_integer(0));
    out_set(c, "blocks", json_integer((json_int_t)stats.pages));
    out_done(c, detail, "snapshot %s of %s", t->ref.snap, t->machine.name);
    return 0;
}

int cmd_snapshot(struct cli *c, void *opts, struct err *e)
{
    struct snapshot_opts *o = opts;
    cleanup(target_release) struct target t = {0};
    cleanup(cleanup_client) struct client *client = NULL;
    cleanup(cleanup_close) int lock = -1;
    int64_t id;
    int r;

    if (o->quiesce && strcmp(o->quiesce, "auto") && strcmp(o->quiesce, "require") && strcmp(o->quiesce, "no"))
        return err_set(e, VT_USAGE, "--quiesce: \"%s\" is none of auto, require, no", o->quiesce);
    r = cli_target(c, c->words, c->nwords, false, &t, e);
    if (!r)
        r = name_valid(t.ref.snap, e);
    if (!r && snapshot_find(c->store, t.machine.id, t.ref.snap, true, &id, NULL) == 0)
        r = err_set(e, VT_EXISTS, "%s@%s: there is a snapshot of this name", t.machine.name, t.ref.snap);
    if (!r)
        r = cli_lock_or_connect(c, &t.machine, &lock, &client, e);
    if (r)
        return r;
    out_set(c, "machine", json_string(t.machine.name));
    out_set(c, "snapshot", json_string(t.ref.snap));
    return client ? of_running(c, &t, o, client, e) : of_stopped(c, &t, o, e);
}
