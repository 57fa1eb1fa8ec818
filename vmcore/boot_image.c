#include "vmcore/boot_image.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/util.h"

enum {
    LOW_RAM_END = 0x9fc00,
    HIGH_RAM = 0x100000,
    TABLES_FROM = 0x8000,
    E820_RAM = 1,
    E820_RESERVED = 2,
    ZERO_CHUNK = 65536,
    TEXTS_MAX = 65536, /* command lines */
    PIECE = 16,        /* what a piece of the tables takes beside its bytes: alignment, a text's end */
    GDT_SIZE = 32,
    LINUX_XLOADFLAGS = 0x236, /* Linux/x86 boot protocol 2.12 */
    LINUX_KERNEL_64 = 1,
};

/* ---- ELF */

bool boot_is_elf(const void *data, size_t len)
{
    return len >= SELFMAG && memcmp(data, ELFMAG, SELFMAG) == 0;
}

static bool inside(uint64_t off, uint64_t n, size_t len)
{
    return off <= len && n <= len - off;
}

struct header {
    uint64_t entry, phoff;
    uint16_t type, machine, phentsize, phnum;
};

static int read_header(struct boot_image *k, struct header *ret, struct err *e)
{
    Elf64_Ehdr h64;
    Elf32_Ehdr h32;

    if (!inside(0, sizeof h32, k->len))
        return err_set(e, VT_CORRUPT, "an ELF file cut short in its header");
    if (k->data[EI_DATA] != ELFDATA2LSB || (k->data[EI_CLASS] != ELFCLASS32 && k->data[EI_CLASS] != ELFCLASS64))
        return err_set(e, VT_CORRUPT, "an ELF file for another processor than x86");
    k->elf64 = k->data[EI_CLASS] == ELFCLASS64;
    if (k->elf64) {
        if (!inside(0, sizeof h64, k->len))
            return err_set(e, VT_CORRUPT, "an ELF file cut short in its header");
        memcpy(&h64, k->data, sizeof h64);
        *ret = (struct header){h64.e_entry, h64.e_phoff, h64.e_type, h64.e_machine, h64.e_phentsize, h64.e_phnum};
    } else {
        memcpy(&h32, k->data, sizeof h32);
        *ret = (struct header){h32.e_entry, h32.e_phoff, h32.e_type, h32.e_machine, h32.e_phentsize, h32.e_phnum};
    }
    if (ret->machine != (k->elf64 ? EM_X86_64 : EM_386))
        return err_set(e, VT_CORRUPT, "an ELF file for another processor than x86");
    if (ret->type != ET_EXEC && ret->type != ET_DYN)
        return err_set(e, VT_CORRUPT, "an ELF file that is not an executable (type %u)", ret->type);
    return 0;
}

static uint32_t read_segment(const struct boot_image *k, uint64_t at, struct boot_seg *ret)
{
    Elf64_Phdr p64;
    Elf32_Phdr p32;

    if (k->elf64) {
        memcpy(&p64, k->data + at, sizeof p64);
        *ret = (struct boot_seg){p64.p_paddr, p64.p_memsz, p64.p_vaddr, p64.p_offset, p64.p_filesz};
        return p64.p_type;
    }
    memcpy(&p32, k->data + at, sizeof p32);
    *ret = (struct boot_seg){p32.p_paddr, p32.p_memsz, p32.p_vaddr, p32.p_offset, p32.p_filesz};
    return p32.p_type;
}

