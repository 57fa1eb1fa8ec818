/* vmtest snapshots: the snapshot tree of a machine, each below the one that it was taken on. */
#include "cli/cmd.h"

#include <stdio.h>
#include "cli/resolve.h"

#define INDENT_MAX 24 /* levels; deeper ones would only push the rest off the screen */
#define COLUMNS    8

const struct opt snapshots_options[] = {OPT_END(struct no_opts)};

/* A machine's snapshots, parents before their children. */
struct tree {
    struct snapshot_info *list;
    uint64_t *shared; /* what was stored with those that each was taken upon */
    size_t n;
    int64_t now;
};

static const char *age(char dst[UNITS_MAX], int64_t ns)
{
    static const struct {
        const char *name;
        int64_t seconds;
    } unit[] = {{"y", 365 * 86400}, {"d", 86400}, {"h", 3600}, {"m", 60}};
    int64_t s = ns / (int64_t)NS_PER_SEC;

    snprintf(dst, UNITS_MAX, "<1 m");
    for (size_t i = ARRAY_LEN(unit); i-- > 0;)
        if (s >= unit[i].seconds)
            snprintf(dst, UNITS_MAX, "%lld %s", (long long)(s / unit[i].seconds), unit[i].name);
    return dst;
}

static void add_cells(struct strlist *cells, const struct tree *t, size_t i, unsigned depth)
{
    const struct snapshot_info *s = &t->list[i];
    char text[UNITS_MAX];

    strlist_addf(cells, "%*s%s%s", (int)(2 * MIN(depth, INDENT_MAX)), "", s->name, s->current ? " *" : "");
    strlist_add(cells, time_format(text, s->taken_at / (int64_t)NS_PER_SEC * (int64_t)NS_PER_SEC));
    strlist_add(cells, age(text, t->now - s->taken_at));
    strlist_add(cells, power_name(s->power));
    strlist_add(cells, s->ram_bytes ? "disk+memory" : "disk");
    strlist_add(cells, size_format(text, s->own_bytes));
    strlist_add(cells, size_format(text, t->shared[i]));
    strlist_add(cells, s->note ? s->note : "");
}

/* Children below their parent, oldest first, and the way down is drawn by indentation. */
static void walk(const struct tree *t, int64_t parent, unsigned depth, struct strlist *cells)
{
    for (size_t i = 0; i < t->n; i++) {
        if (t->list[i].parent != parent)
            continue;
        add_cells(cells, t, i, depth);
        walk(t, t->list[i].id, depth + 1, cells);
    }
}

static int add_up(struct tree *t, struct err *e)
{
    t->shared = calloc(t->n ? t->n : 1, sizeof *t->shared);
    if (!t->shared)
        return err_set(e, VT_FAIL, "out of memory");
    for (size_t i = 0; i < t->n; i++) {
        size_t lo = 0, hi = i; /* ids ascend */
        while (lo < hi) {
            size_t mid = (lo + hi) / 2;
            if (t->list[mid].id < t->list[i].parent)
                lo = mid + 1;
            else
                hi = mid;
        }
        if (lo < i && t->list[lo].id == t->list[i].parent)
            t->shared[i] = t->shared[lo] + t->list[lo].own_bytes;
    }
    return 0;
}

static json_t *snapshot_json(const struct tree *t, size_t i)
{
    const struct snapshot_info *s = &t->list[i];

    return json_pack("{s:s, s:I, s:s?, s:s?, s:o, s:s, s:b, s:b, s:I, s:I, s:I}", "snapshot", s->name, "id",
                     (json_int_t)s->id, "parent", s->parent_name, "note", s->note, "taken", out_time(s->taken_at),
                     "power", power_name(s->power), "current", (int)s->current, "memory", s->ram_bytes != 0,
                     "ram_bytes", (json_int_t)s->ram_bytes, "bytes", (json_int_t)s->own_bytes, "shared_bytes",
                     (json_int_t)t->shared[i]);
}

int cmd_snapshots(struct cli *c, void *opts, struct err *e)
{
    static const char *const heading[COLUMNS] = {"SNAPSHOT", "TAKEN", "AGE",    "POWER",
                                                 "HOLDS",    "SIZE",  "SHARED", "NOTE"};
    cleanup(machine_info_release) struct machine_info m = {0};
    cleanup(strlist_release) struct strlist cells = {0};
    struct tree t = {.now = clock_wall_ns()};
    json_t *array;
    int r;

    r = cli_machine(c, c->words[0], false, &m, e);
    if (!r)
        r = snapshot_list(c->store, m.id, &t.list, &t.n, e);
    if (!r)
        r = add_up(&t, e);
    if (!r) {
        for (size_t i = 0; i < COLUMNS; i++)
            strlist_add(&cells, heading[i]);
        walk(&t, 0, 0, &cells);
        if (t.n)
            out_table(c, &cells, COLUMNS);
        array = json_array();
        for (size_t i = 0; i < t.n; i++)
            json_array_append_new(array, snapshot_json(&t, i));
        out_set(c, "machine", json_string(m.name));
        out_set(c, "snapshots", array);
    }
    free(t.shared);
    snapshot_list_free(t.list, t.n);
    return r;
}
