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
#include "src/base/units.h"
#include "src/base/util.h"
#include "src/imagefile.h"
#include "src/nets.h"

_Static_assert(sizeof((struct config_nic *)0)->net == NET_NAME_MAX + 1, "a name fits");

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
int config_boot_add(enum config_boot order[CONFIG_BOOT_CLASSES], const char *word, struct err *e)
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
        r = config_boot_add(order, word, e);
    return r;
}

int config_set_bios(struct machine_config *c, const char *bios, const char *order, struct err *e)
{
    enum config_boot parsed[CONFIG_BOOT_CLASSES + 1] = {0};
    uint64_t bytes = 0;
    int r = order ? parse_boot_order(order, parsed, e) : 0;

    if (!r && bios && *bios)
        r = imagefile_check_bios(bios, &bytes, e);
    if (!r && bios)
        r = replace_path(&c->bios, bios, e);
    if (!r && bios)
        c->rom_bytes = bytes > CONFIG_ROM_DEFAULT ? bytes : 0;
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

/* ---- automatic snapshots */

int config_auto_check(uint64_t every_ms, uint64_t keep, struct err *e)
{
    if (every_ms < 1000 || every_ms > UINT64_C(366) * 86400 * 1000)
        return err_set(e, VT_USAGE, "automatic snapshots are taken every second at most, and once a year at least");
    if (keep < 1 || keep > CONFIG_MAX_AUTO)
        return err_set(e, VT_USAGE, "1 to %d automatic snapshots are kept", CONFIG_MAX_AUTO);
    return 0;
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
        r = config_auto_check(every / NS_PER_MS, keep, e);
    if (r)
        return err_prefix(e, r, "--auto");
    c->auto_every_ms = every / NS_PER_MS;
    c->auto_keep = (unsigned)keep;
    return 0;
}
