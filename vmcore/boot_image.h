/* What the loaders of kernels in ELF share: the file's parts, checked, and guest memory's layout around them. Files are
 * hostile input: every offset, size and address is checked before it is used. */
#ifndef VT_BOOT_IMAGE_H
#define VT_BOOT_IMAGE_H

#include <stdbool.h>
#include "vmcore/boot.h"

#define BOOT_SEGS_MAX 64

struct boot_seg {
    uint64_t pa, memsz; /* in guest memory; 4 GiB at most together */
    uint64_t va;        /* where the file says that it runs */
    uint64_t off, filesz;
};

struct boot_image {
    const uint8_t *data;
    size_t len;
    uint64_t entry;
    bool elf64;
    unsigned n, nnotes;
    struct boot_seg seg[BOOT_SEGS_MAX];  /* what to load */
    struct boot_seg note[BOOT_SEGS_MAX]; /* PT_NOTE segments: off and filesz only */
};

bool boot_is_elf(const void *data, size_t len);
/* Reads the headers of an ELF executable for x86, 32- or 64-bit (System V ABI, chapters 4 and 5). VT_CORRUPT. */
int boot_elf_parse(const void *data, size_t len, struct boot_image *ret, struct err *e);
/* The 4- or 8-byte value of a note. False: there is none. */
bool boot_elf_note(const struct boot_image *k, const char *name, uint32_t type, uint64_t *ret_value);
/* Where the entry is in physical memory: a virtual address inside of a segment is that segment's. */
uint64_t boot_elf_entry(const struct boot_image *k);

/* Memory that a direct boot gives to the kernel: RAM below the extended BIOS data area, and from 1 MiB on. */
struct boot_range {
    uint64_t start, end;
    uint32_t type; /* as INT 15h, AX=E820h: 1 RAM, 2 reserved */
};
#define BOOT_RANGES   5
#define BOOT_HIGH_RAM 3 /* the one from 1 MiB on */
/* Returns how many there are. */
unsigned boot_memory_map(const struct boot_mem *m, struct boot_range ret[BOOT_RANGES]);

struct boot_placed {
    uint32_t start, len;
};
/* Tables for the kernel in the making: bytes, whose addresses are known once their place is. */
struct boot_tables {
    uint32_t at; /* guest address of data[0] */
    uint32_t len, size;
    uint8_t *data;
};
void boot_tables_release(struct boot_tables *t);
/* Appends, 16-byte aligned; returns the guest address. src NULL: zeroes. The room was asked for. */
uint32_t boot_tables_add(struct boot_tables *t, const void *src, size_t len);
/* Appends a flat GDT, and fills what *ret says of segments. */
void boot_tables_gdt(struct boot_tables *t, struct boot_entry *ret);

/* Checks that the image lies in free RAM, writes it, its modules after it (page-aligned, to placed[]), and makes *ret
 * with room for all command lines, a GDT and `fixed` bytes in up to 8 pieces; the caller fills it and writes it. The
 * tables lie in low memory from 8000h on where the image leaves room, else after the modules. VT_CORRUPT; VT_USAGE:
 * more RAM or a shorter command line would do. */
int boot_image_load(const struct boot_mem *m, const struct boot_files *f, const struct boot_image *k, uint32_t fixed,
                    struct boot_placed *placed, struct boot_tables *ret, struct err *e);

#endif
