/* A machine's configuration as text: src/config.h has its form. */
#include "src/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "src/base/buf.h"
#include "src/base/json.h"
#include "src/base/units.h"
#include "src/base/util.h"
#include "src/imagefile.h"
#include "src/nets.h"

#define FORMAT 1
static const char where[] = "machine configuration";

/* ---- writing */

static json_t *boot_order_json(const struct machine_config *c)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < CONFIG_BOOT_CLASSES && c->boot_order[i]; i++)
        json_array_append_new(list, json_string(config_boot_name(c->boot_order[i])));
    return list;
}

static json_t *hardware_json(const struct machine_config *c)
{
    json_t *hw = json_pack("{s:I, s:s*, s:s*}", "mem", (json_int_t)c->mem, "cpu", c->cpu, "bios", c->bios);
    json_t *disks = json_array(), *nics = json_array();

    if (c->rom_bytes)
        json_object_set_new(hw, "rom", json_integer((json_int_t)c->rom_bytes));
    if (c->hpet)
        json_object_set_new(hw, "hpet", json_true());
    if (c->balloon)
        json_object_set_new(hw, "balloon", json_true());
    if (c->ide)
        json_object_set_new(hw, "disk_bus", json_string("ide"));
    if (c->cdrom)
        json_object_set_new(hw, "cdrom", json_string(c->cdrom));
    if (c->floppy[0] || c->floppy[1])
        json_object_set_new(hw, "floppies", json_pack("[s?, s?]", c->floppy[0], c->floppy[1]));
    if (c->kernel)
        json_object_set_new(
            hw, "boot", json_pack("{s:s, s:s*, s:s*}", "kernel", c->kernel, "initrd", c->initrd, "append", c->append));
    if (c->boot_order[0])
        json_object_set_new(hw, "boot_order", boot_order_json(c));
    for (unsigned i = 0; i < c->ndisks; i++) {
        json_t *d = json_pack("{s:s}", "slot", c->disk[i].slot);

        if (c->disk[i].read_only)
            json_object_set_new(d, "read_only", json_true());
        if (c->disk[i].floppy)
            json_object_set_new(d, "floppy", json_true());
        json_array_append_new(disks, d);
    }
    for (unsigned i = 0; i < c->nnics; i++) {
        const uint8_t *m = c->nic[i].mac;
        char mac[18];

        snprintf(mac, sizeof mac, "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5]);
        json_array_append_new(nics,
                              json_pack("{s:s, s:s*, s:s*}", "mac", mac, "model", c->nic[i].ne2k ? "ne2k_pci" : NULL,
                                        "net", *c->nic[i].net ? c->nic[i].net : NULL));
    }
    if (json_object_set_new(hw, "disks", disks) | json_object_set_new(hw, "nics", nics)) {
        json_decref(hw);
        return NULL;
    }
    return hw;
}

char *config_hardware(const struct machine_config *c)
{
    cleanup(cleanup_json) json_t *hw = hardware_json(c);

    return hw ? json_text(hw) : NULL;
}

char *config_text(const struct machine_config *c)
{
    cleanup(cleanup_json) json_t *j = json_pack("{s:i, s:o}", "format", FORMAT, "hardware", hardware_json(c));
    json_t *forwards = json_array();

    for (unsigned i = 0; i < c->nforwards; i++) {
        const struct config_forward *f = &c->forward[i];

        json_array_append_new(forwards, json_pack("{s:s, s:s, s:i, s:i}", "proto", f->udp ? "udp" : "tcp", "host",
                                                  f->host, "host_port", f->host_port, "guest_port", f->guest_port));
    }
    if (c->auto_every_ms)
        json_object_set_new(
            j, "auto", json_pack("{s:I, s:i}", "every_ms", (json_int_t)c->auto_every_ms, "keep", (int)c->auto_keep));
    if (json_object_set_new(j, "forwards", forwards))
        return NULL;
    return json_text(j);
}

/* ---- reading */

static int copy_str(const json_t *j, const char *key, enum json_need need, char **ret, struct err *e)
{
    const char *s = NULL;
    int r = json_get_str(j, key, need, &s, where, e);

    if (r || !s)
        return r;
    *ret = strdup(s);
    return *ret ? 0 : err_set(e, VT_FAIL, "out of memory");
}

static int read_disks(struct machine_config *c, json_t *disks, struct err *e)
{
    unsigned floppies = 0;
    json_t *d;
    size_t i;
    int r;

    if (json_array_size(disks) > CONFIG_MAX_DISKS)
        return err_set(e, VT_CORRUPT, "%s: more than %d disks", where, CONFIG_MAX_DISKS);
    json_array_foreach(disks, i, d)
    {
        const char *slot = NULL;
        uint64_t number;

        r = json_get_str(d, "slot", JSON_REQUIRED, &slot, where, e);
        if (!r)
            r = json_get_bool(d, "read_only", JSON_OPTIONAL, &c->disk[i].read_only, where, e);
        if (!r)
            r = json_get_bool(d, "floppy", JSON_OPTIONAL, &c->disk[i].floppy, where, e);
        if (r)
            return r;
        if (strncmp(slot, "disk", 4) || number_parse(slot + 4, 0, 15, &number, NULL) ||
            strlen(slot) >= sizeof c->disk[i].slot)
            return err_set(e, VT_CORRUPT, "%s: \"%.20s\" is not a disk's slot", where, slot);
        for (size_t k = 0; k < i; k++)
            if (!strcmp(c->disk[k].slot, slot))
                return err_set(e, VT_CORRUPT, "%s: \"%s\" twice", where, slot);
        memcpy(c->disk[i].slot, slot, strlen(slot) + 1);
        floppies += c->disk[i].floppy;
        if (floppies > FLOPPY_DRIVES)
            return err_set(e, VT_CORRUPT, "%s: more than %d floppy drives", where, FLOPPY_DRIVES);
        c->ndisks = (unsigned)i + 1;
    }
    return 0;
}

static int read_nics(struct machine_config *c, json_t *nics, struct err *e)
{
    json_t *n;
    size_t i;

    if (json_array_size(nics) > CONFIG_MAX_NICS)
        return err_set(e, VT_CORRUPT, "%s: more than %d network cards", where, CONFIG_MAX_NICS);
    json_array_foreach(nics, i, n)
    {
        uint8_t *m = c->nic[i].mac;
        const char *mac = NULL, *model = NULL, *net = NULL;
        char end;
        int r = json_get_str(n, "mac", JSON_REQUIRED, &mac, where, e);

        if (!r)
            r = json_get_str(n, "model", JSON_OPTIONAL, &model, where, e);
        if (!r)
            r = json_get_str(n, "net", JSON_OPTIONAL, &net, where, e);
        if (r)
            return r;
        c->nic[i].ne2k = model && !strcmp(model, "ne2k_pci");
        if (model && !c->nic[i].ne2k)
            return err_set(e, VT_CORRUPT, "%s: \"%.20s\" is not a network card", where, model);
        if (net && !nets_name_valid(net))
            return err_set(e, VT_CORRUPT, "%s: \"%.20s\" is not a network", where, net);
        if (net)
            memcpy(c->nic[i].net, net, strlen(net) + 1);
        if (strlen(mac) != 17 ||
            sscanf(mac, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%c", &m[0], &m[1], &m[2], &m[3], &m[4], &m[5], &end) != 6)
            return err_set(e, VT_CORRUPT, "%s: \"%.20s\" is not a hardware address", where, mac);
        c->nnics = (unsigned)i + 1;
    }
    return 0;
}

static int read_boot_order(struct machine_config *c, json_t *list, struct err *e)
{
    enum config_boot order[CONFIG_BOOT_CLASSES + 1] = {0};
    json_t *j;
    size_t i;

    json_array_foreach(list, i, j)
    {
        if (!json_is_string(j) || config_boot_add(order, json_string_value(j), NULL))
            return err_set(e, VT_CORRUPT, "%s: a boot order that cannot be", where);
    }
    memcpy(c->boot_order, order, sizeof c->boot_order);
    return 0;
}

/* After the disks. */
static int read_floppies(struct machine_config *c, const json_t *hw, struct err *e)
{
    json_t *list = NULL, *j;
    size_t i;
    int r = json_get_array(hw, "floppies", JSON_OPTIONAL, &list, where, e);

    if (r || !list)
        return r;
    json_array_foreach(list, i, j)
    {
        const char *path = json_string_value(j);

        if (json_is_null(j))
            continue;
        if (i >= FLOPPY_DRIVES || i > config_floppy_drives(c) || !path || (*path && *path != '/'))
            return err_set(e, VT_CORRUPT, "%s: a floppy disk that cannot be", where);
        c->floppy[i] = strdup(path);
        if (!c->floppy[i])
            return err_set(e, VT_FAIL, "out of memory");
    }
    return 0;
}

static int read_drives(struct machine_config *c, const json_t *hw, struct err *e)
{
    const char *bus = NULL;
    int r = json_get_str(hw, "disk_bus", JSON_OPTIONAL, &bus, where, e);

    if (!r && bus && config_set_disk_bus(c, bus, NULL))
        r = err_set(e, VT_CORRUPT, "%s: \"%.20s\" is not a disk bus", where, bus);
    if (!r)
        r = copy_str(hw, "cdrom", JSON_OPTIONAL, &c->cdrom, e);
    if (!r && c->cdrom && *c->cdrom && *c->cdrom != '/')
        r = err_set(e, VT_CORRUPT, "%s: \"%.80s\" is not an absolute path", where, c->cdrom);
    if (!r)
        r = read_floppies(c, hw, e);
    if (!r && config_disks_check(c, NULL))
        r = err_set(e, VT_CORRUPT, "%s: more disks than IDE has room for", where);
    return r;
}

static int read_hardware(struct machine_config *c, const json_t *hw, struct err *e)
{
    json_t *disks = NULL, *nics = NULL, *boot = NULL, *order = NULL;
    int r;

    r = json_get_u64(hw, "mem", JSON_REQUIRED, &c->mem, where, e);
    if (!r && config_mem_check(c->mem, NULL))
        r = err_set(e, VT_CORRUPT, "%s: memory of %llu bytes is out of range", where, (unsigned long long)c->mem);
    if (!r)
        r = copy_str(hw, "cpu", JSON_OPTIONAL, &c->cpu, e);
    if (!r)
        r = json_get_object(hw, "boot", JSON_OPTIONAL, &boot, where, e);
    if (!r && boot) {
        r = copy_str(boot, "kernel", JSON_REQUIRED, &c->kernel, e);
        if (!r)
            r = copy_str(boot, "initrd", JSON_OPTIONAL, &c->initrd, e);
        if (!r)
            r = copy_str(boot, "append", JSON_OPTIONAL, &c->append, e);
    }
    if (!r)
        r = copy_str(hw, "bios", JSON_OPTIONAL, &c->bios, e);
    if (!r)
        r = json_get_u64(hw, "rom", JSON_OPTIONAL, &c->rom_bytes, where, e);
    if (!r && c->rom_bytes && !imagefile_is_bios_size(c->rom_bytes))
        r = err_set(e, VT_CORRUPT, "%s: a ROM of %llu bytes", where, (unsigned long long)c->rom_bytes);
    if (!r)
        r = json_get_bool(hw, "hpet", JSON_OPTIONAL, &c->hpet, where, e);
    if (!r)
        r = json_get_bool(hw, "balloon", JSON_OPTIONAL, &c->balloon, where, e);
    if (!r)
        r = json_get_array(hw, "boot_order", JSON_OPTIONAL, &order, where, e);
    if (!r && order)
        r = read_boot_order(c, order, e);
    if (!r)
        r = json_get_array(hw, "disks", JSON_REQUIRED, &disks, where, e);
    if (!r)
        r = read_disks(c, disks, e);
    if (!r)
        r = read_drives(c, hw, e);
    if (!r)
        r = json_get_array(hw, "nics", JSON_REQUIRED, &nics, where, e);
    return r ? r : read_nics(c, nics, e);
}

static int read_auto(struct machine_config *c, const json_t *j, struct err *e)
{
    uint64_t keep = 0;
    int r = json_get_u64(j, "every_ms", JSON_REQUIRED, &c->auto_every_ms, where, e);

    if (!r)
        r = json_get_u64(j, "keep", JSON_REQUIRED, &keep, where, e);
    if (!r && config_auto_check(c->auto_every_ms, keep, NULL))
        r = err_set(e, VT_CORRUPT, "%s: \"auto\" is out of range", where);
    c->auto_keep = (unsigned)keep;
    return r;
}

static int read_forwards(struct machine_config *c, json_t *list, struct err *e)
{
    json_t *j;
    size_t i;

    if (json_array_size(list) > CONFIG_MAX_FORWARDS)
        return err_set(e, VT_CORRUPT, "%s: more than %d forwards", where, CONFIG_MAX_FORWARDS);
    json_array_foreach(list, i, j)
    {
        cleanup(cleanup_free) char *text = NULL;
        const char *proto = NULL, *host = NULL;
        uint64_t host_port = 0, guest_port = 0;
        int r;

        if ((r = json_get_str(j, "proto", JSON_REQUIRED, &proto, where, e)) ||
            (r = json_get_str(j, "host", JSON_REQUIRED, &host, where, e)) ||
            (r = json_get_u64(j, "host_port", JSON_REQUIRED, &host_port, where, e)) ||
            (r = json_get_u64(j, "guest_port", JSON_REQUIRED, &guest_port, where, e)))
            return r;
        text =
            str_printf("%s:%s:%llu:%llu", proto, host, (unsigned long long)host_port, (unsigned long long)guest_port);
        if (!text)
            return err_set(e, VT_FAIL, "out of memory");
        if (config_forward_parse(text, &c->forward[i], NULL))
            return err_set(e, VT_CORRUPT, "%s: \"%.80s\" is not a forward", where, text);
        c->nforwards = (unsigned)i + 1;
    }
    return 0;
}

int config_parse(const char *text, struct machine_config *ret, struct err *e)
{
    cleanup(cleanup_json) json_t *j = NULL;
    cleanup(config_release) struct machine_config c = {0};
    json_t *hw = NULL, *forwards = NULL, *automatic = NULL;
    uint64_t format = 0;
    int r;

    r = json_parse(text, strlen(text), where, &j, e);
    if (!r)
        r = json_get_u64(j, "format", JSON_REQUIRED, &format, where, e);
    if (!r && format != FORMAT)
        r = err_set(e, VT_VERSION, "%s: of a newer version of vmtest (format %llu)", where, (unsigned long long)format);
    if (!r)
        r = json_get_object(j, "hardware", JSON_REQUIRED, &hw, where, e);
    if (!r)
        r = read_hardware(&c, hw, e);
    if (!r)
        r = json_get_object(j, "auto", JSON_OPTIONAL, &automatic, where, e);
    if (!r && automatic)
        r = read_auto(&c, automatic, e);
    if (!r)
        r = json_get_array(j, "forwards", JSON_REQUIRED, &forwards, where, e);
    if (!r)
        r = read_forwards(&c, forwards, e);
    if (r)
        return r;
    *ret = c;
    c = (struct machine_config){0};
    return 0;
}

int config_set_hardware(struct machine_config *c, const char *hardware, struct err *e)
{
    cleanup(cleanup_json) json_t *hw = NULL;
    cleanup(config_release) struct machine_config n = {0};
    struct machine_config old = *c;
    int r;

    r = json_parse(hardware, strlen(hardware), "snapshot's hardware", &hw, e);
    if (!r)
        r = read_hardware(&n, hw, e);
    if (r)
        return r;
    n.auto_every_ms = c->auto_every_ms;
    n.auto_keep = c->auto_keep;
    n.nforwards = c->nforwards;
    memcpy(n.forward, c->forward, sizeof n.forward);
    *c = n;
    n = old; /* released on the way out */
    return 0;
}
