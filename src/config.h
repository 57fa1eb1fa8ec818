/* A machine's configuration, and the JSON text that the store keeps of it:
 *
 *   {"format": 1,
 *    "hardware": {"mem": BYTES, "cpu": MODEL?, "boot": {"kernel": PATH, "initrd": PATH?, "append": TEXT?}?,
 *                 "bios": PATH?, "rom": BYTES?, "boot_order": ["disk"|"cdrom"|"floppy"|"net"…]?, "balloon": BOOL?,
 *                 "hpet": BOOL?, "disk_bus": "ide"?, "cdrom": PATH or ""?, "floppies": [PATH or "" or null…]?,
 *                 "disks": [{"slot": "disk0", "read_only": BOOL?, "floppy": BOOL?}…],
 *                 "nics": [{"mac": "52:54:00:…", "model": "ne2k_pci"?, "net": NAME?}…]},
 *    "auto": {"every_ms": N, "keep": N}?,
 *    "forwards": [{"proto": "tcp"|"udp", "host": ADDRESS, "host_port": N, "guest_port": N}…]}
 *
 * The "hardware" object is also what a snapshot holds: a revert brings it back, and leaves the rest as it is. Files are
 * named by absolute paths. Text from a store is checked as any input is. */
#ifndef VT_CONFIG_H
#define VT_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "src/base/err.h"
#include "src/base/floppyformat.h"

#define CONFIG_MAX_DISKS    8
#define CONFIG_MAX_NICS     4
#define CONFIG_MAX_FORWARDS 64
#define CONFIG_MAX_AUTO     1000
#define CONFIG_ROM_DEFAULT  (UINT64_C(256) << 10)
#define CONFIG_MEM_DEFAULT  (UINT64_C(512) << 20)
#define CONFIG_MEM_MIN      (UINT64_C(1) << 20)
#define CONFIG_MEM_MAX      (UINT64_C(64) << 30)

/* Where a BIOS looks for something to boot. */
enum config_boot { CONFIG_BOOT_NONE, CONFIG_BOOT_DISK, CONFIG_BOOT_CDROM, CONFIG_BOOT_FLOPPY, CONFIG_BOOT_NET };
#define CONFIG_BOOT_CLASSES 4

struct config_disk {
    char slot[8]; /* "disk0" … */
    bool read_only;
    bool floppy; /* the first of these is in drive 0, the second in drive 1 */
};
struct config_nic {
    uint8_t mac[6];
    bool ne2k;    /* an NE2000 on PCI rather than virtio's */
    char net[64]; /* the private network that it is on; "": user-mode NAT */
};
struct config_forward {
    bool udp;
    char host[46]; /* IPv4 address that the host listens on */
    uint16_t host_port, guest_port;
};
struct machine_config {
    uint64_t mem;                   /* bytes, whole MiB */
    char *cpu;                      /* NULL: the default */
    char *kernel, *initrd, *append; /* kernel NULL: the BIOS boots it */
    uint64_t rom_bytes;             /* what the BIOS has if that is more than usual; 0: CONFIG_ROM_DEFAULT */
    char *bios;                     /* NULL: the default */
    enum config_boot boot_order[CONFIG_BOOT_CLASSES]; /* the first one NONE: the default order */
    bool hpet;                                        /* the board has high precision event timers */
    bool balloon;                                     /* guests give free pages back */
    bool testdev;                                     /* ports for test kernels: one-shot machines only, not stored */
    bool ide;                                         /* the disks are IDE's rather than virtio's */
    char *cdrom;                                      /* NULL: no CD drive; "": an empty one */
    char *floppy[FLOPPY_DRIVES]; /* in place of the drive's own disk: a file that is only read, or "": none */
    uint64_t auto_every_ms;      /* automatic snapshots; 0: none */
    unsigned auto_keep;          /* how many of these */
    unsigned ndisks, nnics, nforwards;
    struct config_disk disk[CONFIG_MAX_DISKS];
    struct config_nic nic[CONFIG_MAX_NICS];
    struct config_forward forward[CONFIG_MAX_FORWARDS];
};

/* 512 MiB, one network card with a random address of ours, nothing else. */
void config_init(struct machine_config *c);
void config_release(struct machine_config *c);

/* VT_CORRUPT: not what config_text writes. *ret must be released. */
int config_parse(const char *text, struct machine_config *ret, struct err *e);
/* malloc'ed; NULL: out of memory. */
char *config_text(const struct machine_config *c);
/* The "hardware" object alone, for a snapshot; malloc'ed, NULL: out of memory. */
char *config_hardware(const struct machine_config *c);
/* Takes a snapshot's hardware over; c's forwards and automatic snapshots stay. On error c is as it was. */
int config_set_hardware(struct machine_config *c, const char *hardware, struct err *e);

