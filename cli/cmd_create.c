/* vmtest create: a new machine from disk images, and maybe a kernel. Each file is looked at before anything is written,
 * since a wrong one shows here as one clear line and inside of a guest as a riddle. */
#include "cli/cmd.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include "cli/resolve.h"
#include "src/base/io.h"
#include "src/config.h"
#include "src/imagefile.h"

struct create_opts {
    const char *image, *kernel, *initrd, *append, *cpu, *bios, *boot, *disk_bus, *cdrom, *nic;
    uint64_t mem;
    struct strlist disks, floppies, nets, forwards;
    bool import, hpet, balloon;
};

const struct opt create_options[] = {
    {"image", "FILE", "the first disk: a raw image, or any that qemu-img knows; or a CD image",
     offsetof(struct create_opts, image), OPT_STR, 'i'},
    {"kernel", "FILE", "the kernel to boot directly, without a BIOS", offsetof(struct create_opts, kernel), OPT_STR,
     'k'},
    {"initrd", "FILE", "its initial RAM disk", offsetof(struct create_opts, initrd), OPT_STR, 0},
    {"append", "TEXT", "its command line", offsetof(struct create_opts, append), OPT_STR, 0},
    {"bios", "FILE", "the BIOS (SeaBIOS unless given)", offsetof(struct create_opts, bios), OPT_STR, 0},
    {"boot", "ORDER", "what the BIOS boots from: disk,cdrom,floppy,net in this order unless given",
     offsetof(struct create_opts, boot), OPT_STR, 0},
    {"mem", "SIZE", "memory, 1M to 64G (512M unless given)", offsetof(struct create_opts, mem), OPT_SIZE, 0},
    {"cpu", "MODEL", "the CPU that the guest sees", offsetof(struct create_opts, cpu), OPT_STR, 0},
    {"disk", "FILE", "a further disk; may be repeated", offsetof(struct create_opts, disks), OPT_LIST, 0},
    {"disk-bus", "BUS", "what the disks are on: virtio (unless given) or ide", offsetof(struct create_opts, disk_bus),
     OPT_STR, 0},
    {"cdrom", "FILE", "a CD drive with this disc (\"none\": empty)", offsetof(struct create_opts, cdrom), OPT_STR, 0},
    {"floppy", "FILE", "a floppy drive with this disk; twice for two", offsetof(struct create_opts, floppies), OPT_LIST,
     0},
    {"net", "NET", "what a card is on: nat (unless given), private:NAME, or none; may be repeated",
     offsetof(struct create_opts, nets), OPT_LIST, 0},
    {"nic", "MODEL", "the network card: virtio (unless given) or ne2k_pci", offsetof(struct create_opts, nic), OPT_STR,
     0},
    {"hpet", NULL, "the board has high precision event timers", offsetof(struct create_opts, hpet), OPT_FLAG, 0},
    {"balloon", NULL, "memory that the guest frees costs nothing", offsetof(struct create_opts, balloon), OPT_FLAG, 0},
    {"forward", "SPEC", "[tcp:|udp:][ADDR:]HOST_PORT:GUEST_PORT; may be repeated",
     offsetof(struct create_opts, forwards), OPT_LIST, 0},
    {"import", NULL, "copy raw images into the store, rather than use them in place",
     offsetof(struct create_opts, import), OPT_FLAG, 0},
    OPT_END(struct create_opts),
};

/* The disks while they are on their way into the store. */
struct sources {
    struct slot_spec slot[CONFIG_MAX_DISKS];
    struct imagefile file[CONFIG_MAX_DISKS];
    unsigned n;
};

static void release_sources(struct sources *s)
{
    for (unsigned i = 0; i < s->n; i++)
        imagefile_release(&s->file[i]);
}

