/* vmtest undo: takes back the last revert, delete or rm. */
#include "cli/cmd.h"

#include <string.h>
#include "cli/left.h"
#include "cli/life.h"
#include "src/offline.h"

struct undo_opts {
    bool list;
};

const struct opt undo_options[] = {
    {"list", NULL, "say what could be taken back, the last first", offsetof(struct undo_opts, list), OPT_FLAG, 0},
    OPT_END(struct undo_opts),
};

/* What an entry did, as a user would say it. malloc'ed. */
static char *said(const struct undo_info *u)
{
    if (!strcmp(u->verb, "delete"))
        return str_printf("the delete of %s@%s", u->machine_name, u->snapshot);
    if (!strcmp(u->verb, "rm"))
        return str_printf("the removal of %s", u->machine_name);
    return u->snapshot ? str_printf("the revert of %s, which stood on %s", u->machine_name, u->snapshot)
                       : str_printf("the revert of %s, which stood on no snapshot", u->machine_name);
}

static json_t *entry_json(const struct undo_info *u)
{
    return json_pack("{s:s, s:s, s:s?, s:o, s:o}", "verb", u->verb, "machine", u->machine_name, "snapshot", u->snapshot,
                     "at", out_time(u->at), "until", out_time(u->until));
}

static void show_list(struct cli *c, const struct undo_info *list, size_t n)
{
    cleanup(strlist_release) struct strlist cells = {0};
    json_t *array = json_array();

    strlist_add(&cells, "AT");
    strlist_add(&cells, "UNTIL");
    strlist_add(&cells, "WHAT");
    for (size_t i = 0; i < n; i++) {
        cleanup(cleanup_free) char *what = said(&list[i]);
        char when[UNITS_MAX];

        strlist_add(&cells, time_format(when, list[i].at / (int64_t)NS_PER_SEC * (int64_t)NS_PER_SEC));
        strlist_add(&cells, time_format(when, list[i].until / (int64_t)NS_PER_SEC * (int64_t)NS_PER_SEC));
        strlist_add(&cells, what ? what : "");
        json_array_append_new(array, entry_json(&list[i]));
    }
    if (n)
        out_table(c, &cells, 3);
    out_set(c, "undo", array);
}

/* The machine is off and has its disks back: where its memory was kept with them, it goes on. */
static int go_on(struct cli *c, const struct undo_info *u, int *lock, struct err *e)
{
    cleanup(machine_info_release) struct machine_info m = {0};
    cleanup(snapshot_info_release) struct snapshot_info left = {0};
    cleanup(cleanup_client) struct client *client = NULL;
    bool running = false;
    int r = machine_get(c->store, u->machine, &m, e); /* its hardware is another now */

    if (!r)
        r = left_find(c, &m, u->snapshot, &left, &running, e);
    if (r)
        return r;
    if (left.id)
        r = life_start(c, &m, lock, &(struct life_how){.paused = true, .snapshot = left.id}, &client, e);
    if (!r && running)
        r = client_call(client, "cont", NULL, NULL, e);
    if (r)
        return r;
    out_set(c, "memory", json_boolean(left.id != 0));
    out_set(c, "power", json_string(power_name(running ? POWER_RUNNING : left.id ? POWER_PAUSED : POWER_OFF)));
    return 0;
}

/* A machine that runs may have kept what the revert left; *ret_why (malloc'ed): why it has not. */
static int ask_monitor(struct cli *c, const struct undo_info *u, struct client *client, bool *ret_done, char **ret_why,
                       struct err *e)
{
    cleanup(cleanup_json) json_t *a = NULL;
    const char *power, *why;
    int r = client_call(client, "vmtest-undo", json_pack("{s:I}", "entry", (json_int_t)u->id), &a, e);

    if (r)
        return r;
    *ret_done = json_is_true(json_object_get(a, "memory"));
    power = json_string_value(json_object_get(a, "power"));
    why = json_string_value(json_object_get(a, "why"));
    if (*ret_done) {
        out_set(c, "memory", json_true());
        out_set(c, "power", json_string(power ? power : power_name(POWER_PAUSED)));
    } else if (why) {
        *ret_why = strdup(why);
    }
    return 0;
}

/* Disks and hardware come back, memory where the machine's process or a snapshot kept it: else one that runs loses its
 * power first, as it does when it is reverted to a state without memory. */
static int undo_revert(struct cli *c, const struct undo_info *u, char **ret_why, struct err *e)
{
    cleanup(machine_info_release) struct machine_info m = {0};
    cleanup(cleanup_client) struct client *client = NULL;
    cleanup(cleanup_close) int lock = -1;
    bool done = false;
    int r = machine_get(c->store, u->machine, &m, e);

    if (!r)
        r = cli_lock_or_connect(c, &m, &lock, &client, e);
    if (!r && client && u->ran)
        r = ask_monitor(c, u, client, &done, ret_why, e);
    else if (!r && u->ran)
        *ret_why = strdup("it was in a process that has ended");
    if (!r && !done && client)
        r = life_end(c, &m, client, e);
    if (!r && !done && client)
        r = machine_lock(c->store, m.id, &lock, e);
    if (!r && !done)
        r = offline_undo(c->store, &m, u, e);
    if (!r && !done)
        r = go_on(c, u, &lock, e);
    return r ? err_prefix(e, r, "%s", u->machine_name) : 0;
}

/* A machine that is, else one that was removed: no name is given twice at a time. */
static int find(struct cli *c, int64_t *ret_id, struct err *e)
{
    cleanup(machine_info_release) struct machine_info m = {0};
    const char *name = c->words[0] ? c->words[0] : c->machine;
    int r = cli_store(c, 0, e);

    if (!r && name && machine_find(c->store, name, true, ret_id, NULL) != 0 &&
        undo_find_removed(c->store, name, ret_id, NULL) == 0)
        return 0;
    if (!r)
        r = cli_machine(c, c->words[0], false, &m, e);
    if (!r)
        *ret_id = m.id;
    return r;
}

int cmd_undo(struct cli *c, void *opts, struct err *e)
{
    struct undo_opts *o = opts;
    cleanup(cleanup_free) char *what = NULL;
    cleanup(cleanup_free) char *why = NULL;
    cleanup(cleanup_free) char *detail = NULL;
    struct undo_info *list = NULL;
    int64_t machine = 0;
    size_t n = 0;
    int r = 0;

    if (o->list && !c->words[0] && !c->machine)
        r = cli_store(c, 0, e);
    else
        r = find(c, &machine, e);
    if (!r)
        r = undo_list(c->store, machine, &list, &n, e);
    if (r)
        return r;
    if (o->list) {
        show_list(c, list, n);
    } else if (!n) {
        r = err_set(e, VT_NOENT, "there is nothing to take back (vmtest undo --list shows what there is)");
    } else {
        r = !strcmp(list[0].verb, "revert") ? undo_revert(c, &list[0], &why, e) : undo_apply(c->store, list[0].id, e);
    }
    if (!r && !o->list) {
        what = said(&list[0]);
        out_set(c, "machine", json_string(list[0].machine_name));
        out_set(c, "verb", json_string(list[0].verb));
        out_set(c, "snapshot", list[0].snapshot ? json_string(list[0].snapshot) : json_null());
        if (why)
            out_set(c, "why", json_string(why));
        detail = why ? str_printf("disks alone: %s", why) : NULL;
        out_done(c, detail, "took back %s", what ? what : list[0].verb);
    }
    undo_list_free(list, n);
    return r;
}
