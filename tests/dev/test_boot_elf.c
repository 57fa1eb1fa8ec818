/* The loaders of Multiboot and PVH kernels: memory as the guest will find it, and files that are refused. Whatever a
 * file says, a loader stays inside of the file (each is read from a block of its exact size) and of RAM (write_ram). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <elf.h>

#include "src/base/util.h"
#include "vmcore/boot.h"

#define RAM (16u << 20)

struct machine {
    struct boot_mem m;
    uint8_t *ram;
};

static int write_ram(void *opaque, uint64_t pa, const void *src, size_t len, struct err *e)
{
    struct machine *g = opaque;
    assert_true(pa <= RAM && len <= RAM - pa);
    memcpy(g->ram + pa, src, len);
    return 0;
}

static int setup(void **state)
{
    struct machine *g = calloc(1, sizeof *g);
    g->ram = malloc(RAM);
    memset(g->ram, 0xee, RAM); /* what an earlier boot left */
    g->m = (struct boot_mem){RAM, write_ram, g};
    *state = g;
    return 0;
}
static int teardown(void **state)
{
    struct machine *g = *state;
    free(g->ram);
    free(g);
    return 0;
}

static uint64_t at(struct machine *g, uint64_t pa, unsigned size)
{
    uint64_t v = 0;
    memcpy(&v, g->ram + pa, size);
    return v;
}

/* ---- a kernel: two segments, a Multiboot header at the start of the first, a PVH note between */

enum { TEXT_AT = 0x200000, DATA_AT = 0x210000, HEADER = 0x200, NOTE = 0x300, DATA = 0x400, KERNEL = 0x480 };
enum { NO_MULTIBOOT = 1, NO_NOTE = 2, HIGH_HALF = 4 };

static void put32(uint8_t *p, uint32_t v)
{
    memcpy(p, &v, 4);
}

static void put_multiboot(uint8_t *p, uint32_t flags)
{
    put32(p, 0x1badb002);
    put32(p + 4, flags);
    put32(p + 8, 0u - 0x1badb002 - flags);
}

static void put_contents(uint8_t *k, unsigned how)
{
    for (unsigned i = HEADER; i < KERNEL; i++)
        k[i] = (uint8_t)(i * 7);
    if (!(how & NO_MULTIBOOT))
        put_multiboot(k + HEADER, 3);
    if (!(how & NO_NOTE)) {
        put32(k + NOTE, 4);
        put32(k + NOTE + 4, 4);
        put32(k + NOTE + 8, 18);
        memcpy(k + NOTE + 12, "Xen", 4);
        put32(k + NOTE + 16, TEXT_AT + 0x40);
    }
}

static uint8_t *make32(unsigned how)
{
    uint8_t *k = calloc(1, KERNEL);
    uint32_t up = how & HIGH_HALF ? 0xc0000000 : 0;
    Elf32_Ehdr h = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB, 1},
                    .e_type = ET_EXEC,
                    .e_machine = EM_386,
                    .e_entry = TEXT_AT + 0x20 + up,
                    .e_phoff = sizeof h,
                    .e_phentsize = sizeof(Elf32_Phdr),
                    .e_phnum = 3};
    Elf32_Phdr p[3] = {{.p_type = PT_LOAD,
                        .p_offset = HEADER,
                        .p_vaddr = TEXT_AT + up,
                        .p_paddr = TEXT_AT,
                        .p_filesz = 0x100,
                        .p_memsz = 0x100},
                       {.p_type = PT_NOTE, .p_offset = NOTE, .p_filesz = 20},
                       {.p_type = PT_LOAD,
                        .p_offset = DATA,
                        .p_vaddr = DATA_AT + up,
                        .p_paddr = DATA_AT,
                        .p_filesz = 0x80,
                        .p_memsz = 0x3000}};

    memcpy(k, &h, sizeof h);
    memcpy(k + sizeof h, p, sizeof p);
    put_contents(k, how);
    return k;
}

static uint8_t *make64(unsigned how)
{
    uint8_t *k = calloc(1, KERNEL);
    uint64_t up = how & HIGH_HALF ? 0xffffffff80000000 : 0;
    Elf64_Ehdr h = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, 1},
                    .e_type = ET_EXEC,
                    .e_machine = EM_X86_64,
                    .e_entry = TEXT_AT + 0x20 + up,
                    .e_phoff = sizeof h,
                    .e_phentsize = sizeof(Elf64_Phdr),
                    .e_phnum = 3};
    Elf64_Phdr p[3] = {{.p_type = PT_LOAD,
                        .p_offset = HEADER,
                        .p_vaddr = TEXT_AT + up,
                        .p_paddr = TEXT_AT,
                        .p_filesz = 0x100,
                        .p_memsz = 0x100},
                       {.p_type = PT_NOTE, .p_offset = NOTE, .p_filesz = 20},
                       {.p_type = PT_LOAD,
                        .p_offset = DATA,
                        .p_vaddr = DATA_AT + up,
                        .p_paddr = DATA_AT,
                        .p_filesz = 0x80,
                        .p_memsz = 0x3000}};

    memcpy(k, &h, sizeof h);
    memcpy(k + sizeof h, p, sizeof p);
    put_contents(k, how);
    return k;
}

