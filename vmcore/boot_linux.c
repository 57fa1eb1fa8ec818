#include "vmcore/boot.h"

#include <string.h>

#include "src/base/util.h"

/* Low memory, all of it free for the kernel once it has read it. */
enum {
    GDT_AT = 0x7000,
    ZERO_PAGE_AT = 0x10000,
    CMDLINE_AT = 0x20000,
    STACK_TOP = 0x10000,
    LOW_RAM_END = 0x9fc00,
    LOAD_AT = 0x100000,
};

/* struct boot_params and the setup header in it, by offset (boot.rst; zero-page.rst). */
enum {
    BP_VIDEO_MODE = 0x006, /* struct screen_info: what the display is in */
    BP_VIDEO_COLS = 0x007,
    BP_VIDEO_EGA_BX = 0x00a,
    BP_VIDEO_LINES = 0x00e,
    BP_VIDEO_IS_VGA = 0x00f,
    BP_VIDEO_POINTS = 0x010,
    BP_RSDP = 0x070,
    BP_E820_ENTRIES = 0x1e8,
    BP_SETUP_SECTS = 0x1f1,
    BP_SYSSIZE = 0x1f4,
    BP_VID_MODE = 0x1fa,
    BP_BOOT_FLAG = 0x1fe,
    BP_JUMP = 0x200,
    BP_HEADER = 0x202,
    BP_VERSION = 0x206,
    BP_TYPE_OF_LOADER = 0x210,
    BP_LOADFLAGS = 0x211,
    BP_CODE32_START = 0x214,
    BP_RAMDISK_IMAGE = 0x218,
    BP_RAMDISK_SIZE = 0x21c,
    BP_CMD_LINE_PTR = 0x228,
    BP_INITRD_ADDR_MAX = 0x22c,
    BP_CMDLINE_SIZE = 0x238,
    BP_PREF_ADDRESS = 0x258,
    BP_INIT_SIZE = 0x260,
    BP_HEADER_MAX = 0x290, /* the setup header ends before this */
    BP_E820 = 0x2d0,
    BP_SIZE = 4096,

    LOADED_HIGH = 0x01,
    KEEP_SEGMENTS = 0x40,
    E820_RAM = 1,
    E820_RESERVED = 2,
};

static uint32_t get(const uint8_t *p, unsigned off, unsigned size)
{
    uint32_t v = 0;
    memcpy(&v, p + off, size);
    return v;
}

static void put(uint8_t *p, unsigned off, uint64_t v, unsigned size)
{
    memcpy(p + off, &v, size);
}

struct image {
    const uint8_t *setup; /* its first sector and on: the setup header */
    const uint8_t *code;
    uint32_t code_len;
    uint32_t header_end;
    uint64_t end; /* address after all memory that the kernel needs before it has read the memory map */
};

bool boot_linux_is(const void *kernel, size_t len)
{
    const uint8_t *k = kernel;

    return len >= BP_HEADER_MAX && get(k, BP_BOOT_FLAG, 2) == 0xaa55 && memcmp(k + BP_HEADER, "HdrS", 4) == 0;
}

static int parse(const uint8_t *kernel, size_t len, struct image *ret, struct err *e)
{
    if (!boot_linux_is(kernel, len))
        return err_set(e, VT_CORRUPT, "not a Linux kernel (bzImage): no setup header");
    uint32_t version = get(kernel, BP_VERSION, 2), sects = get(kernel, BP_SETUP_SECTS, 1);
    if (version < 0x20a)
        return err_set(e, VT_CORRUPT, "kernel has boot protocol %u.%02u, 2.10 or later is needed", version >> 8,
                       version & 255);
    if (!(get(kernel, BP_LOADFLAGS, 1) & LOADED_HIGH))
        return err_set(e, VT_CORRUPT, "kernel is a zImage, a bzImage is needed");
    size_t setup_len = ((sects ? sects : 4) + 1) * 512;
    uint64_t code_len = (uint64_t)get(kernel, BP_SYSSIZE, 4) * 16;
    if (!code_len || code_len > 1u << 30)
        return err_set(e, VT_CORRUPT, "kernel's setup header gives an impossible size");
    /* The last paragraph may be cut: syssize is rounded up. */
    if (len < setup_len || len - setup_len + 15 < code_len)
        return err_set(e, VT_CORRUPT, "kernel is truncated: %zu bytes, its header says %llu", len,
                       (unsigned long long)(setup_len + code_len));
    uint64_t pref = get(kernel, BP_PREF_ADDRESS, 4);
    ret->setup = kernel;
    ret->code = kernel + setup_len;
    ret->code_len = (uint32_t)MIN(code_len, len - setup_len);
    ret->header_end = MIN(BP_JUMP + 2u + kernel[BP_JUMP + 1], (uint32_t)BP_HEADER_MAX);
    ret->end = MAX(LOAD_AT + code_len, MAX(pref, (uint64_t)LOAD_AT) + get(kernel, BP_INIT_SIZE, 4));
    return 0;
}

