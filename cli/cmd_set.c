/* vmtest set: changes a machine's name and what is in its CD and floppy drives (any time), or what it is made of (while
 * it is off). */
#include "cli/cmd.h"

#include <string.h>
#include "cli/life.h"
#include "src/config.h"

struct set_opts {
    const char *automatic, *note, *name, *kernel, *initrd, *append, *cpu, *bios, *boot, *nic, *disk_bus, *cdrom;
    uint64_t mem;
    bool hpet, no_hpet;
    struct strlist floppies, nets, disk_sizes, forwards, no_forwards;
};

const struct opt set_options[] = {
    {"name", "NAME", "a new name for the machine", offsetof(struct set_opts, name), OPT_STR, 0},
    {"mem", "SIZE", "memory, 1M to 64G", offsetof(struct set_opts, mem), OPT_SIZE, 0},
    {"cpu", "MODEL", "the CPU that the guest sees (\"\": the default)", offsetof(struct set_opts, cpu), OPT_STR, 0},
    {"bios", "FILE", "the BIOS (\"\": SeaBIOS)", offsetof(struct set_opts, bios), OPT_STR, 0},
    {"boot", "ORDER", "what the BIOS boots from (\"\": disk,cdrom,floppy,net)", offsetof(struct set_opts, boot),
     OPT_STR, 0},
    {"kernel", "FILE", "the kernel to boot directly (\"\": the BIOS boots)", offsetof(struct set_opts, kernel), OPT_STR,
     'k'},
    {"initrd", "FILE", "its initial RAM disk (\"\": none)", offsetof(struct set_opts, initrd), OPT_STR, 0},
    {"append", "TEXT", "its command line (\"\": none)", offsetof(struct set_opts, append), OPT_STR, 0},
    {"disk-bus", "BUS", "what the disks are on: virtio or ide", offsetof(struct set_opts, disk_bus), OPT_STR, 0},
    {"disk-size", "[DISK=]SIZE", "grow a disk, disk0 unless named; may be repeated",
     offsetof(struct set_opts, disk_sizes), OPT_LIST, 0},
    {"cdrom", "FILE", "the disc in the CD drive (\"none\": empty); at any time", offsetof(struct set_opts, cdrom),
     OPT_STR, 0},
    {"floppy", "FILE", "the disk in the floppy drive (\"none\": empty, \"own\": its first); twice for two; at any time",
     offsetof(struct set_opts, floppies), OPT_LIST, 0},
    {"net", "NET", "what a card is on: nat, private:NAME, or none; once a card", offsetof(struct set_opts, nets),
     OPT_LIST, 0},
    {"nic", "MODEL", "the network card: virtio or ne2k_pci", offsetof(struct set_opts, nic), OPT_STR, 0},
    {"hpet", NULL, "give the board high precision event timers", offsetof(struct set_opts, hpet), OPT_FLAG, 0},
    {"no-hpet", NULL, "take them away", offsetof(struct set_opts, no_hpet), OPT_FLAG, 0},
    {"forward", "SPEC", "add [tcp:|udp:][ADDR:]HOST_PORT:GUEST_PORT", offsetof(struct set_opts, forwards), OPT_LIST, 0},
    {"no-forward", "HOST_PORT", "take a forward away", offsetof(struct set_opts, no_forwards), OPT_LIST, 0},
    {"auto", "TIME[,keep=N]", "take a snapshot so often while it runs, and keep N (12) of these (\"off\"); at any time",
     offsetof(struct set_opts, automatic), OPT_STR, 0},
    {"note", "TEXT", "the note of a snapshot, MACHINE@SNAP (\"\": none); at any time", offsetof(struct set_opts, note),
     OPT_STR, 0},
    OPT_END(struct set_opts),
};

static bool changes_discs(const struct set_opts *o)
{
    return o->cdrom || o->floppies.n || o->automatic;
}

static bool changes_config(const struct set_opts *o)
{
    return o->mem || o->cpu || o->kernel || o->initrd || o->append || o->bios || o->boot || o->nic || o->disk_bus ||
           o->hpet || o->no_hpet || o->nets.n || o->disk_sizes.n || o->forwards.n || o->no_forwards.n;
}

static int remove_forward(struct machine_config *cfg, const char *text, struct err *e)
{
    uint64_t port;
    unsigned kept = 0;
    int r = number_parse(text, 1, 65535, &port, e);

    if (r)
        return err_prefix(e, r, "--no-forward");
    for (unsigned i = 0; i < cfg->nforwards; i++)
        if (cfg->forward[i].host_port != port)
            cfg->forward[kept++] = cfg->forward[i];
    if (kept == cfg->nforwards)
        return err_set(e, VT_NOENT, "--no-forward: no forward of host port %s", text);
    cfg->nforwards = kept;
    return 0;
}

