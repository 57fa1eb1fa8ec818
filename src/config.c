#include "src/config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include "src/base/buf.h"
#include "src/base/cpumodel.h"
#include "src/base/floppyformat.h"
#include "src/base/json.h"
#include "src/base/units.h"
#include "src/base/util.h"
#include "src/imagefile.h"
#include "src/nets.h"

_Static_assert(sizeof((struct config_nic *)0)->net == NET_NAME_MAX + 1, "a name fits");

#define FORMAT 1
static const char where[] = "machine configuration";

static void random_mac(uint8_t mac[6])
{
    /* Locally administered, in the range that QEMU made customary: guests' rules for virtual cards match it. */
    memcpy(mac, "\x52\x54\x00", 3);
    if (getrandom(mac + 3, 3, GRND_NONBLOCK) != 3)
        memcpy(mac + 3, "\x12\x34\x56", 3);
}

void config_init(struct machine_config *c)
{
    *c = (struct machine_config){.mem = CONFIG_MEM_DEFAULT, .nnics = 1};
    random_mac(c->nic[0].mac);
}

void config_release(struct machine_config *c)
{
    free(c->cpu);
    free(c->kernel);
    free(c->initrd);
    free(c->append);
    free(c->bios);
    free(c->cdrom);
    for (unsigned i = 0; i < FLOPPY_DRIVES; i++)
        free(c->floppy[i]);
    *c = (struct machine_config){0};
}

int config_mem_check(uint64_t mem, struct err *e)
{
    if (mem < CONFIG_MEM_MIN || mem > CONFIG_MEM_MAX || mem % CONFIG_MEM_MIN)
        return err_set(e, VT_USAGE, "memory of %llu bytes: whole MiB from 1M to 64G will do", (unsigned long long)mem);
    return 0;
}

int config_forward_parse(const char *text, struct config_forward *ret, struct err *e)
{
    cleanup(cleanup_free) char *copy = strdup(text);
    struct config_forward f = {.host = "127.0.0.1"};
    char *word[4], *rest = copy, *p;
    unsigned n = 0, i = 0;
    uint64_t host_port, guest_port;
    struct in_addr addr;

    if (!copy)
        return err_set(e, VT_FAIL, "out of memory");
    while (n < ARRAY_LEN(word) && (p = strsep(&rest, ":")))
        word[n++] = p;
    if (n && (!strcmp(word[0], "tcp") || !strcmp(word[0], "udp")))
        f.udp = word[i++][0] == 'u';
    if (rest || n - i < 2 || n - i > 3)
        return err_set(e, VT_USAGE, "\"%s\": a forward is [tcp:|udp:][ADDRESS:]HOST_PORT:GUEST_PORT", text);
    if (n - i == 3) {
        if (inet_pton(AF_INET, word[i], &addr) != 1 || strlen(word[i]) >= sizeof f.host)
            return err_set(e, VT_USAGE, "\"%s\": \"%s\" is not an IPv4 address", text, word[i]);
        memcpy(f.host, word[i], strlen(word[i]) + 1);
        i++;
    }
    if (number_parse(word[i], 1, 65535, &host_port, NULL) || number_parse(word[i + 1], 1, 65535, &guest_port, NULL))
        return err_set(e, VT_USAGE, "\"%s\": a port is a number from 1 to 65535", text);
    f.host_port = (uint16_t)host_port;
    f.guest_port = (uint16_t)guest_port;
    *ret = f;
    return 0;
}

int config_forward_add(struct machine_config *c, const char *text, struct err *e)
{
    struct config_forward f;
    unsigned i = 0;
    int r = config_forward_parse(text, &f, e);

    if (r)
        return r;
    while (i < c->nforwards && (c->forward[i].udp != f.udp || c->forward[i].host_port != f.host_port ||
                                strcmp(c->forward[i].host, f.host) != 0))
        i++;
    if (i == CONFIG_MAX_FORWARDS)
        return err_set(e, VT_USAGE, "%s: a machine has at most %d forwards", text, CONFIG_MAX_FORWARDS);
    c->forward[i] = f;
    c->nforwards = MAX(c->nforwards, i + 1);
    return 0;
}

/* *field = a copy of value, NULL for "" */
static int replace(char **field, const char *value, struct err *e)
{
    char *copy = *value ? strdup(value) : NULL;

    if (*value && !copy)
        return err_set(e, VT_FAIL, "out of memory");
    free(*field);
    *field = copy;
    return 0;
}

