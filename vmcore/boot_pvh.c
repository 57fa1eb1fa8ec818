/* The x86/HVM direct boot ABI, "PVH" (Xen, docs/misc/pvh.pandoc; public/arch-x86/hvm/start_info.h): an ELF file with a
 * note that gives its 32-bit entry, and a start_info structure in EBX. */
#include <string.h>

#include "src/base/util.h"
#include "vmcore/boot_image.h"

enum {
    NOTE_PHYS32_ENTRY = 18, /* of "Xen" */
    START_MAGIC = 0x336ec578,
};

struct start_info {
    uint32_t magic, version, flags, nr_modules;
    uint64_t modlist, cmdline, rsdp;
    uint64_t memmap; /* version 1 */
    uint32_t memmap_entries, reserved;
};
struct start_module {
    uint64_t addr, size, cmdline, reserved;
};
struct start_range {
    uint64_t addr, size;
    uint32_t type, reserved;
};

static bool entry_of(const struct boot_image *k, uint64_t *ret)
{
    return boot_elf_note(k, "Xen", NOTE_PHYS32_ENTRY, ret);
}

bool boot_pvh_is(const void *kernel, size_t len)
{
    struct boot_image k;
    uint64_t entry;

    return boot_is_elf(kernel, len) && boot_elf_parse(kernel, len, &k, NULL) == 0 && entry_of(&k, &entry);
}

static int read_image(const struct boot_files *f, struct boot_image *k, struct err *e)
{
    int r = boot_elf_parse(f->kernel, f->kernel_len, k, e);

    if (r)
        return r;
    if (!entry_of(k, &k->entry))
        return err_set(e, VT_CORRUPT, "an ELF file without a Multiboot header and without a PVH note");
    if (k->entry > UINT32_MAX)
        return err_set(e, VT_CORRUPT, "the PVH note's entry is above 4 GiB (%llx)", (unsigned long long)k->entry);
    return 0;
}

static void add_memory_map(const struct boot_mem *m, struct boot_tables *t, struct start_info *s)
{
    struct boot_range map[BOOT_RANGES];
    struct start_range out[BOOT_RANGES] = {0};

    s->memmap_entries = boot_memory_map(m, map);
    for (unsigned i = 0; i < s->memmap_entries; i++)
        out[i] = (struct start_range){map[i].start, map[i].end - map[i].start, map[i].type, 0};
    s->memmap = boot_tables_add(t, out, s->memmap_entries * sizeof out[0]);
}

static void add_modules(const struct boot_files *f, const struct boot_placed *placed, struct boot_tables *t,
                        struct start_info *s)
{
    struct start_module out[VM_MAX_MODULES] = {0};

    for (unsigned i = 0; i < f->nmodules; i++) {
        const char *args = f->module[i].args;

        out[i] = (struct start_module){.addr = placed[i].start, .size = placed[i].len};
        if (args)
            out[i].cmdline = boot_tables_add(t, args, strlen(args) + 1);
    }
    s->nr_modules = f->nmodules;
    if (f->nmodules)
        s->modlist = boot_tables_add(t, out, sizeof out[0] * f->nmodules);
}

int boot_pvh_load(const struct boot_mem *m, const struct boot_files *f, uint32_t rsdp, struct boot_entry *ret,
                  struct err *e)
{
    struct start_info s = {.magic = START_MAGIC, .version = 1, .rsdp = rsdp};
    struct boot_placed placed[VM_MAX_MODULES];
    cleanup(boot_tables_release) struct boot_tables t = {0};
    struct boot_entry entry = {0};
    struct boot_image k;
    int r = read_image(f, &k, e);

    if (!r)
        r = boot_image_load(m, f, &k,
                            sizeof s + sizeof(struct start_range) * BOOT_RANGES +
                                (uint32_t)sizeof(struct start_module) * f->nmodules,
                            placed, &t, e);
    if (r)
        return r;
    boot_tables_gdt(&t, &entry);
    add_memory_map(m, &t, &s);
    add_modules(f, placed, &t, &s);
    s.cmdline = boot_tables_add(&t, f->cmdline, strlen(f->cmdline) + 1);
    entry.ebx = boot_tables_add(&t, &s, sizeof s);
    entry.eip = (uint32_t)k.entry;
    r = m->write(m->opaque, t.at, t.data, t.len, e);
    if (!r)
        *ret = entry;
    return r;
}