/* Sets what the machine boots, each NULL being left as it is; the files are looked at, and named by absolute paths from
 * then on. VT_NOENT, VT_CORRUPT (not a kernel, cut short). An append of "" takes it away, as does an initrd of "";
 * a kernel of "" takes away all three: the BIOS boots. */
int config_set_boot(struct machine_config *c, const char *kernel, const char *initrd, const char *append,
                    struct err *e);
/* Sets the BIOS's file ("": the default) and its boot order ("disk,cdrom,floppy,net" or a part of it; "": the default),
 * each NULL being left as it is. VT_NOENT, VT_USAGE. */
int config_set_bios(struct machine_config *c, const char *bios, const char *order, struct err *e);
const char *config_boot_name(enum config_boot b);
/* Adds a class, by its name, to an order that ends with CONFIG_BOOT_NONE. VT_USAGE: there is none of this name, or it
 * is in the order already. */
int config_boot_add(enum config_boot order[CONFIG_BOOT_CLASSES], const char *word, struct err *e);
/* The CPU model by its name ("": the default). VT_USAGE: there is none of that name. */
int config_set_cpu(struct machine_config *c, const char *model, struct err *e);
/* "virtio" or "ide". VT_USAGE. */
int config_set_disk_bus(struct machine_config *c, const char *bus, struct err *e);
/* The disc in the CD drive: a file, named by its absolute path from then on, or "none". VT_NOENT, VT_CORRUPT. */
int config_set_cdrom(struct machine_config *c, const char *disc, struct err *e);
/* Where IDE's drives are: 0 and 1 on the primary channel, 2 and 3 on the secondary one; the CD drive is number 2. */
#define CONFIG_IDE_CDROM 2
unsigned config_ide_slots(const struct machine_config *c); /* how many disks there is room for */
unsigned config_ide_slot(const struct machine_config *c, unsigned disk);
/* VT_USAGE: more disks than IDE has room for. */
int config_disks_check(const struct machine_config *c, struct err *e);
/* Adds a floppy drive with a disk of this size, path naming it in messages; *ret_disk is filled but for read_only.
 * VT_USAGE: there are two already, or no floppy has this size. */
int config_floppy_add(struct machine_config *c, const char *path, uint64_t bytes, struct config_disk **ret_disk,
                      struct err *e);
/* The same with the size of the file. VT_NOENT. */
int config_floppy_add_file(struct machine_config *c, const char *path, struct err *e);
/* The disk in a floppy drive: a file, named by its absolute path from then on, "none", or "own" for the one that the
 * machine was made with; a drive that has none of its own is gone then. VT_NOENT, VT_USAGE (no floppy's size; there is
 * no such drive, nor one that it would be the next of). */
int config_set_floppy(struct machine_config *c, unsigned drive, const char *disk, struct err *e);
unsigned config_floppy_drives(const struct machine_config *c);
/* "virtio" or "ne2k_pci", for all cards. VT_USAGE. */
int config_set_nic(struct machine_config *c, const char *model, struct err *e);
/* What the machine's cards are on, one word each: "nat" or "private:NAME"; "none" alone: there are no cards. A card
 * that was there keeps its address. VT_USAGE. */
int config_set_nets(struct machine_config *c, char *const *words, size_t n, struct err *e);
/* VT_USAGE: there are forwards, and no card behind NAT that they could lead to. */
int config_forwards_check(const struct machine_config *c, struct err *e);
/* Parses and adds; one more of the same protocol, address and host port replaces the first. */
int config_forward_add(struct machine_config *c, const char *text, struct err *e);
/* "[tcp:|udp:][ADDRESS:]HOST_PORT:GUEST_PORT"; the address is 127.0.0.1 unless given. VT_USAGE. */
int config_forward_parse(const char *text, struct config_forward *ret, struct err *e);
/* "TIME[,keep=N]": an automatic snapshot so often, N of them kept (12 unless given), or "off". VT_USAGE. */
int config_set_auto(struct machine_config *c, const char *text, struct err *e);
/* Can automatic snapshots be so often, and so many? VT_USAGE. */
int config_auto_check(uint64_t every_ms, uint64_t keep, struct err *e);
int config_mem_check(uint64_t mem, struct err *e); /* VT_USAGE */

#endif
