/* vmtest revert: a machine is again what it was, with the power state that it had: one that ran goes on running; or it
 * stands paused. */
#include "cli/cmd.h"

#include <string.h>
#include "cli/left.h"
#include "cli/life.h"
#include "src/offline.h"

struct revert_opts {
    bool now, keep, paused;
};

const struct opt revert_options[] = {
    {"now", NULL, "keep nothing of what it was for vmtest undo", offsetof(struct revert_opts, now), OPT_FLAG, 0},
    {"keep", NULL, "of one that runs, keep its memory too: vmtest undo lets it go on",
     offsetof(struct revert_opts, keep), OPT_FLAG, 0},
    {"paused", NULL, "leave it paused, also where the snapshot is of one that ran",
     offsetof(struct revert_opts, paused), OPT_FLAG, 0},
    OPT_END(struct revert_opts),
};

static int ask_monitor(struct cli *c, const struct target *t, const struct snapshot_info *s, struct client *client,
                       const struct revert_opts *o, struct err *e)
{
    cleanup(snapshot_info_release) struct snapshot_info left = {0};
    cleanup(cleanup_json) json_t *a = NULL;
    cleanup(cleanup_free) char *detail = NULL;
    const char *power;
    int r = o->keep ? left_take(c, &t->machine, client, s->name, &left, e) : 0;

    if (r)
        return r;
    r = client_call(
        client, "vmtest-revert",
        json_pack("{s:I, s:b, s:b}", "id", (json_int_t)s->id, "paused", o->paused, "undo", !o->now && !left.id), &a, e);
    if (r && left.id)
        left_give_up(c, &left, client);
    if (r)
        return err_prefix(e, r, "%s", t->machine.name);
    if (left.id)
        out_set(c, "kept", json_string(left.name));
    power = json_string_value(json_object_get(a, "power"));
    detail = str_printf("%llu pages, %llu blocks", (unsigned long long)answer_u64(a, "pages"),
                        (unsigned long long)answer_u64(a, "blocks"));
    out_set(c, "pages", json_integer((json_int_t)answer_u64(a, "pages")));
    out_set(c, "blocks", json_integer((json_int_t)answer_u64(a, "blocks")));
    out_set(c, "power", json_string(power ? power : power_name(s->power)));
    out_done(c, detail, "reverted %s to %s", t->machine.name, s->name);
    return 0;
}

/* The machine is off. Where the snapshot has a memory, a monitor is started to hold it. */
static int from_off(struct cli *c, const struct target *t, const struct snapshot_info *s, int *lock, bool paused,
                    struct err *e)
{
    cleanup(cleanup_client) struct client *client = NULL;
    int r;

    r = offline_revert(c->store, &t->machine, s, e);
    if (r || s->power == POWER_OFF) {
        if (r)
            return err_prefix(e, r, "%s", t->machine.name);
        out_set(c, "power", json_string(power_name(s->power)));
        out_done(c, power_name(s->power), "reverted %s to %s", t->machine.name, s->name);
        return 0;
    }
    r = life_start(c, &t->machine, lock, &(struct life_how){.paused = true}, &client, e);
    return r ? r : ask_monitor(c, t, s, client, &(struct revert_opts){.paused = paused}, e);
}

/* Whether anything is kept of that time, before a machine loses its power for it. */
static int check_time(struct cli *c, const struct target *t, int64_t when, struct err *e)
{
    struct slot_info *slots = NULL;
    struct image *image = NULL;
    size_t n = 0;
    int r = slots_list(c->store, t->machine.id, 0, &slots, &n, e);

    for (size_t i = 0; i < n && !r && !image; i++)
        if (strncmp(slots[i].slot, "disk", 4) == 0)
            r = image_open_past(c->store, t->machine.id, slots[i].slot, when, &image, e);
    image_close(image);
    slots_list_free(slots, n);
    return r ? err_prefix(e, r, "%s", t->machine.name) : 0;
}

/* Disks as they were at a time. No memory of it is kept: a machine that runs is off then, as it is when it is reverted
 * to a snapshot without memory. */
static int to_time(struct cli *c, const struct target *t, int64_t when, bool keep, struct err *e)
{
    cleanup(snapshot_info_release) struct snapshot_info left = {0};
    cleanup(cleanup_client) struct client *client = NULL;
    cleanup(cleanup_close) int lock = -1;
    char text[UNITS_MAX];
    int r = cli_lock_or_connect(c, &t->machine, &lock, &client, e);

    if (!r)
        r = check_time(c, t, when, e);
    if (!r && client && keep)
        r = left_take(c, &t->machine, client, t->ref.snap, &left, e);
    if (!r && client)
        r = life_end(c, &t->machine, client, e);
    if (!r && client)
        r = machine_lock(c->store, t->machine.id, &lock, e);
    if (r)
        return r;
    r = offline_revert_past(c->store, &t->machine, when, e);
    if (r)
        return err_prefix(e, r, "%s", t->machine.name);
    if (left.id)
        out_set(c, "kept", json_string(left.name));
    out_set(c, "machine", json_string(t->machine.name));
    out_set(c, "time", out_time(when));
    out_set(c, "power", json_string(power_name(POWER_OFF)));
    out_done(c, power_name(POWER_OFF), "reverted %s to %s", t->machine.name, time_format(text, when));
    return 0;
}

int cmd_revert(struct cli *c, void *opts, struct err *e)
{
    struct revert_opts *o = opts;
    cleanup(target_release) struct target t = {0};
    cleanup(snapshot_info_release) struct snapshot_info s = {0};
    cleanup(cleanup_client) struct client *client = NULL;
    cleanup(cleanup_close) int lock = -1;
    const int64_t begun = clock_wall_ns();
    int r;

    if (o->now && o->keep)
        return err_set(e, VT_USAGE, "--keep or --now, not both");
    r = cli_target(c, c->words, c->nwords, false, &t, e);
    if (!r && t.ref.when && o->paused)
        r = err_set(e, VT_USAGE, "no memory is kept of a time: the machine is off then, and cannot be paused");
    if (!r && t.ref.when) {
        r = to_time(c, &t, t.ref.when, o->keep, e);
        return r || !o->now ? r : undo_forget(c->store, t.machine.id, begun, e);
    }
    if (!r)
        r = cli_snapshot(c, &t, false, &s, e);
    if (!r && o->paused && !s.ram_bytes)
        r = err_set(e, VT_USAGE, "%s@%s has no memory: the machine is off then, and cannot be paused", t.machine.name,
                    s.name);
    if (!r)
        r = cli_lock_or_connect(c, &t.machine, &lock, &client, e);
    if (r)
        return r;
    out_set(c, "machine", json_string(t.machine.name));
    out_set(c, "snapshot", json_string(s.name));
    r = client ? ask_monitor(c, &t, &s, client, o, e) : from_off(c, &t, &s, &lock, o->paused, e);
    return r || !o->now ? r : undo_forget(c->store, t.machine.id, begun, e);
}