static int add_segment(struct boot_image *k, const struct boot_seg *s, unsigned i, struct err *e)
{
    if (s->memsz < s->filesz)
        return err_set(e, VT_CORRUPT, "ELF segment %u is larger in the file than in memory", i);
    if (!inside(s->off, s->filesz, k->len))
        return err_set(e, VT_CORRUPT, "an ELF file cut short: segment %u lies behind its end", i);
    if (s->memsz > UINT32_MAX || s->pa > UINT32_MAX || s->pa + s->memsz > 1ull << 32)
        return err_set(e, VT_CORRUPT, "ELF segment %u is loaded above 4 GiB (at %llx)", i, (unsigned long long)s->pa);
    if (s->memsz == 0)
        return 0;
    if (k->n == BOOT_SEGS_MAX)
        return err_set(e, VT_CORRUPT, "an ELF file with more than %d segments", BOOT_SEGS_MAX);
    k->seg[k->n++] = *s;
    return 0;
}

int boot_elf_parse(const void *data, size_t len, struct boot_image *ret, struct err *e)
{
    struct boot_image k = {.data = data, .len = len};
    struct header h = {0};
    struct boot_seg s;
    size_t size;
    int r = read_header(&k, &h, e);

    if (r)
        return r;
    size = k.elf64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);
    if (h.phnum == 0 || h.phentsize != size)
        return err_set(e, VT_CORRUPT, "an ELF file without program headers: nothing to load");
    if (!inside(h.phoff, (uint64_t)h.phnum * size, len))
        return err_set(e, VT_CORRUPT, "an ELF file cut short: its program headers lie behind its end");
    k.entry = h.entry;
    for (unsigned i = 0; i < h.phnum && !r; i++) {
        uint32_t type = read_segment(&k, h.phoff + i * size, &s);

        if (type == PT_LOAD)
            r = add_segment(&k, &s, i, e);
        else if (type == PT_NOTE && inside(s.off, s.filesz, len) && k.nnotes < BOOT_SEGS_MAX)
            k.note[k.nnotes++] = s;
    }
    if (!r && k.n == 0)
        r = err_set(e, VT_CORRUPT, "an ELF file without segments: nothing to load");
    if (!r)
        *ret = k;
    return r;
}

bool boot_elf_note(const struct boot_image *k, const char *name, uint32_t type, uint64_t *ret_value)
{
    size_t name_len = strlen(name) + 1;

    for (unsigned i = 0; i < k->nnotes; i++) {
        const uint8_t *p = k->data + k->note[i].off;
        uint64_t left = k->note[i].filesz;
        Elf32_Nhdr h; /* the same in both classes */

        while (left >= sizeof h) {
            uint64_t names, all;

            memcpy(&h, p, sizeof h);
            names = sizeof h + ALIGN_UP((uint64_t)h.n_namesz, 4);
            all = names + h.n_descsz;
            if (all > left)
                break;
            if (h.n_type == type && h.n_namesz == name_len && memcmp(p + sizeof h, name, name_len) == 0 &&
                (h.n_descsz == 4 || h.n_descsz == 8)) {
                *ret_value = 0;
                memcpy(ret_value, p + names, h.n_descsz);
                return true;
            }
            all = MIN(ALIGN_UP(all, (uint64_t)4), left);
            p += all;
            left -= all;
        }
    }
    return false;
}

uint64_t boot_elf_entry(const struct boot_image *k)
{
    for (unsigned i = 0; i < k->n; i++)
        if (k->entry >= k->seg[i].va && k->entry - k->seg[i].va < k->seg[i].memsz)
            return k->entry - k->seg[i].va + k->seg[i].pa;
    return k->entry;
}

/* ---- memory */

unsigned boot_memory_map(const struct boot_mem *m, struct boot_range ret[BOOT_RANGES])
{
    ret[0] = (struct boot_range){0, LOW_RAM_END, E820_RAM};
    ret[1] = (struct boot_range){LOW_RAM_END, 0xa0000, E820_RESERVED};
    ret[2] = (struct boot_range){ACPI_AREA, ACPI_AREA + ACPI_SIZE, E820_RESERVED};
    ret[BOOT_HIGH_RAM] = (struct boot_range){HIGH_RAM, m->ram_bytes, E820_RAM};
    ret[BOOT_HIGH_RAM + 1] = (struct boot_range){1ull << 32, (1ull << 32) + m->high_bytes, E820_RAM};
    return BOOT_HIGH_RAM + 1 + (m->high_bytes != 0);
}

