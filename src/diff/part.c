/* See part.h. Sources: UEFI specification 2.10 section 5 (GPT and protective MBR); the MBR's layout is that of the PC
 * BIOS: four 16-byte entries at 446, 0x55AA at 510, logical partitions as a chain of tables in an extended one. */
#include "src/diff/part.h"

#include <string.h>

#include "src/base/util.h"
#include "src/diff/dev.h"

#define SECTOR          512u
#define GPT_ENTRY_MAX   4096u
#define MBR_LOGICAL_MAX 60 /* a chain longer than this is a loop */

static uint32_t le32(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t le64(const unsigned char *p)
{
    return le32(p) | (uint64_t)le32(p + 4) << 32;
}

/* CRC-32 of IEEE 802.3, the one that GPT headers use. */
static uint32_t crc32_ieee(const unsigned char *p, size_t n)
{
    uint32_t c = ~0u;

    for (; n; n--) {
        c ^= *p++;
        for (int k = 0; k < 8; k++)
            c = (c >> 1) ^ (0xedb88320u & -(c & 1));
    }
    return ~c;
}

static void add(struct part_table *t, const struct blockdev *disk, const struct part *p)
{
    if (t->n < PART_MAX && p->len && p->off <= disk->size && p->len <= disk->size - p->off)
        t->part[t->n++] = *p;
}

static bool is_extended(uint8_t type)
{
    return type == 0x05 || type == 0x0f || type == 0x85;
}

/* Walks the chain of an extended partition that starts at sector `first`. */
static int read_logical(struct blockdev *disk, uint64_t first, struct part_table *t, struct err *e)
{
    uint64_t at = first;
    int number = 5;

    for (int i = 0; i < MBR_LOGICAL_MAX; i++) {
        unsigned char s[SECTOR];
        const unsigned char *own = s + 446, *next = s + 462;
        struct part p = {.number = number, .mbr_type = own[4]};
        int r;

        if ((at + 1) * SECTOR > disk->size)
            return 0;
        r = dev_read(disk, s, sizeof(s), at * SECTOR, e);
        if (r < 0)
            return r;
        if (s[510] != 0x55 || s[511] != 0xaa)
            return 0;
        p.mbr_type = own[4];
        p.off = (at + le32(own + 8)) * SECTOR;
        p.len = (uint64_t)le32(own + 12) * SECTOR;
        if (p.mbr_type) {
            add(t, disk, &p);
            number++;
        }
        if (!is_extended(next[4]) || !le32(next + 8))
            return 0;
        at = first + le32(next + 8);
    }
    return 0;
}

static int read_mbr(struct blockdev *disk, const unsigned char *s, struct part_table *t, struct err *e)
{
    int r;

    for (int i = 0; i < 4; i++) {
        const unsigned char *q = s + 446 + 16 * i;
        struct part p = {.number = i + 1, .mbr_type = q[4]};

        p.off = (uint64_t)le32(q + 8) * SECTOR;
        p.len = (uint64_t)le32(q + 12) * SECTOR;
        if (p.mbr_type && !is_extended(p.mbr_type))
            add(t, disk, &p);
    }
    for (int i = 0; i < 4; i++) {
        const unsigned char *q = s + 446 + 16 * i;

        if (is_extended(q[4]) && (r = read_logical(disk, le32(q + 8), t, e)) < 0)
            return r;
    }
    t->scheme = PART_MBR;
    return 0;
}

/* Returns 1 when the header at sector lba and its entries verify, 0 when not. */
static int read_gpt_at(struct blockdev *disk, uint64_t lba, struct part_table *t, struct err *e)
{
    static const unsigned char zero[16];
    cleanup(cleanup_free) unsigned char *entries = NULL;
    unsigned char h[SECTOR];
    uint32_t hlen, n, size, crc;
    uint64_t at;
    int r;

    if ((lba + 1) * SECTOR > disk->size)
        return 0;
    r = dev_read(disk, h, sizeof(h), lba * SECTOR, e);
    if (r < 0)
        return r;
    hlen = le32(h + 12);
    if (memcmp(h, "EFI PART", 8) || hlen < 92 || hlen > SECTOR || le64(h + 24) != lba)
        return 0;
    crc = le32(h + 16);
    memset(h + 16, 0, 4);
    if (crc32_ieee(h, hlen) != crc)
        return 0;
    at = le64(h + 72);
    n = le32(h + 80);
    size = le32(h + 84);
    if (!n || n > 1024 || size < 128 || size > GPT_ENTRY_MAX || at > disk->size / SECTOR ||
        (uint64_t)n * size > disk->size - at * SECTOR)
        return 0;
    entries = malloc((size_t)n * size);
    if (!entries)
        return err_set(e, VT_FAIL, "out of memory");
    r = dev_read(disk, entries, (size_t)n * size, at * SECTOR, e);
    if (r < 0)
        return r;
    if (crc32_ieee(entries, (size_t)n * size) != le32(h + 88))
        return 0;
    for (uint32_t i = 0; i < n; i++) {
        const unsigned char *q = entries + (size_t)i * size;
        uint64_t first = le64(q + 32), last = le64(q + 40);
        struct part p = {.number = (int)i + 1};

        if (!memcmp(q, zero, 16) || last < first || last >= disk->size / SECTOR)
            continue;
        memcpy(p.guid, q, 16);
        p.off = first * SECTOR;
        p.len = (last - first + 1) * SECTOR;
        add(t, disk, &p);
    }
    t->scheme = PART_GPT;
    return 1;
}

/* The boot sector of a FAT or NTFS volume also ends in 0x55AA, so the four entries must make sense as a table. */
static bool plausible_mbr(const struct blockdev *disk, const unsigned char *s)
{
    bool any = false;

    if (s[510] != 0x55 || s[511] != 0xaa)
        return false;
    for (int i = 0; i < 4; i++) {
        const unsigned char *q = s + 446 + 16 * i;

        if (q[0] & 0x7f)
            return false;
        if (!q[4])
            continue;
        if (!le32(q + 8) || !le32(q + 12) || (uint64_t)le32(q + 8) * SECTOR >= disk->size)
            return false;
        any = true;
    }
    return any;
}

int part_read(struct blockdev *disk, struct part_table *ret, struct err *e)
{
    struct part_table t = {.scheme = PART_NONE};
    unsigned char s[SECTOR];
    int r = 0;

    if (disk->size < 2 * SECTOR) {
        *ret = t;
        return 0;
    }
    r = dev_read(disk, s, sizeof(s), 0, e);
    if (r < 0)
        return r;
    if (plausible_mbr(disk, s)) {
        bool protective = false;

        for (int i = 0; i < 4; i++)
            protective |= s[446 + 16 * i + 4] == 0xee;
        r = protective ? read_gpt_at(disk, 1, &t, e) : 0;
        if (r == 0 && protective)
            r = read_gpt_at(disk, disk->size / SECTOR - 1, &t, e);
        if (r == 0 && !protective)
            r = read_mbr(disk, s, &t, e);
        if (r < 0)
            return r;
    }
    if (t.scheme == PART_NONE) {
        t.n = 1;
        t.part[0] = (struct part){.len = disk->size};
    }
    *ret = t;
    return 0;
}

int part_probe(struct blockdev *dev, const char **ret_kind, struct err *e)
{
    static const struct {
        const char *kind;
        uint32_t off;
        const char *magic;
        size_t len;
    } known[] = {
        {"ext", 1024 + 56, "\x53\xef", 2}, {"xfs", 0, "XFSB", 4},
        {"btrfs", 0x10040, "_BHRfS_M", 8}, {"LUKS", 0, "LUKS\xba\xbe", 6},
        {"LVM", 512, "LABELONE", 8},       {"swap", 4096 - 10, "SWAPSPACE2", 10},
        {"iso9660", 32769, "CD001", 5},    {"squashfs", 0, "hsqs", 4},
        {"ntfs", 3, "NTFS    ", 8},        {"fat", 54, "FAT1", 4},
        {"fat", 82, "FAT32", 5},
    };
    unsigned char b[16];
    int r;

    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (known[i].off + known[i].len > dev->size)
            continue;
        r = dev_read(dev, b, known[i].len, known[i].off, e);
        if (r < 0)
            return r;
        if (!memcmp(b, known[i].magic, known[i].len)) {
            *ret_kind = known[i].kind;
            return 0;
        }
    }
    *ret_kind = NULL;
    return 0;
}
