/* Multiboot 1: Multiboot Specification version 0.6.96, sections 3.1 (header), 3.2 (machine state) and 3.3 (boot
 * information). */
#include <stdlib.h>
#include <string.h>

#include "src/base/util.h"
#include "vmcore/boot_image.h"

enum {
    HEADER_MAGIC = 0x1badb002,
    BOOT_MAGIC = 0x2badb002,
    SEARCH = 8192, /* the header lies wholly within, at a multiple of 4 */
    WANT_ALIGN = 1 << 0,
    WANT_MEMORY = 1 << 1,
    WANT_VIDEO = 1 << 2,
    HAS_ADDRESSES = 1 << 16,
    MUST = 0xffff, /* of these, what a loader does not know it must refuse */

    INFO_MEMORY = 1 << 0,
    INFO_CMDLINE = 1 << 2,
    INFO_MODS = 1 << 3,
    INFO_MMAP = 1 << 6,
    INFO_LOADER = 1 << 9,
};

struct header {
    uint32_t magic, flags, checksum;
    uint32_t header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr; /* HAS_ADDRESSES */
};

struct info {
    uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4], mmap_length, mmap_addr,
        drives_length, drives_addr, config_table, boot_loader_name, apm_table, vbe[4];
};
struct info_mod {
    uint32_t start, end, string, reserved;
};
struct info_mmap {
    uint32_t size; /* of what follows */
    uint32_t addr[2], len[2], type;
};

/* False: there is none. */
static bool find(const uint8_t *k, size_t len, struct header *ret, uint32_t *ret_off)
{
    for (uint32_t at = 0; at + 12 <= MIN(len, (size_t)SEARCH); at += 4) {
        struct header h = {0};

        memcpy(&h, k + at, 12);
        if (h.magic != HEADER_MAGIC || h.magic + h.flags + h.checksum != 0)
            continue;
        if (at + sizeof h <= len)
            memcpy(&h, k + at, sizeof h);
        *ret = h;
        *ret_off = at;
        return true;
    }
    return false;
}

bool boot_multiboot_is(const void *kernel, size_t len)
{
    struct header h;
    uint32_t off;

    return find(kernel, len, &h, &off);
}

/* Where the header's own address fields say what is loaded (the specification's a.out kludge). */
static int by_addresses(const struct boot_files *f, const struct header *h, uint32_t off, struct boot_image *ret,
                        struct err *e)
{
    uint64_t start, size, memsz;

    if (off + sizeof *h > f->kernel_len)
        return err_set(e, VT_CORRUPT, "a Multiboot kernel cut short in its header");
    if (h->header_addr < h->load_addr || h->header_addr - h->load_addr > off)
        return err_set(e, VT_CORRUPT, "the Multiboot header's addresses contradict its place in the file");
    start = off - (h->header_addr - h->load_addr);
    size = h->load_end_addr ? (uint64_t)h->load_end_addr - h->load_addr : f->kernel_len - start;
    if (h->load_end_addr && h->load_end_addr < h->load_addr)
        return err_set(e, VT_CORRUPT, "the Multiboot header's load_end_addr lies before its load_addr");
    if (size > f->kernel_len - start)
        return err_set(e, VT_CORRUPT, "a Multiboot kernel cut short: %llu bytes are to be loaded, the file has %llu",
                       (unsigned long long)size, (unsigned long long)(f->kernel_len - start));
    memsz = size;
    if (h->bss_end_addr) {
        if (h->bss_end_addr < h->load_addr + size)
            return err_set(e, VT_CORRUPT, "the Multiboot header's bss_end_addr lies before the end of what is loaded");
        memsz = h->bss_end_addr - h->load_addr;
    }
    if (memsz == 0)
        return err_set(e, VT_CORRUPT, "a Multiboot kernel without contents");
    *ret = (struct boot_image){.data = f->kernel, .len = f->kernel_len, .entry = h->entry_addr, .n = 1};
    ret->seg[0] = (struct boot_seg){h->load_addr, memsz, h->load_addr, start, size};
    return 0;
}

