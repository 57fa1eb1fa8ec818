/* vmtest info: all that is known of one machine. */
#include "cli/cmd.h"

#include <stdio.h>
#include <string.h>
#include "cli/life.h"
#include "src/config.h"
#include "src/hash.h"

struct info_opts {
    bool stats, costs, hash;
};

const struct opt info_options[] = {
    {"stats", NULL, "also the counters of a running one", offsetof(struct info_opts, stats), OPT_FLAG, 0},
    {"costs", NULL, "also what each snapshot costs", offsetof(struct info_opts, costs), OPT_FLAG, 0},
    {"hash", NULL, "also a hash of its memory, of each disk and of its devices", offsetof(struct info_opts, hash),
     OPT_FLAG, 0},
    OPT_END(struct info_opts),
};

static void show(struct cli *c, const char *name, const char *value)
{
    if (value && *value)
        out_line(c, "%-12s %s", name, value);
}

static void show_boot_order(struct cli *c, const struct machine_config *cfg)
{
    cleanup(buf_release) struct buf b = {0};

    for (unsigned i = 0; i < CONFIG_BOOT_CLASSES && cfg->boot_order[i]; i++)
        buf_printf(&b, "%s%s", i ? "," : "", config_boot_name(cfg->boot_order[i]));
    show(c, "boot", buf_cstr(&b));
}

static void show_config(struct cli *c, const struct machine_config *cfg)
{
    char size[UNITS_MAX];

    show(c, "memory", size_format(size, cfg->mem));
    show(c, "cpu", cfg->cpu);
    show(c, "bios", cfg->bios);
    show_boot_order(c, cfg);
    show(c, "kernel", cfg->kernel);
    show(c, "initrd", cfg->initrd);
    show(c, "append", cfg->append);
    show(c, "hpet", cfg->hpet ? "yes" : NULL);
    show(c, "disk bus", cfg->ide ? "ide" : NULL);
    show(c, "cdrom", cfg->cdrom && !*cfg->cdrom ? "empty" : cfg->cdrom);
    for (unsigned i = 0; i < FLOPPY_DRIVES; i++)
        show(c, i ? "floppy 1" : "floppy 0", cfg->floppy[i] && !*cfg->floppy[i] ? "empty" : cfg->floppy[i]);
    if (cfg->auto_every_ms)
        out_line(c, "%-12s every %s, %u kept", "auto", duration_format(size, cfg->auto_every_ms * NS_PER_MS),
                 cfg->auto_keep);
    for (unsigned i = 0; i < cfg->nnics; i++) {
        const uint8_t *m = cfg->nic[i].mac;

        out_line(c, "%-12s %02x:%02x:%02x:%02x:%02x:%02x%s%s%s", "network", m[0], m[1], m[2], m[3], m[4], m[5],
                 cfg->nic[i].ne2k ? " ne2k_pci" : "", *cfg->nic[i].net ? " private:" : "", cfg->nic[i].net);
    }
    for (unsigned i = 0; i < cfg->nforwards; i++) {
        const struct config_forward *f = &cfg->forward[i];

        out_line(c, "%-12s %s %s:%u to %u", "forward", f->udp ? "udp" : "tcp", f->host, f->host_port, f->guest_port);
    }
}

static int show_disks(struct cli *c, int64_t id, struct err *e)
{
    json_t *array = json_array();
    struct slot_info *list;
    char size[UNITS_MAX];
    size_t n;
    int r = slots_list(c->store, id, 0, &list, &n, e);

    for (size_t i = 0; i < n && !r; i++) {
        out_line(c, "%-12s %s%s%s", list[i].slot, size_format(size, list[i].bytes), list[i].base_path ? " on " : "",
                 list[i].base_path ? list[i].base_path : "");
        json_array_append_new(array, json_pack("{s:s, s:I, s:s?}", "slot", list[i].slot, "bytes",
                                               (json_int_t)list[i].bytes, "base", list[i].base_path));
    }
    if (!r)
        slots_list_free(list, n);
    out_set(c, "disks", array);
    return r;
}

static int show_costs(struct cli *c, int64_t machine, struct err *e)
{
    cleanup(strlist_release) struct strlist cells = {0};
    cleanup(cleanup_free) uint64_t *costs = NULL;
    struct snapshot_info *list = NULL;
    json_t *array = json_array();
    char size[UNITS_MAX];
    size_t n = 0;
    int r = snapshot_list(c->store, machine, &list, &n, e);

    if (!r && !(costs = calloc(n ? n : 1, sizeof *costs)))
        r = err_set(e, VT_FAIL, "out of memory");
    if (!r)
        r = snapshot_costs(c->store, list, n, costs, e);
    strlist_add(&cells, "SNAPSHOT");
    strlist_add(&cells, "ADDED");
    strlist_add(&cells, "COSTS");
    for (size_t i = 0; i < n && !r; i++) {
        strlist_add(&cells, list[i].name);
        strlist_add(&cells, size_format(size, list[i].own_bytes));
        strlist_add(&cells, size_format(size, costs[i]));
        json_array_append_new(array, json_pack("{s:s, s:I, s:I}", "snapshot", list[i].name, "bytes",
                                               (json_int_t)list[i].own_bytes, "cost_bytes", (json_int_t)costs[i]));
    }
    if (!r && n)
        out_table(c, &cells, 3);
    snapshot_list_free(list, n);
    out_set(c, "costs", array);
    return r;
}