static bool overlap(uint64_t a, uint64_t alen, uint64_t b, uint64_t blen)
{
    return a < b + blen && b < a + alen;
}

static int check(const struct boot_mem *m, const struct boot_image *k, struct err *e)
{
    for (unsigned i = 0; i < k->n; i++) {
        const struct boot_seg *s = &k->seg[i];
        uint64_t end = s->pa + s->memsz;

        if (s->pa < HIGH_RAM && end > LOW_RAM_END)
            return err_set(e, VT_CORRUPT, "the kernel loads to %llx..%llx, where no free RAM is",
                           (unsigned long long)s->pa, (unsigned long long)end);
        if (end > m->ram_bytes)
            return err_set(e, VT_USAGE, "the kernel loads to %llx..%llx, the machine has %llu MiB of RAM",
                           (unsigned long long)s->pa, (unsigned long long)end,
                           (unsigned long long)(m->ram_bytes >> 20));
        for (unsigned j = 0; j < i; j++)
            if (overlap(s->pa, s->memsz, k->seg[j].pa, k->seg[j].memsz))
                return err_set(e, VT_CORRUPT, "the kernel's segments overlap at %llx",
                               (unsigned long long)MAX(s->pa, k->seg[j].pa));
    }
    return 0;
}

/* A reset boots into memory that was used: what the file does not have is written, too. */
static int write_zeroes(const struct boot_mem *m, uint64_t pa, uint64_t len, struct err *e)
{
    static const uint8_t zero[ZERO_CHUNK];
    int r = 0;

    while (len && !r) {
        uint64_t n = MIN(len, (uint64_t)ZERO_CHUNK);
        r = m->write(m->opaque, pa, zero, n, e);
        pa += n;
        len -= n;
    }
    return r;
}

static int write_image(const struct boot_mem *m, const struct boot_image *k, struct err *e)
{
    int r = 0;

    for (unsigned i = 0; i < k->n && !r; i++) {
        const struct boot_seg *s = &k->seg[i];

        r = m->write(m->opaque, s->pa, k->data + s->off, s->filesz, e);
        if (!r)
            r = write_zeroes(m, s->pa + s->filesz, s->memsz - s->filesz, e);
    }
    return r;
}

static uint64_t image_end(const struct boot_image *k)
{
    uint64_t end = HIGH_RAM;

    for (unsigned i = 0; i < k->n; i++)
        end = MAX(end, k->seg[i].pa + k->seg[i].memsz);
    return end;
}

static int write_modules(const struct boot_mem *m, const struct boot_image *k, const struct vm_module *modules,
                         unsigned nmodules, struct boot_placed *ret, uint64_t *ret_end, struct err *e)
{
    uint64_t at = image_end(k);
    int r = 0;

    for (unsigned i = 0; i < nmodules && !r; i++) {
        at = ALIGN_UP(at, (uint64_t)VT_PAGE_SIZE);
        if (at > m->ram_bytes || modules[i].len > m->ram_bytes - at)
            return err_set(e, VT_USAGE, "%llu MiB of RAM cannot hold the kernel and its modules",
                           (unsigned long long)(m->ram_bytes >> 20));
        ret[i] = (struct boot_placed){(uint32_t)at, (uint32_t)modules[i].len};
        r = m->write(m->opaque, at, modules[i].data, modules[i].len, e);
        at += modules[i].len;
    }
    *ret_end = at;
    return r;
}

/* ---- tables */

/* The lowest place in [at, end) that is free of the image; 0: none. */
static uint64_t free_place(const struct boot_image *k, uint64_t at, uint64_t end, uint64_t size)
{
    for (;;) {
        bool moved = false;

        at = ALIGN_UP(at, (uint64_t)VT_PAGE_SIZE);
        if (at + size > end)
            return 0;
        for (unsigned i = 0; i < k->n; i++)
            if (overlap(at, size, k->seg[i].pa, k->seg[i].memsz)) {
                at = k->seg[i].pa + k->seg[i].memsz;
                moved = true;
            }
        if (!moved)
            return at;
    }
}