static int replace_path(char **field, const char *path, struct err *e)
{
    cleanup(cleanup_free) char *full = *path ? realpath(path, NULL) : strdup("");

    if (!full)
        return err_set(e, err_from_errno(errno), "%s: %m", path);
    return replace(field, full, e);
}

int config_set_boot(struct machine_config *c, const char *kernel, const char *initrd, const char *append, struct err *e)
{
    bool is_linux;
    int r = kernel && *kernel ? imagefile_check_kernel(kernel, &is_linux, e) : 0;

    if (kernel && !*kernel) { /* what goes with it goes with it */
        initrd = initrd ? initrd : "";
        append = append ? append : "";
    }

    if (!r && initrd && *initrd)
        r = imagefile_check_initrd(initrd, e);
    if (!r && kernel)
        r = replace_path(&c->kernel, kernel, e);
    if (!r && initrd)
        r = replace_path(&c->initrd, initrd, e);
    if (!r && append)
        r = replace(&c->append, append, e);
    if (!r && !c->kernel && (c->initrd || c->append))
        r = err_set(e, VT_USAGE, "--initrd and --append go with --kernel");
    return r;
}

/* ---- the BIOS */

const char *config_boot_name(enum config_boot b)
{
    static const char *const names[] = {"none", "disk", "cdrom", "floppy", "net"};
    return names[b];
}

/* VT_USAGE: an unknown word, or one for the second time. */
static int add_boot(enum config_boot order[CONFIG_BOOT_CLASSES], const char *word, struct err *e)
{
    enum config_boot b = CONFIG_BOOT_DISK;
    unsigned i = 0;

    while (b <= CONFIG_BOOT_NET && strcmp(word, config_boot_name(b)) != 0)
        b++;
    if (b > CONFIG_BOOT_NET)
        return err_set(e, VT_USAGE, "\"%.20s\" is nothing to boot from: disk, cdrom, floppy and net are", word);
    while (order[i] && order[i] != b)
        i++; /* each of the four at most once: there is room */
    if (order[i])
        return err_set(e, VT_USAGE, "\"%s\" twice in the boot order", word);
    order[i] = b;
    return 0;
}

static int parse_boot_order(const char *text, enum config_boot order[CONFIG_BOOT_CLASSES], struct err *e)
{
    cleanup(cleanup_free) char *copy = strdup(text);
    char *rest = copy, *word;
    int r = 0;

    if (!copy)
        return err_set(e, VT_FAIL, "out of memory");
    while (!r && *text && (word = strsep(&rest, ",")))
        r = add_boot(order, word, e);
    return r;
}

int config_set_bios(struct machine_config *c, const char *bios, const char *order, struct err *e)
{
    enum config_boot parsed[CONFIG_BOOT_CLASSES + 1] = {0};
    int r = order ? parse_boot_order(order, parsed, e) : 0;

    if (!r && bios && *bios)
        r = imagefile_check_bios(bios, e);
    if (!r && bios)
        r = replace_path(&c->bios, bios, e);
    if (!r && order)
        memcpy(c->boot_order, parsed, sizeof c->boot_order);
    return r;
}

/* ---- processor */

int config_set_cpu(struct machine_config *c, const char *model, struct err *e)
{
    static const char *const names[] = {CPU_MODEL_NAMES};
    cleanup(buf_release) struct buf list = {0};

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (!*model || !strcmp(names[i], model))
            return replace(&c->cpu, model, e);
        buf_printf(&list, "%s%s", i ? ", " : "", names[i]);
    }
    return err_set(e, VT_USAGE, "no such CPU model: %s (there are: %s)", model, list.data ? list.data : "");
}

/* ---- IDE */

int config_set_disk_bus(struct machine_config *c, const char *bus, struct err *e)
{
    if (strcmp(bus, "virtio") && strcmp(bus, "ide"))
        return err_set(e, VT_USAGE, "\"%s\": a disk bus is virtio or ide", bus);
    c->ide = !strcmp(bus, "ide");
    return 0;
}

int config_set_cdrom(struct machine_config *c, const char *disc, struct err *e)
{
    char *path = NULL;
    int r = 0;

    if (!strcmp(disc, "none"))
        path = strdup("");
    else if (!(r = imagefile_check_disc(disc, e)))
        path = realpath(disc, NULL);
    if (r)
        return r;
    if (!path)
        return err_set(e, err_from_errno(errno), "%s: %m", disc);
    free(c->cdrom);
    c->cdrom = path;
    return 0;
}