/* "SIZE" or "diskN=SIZE". *ret borrows from cfg. */
static int parse_disk_size(const struct machine_config *cfg, const char *text, struct slot_spec *ret, struct err *e)
{
    const char *size = strchr(text, '=');
    size_t n = size ? (size_t)(size - text) : strlen("disk0");
    uint64_t bytes = 0;
    int r = size_parse(size ? size + 1 : text, &bytes, e);

    if (r)
        return err_prefix(e, r, "--disk-size");
    if (bytes % 512)
        return err_set(e, VT_USAGE, "--disk-size %s: a disk has whole sectors of 512 bytes", text);
    for (unsigned i = 0; i < cfg->ndisks; i++) {
        const struct config_disk *d = &cfg->disk[i];
        if (strlen(d->slot) != n || memcmp(d->slot, size ? text : "disk0", n) != 0)
            continue;
        if (d->floppy)
            return err_set(e, VT_USAGE, "--disk-size %s: a floppy disk does not grow", text);
        *ret = (struct slot_spec){.slot = d->slot, .bytes = bytes, .import_fd = -1};
        return 0;
    }
    return err_set(e, VT_NOENT, "--disk-size %s: the machine has no such disk", text);
}

/* All are looked at before the first grows. */
static int grow_disks(struct cli *c, const struct machine_info *m, const struct machine_config *cfg,
                      const struct strlist *sizes, struct err *e)
{
    struct slot_spec slot[CONFIG_MAX_DISKS];
    int r = sizes->n > CONFIG_MAX_DISKS ? err_set(e, VT_USAGE, "--disk-size: a machine has not so many disks") : 0;

    for (size_t i = 0; i < sizes->n && !r; i++)
        r = parse_disk_size(cfg, sizes->items[i], &slot[i], e);
    for (size_t i = 0; i < sizes->n && !r; i++)
        r = machine_set_slot(c->store, m->id, &slot[i], e);
    return r;
}

/* Looks at the files, and makes their paths absolute. */
static int apply_discs(struct machine_config *cfg, const struct set_opts *o, struct err *e)
{
    int r = o->cdrom ? config_set_cdrom(cfg, o->cdrom, e) : 0;

    for (size_t i = 0; i < o->floppies.n && !r; i++)
        r = config_set_floppy(cfg, (unsigned)i, o->floppies.items[i], e);
    return r;
}

static int apply(struct machine_config *cfg, const struct set_opts *o, struct err *e)
{
    int r = o->hpet && o->no_hpet ? err_set(e, VT_USAGE, "--hpet or --no-hpet") : 0;

    cfg->hpet = (cfg->hpet || o->hpet) && !o->no_hpet;
    if (!r && o->mem) {
        r = opt_named(config_mem_check(o->mem, e), "mem", e);
        cfg->mem = o->mem;
    }
    if (!r && o->cpu)
        r = opt_named(config_set_cpu(cfg, o->cpu, e), "cpu", e);
    if (!r)
        r = config_set_boot(cfg, o->kernel, o->initrd, o->append, e);
    if (!r)
        r = config_set_bios(cfg, o->bios, o->boot, e);
    if (!r && o->nets.n)
        r = opt_named(config_set_nets(cfg, o->nets.items, o->nets.n, e), "net", e);
    if (!r && o->nic)
        r = opt_named(config_set_nic(cfg, o->nic, e), "nic", e);
    if (!r && o->disk_bus)
        r = opt_named(config_set_disk_bus(cfg, o->disk_bus, e), "disk-bus", e);
    if (!r)
        r = apply_discs(cfg, o, e);
    for (size_t i = 0; i < o->no_forwards.n && !r; i++)
        r = remove_forward(cfg, o->no_forwards.items[i], e);
    for (size_t i = 0; i < o->forwards.n && !r; i++)
        r = opt_named(config_forward_add(cfg, o->forwards.items[i], e), "forward", e);
    if (!r && o->automatic)
        r = config_set_auto(cfg, o->automatic, e);
    if (!r)
        r = config_forwards_check(cfg, e);
    return r ? r : config_disks_check(cfg, e);
}

/* The machine runs: its monitor changes what is in the drives and its automatic snapshots, and the configuration too.
 */
