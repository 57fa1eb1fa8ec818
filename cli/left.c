#include "cli/left.h"

#include <string.h>
#include "cli/life.h"

static const char ran[] = "left-", paused[] = "left-paused-", back[] = "back-";
static const char date[] = "00000000-000000"; /* and a letter for a second one in the same second */

/* What follows the prefix, where that is a date; else NULL. */
static const char *dated(const char *name, const char *prefix)
{
    size_t skip = strlen(prefix), n = strlen(name);

    if (strncmp(name, prefix, skip) != 0 || n < skip + sizeof date - 1 || n > skip + sizeof date)
        return NULL;
    for (size_t i = 0; i < sizeof date - 1; i++)
        if (date[i] == '0' ? name[skip + i] < '0' || name[skip + i] > '9' : name[skip + i] != date[i])
            return NULL;
    return name + skip;
}

static bool is_kept(const char *name)
{
    return dated(name, ran) || dated(name, paused) || dated(name, back);
}

/* Those past LEFT_KEPT, and those that are older than what undo keeps. The oldest come first in the list. */
static int drop_old(struct cli *c, int64_t machine, struct client *client, struct err *e)
{
    struct snapshot_info *list = NULL;
    size_t n = 0, have = 0;
    int64_t keep = 0;
    int r = undo_keep_get(c->store, &keep, e);

    if (!r)
        r = snapshot_list(c->store, machine, &list, &n, e);
    for (size_t i = 0; i < n; i++)
        have += is_kept(list[i].name);
    for (size_t i = 0; i < n && !r; i++) {
        struct err why = {0};

        if (!is_kept(list[i].name) || (have <= LEFT_KEPT && clock_wall_ns() - list[i].taken_at <= keep))
            continue;
        have--;
        r = life_drop(c, machine, list[i].id, client, &why);
        if (r == VT_BUSY) /* a fork runs from it: the next time will do */
            r = 0;
        else if (r)
            err_set(e, r, "%s: %s", list[i].name, why.msg);
    }
    snapshot_list_free(list, n);
    return r;
}

static int take(struct cli *c, const struct machine_info *m, struct client *client, const char *prefix, const char *to,
                struct snapshot_info *ret, struct err *e)
{
    cleanup(cleanup_free) char *note = str_printf("what a revert to %s left", to);
    char name[NAME_MAX_LEN + 1];
    int64_t id;
    int r = note ? 0 : err_set(e, VT_FAIL, "out of memory");

    life_dated_name(c, m->id, prefix, name);
    if (!r)
        r = client_call(client, "vmtest-snapshot",
                        json_pack("{s:s, s:s, s:s}", "name", name, "note", note, "quiesce", "no"), NULL, e);
    if (!r)
        r = drop_old(c, m->id, client, e);
    if (!r)
        r = snapshot_find(c->store, m->id, name, true, &id, e);
    return r ? r : snapshot_get(c->store, id, ret, e);
}

int left_take(struct cli *c, const struct machine_info *m, struct client *client, const char *to,
              struct snapshot_info *ret, struct err *e)
{
    cleanup(cleanup_json) json_t *info = NULL;
    const char *status;
    bool running;
    int r = client_call(client, "vmtest-info", NULL, &info, e);

    status = json_string_value(json_object_get(info, "status"));
    if (!r && status && !strcmp(status, "prelaunch"))
        return 0;
    running = !r && json_is_true(json_object_get(info, "running"));
    if (!r && running)
        r = client_call(client, "stop", NULL, NULL, e);
    if (!r)
        r = take(c, m, client, running ? ran : paused, to, ret, e);
    if (r && running)
        client_call(client, "cont", NULL, NULL, NULL);
    return r ? err_prefix(e, r, "%s: --keep", m->name) : 0;
}

void left_give_up(struct cli *c, const struct snapshot_info *s, struct client *client)
{
    life_drop(c, s->machine, s->id, client, NULL);
    if (dated(s->name, ran))
        client_call(client, "cont", NULL, NULL, NULL);
}

static int differs(void *opaque, const struct image_diff *d, struct err *e)
{
    (void)d;
    (void)e;
    *(bool *)opaque = true;
    return 0;
}

static void cleanup_image(struct image **i)
{
    image_close(*i);
}

/* Memory goes with the disks that it was kept with, and with no others. */
static int same_disk(struct cli *c, int64_t machine, int64_t snapshot, const char *slot, bool *ret_other, struct err *e)
{
    cleanup(cleanup_image) struct image *now = NULL;
    cleanup(cleanup_image) struct image *then = NULL;
    int r = image_open_flushed(c->store, machine, slot, &now, e);

    if (!r)
        r = image_open(c->store, snapshot, slot, ROOT_LIVE, &then, e);
    if (!r && image_bytes(now) != image_bytes(then))
        *ret_other = true;
    return r ? r : image_compare(now, then, differs, ret_other, e);
}

static int same_disks(struct cli *c, int64_t machine, int64_t snapshot, bool *ret_other, struct err *e)
{
    struct slot_info *slots = NULL;
    size_t n = 0;
    int r = slots_list(c->store, machine, 0, &slots, &n, e);

    for (size_t i = 0; i < n && !r && !*ret_other; i++)
        r = same_disk(c, machine, snapshot, slots[i].slot, ret_other, e);
    slots_list_free(slots, n);
    return r;
}

int left_find(struct cli *c, const struct machine_info *m, const char *name, struct snapshot_info *ret,
              bool *ret_running, struct err *e)
{
    cleanup(snapshot_info_release) struct snapshot_info s = {0};
    char renamed[NAME_MAX_LEN + 1];
    bool other = false;
    int64_t id;
    int r;

    if (!name || (!dated(name, ran) && !dated(name, paused)) ||
        snapshot_find(c->store, m->id, name, true, &id, NULL) != 0)
        return 0;
    r = snapshot_get(c->store, id, &s, e);
    if (!r)
        r = same_disks(c, m->id, id, &other, e);
    if (r || other || !s.ram_bytes)
        return r;
    life_dated_name(c, m->id, back, renamed);
    r = snapshot_rename(c->store, id, renamed, e);
    if (r)
        return r;
    *ret_running = dated(name, ran) != NULL;
    *ret = s;
    s = (struct snapshot_info){0};
    return 0;
}