unsigned config_ide_slots(const struct machine_config *c)
{
    return c->cdrom ? 3 : 4;
}

unsigned config_ide_slot(const struct machine_config *c, unsigned disk)
{
    return c->cdrom && disk >= CONFIG_IDE_CDROM ? disk + 1 : disk;
}

int config_disks_check(const struct machine_config *c, struct err *e)
{
    unsigned hard = 0;

    for (unsigned i = 0; i < c->ndisks; i++)
        hard += !c->disk[i].floppy;
    if (c->ide && hard > config_ide_slots(c))
        return err_set(e, VT_USAGE, "%u disks: IDE has room for %u%s", hard, config_ide_slots(c),
                       c->cdrom ? " beside the CD drive" : "");
    return 0;
}

/* ---- floppy drives, network cards */

static unsigned own_floppies(const struct machine_config *c)
{
    unsigned n = 0;

    for (unsigned i = 0; i < c->ndisks; i++)
        n += c->disk[i].floppy;
    return n;
}

/* VT_USAGE: no floppy has this size. */
static int floppy_check(const char *path, uint64_t bytes, struct err *e)
{
    if (floppy_format(bytes))
        return 0;
    return err_set(e, VT_USAGE, "%s: no floppy disk has %llu bytes; 360K, 720K, 1200K, 1440K and 2880K are usual sizes",
                   path, (unsigned long long)bytes);
}

int config_floppy_add(struct machine_config *c, const char *path, uint64_t bytes, struct config_disk **ret_disk,
                      struct err *e)
{
    int r = floppy_check(path, bytes, e);

    if (r)
        return r;
    if (own_floppies(c) == FLOPPY_DRIVES)
        return err_set(e, VT_USAGE, "%s: a machine has at most %d floppy drives", path, FLOPPY_DRIVES);
    if (c->ndisks == CONFIG_MAX_DISKS)
        return err_set(e, VT_USAGE, "%s: a machine has at most %d disks, floppies included", path, CONFIG_MAX_DISKS);
    *ret_disk = &c->disk[c->ndisks];
    snprintf((*ret_disk)->slot, sizeof(*ret_disk)->slot, "disk%u", c->ndisks++);
    (*ret_disk)->floppy = true;
    return 0;
}

int config_floppy_add_file(struct machine_config *c, const char *path, struct err *e)
{
    struct config_disk *d;
    struct stat st;

    if (stat(path, &st) < 0)
        return err_set(e, err_from_errno(errno), "%s: %m", path);
    return config_floppy_add(c, path, S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0, &d, e);
}

unsigned config_floppy_drives(const struct machine_config *c)
{
    unsigned n = own_floppies(c);

    while (n < FLOPPY_DRIVES && c->floppy[n])
        n++;
    return n;
}

static int floppy_check_file(const char *path, struct err *e)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return err_set(e, err_from_errno(errno), "%s: %m", path);
    return floppy_check(path, S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0, e);
}

int config_set_floppy(struct machine_config *c, unsigned drive, const char *disk, struct err *e)
{
    char *path = NULL;
    int r = 0;

    if (drive > config_floppy_drives(c) || drive >= FLOPPY_DRIVES)
        return err_set(e, VT_USAGE, "%s: the machine has no floppy drive %u", disk, drive);
    if (!strcmp(disk, "own")) {
        if (drive >= own_floppies(c) && drive + 1 < config_floppy_drives(c))
            return err_set(e, VT_USAGE, "%s: floppy drive %u cannot go before the one after it", disk, drive);
    } else if (!strcmp(disk, "none")) {
        path = strdup("");
    } else if (!(r = floppy_check_file(disk, e))) {
        path = realpath(disk, NULL);
    }
    if (r)
        return r;
    if (!path && strcmp(disk, "own") != 0)
        return err_set(e, err_from_errno(errno), "%s: %m", disk);
    free(c->floppy[drive]);
    c->floppy[drive] = path;
    return 0;
}