static int add_disk(struct cli *c, struct sources *s, struct machine_config *cfg, const char *path, bool floppy,
                    bool import, struct err *e)
{
    struct config_disk *d = &cfg->disk[cfg->ndisks];
    struct slot_spec *spec = &s->slot[s->n];
    struct imagefile *f = &s->file[s->n];
    int r;

    if (cfg->ndisks == CONFIG_MAX_DISKS)
        return err_set(e, VT_USAGE, "%s: a machine has at most %d disks", path, CONFIG_MAX_DISKS);
    r = imagefile_open(path, store_dir(c->store), f, e);
    if (r)
        return r;
    s->n++;
    if (f->converted)
        out_note(c, "%s: converted from %s", path, f->format);
    if (floppy) {
        r = config_floppy_add(cfg, path, f->bytes, &d, e);
        if (r)
            return r;
    } else {
        snprintf(d->slot, sizeof d->slot, "disk%u", cfg->ndisks++);
    }
    *spec = (struct slot_spec){.slot = d->slot, .bytes = f->bytes, .import_fd = -1};
    if (f->converted || import)
        spec->import_fd = f->fd;
    else
        spec->base_path = f->path;
    return 0;
}

static int fill_config(struct machine_config *cfg, const struct create_opts *o, struct err *e)
{
    int r = 0;

    config_init(cfg);
    if (o->mem) {
        cfg->mem = o->mem;
        r = opt_named(config_mem_check(o->mem, e), "mem", e);
    }
    if (!r)
        r = config_set_boot(cfg, o->kernel, o->initrd, o->append, e);
    if (!r)
        r = config_set_bios(cfg, o->bios, o->boot, e);
    if (!r && o->cpu)
        r = opt_named(config_set_cpu(cfg, o->cpu, e), "cpu", e);
    if (!r && o->disk_bus)
        r = opt_named(config_set_disk_bus(cfg, o->disk_bus, e), "disk-bus", e);
    if (!r && o->cdrom)
        r = config_set_cdrom(cfg, o->cdrom, e);
    cfg->hpet = o->hpet;
    cfg->balloon = o->balloon;
    if (!r && o->nets.n)
        r = opt_named(config_set_nets(cfg, o->nets.items, o->nets.n, e), "net", e);
    if (!r && o->nic)
        r = opt_named(config_set_nic(cfg, o->nic, e), "nic", e);
    for (size_t i = 0; i < o->forwards.n && !r; i++)
        r = opt_named(config_forward_add(cfg, o->forwards.items[i], e), "forward", e);
    return r ? r : config_forwards_check(cfg, e);
}

int cmd_create(struct cli *c, void *opts, struct err *e)
{
    struct create_opts *o = opts;
    cleanup(config_release) struct machine_config cfg = {0};
    cleanup(release_sources) struct sources s = {0};
    cleanup(cleanup_free) char *text = NULL;
    const char *name = c->words[0];
    int64_t id;
    int r;

    r = name_valid(name, e);
    if (!r && !o->kernel && !o->image && !o->disks.n && !o->floppies.n && !o->cdrom && !o->boot)
        r = err_set(e, VT_USAGE, "nothing to boot: neither --image nor --disk nor --cdrom nor --floppy nor --kernel");
    if (!r)
        r = fill_config(&cfg, o, e);
    if (!r)
        r = cli_store(c, STORE_CREATE, e);
    if (!r)
        r = cli_nets(c, &cfg, e);
    /* before images are converted or copied, which may take a while */
    if (!r && machine_find(c->store, name, true, &id, NULL) == 0)
        r = err_set(e, VT_EXISTS, "%s: there is a machine of this name", name);
    if (!r && o->image && !o->cdrom && imagefile_is_iso(o->image))
        r = config_set_cdrom(&cfg, o->image, e);
    else if (!r && o->image)
        r = add_disk(c, &s, &cfg, o->image, false, o->import, e);
    for (size_t i = 0; i < o->disks.n && !r; i++)
        r = add_disk(c, &s, &cfg, o->disks.items[i], false, o->import, e);
    for (size_t i = 0; i < o->floppies.n && !r; i++)
        r = add_disk(c, &s, &cfg, o->floppies.items[i], true, o->import, e);
    if (!r)
        r = config_disks_check(&cfg, e);
    if (r)
        return r;
    text = config_text(&cfg);
    if (!text)
        return err_set(e, VT_USAGE, "a path or the command line is not UTF-8");
    r = machine_create(c->store, name, text, s.slot, s.n, NULL, NULL, &id, e);
    if (r)
        return r;
    out_set(c, "machine", json_string(name));
    out_set(c, "id", json_integer(id));
    out_done(c, NULL, "created %s", name);
    return 0;
}
