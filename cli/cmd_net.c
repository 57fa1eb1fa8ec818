/* vmtest net: the private networks of the store, which machines are put on by `create --net` and `set --net`. */
#include "cli/cmd.h"

#include <string.h>
#include "cli/name.h"
#include "cli/resolve.h"
#include "src/config.h"
#include "src/nets.h"

const struct opt net_options[] = {OPT_END(struct no_opts)};

/* The names of the machines that have a card on it. */
static int machines_on(struct cli *c, const char *net, struct strlist *ret, struct err *e)
{
    struct machine_info *list;
    size_t n;
    int r = machine_list(c->store, &list, &n, e);

    for (size_t i = 0; i < n && !r; i++) {
        cleanup(config_release) struct machine_config cfg = {0};
        bool on = false;

        r = config_parse(list[i].config, &cfg, e);
        for (unsigned k = 0; k < cfg.nnics; k++)
            on |= !strcmp(cfg.nic[k].net, net);
        if (on)
            strlist_add(ret, list[i].name);
        if (r)
            err_prefix(e, r, "%s", list[i].name);
    }
    if (!r || n)
        machine_list_free(list, n);
    return !r && ret->failed ? err_set(e, VT_FAIL, "out of memory") : r;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int list_nets(struct cli *c, struct err *e)
{
    cleanup(strlist_release) struct strlist nets = {0};
    cleanup(strlist_release) struct strlist cells = {0};
    json_t *array = json_array();
    int r = nets_list(store_dir(c->store), &nets, e);

    if (nets.n)
        qsort(nets.items, nets.n, sizeof nets.items[0], by_name);
    strlist_add(&cells, "NETWORK");
    strlist_add(&cells, "MACHINES");
    for (size_t i = 0; i < nets.n && !r; i++) {
        cleanup(strlist_release) struct strlist on = {0};
        cleanup(buf_release) struct buf text = {0};
        json_t *machines = json_array();

        r = machines_on(c, nets.items[i], &on, e);
        for (size_t k = 0; k < on.n; k++) {
            buf_printf(&text, "%s%s", k ? " " : "", on.items[k]);
            json_array_append_new(machines, json_string(on.items[k]));
        }
        strlist_add(&cells, nets.items[i]);
        strlist_add(&cells, text.len ? text.data : "-");
        json_array_append_new(array, json_pack("{s:s, s:o}", "network", nets.items[i], "machines", machines));
    }
    if (!r && nets.n)
        out_table(c, &cells, 2);
    out_set(c, "networks", array);
    return r;
}

static int remove_net(struct cli *c, const char *name, struct err *e)
{
    cleanup(strlist_release) struct strlist on = {0};
    int r = machines_on(c, name, &on, e);

    if (!r && on.n)
        return err_set(e, VT_BUSY, "%s: %s is on this network", name, on.items[0]);
    return r ? r : nets_rm(store_dir(c->store), store_uuid(c->store), name, e);
}

int cmd_net(struct cli *c, void *opts, struct err *e)
{
    const char *what = c->words[0], *name = c->words[1];
    bool create = !strcmp(what, "create"), rm = !strcmp(what, "rm"), list = !strcmp(what, "list");
    int r;

    if (!create && !rm && !list)
        return err_set(e, VT_USAGE, "\"%.80s\": create, list and rm are what can be done to networks", what);
    if (list == (name != NULL))
        return err_set(e, VT_USAGE, list ? "net list takes no name" : "net %s needs a network's name", what);
    r = list ? 0 : name_valid(name, e);
    if (!r)
        r = cli_store(c, create ? STORE_CREATE : 0, e);
    if (r == VT_NOENT && list && !c->store_dir) {
        *e = (struct err){0};
        out_set(c, "networks", json_array()); /* before the first create there is nothing, which is not an error */
        return 0;
    }
    if (r || list)
        return r ? r : list_nets(c, e);
    r = create ? nets_create(store_dir(c->store), name, e) : remove_net(c, name, e);
    if (r)
        return r;
    out_set(c, "network", json_string(name));
    out_done(c, NULL, "%s network %s", create ? "created" : "removed", name);
    return 0;
}