/* As high as the kernel allows, so that it is out of the way of decompression. */
static int place_initrd(const struct boot_mem *m, const struct image *k, size_t len, uint64_t *ret_at, struct err *e)
{
    uint64_t top = MIN(m->ram_bytes, (uint64_t)get(k->setup, BP_INITRD_ADDR_MAX, 4) + 1);
    uint64_t start = ALIGN_UP(k->end, (uint64_t)VT_PAGE_SIZE);

    if (top < start || top - start < len)
        return err_set(e, VT_USAGE, "%llu MiB of RAM cannot hold the kernel and an initrd of %zu bytes",
                       (unsigned long long)(m->ram_bytes >> 20), len);
    *ret_at = (top - len) & ~(uint64_t)(VT_PAGE_SIZE - 1);
    if (*ret_at < start)
        return err_set(e, VT_USAGE, "%llu MiB of RAM cannot hold the kernel and an initrd of %zu bytes",
                       (unsigned long long)(m->ram_bytes >> 20), len);
    return 0;
}

static void add_e820(uint8_t *bp, uint64_t start, uint64_t end, uint32_t type)
{
    uint8_t *n = bp + BP_E820_ENTRIES, *p = bp + BP_E820 + 20u * (*n)++;
    put(p, 0, start, 8);
    put(p, 8, end - start, 8);
    put(p, 16, type, 4);
}

static int write_gdt(const struct boot_mem *m, struct boot_entry *ret, struct err *e)
{
    /* 10h: flat code, 18h: flat data, as the protocol asks (__BOOT_CS, __BOOT_DS) */
    static const uint64_t gdt[4] = {0, 0, 0x00cf9a000000ffff, 0x00cf92000000ffff};
    ret->cs = 0x10;
    ret->ds = 0x18;
    ret->gdt_base = GDT_AT;
    ret->gdt_limit = sizeof gdt - 1;
    return m->write(m->opaque, GDT_AT, gdt, sizeof gdt, e);
}

int boot_linux_load(const struct boot_mem *m, const void *kernel, size_t kernel_len, const void *initrd,
                    size_t initrd_len, const char *cmdline, uint32_t rsdp, struct boot_entry *ret, struct err *e)
{
    uint8_t bp[BP_SIZE] = {0};
    struct boot_entry entry = {0};
    struct image k = {0};
    uint64_t initrd_at = 0;

    int r = parse(kernel, kernel_len, &k, e);
    if (r)
        return r;
    if (k.end > m->ram_bytes)
        return err_set(e, VT_USAGE, "kernel needs %llu MiB of RAM, the machine has %llu",
                       (unsigned long long)((k.end + (1 << 20) - 1) >> 20), (unsigned long long)(m->ram_bytes >> 20));
    cmdline = cmdline ? cmdline : "";
    size_t cmdline_len = strlen(cmdline);
    if (cmdline_len > MIN(get(k.setup, BP_CMDLINE_SIZE, 4), 0xffffu))
        return err_set(e, VT_USAGE, "kernel command line has %zu bytes, this kernel takes %u", cmdline_len,
                       get(k.setup, BP_CMDLINE_SIZE, 4));
    if (initrd && initrd_len) {
        r = place_initrd(m, &k, initrd_len, &initrd_at, e);
        if (!r)
            r = m->write(m->opaque, initrd_at, initrd, initrd_len, e);
        if (r)
            return r;
    }

    memcpy(bp + BP_SETUP_SECTS, k.setup + BP_SETUP_SECTS, k.header_end - BP_SETUP_SECTS);
    put(bp, BP_VIDEO_MODE, 3, 1); /* as vga_direct_boot() leaves it */
    put(bp, BP_VIDEO_COLS, 80, 1);
    put(bp, BP_VIDEO_EGA_BX, 3, 2); /* 256 KiB, colour */
    put(bp, BP_VIDEO_LINES, 25, 1);
    put(bp, BP_VIDEO_IS_VGA, 1, 1);
    put(bp, BP_VIDEO_POINTS, 16, 2);
    put(bp, BP_RAMDISK_IMAGE, initrd_at, 4);
    put(bp, BP_RAMDISK_SIZE, initrd_at ? initrd_len : 0, 4);
    put(bp, BP_VID_MODE, 0xffff, 2);
    put(bp, BP_TYPE_OF_LOADER, 0xff, 1);
    put(bp, BP_LOADFLAGS, get(bp, BP_LOADFLAGS, 1) & ~(unsigned)KEEP_SEGMENTS, 1);
    put(bp, BP_CODE32_START, LOAD_AT, 4);
    put(bp, BP_CMD_LINE_PTR, CMDLINE_AT, 4);
    put(bp, BP_RSDP, rsdp, 8);
    add_e820(bp, 0, LOW_RAM_END, E820_RAM);
    add_e820(bp, LOW_RAM_END, 0xa0000, E820_RESERVED);
    add_e820(bp, ACPI_AREA, ACPI_AREA + ACPI_SIZE, E820_RESERVED);
    add_e820(bp, LOAD_AT, m->ram_bytes, E820_RAM);
    if (m->high_bytes)
        add_e820(bp, 1ull << 32, (1ull << 32) + m->high_bytes, E820_RAM);

    r = write_gdt(m, &entry, e);
    if (!r)
        r = m->write(m->opaque, LOAD_AT, k.code, k.code_len, e);
    if (!r)
        r = m->write(m->opaque, CMDLINE_AT, cmdline, cmdline_len + 1, e);
    if (!r)
        r = m->write(m->opaque, ZERO_PAGE_AT, bp, sizeof bp, e);
    if (r)
        return r;
    entry.eip = LOAD_AT;
    entry.esi = ZERO_PAGE_AT;
    entry.esp = STACK_TOP;
    *ret = entry;
    return 0;
}