static int load(struct machine *g, const uint8_t *k, size_t len, struct boot_entry *b, struct err *e)
{
    cleanup(cleanup_free) uint8_t *exact = malloc(len + !len);
    static const struct vm_module modules[2] = {{"first", 5, "a.img one"}, {"second!", 7, NULL}};
    struct boot_files f = {exact, len, modules, 2, "quiet"};

    memcpy(exact, k, len);
    return boot_load(&g->m, &f, 0xe0000, b, e);
}

static void check_loaded(struct machine *g, const uint8_t *k, const struct boot_entry *b)
{
    assert_memory_equal(g->ram + TEXT_AT, k + HEADER, 0x100);
    assert_memory_equal(g->ram + DATA_AT, k + DATA, 0x80);
    for (unsigned i = 0x80; i < 0x3000; i++)
        assert_int_equal(g->ram[DATA_AT + i], 0);
    assert_int_equal(g->ram[DATA_AT + 0x3000], 'f'); /* the first module, on a page of its own */
    assert_memory_equal(g->ram + DATA_AT + 0x4000, "second!", 7);
    assert_int_equal(at(g, b->gdt_base + b->cs, 8), 0x00cf9a000000ffff);
    assert_int_equal(at(g, b->gdt_base + b->ds, 8), 0x00cf92000000ffff);
    assert_true(b->gdt_limit >= b->ds + 7 && b->gdt_base + b->gdt_limit < 0x9fc00);
}

static void test_multiboot(void **state)
{
    struct machine *g = *state;

    for (unsigned i = 0; i < 4; i++) {
        cleanup(cleanup_free) uint8_t *k = i & 1 ? make64(i & 2 ? HIGH_HALF : 0) : make32(i & 2 ? HIGH_HALF : 0);
        struct boot_entry b;
        struct err e = {0};

        g->m.high_bytes = (uint64_t)i << 30;
        if (load(g, k, KERNEL, &b, &e))
            fail_msg("%s", e.msg);
        check_loaded(g, k, &b);
        assert_int_equal(b.eip, TEXT_AT + 0x20); /* the Multiboot header counts, and virtual entries are translated */
        assert_int_equal(b.eax, 0x2badb002);
        assert_int_equal(at(g, b.ebx, 4), 1 | 4 | 8 | 64 | 512);
        assert_int_equal(at(g, b.ebx + 4, 4), 0x9fc00 >> 10);
        assert_int_equal(at(g, b.ebx + 8, 4), (RAM >> 10) - 1024);
        assert_string_equal((char *)g->ram + at(g, b.ebx + 16, 4), "quiet");
        assert_int_equal(at(g, b.ebx + 20, 4), 2);
        uint32_t mods = (uint32_t)at(g, b.ebx + 24, 4);
        assert_int_equal(at(g, mods, 4), DATA_AT + 0x3000);
        assert_int_equal(at(g, mods + 4, 4), DATA_AT + 0x3005);
        assert_string_equal((char *)g->ram + at(g, mods + 8, 4), "a.img one");
        assert_string_equal((char *)g->ram + at(g, mods + 24, 4), "");
        assert_int_equal(at(g, b.ebx + 44, 4), (i ? 5 : 4) * 24);
        assert_int_equal(at(g, at(g, b.ebx + 48, 4) + 4 * 24 + 12, 8), i ? (uint64_t)i << 30 : 0); /* from 4 GiB on */
        assert_int_equal(at(g, at(g, b.ebx + 48, 4), 4), 20);
        assert_null(b.note);
    }
}