int config_set_nic(struct machine_config *c, const char *model, struct err *e)
{
    bool ne2k = !strcmp(model, "ne2k_pci");

    if (!ne2k && strcmp(model, "virtio"))
        return err_set(e, VT_USAGE, "\"%s\": a network card is virtio or ne2k_pci", model);
    for (unsigned i = 0; i < CONFIG_MAX_NICS; i++)
        c->nic[i].ne2k = ne2k;
    return 0;
}

int config_set_nets(struct machine_config *c, char *const *words, size_t n, struct err *e)
{
    static const uint8_t none[6];

    if (n > CONFIG_MAX_NICS)
        return err_set(e, VT_USAGE, "a machine has at most %d network cards", CONFIG_MAX_NICS);
    if (n == 1 && !strcmp(words[0], "none")) {
        c->nnics = 0;
        return 0;
    }
    for (size_t i = 0; i < n; i++) {
        bool private = !strncmp(words[i], "private:", 8);

        if (!private && strcmp(words[i], "nat") != 0)
            return err_set(e, VT_USAGE, "\"%.80s\": a card is on nat or on private:NAME; none, alone, takes all away",
                           words[i]);
        if (private && !nets_name_valid(words[i] + 8))
            return err_set(e, VT_USAGE, "\"%.80s\" is not a network's name", words[i] + 8);
    }
    for (size_t i = 0; i < n; i++) {
        struct config_nic *nic = &c->nic[i];
        const char *net = words[i][0] == 'p' ? words[i] + 8 : "";

        if (i >= c->nnics)
            nic->ne2k = c->nic[0].ne2k;
        if (!memcmp(nic->mac, none, sizeof none))
            random_mac(nic->mac);
        memcpy(nic->net, net, strlen(net) + 1);
    }
    c->nnics = (unsigned)n;
    return 0;
}

int config_forwards_check(const struct machine_config *c, struct err *e)
{
    bool nat = !c->nforwards;

    for (unsigned i = 0; i < c->nnics; i++)
        nat |= !*c->nic[i].net;
    return nat ? 0 : err_set(e, VT_USAGE, "a forward leads to a network card on nat, and there is none");
}

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

    json_array_foreach(list, i, j) if (!json_is_string(j) ||
                                       add_boot(order, json_string_value(j),
                                                NULL)) return err_set(e, VT_CORRUPT, "%s: a boot order that cannot be",
                                                                      where);
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

static int check_auto(uint64_t every_ms, uint64_t keep, struct err *e)
{
    if (every_ms < 1000 || every_ms > UINT64_C(366) * 86400 * 1000)
        return err_set(e, VT_USAGE, "automatic snapshots are taken every second at most, and once a year at least");
    if (keep < 1 || keep > CONFIG_MAX_AUTO)
        return err_set(e, VT_USAGE, "1 to %d automatic snapshots are kept", CONFIG_MAX_AUTO);
    return 0;
}

static int read_auto(struct machine_config *c, const json_t *j, struct err *e)
{
    uint64_t keep = 0;
    int r = json_get_u64(j, "every_ms", JSON_REQUIRED, &c->auto_every_ms, where, e);

    if (!r)
        r = json_get_u64(j, "keep", JSON_REQUIRED, &keep, where, e);
    if (!r && check_auto(c->auto_every_ms, keep, NULL))
        r = err_set(e, VT_CORRUPT, "%s: \"auto\" is out of range", where);
    c->auto_keep = (unsigned)keep;
    return r;
}

int config_set_auto(struct machine_config *c, const char *text, struct err *e)
{
    const char *comma = strchr(text, ',');
    cleanup(cleanup_free) char *time = strndup(text, comma ? (size_t)(comma - text) : strlen(text));
    uint64_t every = 0, keep = 12;
    int r;

    if (!strcmp(text, "off")) {
        c->auto_every_ms = c->auto_keep = 0;
        return 0;
    }
    if (!time)
        return err_set(e, VT_FAIL, "out of memory");
    r = duration_parse(time, &every, e);
    if (!r && comma && strncmp(comma, ",keep=", 6) != 0)
        r = err_set(e, VT_USAGE, "\"%s\": is not TIME[,keep=N] or off", text);
    if (!r && comma)
        r = number_parse(comma + 6, 1, CONFIG_MAX_AUTO, &keep, e);
    if (!r)
        r = check_auto(every / NS_PER_MS, keep, e);
    if (r)
        return err_prefix(e, r, "--auto");
    c->auto_every_ms = every / NS_PER_MS;
    c->auto_keep = (unsigned)keep;
    return 0;
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
