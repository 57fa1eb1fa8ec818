/* The Linux loader and the ACPI tables: memory as the guest will find it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "src/base/util.h"
#include "vmcore/boot.h"

#define RAM (64u << 20)

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
    g->ram = calloc(1, RAM);
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

/* ---- a kernel: a setup header, and 100 KiB of code */

#define SETUP_SECTS 3u
#define CODE_LEN    (100u << 10)
#define KERNEL_LEN  ((SETUP_SECTS + 1) * 512 + CODE_LEN)

static void put(uint8_t *p, unsigned off, uint64_t v, unsigned size)
{
    memcpy(p + off, &v, size);
}

static uint8_t *make_kernel(void)
{
    uint8_t *k = calloc(1, KERNEL_LEN);
    put(k, 0x1f1, SETUP_SECTS, 1);
    put(k, 0x1f4, CODE_LEN / 16, 4);
    put(k, 0x1fe, 0xaa55, 2);
    put(k, 0x200, 0x66eb, 2);
    memcpy(k + 0x202, "HdrS", 4);
    put(k, 0x206, 0x20f, 2);
    put(k, 0x211, 0x41, 1); /* loaded high; keep segments, which the loader must clear */
    put(k, 0x22c, 0x37ffffff, 4);
    put(k, 0x238, 255, 4);
    put(k, 0x258, 16u << 20, 8);
    put(k, 0x260, 8u << 20, 4);
    for (unsigned i = 0; i < CODE_LEN; i++)
        k[(SETUP_SECTS + 1) * 512 + i] = (uint8_t)(i * 31 >> 4);
    return k;
}

static void test_load(void **state)
{
    struct machine *g = *state;
    cleanup(cleanup_free) uint8_t *k = make_kernel();
    struct boot_entry b;
    struct err e = {0};
    char initrd[5000];
    memset(initrd, 'i', sizeof initrd);
    g->m.high_bytes = 5ull << 30;
    if (boot_linux_load(&g->m, k, KERNEL_LEN, initrd, sizeof initrd, "quiet root=/dev/vda", 0xe0000, &b, &e))
        fail_msg("%s", e.msg);
    assert_memory_equal(g->ram + (1 << 20), k + (SETUP_SECTS + 1) * 512, CODE_LEN);
    assert_int_equal(b.eip, 1 << 20);
    assert_int_equal(b.cs, 0x10);
    assert_int_equal(b.ds, 0x18);
    assert_int_equal(at(g, b.gdt_base + 0x10, 8), 0x00cf9a000000ffff);
    assert_int_equal(at(g, b.gdt_base + 0x18, 8), 0x00cf92000000ffff);
    assert_true(b.gdt_limit >= 0x1f);

    uint32_t zp = b.esi, initrd_at = (uint32_t)at(g, zp + 0x218, 4);
    assert_memory_equal(g->ram + zp + 0x202, "HdrS", 4);
    assert_int_equal(at(g, zp + 0x1ef, 1), 0); /* sentinel */
    assert_int_equal(at(g, zp + 0x210, 1), 0xff);
    assert_int_equal(at(g, zp + 0x211, 1), 1);
    assert_int_equal(at(g, zp + 0x70, 8), 0xe0000);
    assert_string_equal((char *)g->ram + at(g, zp + 0x228, 4), "quiet root=/dev/vda");
    assert_int_equal(at(g, zp + 0x21c, 4), sizeof initrd);
    assert_int_equal(initrd_at % 4096, 0);
    assert_true(initrd_at >= 24u << 20 && initrd_at + sizeof initrd <= RAM);
    assert_memory_equal(g->ram + initrd_at, initrd, sizeof initrd);

    /* The memory map: ascending, apart, RAM below 9FC00h and from 1 MiB to the end, and from 4 GiB on. */
    unsigned n = (unsigned)at(g, zp + 0x1e8, 1);
    uint64_t last = 0, ram = 0;
    for (unsigned i = 0; i < n; i++) {
        uint64_t start = at(g, zp + 0x2d0 + 20 * i, 8), len = at(g, zp + 0x2d0 + 20 * i + 8, 8);
        assert_true(start >= last && len);
        last = start + len;
        if (at(g, zp + 0x2d0 + 20 * i + 16, 4) == 1)
            ram += len;
    }
    assert_int_equal(last, 9ull << 30);
    assert_int_equal(ram, 0x9fc00 + RAM - (1 << 20) + (5ull << 30));
}

static void refuse(struct machine *g, const uint8_t *k, size_t len, size_t initrd_len, const char *cmdline, int code,
                   const char *say)
{
    struct boot_entry b = {.eip = 77};
    struct err e = {0};
    cleanup(cleanup_free) void *initrd = calloc(1, initrd_len + 1);
    cleanup(cleanup_free) uint8_t *exact = malloc(len + !len); /* so that a sanitizer sees a read behind it */
    memcpy(exact, k, len);
    assert_int_equal(boot_linux_load(&g->m, exact, len, initrd, initrd_len, cmdline, 0, &b, &e), code);
    if (!strstr(e.msg, say))
        fail_msg("\"%s\" does not say \"%s\"", e.msg, say);
    assert_int_equal(b.eip, 77);
}