static int place_tables(const struct boot_mem *m, const struct boot_image *k, uint64_t after, uint32_t size,
                        struct boot_tables *ret, struct err *e)
{
    uint64_t at = free_place(k, TABLES_FROM, LOW_RAM_END, size);

    if (!at)
        at = free_place(k, MAX(after, (uint64_t)HIGH_RAM), m->ram_bytes, size);
    if (!at)
        return err_set(e, VT_USAGE, "%llu MiB of RAM cannot hold the kernel and its boot information",
                       (unsigned long long)(m->ram_bytes >> 20));
    *ret = (struct boot_tables){(uint32_t)at, 0, size, calloc(1, size)};
    return ret->data ? 0 : err_set(e, VT_FAIL, "out of memory");
}

void boot_tables_release(struct boot_tables *t)
{
    free(steal(&t->data));
}

uint32_t boot_tables_add(struct boot_tables *t, const void *src, size_t len)
{
    uint32_t at = ALIGN_UP(t->len, 16u);

    vt_assert(at <= t->size && len <= t->size - at);
    if (src)
        memcpy(t->data + at, src, len);
    t->len = at + (uint32_t)len;
    return t->at + at;
}

void boot_tables_gdt(struct boot_tables *t, struct boot_entry *ret)
{
    static const uint64_t gdt[4] = {0, 0, 0x00cf9a000000ffff, 0x00cf92000000ffff}; /* 10h: code, 18h: data */

    ret->cs = 0x10;
    ret->ds = 0x18;
    ret->gdt_limit = sizeof gdt - 1;
    ret->gdt_base = boot_tables_add(t, gdt, sizeof gdt);
}

static int texts_size(const struct boot_files *f, uint32_t *ret_size, struct err *e)
{
    uint64_t size = strlen(f->cmdline) + PIECE;

    for (unsigned i = 0; i < f->nmodules; i++)
        size += (f->module[i].args ? strlen(f->module[i].args) : 0) + PIECE;
    if (size > TEXTS_MAX)
        return err_set(e, VT_USAGE, "the command lines of the kernel and its modules have more than %d bytes",
                       TEXTS_MAX);
    *ret_size = (uint32_t)size;
    return 0;
}

/* What the BIOS keeps at 400h, in the words of the IBM PC's technical reference, as far as kernels without one look at
 * it: ports, where base memory ends, the text mode. Interrupts 10h to 1Ah answer in real mode that they do not know the
 * service. An image that lies there overwrites all this. */
