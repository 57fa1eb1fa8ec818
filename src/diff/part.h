/* Partition tables: MBR with logical partitions, GPT (primary, else backup), or none. */
#ifndef VT_DIFF_PART_H
#define VT_DIFF_PART_H

#include "src/base/blockdev.h"

#define PART_MAX 128

struct part {
    int number;        /* as Linux counts: 1.. ; 0 for a disk without a table */
    uint64_t off, len; /* bytes, within the disk */
    uint8_t mbr_type;  /* 0 for GPT */
    uint8_t guid[16];  /* GPT type, as stored */
};

enum part_scheme { PART_NONE, PART_MBR, PART_GPT };

struct part_table {
    enum part_scheme scheme;
    int n;
    struct part part[PART_MAX];
};

/* Reads the table of disk. A disk without one gives a single entry, number 0, that is the whole disk. Entries that do
 * not fit the disk are left out. Errors: VT_IO, or what the device says. Never VT_CORRUPT: a table that does not verify
 * is no table. */
int part_read(struct blockdev *disk, struct part_table *ret, struct err *e);

/* What the first bytes of a partition say it holds: "ext", "xfs", "btrfs", "ntfs", "fat", "swap", "LUKS", "LVM",
 * "iso9660", "squashfs", or NULL when nothing known is there. */
int part_probe(struct blockdev *dev, const char **ret_kind, struct err *e);

#endif