static int read_image(const struct boot_files *f, struct boot_image *k, const char **ret_note, struct err *e)
{
    struct header h;
    uint32_t off;
    int r;

    if (!find(f->kernel, f->kernel_len, &h, &off))
        return err_set(e, VT_CORRUPT, "no Multiboot header");
    if (h.flags & MUST & ~(uint32_t)(WANT_ALIGN | WANT_MEMORY | WANT_VIDEO))
        return err_set(e, VT_CORRUPT, "the Multiboot header asks for what Multiboot 1 does not have (flags %x)",
                       h.flags);
    *ret_note = h.flags & WANT_VIDEO ? "the kernel asks for a video mode: it gets 80x25 text" : NULL;
    if (h.flags & HAS_ADDRESSES)
        return by_addresses(f, &h, off, k, e);
    if (!boot_is_elf(f->kernel, f->kernel_len))
        return err_set(e, VT_CORRUPT, "a Multiboot kernel that is not ELF and whose header has no addresses");
    r = boot_elf_parse(f->kernel, f->kernel_len, k, e);
    if (!r)
        k->entry = boot_elf_entry(k);
    return r;
}

static uint32_t add_text(struct boot_tables *t, const char *text)
{
    return boot_tables_add(t, text, strlen(text) + 1);
}

static void add_memory_map(const struct boot_mem *m, struct boot_tables *t, struct info *info)
{
    struct boot_range map[BOOT_RANGES];
    struct info_mmap out[BOOT_RANGES] = {0};

    unsigned n = boot_memory_map(m, map);
    for (unsigned i = 0; i < n; i++) {
        uint64_t len = map[i].end - map[i].start;

        out[i].size = sizeof out[i] - sizeof out[i].size;
        memcpy(out[i].addr, &map[i].start, 8);
        memcpy(out[i].len, &len, 8);
        out[i].type = map[i].type;
    }
    info->flags |= INFO_MEMORY | INFO_MMAP;
    info->mem_lower = (uint32_t)(map[0].end >> 10);
    info->mem_upper = (uint32_t)((map[BOOT_HIGH_RAM].end - map[BOOT_HIGH_RAM].start) >> 10);
    info->mmap_length = n * (uint32_t)sizeof out[0];
    info->mmap_addr = boot_tables_add(t, out, info->mmap_length);
}

static void add_modules(const struct boot_files *f, const struct boot_placed *placed, struct boot_tables *t,
                        struct info *info)
{
    struct info_mod out[VM_MAX_MODULES] = {0};

    for (unsigned i = 0; i < f->nmodules; i++)
        out[i] = (struct info_mod){.start = placed[i].start,
                                   .end = placed[i].start + placed[i].len,
                                   .string = add_text(t, f->module[i].args ? f->module[i].args : "")};
    info->flags |= INFO_MODS;
    info->mods_count = f->nmodules;
    info->mods_addr = boot_tables_add(t, out, sizeof out[0] * f->nmodules);
}

int boot_multiboot_load(const struct boot_mem *m, const struct boot_files *f, struct boot_entry *ret, struct err *e)
{
    struct boot_placed placed[VM_MAX_MODULES];
    cleanup(boot_tables_release) struct boot_tables t = {0};
    struct boot_entry entry = {0};
    struct boot_image k;
    struct info info = {0};
    int r = read_image(f, &k, &entry.note, e);

    if (!r)
        r = boot_image_load(m, f, &k,
                            sizeof info + sizeof(struct info_mmap) * BOOT_RANGES +
                                (uint32_t)sizeof(struct info_mod) * f->nmodules,
                            placed, &t, e);
    if (r)
        return r;
    boot_tables_gdt(&t, &entry);
    add_memory_map(m, &t, &info);
    add_modules(f, placed, &t, &info);
    info.flags |= INFO_CMDLINE | INFO_LOADER;
    info.cmdline = add_text(&t, f->cmdline);
    info.boot_loader_name = add_text(&t, "vmtest");
    entry.eax = BOOT_MAGIC;
    entry.ebx = boot_tables_add(&t, &info, sizeof info);
    entry.eip = (uint32_t)k.entry;
    r = m->write(m->opaque, t.at, t.data, t.len, e);
    if (!r)
        *ret = entry;
    return r;
}