static int change_discs(struct client *client, const struct machine_info *m, const struct set_opts *o, struct err *e)
{
    cleanup(config_release) struct machine_config cfg = {0};
    int r = config_parse(m->config, &cfg, e);

    if (!r && o->cdrom && !cfg.cdrom)
        r = err_set(e, VT_BUSY, "the machine has no CD drive: stop it to add one");
    if (!r && o->floppies.n > config_floppy_drives(&cfg))
        r = err_set(e, VT_BUSY, "the machine has %u floppy drives: stop it to add one", config_floppy_drives(&cfg));
    if (!r)
        r = apply_discs(&cfg, o, e);
    if (!r && o->cdrom)
        r = client_call(client, "vmtest-cdrom", json_pack("{s:s}", "path", cfg.cdrom), NULL, e);
    for (size_t i = 0; i < o->floppies.n && !r; i++)
        r = client_call(client, "vmtest-floppy", json_pack("{s:i, s:s*}", "drive", (int)i, "path", cfg.floppy[i]), NULL,
                        e);
    if (!r && o->automatic)
        r = config_set_auto(&cfg, o->automatic, e);
    if (!r && o->automatic)
        r = client_call(client, "vmtest-auto",
                        json_pack("{s:I, s:i}", "every_ms", (json_int_t)cfg.auto_every_ms, "keep", (int)cfg.auto_keep),
                        NULL, e);
    return r ? err_prefix(e, r, "%s", m->name) : 0;
}

static int change_config(struct cli *c, const struct machine_info *m, const struct set_opts *o, struct err *e)
{
    cleanup(config_release) struct machine_config cfg = {0};
    cleanup(cleanup_client) struct client *client = NULL;
    cleanup(cleanup_close) int lock = -1;
    cleanup(cleanup_free) char *text = NULL;
    int r;

    r = cli_lock_or_connect(c, m, &lock, &client, e);
    if (!r && client && !changes_config(o))
        return change_discs(client, m, o, e);
    if (!r && client)
        r = err_set(e, VT_BUSY, "%s: is running; stop it to change what it is made of", m->name);
    if (!r)
        r = config_parse(m->config, &cfg, e);
    if (!r)
        r = apply(&cfg, o, e);
    if (!r && o->nets.n)
        r = cli_nets(c, &cfg, e);
    if (r)
        return r;
    text = config_text(&cfg);
    if (!text)
        return err_set(e, VT_USAGE, "a path or the command line is not UTF-8");
    r = grow_disks(c, m, &cfg, &o->disk_sizes, e);
    return r ? r : machine_set_config(c->store, m->id, text, e);
}

/* The one thing about a snapshot that is changed after it is taken, but for its name. */
static int set_note(struct cli *c, const char *note, struct err *e)
{
    cleanup(target_release) struct target t = {0};
    cleanup(snapshot_info_release) struct snapshot_info s = {0};
    int r = c->words[0] ? cli_target(c, c->words, 1, false, &t, e)
                        : err_set(e, VT_USAGE, "--note: of which snapshot? Name it as MACHINE@SNAP");

    if (!r)
        r = cli_snapshot(c, &t, false, &s, e);
    if (!r)
        r = snapshot_set_note(c->store, s.id, *note ? note : NULL, e);
    if (r)
        return r;
    out_set(c, "machine", json_string(t.machine.name));
    out_set(c, "snapshot", json_string(s.name));
    out_done(c, NULL, "changed the note of %s@%s", t.machine.name, s.name);
    return 0;
}

int cmd_set(struct cli *c, void *opts, struct err *e)
{
    struct set_opts *o = opts;
    cleanup(machine_info_release) struct machine_info m = {0};
    int r;

    if (o->note && (o->name || changes_discs(o) || changes_config(o)))
        return err_set(e, VT_USAGE, "--note is a snapshot's: it cannot be given with what is a machine's");
    if (o->note)
        return set_note(c, o->note, e);
    if (!o->name && !changes_discs(o) && !changes_config(o))
        return err_set(e, VT_USAGE, "nothing to change; see vmtest set --help");
    r = o->name ? name_valid(o->name, e) : 0;
    if (!r)
        r = cli_machine(c, c->words[0], false, &m, e);
    if (!r && (changes_discs(o) || changes_config(o)))
        r = change_config(c, &m, o, e);
    if (!r && o->name)
        r = machine_rename(c->store, m.id, o->name, e);
    if (r)
        return r;
    out_set(c, "machine", json_string(o->name ? o->name : m.name));
    out_done(c, NULL, "changed %s", m.name);
    return 0;
}