static void test_pvh(void **state)
{
    struct machine *g = *state;

    for (unsigned i = 0; i < 2; i++) {
        cleanup(cleanup_free) uint8_t *k = i ? make64(NO_MULTIBOOT) : make32(NO_MULTIBOOT);
        struct boot_entry b;
        struct err e = {0};

        g->m.high_bytes = i ? 3ull << 30 : 0;
        if (load(g, k, KERNEL, &b, &e))
            fail_msg("%s", e.msg);
        check_loaded(g, k, &b);
        assert_int_equal(b.eip, TEXT_AT + 0x40);
        assert_int_equal(at(g, b.ebx, 4), 0x336ec578);
        assert_int_equal(at(g, b.ebx + 4, 4), 1);
        assert_int_equal(at(g, b.ebx + 12, 4), 2);
        uint64_t mods = at(g, b.ebx + 16, 8);
        assert_int_equal(at(g, mods, 8), DATA_AT + 0x3000);
        assert_int_equal(at(g, mods + 8, 8), 5);
        assert_string_equal((char *)g->ram + at(g, mods + 16, 8), "a.img one");
        assert_int_equal(at(g, mods + 32 + 16, 8), 0);
        assert_string_equal((char *)g->ram + at(g, b.ebx + 24, 8), "quiet");
        assert_int_equal(at(g, b.ebx + 32, 8), 0xe0000);
        assert_int_equal(at(g, b.ebx + 48, 4), i ? 5 : 4);
        if (i) {
            assert_int_equal(at(g, at(g, b.ebx + 40, 8) + 96, 8), 1ull << 32);
            assert_int_equal(at(g, at(g, b.ebx + 40, 8) + 104, 8), 3ull << 30);
        }
        assert_int_equal(at(g, at(g, b.ebx + 40, 8) + 72, 8), 1 << 20); /* the last range: RAM from 1 MiB on */
    }
}

/* A file whose header says what is loaded: header, load, load end, bss end, entry. */
static void test_addresses(void **state)
{
    struct machine *g = *state;
    uint8_t k[512] = {0};
    static const struct {
        uint32_t addr[5];
        const char *say; /* NULL: it loads */
    } cases[] = {
        {{0x100040, 0x100020, 0x100100, 0x100200, 0x100030}, NULL},
        {{0x100040, 0x100000, 0, 0, 0x100030}, NULL}, /* all of the file from its start, no bss */
        {{0x100040, 0x100050, 0, 0, 0}, "contradict its place"},
        {{0x100050, 0x100000, 0, 0, 0}, "contradict its place"},
        {{0x100040, 0x100020, 0x100010, 0, 0}, "load_end_addr"},
        {{0x100040, 0x100020, 0x100300, 0, 0}, "cut short"},
        {{0x100040, 0x100020, 0x100100, 0x1000ff, 0}, "bss_end_addr"},
        {{0x9fb40, 0x9fb20, 0x9fc01, 0, 0}, "no free RAM"},
        {{0xfffffe40, 0xfffffe20, 0, 0, 0}, "16 MiB of RAM"},
        {{0x100040, 0x100020, 0x100100, 0x1100000, 0}, "16 MiB of RAM"},
    };

    put_multiboot(k + 0x40, 0x10003);
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct boot_entry b = {.eip = 77};
        struct err e = {0};
        int r;

        memcpy(k + 0x40 + 12, cases[i].addr, 20);
        r = load(g, k, sizeof k, &b, &e);
        assert_int_equal(r != 0, cases[i].say != NULL);
        assert_int_equal(b.eip, cases[i].say ? 77 : 0x100030);
        if (cases[i].say && !strstr(e.msg, cases[i].say))
            fail_msg("\"%s\" does not say \"%s\"", e.msg, cases[i].say);
        if (i == 0) {
            assert_memory_equal(g->ram + 0x100020, k + 0x20, 0xe0);
            for (unsigned a = 0x100100; a < 0x100200; a++)
                assert_int_equal(g->ram[a], 0);
        }
    }
    put_multiboot(k + 0x40, 3);
    struct err e = {0};
    assert_int_equal(load(g, k, sizeof k, NULL, &e), VT_CORRUPT);
    assert_non_null(strstr(e.msg, "not ELF"));
}

/* A header may end with the 8 KiB that are searched, at a multiple of 4; not later, not crooked. */
static void test_where_a_header_may_be(void **state)
{
    static uint8_t k[16384];

    for (unsigned i = 0; i < 8300; i += 2) {
        put_multiboot(k + i, 3);
        assert_int_equal(boot_kind(k, sizeof k), i % 4 == 0 && i <= 8192 - 12 ? VM_KERNEL_MULTIBOOT : VM_KERNEL_NONE);
        k[i] ^= 1; /* another magic; the next one overwrites part of it */
    }
}

static void refuse(struct machine *g, const uint8_t *k, size_t len, int code, const char *say)
{
    struct boot_entry b = {.eip = 77};
    struct err e = {0};

    assert_int_equal(load(g, k, len, &b, &e), code);
    if (!strstr(e.msg, say))
        fail_msg("\"%s\" does not say \"%s\"", e.msg, say);
    assert_int_equal(b.eip, 77);
}

