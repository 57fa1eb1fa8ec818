/* vmtest snapshots: the snapshot tree of a machine, each below the one that it was taken on. */
#include "cli/cmd.h"

#include "cli/resolve.h"

const struct opt snapshots_options[] = {OPT_END(struct no_opts)};

static void add_cells(struct strlist *cells, const struct snapshot_info *s, unsigned depth)
{
    char when[UNITS_MAX], size[UNITS_MAX];

    strlist_addf(cells, "%*s%s%s", (int)(2 * depth), "", s->name, s->current ? " *" : "");
    strlist_add(cells, time_format(when, s->taken_at / (int64_t)NS_PER_SEC * (int64_t)NS_PER_SEC));
    strlist_add(cells, power_name(s->power));
    strlist_add(cells, s->ram_bytes ? "disk+memory" : "disk");
    strlist_add(cells, size_format(size, s->own_bytes));
    strlist_add(cells, s->note ? s->note : "");
}

/* Children below their parent, oldest first, and the way down is drawn by indentation. */
static void walk(const struct snapshot_info *list, size_t n, int64_t parent, unsigned depth, struct strlist *cells)
{
    for (size_t i = 0; i < n; i++) {
        if (list[i].parent != parent)
            continue;
        add_cells(cells, &list[i], depth);
        walk(list, n, list[i].id, depth + 1, cells);
    }
}

static json_t *snapshot_json(const struct snapshot_info *s)
{
    return json_pack("{s:s, s:I, s:s?, s:s?, s:o, s:s, s:b, s:b, s:I, s:I}", "snapshot", s->name, "id",
                     (json_int_t)s->id, "parent", s->parent_name, "note", s->note, "taken", out_time(s->taken_at),
                     "power", power_name(s->power), "current", (int)s->current, "memory", s->ram_bytes != 0,
                     "ram_bytes", (json_int_t)s->ram_bytes, "bytes", (json_int_t)s->own_bytes);
}

int cmd_snapshots(struct cli *c, void *opts, struct err *e)
{
    cleanup(machine_info_release) struct machine_info m = {0};
    cleanup(strlist_release) struct strlist cells = {0};
    struct snapshot_info *list = NULL;
    json_t *array;
    size_t n = 0;
    int r;

    r = cli_machine(c, c->words[0], false, &m, e);
    if (!r)
        r = snapshot_list(c->store, m.id, &list, &n, e);
    if (r)
        return r;
    strlist_add(&cells, "SNAPSHOT");
    strlist_add(&cells, "TAKEN");
    strlist_add(&cells, "POWER");
    strlist_add(&cells, "HOLDS");
    strlist_add(&cells, "SIZE");
    strlist_add(&cells, "NOTE");
    walk(list, n, 0, 0, &cells);
    if (n)
        out_table(c, &cells, 6);
    array = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(array, snapshot_json(&list[i]));
    snapshot_list_free(list, n);
    out_set(c, "machine", json_string(m.name));
    out_set(c, "snapshots", array);
    return 0;
}
