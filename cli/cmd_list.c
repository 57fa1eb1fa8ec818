/* vmtest list: the machines of the store, and what each of them is doing. */
#include "cli/cmd.h"

#include <string.h>
#include "cli/resolve.h"

const struct opt list_options[] = {OPT_END(struct no_opts)};

/* "off", or what a running machine's monitor says; one that answers nothing useful is still "running". */
static const char *machine_state(struct cli *c, int64_t id, bool *ret_running)
{
    cleanup(cleanup_client) struct client *client = NULL;
    cleanup(cleanup_json) json_t *answer = NULL;
    const char *status = NULL;

    *ret_running = false;
    if (machine_locked(c->store, id, ret_running, NULL) || !*ret_running)
        return "off";
    if (client_open(store_uuid(c->store), id, &client, NULL) ||
        client_call(client, "query-status", NULL, &answer, NULL) ||
        json_get_str(answer, "status", JSON_REQUIRED, &status, "status", NULL))
        return "busy";
    return !strcmp(status, "running") ? "running" : !strcmp(status, "paused") ? "paused" : "stopped";
}

static int add_row(struct cli *c, const struct machine_info *m, bool used, struct strlist *cells, json_t *array)
{
    bool running;
    const char *state = machine_state(c, m->id, &running);
    char size[UNITS_MAX];

    strlist_addf(cells, "%s%s", m->name, used ? " *" : "");
    strlist_add(cells, state);
    strlist_add(cells, m->parent_name ? m->parent_name : "-");
    strlist_addf(cells, "%llu", (unsigned long long)m->snapshots);
    strlist_add(cells, size_format(size, m->own_bytes));
    return json_array_append_new(array,
                                 json_pack("{s:s, s:I, s:s, s:s, s:b, s:s?, s:I, s:I, s:o}", "machine", m->name, "id",
                                           (json_int_t)m->id, "uuid", m->uuid, "state", state, "used", used, "snapshot",
                                           m->parent_name, "snapshots", (json_int_t)m->snapshots, "bytes",
                                           (json_int_t)m->own_bytes, "created", out_time(m->created_at)));
}

int cmd_list(struct cli *c, void *opts, struct err *e)
{
    cleanup(strlist_release) struct strlist cells = {0};
    struct machine_info *list = NULL;
    json_t *array = json_array();
    int64_t used = 0;
    size_t n = 0;
    int r;

    r = cli_store(c, 0, e);
    if (r == VT_NOENT && !c->store_dir) {
        /* before the first create there is nothing, which is not an error */
        *e = (struct err){0};
        r = 0;
    } else if (!r) {
        r = machine_list(c->store, &list, &n, e);
        if (!r)
            r = store_use_get(c->store, &used, e);
    }
    strlist_add(&cells, "MACHINE");
    strlist_add(&cells, "STATE");
    strlist_add(&cells, "ON");
    strlist_add(&cells, "SNAPSHOTS");
    strlist_add(&cells, "SIZE");
    for (size_t i = 0; i < n && !r; i++)
        if (add_row(c, &list[i], list[i].id == used, &cells, array))
            r = err_set(e, VT_FAIL, "out of memory");
    machine_list_free(list, n);
    if (!r && n)
        out_table(c, &cells, 5);
    out_set(c, "machines", array);
    return r;
}