static void test_refusals(void **state)
{
    struct machine *g = *state;
    static const struct {
        unsigned off;
        uint32_t value;
        int code;
        const char *say;
    } cases[] = {
        {offsetof(Elf32_Ehdr, e_type), ET_REL | EM_386 << 16, VT_CORRUPT, "not an executable"},
        {offsetof(Elf32_Ehdr, e_type), ET_EXEC | EM_ARM << 16, VT_CORRUPT, "another processor"},
        {offsetof(Elf32_Ehdr, e_phoff), 0xfffffff0, VT_CORRUPT, "program headers lie behind"},
        {offsetof(Elf32_Ehdr, e_phentsize), 31 | 3 << 16, VT_CORRUPT, "without program headers"},
        {offsetof(Elf32_Ehdr, e_phentsize), 32 | 0xffffu << 16, VT_CORRUPT, "program headers lie behind"},
        {offsetof(Elf32_Ehdr, e_phentsize), 32, VT_CORRUPT, "without program headers"},
        {52 + offsetof(Elf32_Phdr, p_offset), 0xffffff00, VT_CORRUPT, "cut short"},
        {52 + offsetof(Elf32_Phdr, p_filesz), 0x101, VT_CORRUPT, "larger in the file"},
        {52 + offsetof(Elf32_Phdr, p_memsz), 0x10001, VT_CORRUPT, "overlap at 210000"},
        {52 + offsetof(Elf32_Phdr, p_memsz), 0xffffffff, VT_CORRUPT, "above 4 GiB"},
        {52 + offsetof(Elf32_Phdr, p_paddr), 0xa0000, VT_CORRUPT, "no free RAM"},
        {52 + offsetof(Elf32_Phdr, p_paddr), 0xfff80, VT_CORRUPT, "no free RAM"},
        {52 + offsetof(Elf32_Phdr, p_paddr), RAM - 0xff, VT_USAGE, "16 MiB of RAM"},
        {116 + offsetof(Elf32_Phdr, p_memsz), RAM - DATA_AT, VT_USAGE, "modules"},
        {52, PT_NULL, VT_CORRUPT, NULL},      /* one segment is left: it loads */
        {HEADER + 4, 0x10, VT_CORRUPT, NULL}, /* the sum is wrong: no header; and so by its note */
    };

    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        cleanup(cleanup_free) uint8_t *k = make32(0);
        struct boot_entry b;

        put32(k + cases[i].off, cases[i].value);
        if (cases[i].say)
            refuse(g, k, KERNEL, cases[i].code, cases[i].say);
        else
            assert_int_equal(load(g, k, KERNEL, &b, NULL), 0);
    }
    cleanup(cleanup_free) uint8_t *none = make32(NO_MULTIBOOT | NO_NOTE), *flags = make64(0);
    refuse(g, none, KERNEL, VT_CORRUPT, "without a Multiboot header and without a PVH note");
    refuse(g, none, 40, VT_CORRUPT, "cut short in its header");
    refuse(g, none + 1, KERNEL - 1, VT_CORRUPT, "not a kernel");
    refuse(g, none, 0, VT_CORRUPT, "not a kernel");
    put_multiboot(flags + HEADER, 3 | 8);
    refuse(g, flags, KERNEL, VT_CORRUPT, "Multiboot header asks");
}

/* Each byte of the headers changed, each length cut. */
static void test_any_header(void **state)
{
    struct machine *g = *state;
    unsigned loaded = 0;

    for (unsigned how = 0; how < 4; how++) {
        cleanup(cleanup_free) uint8_t *k =
            how & 1 ? make64(how & 2 ? NO_MULTIBOOT : 0) : make32(how & 2 ? NO_MULTIBOOT : 0);
        struct boot_entry b;

        for (unsigned i = 0; i < KERNEL; i += i == 256 ? HEADER - 256 : i == HEADER + 16 ? NOTE - HEADER - 16 : 1) {
            uint8_t was = k[i];

            if (i == NOTE + 20)
                break;
            for (unsigned v = 0; v < 256; v += 51) {
                k[i] = (uint8_t)v;
                loaded += load(g, k, KERNEL, &b, NULL) == 0;
            }
            k[i] = was;
        }
        for (unsigned len = 0; len < KERNEL; len += 3)
            load(g, k, len, &b, NULL);
    }
    assert_true(loaded > 100);
}

/* A kernel that takes all of low memory gets its tables behind its modules. */
static void test_low_memory_taken(void **state)
{
    struct machine *g = *state;
    cleanup(cleanup_free) uint8_t *k = make32(0);
    struct boot_entry b;
    struct err e = {0};

    put32(k + 116 + offsetof(Elf32_Phdr, p_paddr), 0x1000);
    put32(k + 116 + offsetof(Elf32_Phdr, p_memsz), 0x9ec00);
    if (load(g, k, KERNEL, &b, &e))
        fail_msg("%s", e.msg);
    assert_true(b.ebx > TEXT_AT && b.gdt_base > TEXT_AT);
    assert_string_equal((char *)g->ram + at(g, b.ebx + 16, 4), "quiet");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_multiboot), TEST(test_pvh),        TEST(test_addresses),       TEST(test_where_a_header_may_be),
        TEST(test_refusals),  TEST(test_any_header), TEST(test_low_memory_taken)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