static void test_refusals(void **state)
{
    struct machine *g = *state;
    cleanup(cleanup_free) uint8_t *k = make_kernel();
    char cmdline[300];
    memset(cmdline, 'x', sizeof cmdline);
    cmdline[256] = 0;
    refuse(g, k, 0, 0, "", VT_CORRUPT, "no setup header");
    refuse(g, k, 0x28f, 0, "", VT_CORRUPT, "no setup header");
    refuse(g, k, 2048, 0, "", VT_CORRUPT, "truncated");
    refuse(g, k, KERNEL_LEN - 16, 0, "", VT_CORRUPT, "truncated");
    refuse(g, k, KERNEL_LEN, 0, cmdline, VT_USAGE, "command line has 256 bytes, this kernel takes 255");
    refuse(g, k, KERNEL_LEN, 41u << 20, "", VT_USAGE, "initrd");
    put(k, 0x260, 49u << 20, 4);
    refuse(g, k, KERNEL_LEN, 0, "", VT_USAGE, "needs 65 MiB of RAM, the machine has 64");
    put(k, 0x260, 8u << 20, 4);
    put(k, 0x211, 0, 1);
    refuse(g, k, KERNEL_LEN, 0, "", VT_CORRUPT, "zImage");
    put(k, 0x211, 1, 1);
    put(k, 0x206, 0x209, 2);
    refuse(g, k, KERNEL_LEN, 0, "", VT_CORRUPT, "boot protocol 2.09");
    put(k, 0x206, 0x20f, 2);
    put(k, 0x1f4, 0xffffffff, 4);
    refuse(g, k, KERNEL_LEN, 0, "", VT_CORRUPT, "impossible size");
    put(k, 0x1f4, CODE_LEN / 16, 4);
    k[0x202] = 'h';
    refuse(g, k, KERNEL_LEN, 0, "", VT_CORRUPT, "not a Linux kernel");
}

/* Whatever the header says, the loader stays inside of the file and of RAM (write_ram asserts it). */
static void test_any_header(void **state)
{
    struct machine *g = *state;
    unsigned loaded = 0;
    for (unsigned i = 0x1f1; i < 0x268; i++) {
        for (unsigned v = 0; v < 256; v += 51) {
            cleanup(cleanup_free) uint8_t *k = make_kernel();
            struct boot_entry b;
            k[i] = (uint8_t)v;
            loaded += boot_linux_load(&g->m, k, KERNEL_LEN, "initrd", 6, "a", 0, &b, NULL) == 0;
        }
    }
    assert_true(loaded > 100);
}

/* ---- ACPI */

static uint8_t sum(struct machine *g, uint64_t pa, uint64_t len)
{
    uint8_t s = 0;
    while (len--)
        s += g->ram[pa++];
    return s;
}