/* Of a machine that is off there are the disks alone. */
static int hash_off(struct cli *c, int64_t id, json_t **ret, struct err *e)
{
    cleanup(cleanup_hashes) struct hashes *h = NULL;
    struct slot_info *list = NULL;
    size_t n = 0;
    int r = hashes_new(&h, e);

    if (!r)
        r = slots_list(c->store, id, 0, &list, &n, e);
    for (size_t i = 0; i < n && !r; i++) {
        struct image *image = NULL;

        if (strncmp(list[i].slot, "disk", 4) != 0)
            continue;
        r = image_open_flushed(c->store, id, list[i].slot, &image, e);
        if (!r)
            r = hashes_add_disk(h, list[i].slot, image, e);
        image_close(image);
    }
    slots_list_free(list, n);
    return r ? r : hashes_end(h, ret, e);
}

static int show_hash(struct cli *c, int64_t id, struct client *client, struct err *e)
{
    cleanup(cleanup_json) json_t *found = NULL, *a = NULL;
    const char *part;
    json_t *value;
    int r = client ? client_call(client, "vmtest-hash", NULL, &a, e) : hash_off(c, id, &found, e);

    if (r)
        return r;
    if (client)
        found = json_incref(json_object_get(a, "hash"));
    json_object_foreach(found, part, value)
    {
        char name[32];

        snprintf(name, sizeof name, "hash %s", part);
        show(c, name, json_string_value(value));
    }
    out_set(c, "hash", json_incref(found));
    return 0;
}

/* What only the monitor knows. */
static int show_running(struct cli *c, struct client *client, bool stats, struct err *e)
{
    static const char *const known[] = {"id", "name", "running", "mem", "parent", "disks", "nics"};
    cleanup(cleanup_json) json_t *info = NULL, *counters = NULL;
    const char *key, *text;
    json_t *value;
    int r;

    r = client_call(client, "vmtest-info", NULL, &info, e);
    if (!r && stats)
        r = client_call(client, "vmtest-stats", NULL, &counters, e);
    if (r)
        return r;
    json_object_foreach(info, key, value)
    {
        bool told = false; /* the configuration says it */

        for (size_t i = 0; i < ARRAY_LEN(known); i++)
            told |= !strcmp(key, known[i]);
        if (told)
            continue;
        cleanup(cleanup_free) char *shown = json_is_string(value) ? strdup(json_string_value(value)) : json_text(value);

        show(c, key, shown);
    }
    text = json_string_value(json_object_get(counters, "text"));
    if (text && !c->json)
        fputs(text, stdout);
    out_set(c, "monitor", json_incref(info));
    if (text)
        out_set(c, "stats", json_string(text));
    return 0;
}

int cmd_info(struct cli *c, void *opts, struct err *e)
{
    struct info_opts *o = opts;
    cleanup(machine_info_release) struct machine_info m = {0};
    cleanup(config_release) struct machine_config cfg = {0};
    cleanup(cleanup_json) json_t *parsed = NULL;
    char text[UNITS_MAX];
    cleanup(cleanup_client) struct client *client = NULL;
    bool running;
    int r;

    r = cli_machine(c, c->words[0], false, &m, e);
    if (!r)
        r = config_parse(m.config, &cfg, e);
    if (!r)
        r = json_parse(m.config, strlen(m.config), "machine configuration", &parsed, e);
    if (r)
        return r;
    /* a monitor that is only starting or ending does not count */
    running = client_open(store_uuid(c->store), m.id, &client, NULL) == 0;
    show(c, "machine", m.name);
    show(c, "uuid", m.uuid);
    show(c, "created", time_format(text, m.created_at));
    show(c, "running", running ? "yes" : "no");
    show(c, "on", m.parent_name);
    out_line(c, "%-12s %llu, %s", "snapshots", (unsigned long long)m.snapshots, size_format(text, m.own_bytes));
    show_config(c, &cfg);
    out_set(c, "machine", json_string(m.name));
    out_set(c, "uuid", json_string(m.uuid));
    out_set(c, "created", out_time(m.created_at));
    out_set(c, "running", json_boolean(running));
    out_set(c, "snapshot", m.parent_name ? json_string(m.parent_name) : json_null());
    out_set(c, "snapshots", json_integer((json_int_t)m.snapshots));
    out_set(c, "bytes", json_integer((json_int_t)m.own_bytes));
    out_set(c, "config", json_incref(parsed));
    r = show_disks(c, m.id, e);
    if (!r && o->costs)
        r = show_costs(c, m.id, e);
    if (!r && running)
        r = show_running(c, client, o->stats, e);
    return r || !o->hash ? r : show_hash(c, m.id, client, e);
}