static int write_bios_data(const struct boot_mem *m, struct err *e)
{
    static const struct {
        uint8_t at, len;
        uint16_t value;
    } words[] = {
        {0x00, 2, 0x3f8},
        {0x02, 2, 0x2f8},             /* serial ports */
        {0x0e, 2, LOW_RAM_END >> 4},  /* segment of the extended BIOS data area */
        {0x10, 2, 0x0426},            /* two serial ports, mouse, 80x25 in colour, x87 */
        {0x13, 2, LOW_RAM_END >> 10}, /* base memory in KiB */
        {0x1a, 2, 0x1e},
        {0x1c, 2, 0x1e}, /* keyboard buffer: empty */
        {0x49, 1, 3},
        {0x4a, 2, 80}, /* video mode, columns */
        {0x4c, 2, 4096},
        {0x60, 2, 0x0d0e}, /* bytes a page, cursor */
        {0x63, 2, 0x3d4},
        {0x65, 1, 0x29}, /* CRTC's port, mode control */
        {0x80, 2, 0x1e},
        {0x82, 2, 0x3e}, /* where the keyboard buffer lies */
        {0x84, 1, 24},
        {0x85, 2, 16}, /* rows but one, a character's height */
        {0x87, 1, 0x60},
        {0x88, 1, 9},
        {0x89, 1, 0x11}, /* display: VGA */
    };
    enum { SERVICES = 0x10, SERVICES_END = 0x1b, HANDLER = 0x10 };
    static const uint8_t extended[] = {
        (0xa0000 - LOW_RAM_END) >> 10,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0, /* its size in KiB comes first */
        0x55,
        0x89,
        0xe5,
        0x80,
        0x4e,
        0x06,
        0x01,
        0x5d,
        0xcf, /* CF in the saved flags, IRET: there is no such service */
    };
    uint8_t area[256] = {0};
    uint16_t vectors[SERVICES_END - SERVICES][2];
    int r;

    for (unsigned i = 0; i < ARRAY_LEN(words); i++)
        memcpy(area + words[i].at, &words[i].value, words[i].len);
    for (unsigned i = 0; i < ARRAY_LEN(vectors); i++) {
        vectors[i][0] = HANDLER;
        vectors[i][1] = LOW_RAM_END >> 4;
    }
    r = m->write(m->opaque, SERVICES * 4, vectors, sizeof vectors, e);
    if (!r)
        r = m->write(m->opaque, 0x400, area, sizeof area, e);
    return r ? r : m->write(m->opaque, LOW_RAM_END, extended, sizeof extended, e);
}

int boot_image_load(const struct boot_mem *m, const struct boot_files *f, const struct boot_image *k, uint32_t fixed,
                    struct boot_placed *placed, struct boot_tables *ret, struct err *e)
{
    uint64_t end = 0;
    uint32_t texts = 0;
    int r = check(m, k, e);

    if (!r)
        r = texts_size(f, &texts, e);
    if (!r)
        r = write_bios_data(m, e);
    if (!r)
        r = write_image(m, k, e);
    if (!r)
        r = write_modules(m, k, f->module, f->nmodules, placed, &end, e);
    return r ? r : place_tables(m, k, end, texts + fixed + 10 * PIECE + GDT_SIZE, ret, e);
}

/* ---- any kernel */

int boot_load(const struct boot_mem *m, const struct boot_files *f, uint32_t rsdp, struct boot_entry *ret,
              struct err *e)
{
    switch (boot_kind(f->kernel, f->kernel_len)) {
    case VM_KERNEL_LINUX:
        return boot_linux_load(m, f->kernel, f->kernel_len, f->nmodules ? f->module[0].data : NULL,
                               f->nmodules ? f->module[0].len : 0, f->cmdline, rsdp, ret, e);
    case VM_KERNEL_MULTIBOOT:
        return boot_multiboot_load(m, f, ret, e);
    case VM_KERNEL_PVH:
        return boot_pvh_load(m, f, rsdp, ret, e);
    case VM_KERNEL_NONE:
        break;
    }
    if (boot_is_elf(f->kernel, f->kernel_len)) /* damaged, or without either */
        return boot_pvh_load(m, f, rsdp, ret, e);
    return err_set(e, VT_CORRUPT, "not a kernel: neither a Linux bzImage nor Multiboot 1 nor PVH");
}

bool boot_is_64(const void *kernel, size_t len)
{
    const uint8_t *k = kernel;

    if (boot_is_elf(kernel, len))
        return len > EI_CLASS && k[EI_CLASS] == ELFCLASS64;
    return boot_linux_is(kernel, len) && (k[LINUX_XLOADFLAGS] & LINUX_KERNEL_64);
}

enum vm_kernel boot_kind(const void *kernel, size_t len)
{
    if (boot_linux_is(kernel, len))
        return VM_KERNEL_LINUX;
    if (boot_multiboot_is(kernel, len))
        return VM_KERNEL_MULTIBOOT;
    return boot_pvh_is(kernel, len) ? VM_KERNEL_PVH : VM_KERNEL_NONE;
}