static void check_acpi(struct machine *g, bool floppy, bool hpet)
{
    uint32_t rsdp, timers = 0;
    assert_int_equal(acpi_load(&g->m, &(struct acpi_config){.floppy = floppy, .hpet = hpet}, &rsdp, NULL), 0);
    assert_int_equal(rsdp % 16, 0);
    assert_true(rsdp >= 0xe0000 && rsdp < 0x100000); /* where systems without a hint look */
    assert_memory_equal(g->ram + rsdp, "RSD PTR ", 8);
    assert_int_equal(sum(g, rsdp, 20), 0);
    assert_int_equal(sum(g, rsdp, 36), 0);
    uint32_t rsdt = (uint32_t)at(g, rsdp + 16, 4), fadt = 0, madt = 0;
    uint64_t xsdt = at(g, rsdp + 24, 8);
    assert_memory_equal(g->ram + rsdt, "RSDT", 4);
    assert_memory_equal(g->ram + xsdt, "XSDT", 4);
    assert_int_equal(sum(g, rsdt, at(g, rsdt + 4, 4)), 0);
    assert_int_equal(sum(g, xsdt, at(g, xsdt + 4, 4)), 0);
    unsigned n = (unsigned)(at(g, rsdt + 4, 4) - 36) / 4;
    assert_int_equal((at(g, xsdt + 4, 4) - 36) / 8, n);
    for (unsigned i = 0; i < n; i++) {
        uint32_t t = (uint32_t)at(g, rsdt + 36 + 4 * i, 4);
        assert_int_equal(at(g, xsdt + 36 + 8 * i, 8), t);
        assert_int_equal(sum(g, t, at(g, t + 4, 4)), 0);
        if (!memcmp(g->ram + t, "FACP", 4))
            fadt = t;
        if (!memcmp(g->ram + t, "APIC", 4))
            madt = t;
        if (!memcmp(g->ram + t, "HPET", 4))
            timers = t;
    }
    assert_int_equal(timers != 0, hpet);
    if (hpet) {
        assert_int_equal(at(g, timers + 4, 4), 56);
        assert_int_equal(at(g, timers + 36, 4), 0x8086a201);
        assert_int_equal(at(g, timers + 40, 4), 0x4000);
        assert_int_equal(at(g, timers + 44, 8), 0xfed00000);
    }
    assert_int_not_equal(fadt, 0);
    assert_int_equal(at(g, fadt + 76, 4), 0x608); /* PM timer */
    assert_int_equal(at(g, fadt + 208 + 4, 8), 0x608);
    uint32_t facs = (uint32_t)at(g, fadt + 36, 4), dsdt = (uint32_t)at(g, fadt + 40, 4);
    assert_int_equal(facs % 64, 0);
    assert_memory_equal(g->ram + facs, "FACS", 4);
    assert_memory_equal(g->ram + dsdt, "DSDT", 4);
    assert_int_equal(sum(g, dsdt, at(g, dsdt + 4, 4)), 0);
    assert_int_not_equal(madt, 0);
    assert_int_equal(at(g, madt + 36, 4), 0xfee00000);
    unsigned kinds = 0;
    for (uint32_t p = madt + 44; p < madt + at(g, madt + 4, 4); p += (uint32_t)at(g, p + 1, 1))
        kinds = kinds * 10 + (unsigned)at(g, p, 1);
    assert_int_equal(kinds, 1224); /* (0: processor,) I/O APIC, two overrides, NMI */
    const uint8_t *hpet_device = memmem(g->ram + dsdt, at(g, dsdt + 4, 4), "HPET", 4);
    assert_non_null(hpet_device);
    hpet_device = memmem(hpet_device, 64, "_STA", 4);
    assert_non_null(hpet_device);
    assert_int_equal(hpet_device[5], hpet ? 0x0f : 0);
    const uint8_t *fdc = memmem(g->ram + dsdt, at(g, dsdt + 4, 4), "FDC0", 4);
    assert_non_null(fdc);
    fdc = memmem(fdc, 64, "_STA", 4);
    assert_non_null(fdc);
    assert_int_equal(fdc[5], floppy ? 0x0f : 0);
}

static void test_acpi(void **state)
{
    check_acpi(*state, false, true);
    check_acpi(*state, true, false);
}

/* ---- MultiProcessor tables */

static void test_mptable(void **state)
{
    static const unsigned len[] = {20, 8, 8, 8, 8};
    const uint32_t id[4] = {0x00060fb1, 0, 0, 0x178bfbff};
    struct machine *g = *state;
    uint32_t fps = 0xf0000, t, kinds[5] = {0}, n = 0, isa0 = 0, pci3c = 0;

    assert_int_equal(mptable_load(&g->m, id, NULL), 0);
    assert_memory_equal(g->ram + fps, "_MP_", 4);
    assert_int_equal(sum(g, fps, 16 * at(g, fps + 8, 1)), 0);
    assert_int_equal(at(g, fps + 11, 4),
                     0); /* the table counts, no default configuration; virtual wire, not PIC mode */
    t = (uint32_t)at(g, fps + 4, 4);
    assert_true(t >= fps + 16 && t + at(g, t + 4, 2) <= 0x100000);
    assert_memory_equal(g->ram + t, "PCMP", 4);
    assert_int_equal(sum(g, t, at(g, t + 4, 2)), 0);
    assert_int_equal(at(g, t + 36, 4), 0xfee00000);
    uint32_t p = t + 44;
    for (; p < t + at(g, t + 4, 2); n++) {
        unsigned kind = g->ram[p];
        assert_true(kind < 5);
        kinds[kind]++;
        if (kind == 0) {
            assert_int_equal(at(g, p + 4, 4), id[0]);
            assert_int_equal(at(g, p + 8, 4), id[3]);
        }
        if (kind == 2)
            assert_int_equal(at(g, p + 4, 4), 0xfec00000);
        if (kind == 3 && g->ram[p + 1] == 0 && g->ram[p + 4] == 1 && g->ram[p + 5] == 0)
            isa0 = g->ram[p + 7];
        if (kind == 3 && g->ram[p + 4] == 0 && g->ram[p + 5] == (3 << 2 | 1)) /* slot 3, pin B: as ACPI's _PRT */
            pci3c = g->ram[p + 7];
        p += len[kind];
    }
    assert_int_equal(p, t + at(g, t + 4, 2));
    assert_int_equal(n, at(g, t + 34, 2));
    assert_int_equal(kinds[0] * 100 + kinds[1] * 10 + kinds[2], 121);
    assert_int_equal(kinds[3], 15 + 32 * 4);
    assert_int_equal(kinds[4], 2);
    assert_int_equal(isa0, 2);
    assert_int_equal(pci3c, 16 + 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_load, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_any_header, setup, teardown),
        cmocka_unit_test_setup_teardown(test_acpi, setup, teardown),
        cmocka_unit_test_setup_teardown(test_mptable, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
