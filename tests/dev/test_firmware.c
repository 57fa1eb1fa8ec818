/* What firmware finds: the configuration device at its ports and by DMA, and in it the boot order, memory, SMBIOS and
 * ACPI tables, which the test places as a firmware's linker/loader would. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "src/base/util.h"
#include "tests/dev/board_rig.h"
#include "vmcore/boot.h"

#define MAX_FILE 16384u

static const uint32_t cpuid1[4] = {0x000106a5, 0, 0, 0x078bfbff};

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}
static uint64_t le(const uint8_t *p, unsigned size)
{
    uint64_t v = 0;
    memcpy(&v, p, size);
    return v;
}

static void pick(struct rig *r, unsigned key)
{
    bus_io_write(&r->bus, 0x510, key, 2);
}
static void take(struct rig *r, uint8_t *dst, unsigned n)
{
    while (n--)
        *dst++ = in8(r, 0x511);
}

/* The length of the file, which is selected and read into dst; asserts that there is one. */
static uint32_t read_file(struct rig *r, const char *name, uint8_t dst[MAX_FILE])
{
    uint8_t entry[64];

    pick(r, FW_CFG_FILE_DIR);
    take(r, entry, 4);
    for (uint32_t n = be32(entry); n--;) {
        take(r, entry, sizeof entry);
        if (strcmp((char *)entry + 8, name))
            continue;
        uint32_t len = be32(entry);
        assert_true(len <= MAX_FILE);
        pick(r, (unsigned)(entry[4] << 8 | entry[5]));
        take(r, dst, len);
        assert_int_equal(in8(r, 0x511), 0); /* nothing after it */
        return len;
    }
    fail_msg("no file %s", name);
    return 0;
}

static uint8_t cmos(struct rig *r, uint8_t i)
{
    out8(r, 0x70, i);
    return in8(r, 0x71);
}

static struct bios_files *fill(struct rig *r, const struct vm_config *c)
{
    struct bios_files *f = NULL;
    assert_int_equal(bios_files_new(&r->board, c, cpuid1, &f, NULL), 0);
    return f;
}

/* ---- the device */

static void test_ports(void **state)
{
    struct rig *r = rig_new();
    uint8_t b[8];

    pick(r, FW_CFG_SIGNATURE);
    take(r, b, 4);
    assert_memory_equal(b, "QEMU", 4);
    assert_int_equal(in8(r, 0x511), 0);
    pick(r, FW_CFG_ID);
    assert_int_equal(in8(r, 0x511), 3);
    fw_cfg_number(&r->board.fw_cfg, FW_CFG_RAM_SIZE, 0x1122334455667788, 8);
    pick(r, FW_CFG_RAM_SIZE);
    take(r, b, 3);
    assert_int_equal(le(b, 3), 0x667788);
    uint8_t pos = (uint8_t)r->board.fw_cfg.pos;
    r = rig_reload(r); /* a restored machine reads on */
    assert_int_equal(r->board.fw_cfg.pos, pos);
    assert_int_equal(r->board.fw_cfg.selected, FW_CFG_RAM_SIZE);
    static const unsigned none[] = {0x1f, FW_CFG_FILE_FIRST, 0x3fff, FW_CFG_ARCH, FW_CFG_ARCH + 100, 0xffff};
    for (unsigned i = 0; i < ARRAY_LEN(none); i++) { /* no such item: zeros without end */
        pick(r, none[i]);
        take(r, b, 8);
        assert_int_equal(le(b, 8), 0);
    }
    pick(r, 0x4000 | FW_CFG_SIGNATURE); /* for writing: is read all the same */
    out8(r, 0x511, 'x');
    assert_int_equal(in8(r, 0x511), 'Q');
    rig_free(r);
}

static uint32_t dma(struct rig *r, uint32_t control, uint32_t len, uint64_t address)
{
    uint8_t q[16];
    for (unsigned i = 0; i < 4; i++) {
        q[i] = (uint8_t)(control >> (24 - 8 * i));
        q[4 + i] = (uint8_t)(len >> (24 - 8 * i));
    }
    for (unsigned i = 0; i < 8; i++)
        q[8 + i] = (uint8_t)(address >> (56 - 8 * i));
    memcpy(r->mem.bytes + 0x100, q, sizeof q);
    out32(r, 0x514, 0);
    out32(r, 0x518, __builtin_bswap32(0x100));
    return be32(r->mem.bytes + 0x100);
}

static void test_dma(void **state)
{
    enum { ERROR = 1, READ = 2, SKIP = 4, SELECT = 8, WRITE = 16 };
    struct rig *r = rig_new();
    uint8_t data[1000];

    for (unsigned i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 7 + 1);
    fw_cfg_file(&r->board.fw_cfg, "etc/test", data, sizeof data);
    assert_int_equal(in32(r, 0x514), 0x554d4551); /* "QEMU" */
    assert_int_equal(in32(r, 0x518), 0x47464320); /* " CFG" */
    memset(r->mem.bytes + 0x1000, 0xee, 3000);
    assert_int_equal(dma(r, FW_CFG_FILE_FIRST << 16 | SELECT | READ, 600, 0x1000), 0);
    assert_memory_equal(r->mem.bytes + 0x1000, data, 600);
    assert_int_equal(r->mem.bytes[0x1000 + 600], 0xee);
    assert_int_equal(dma(r, SKIP, 100, 0), 0);
    assert_int_equal(dma(r, READ, 2000, 0x1000), 0); /* goes on there, and past the end: zeros */
    assert_memory_equal(r->mem.bytes + 0x1000, data + 700, 300);
    for (unsigned i = 300; i < 2000; i++)
        assert_int_equal(r->mem.bytes[0x1000 + i], 0);
    assert_int_equal(r->mem.bytes[0x1000 + 2000], 0xee);
    assert_int_equal(dma(r, FW_CFG_FILE_FIRST << 16 | SELECT | WRITE, 4, 0x1000), ERROR);
    assert_int_equal(dma(r, FW_CFG_FILE_FIRST << 16 | SELECT | READ, 4, RIG_DMA), ERROR); /* not in memory */
    assert_int_equal(dma(r, SELECT | READ, UINT32_MAX, RIG_DMA - 512), ERROR);
    assert_int_equal(dma(r, SKIP, UINT32_MAX, 0), 0);
    assert_int_equal(dma(r, SKIP, UINT32_MAX, 0), 0);
    assert_int_equal(dma(r, READ, 1, 0x1000), 0); /* the position did not wrap round to the signature */
    assert_int_equal(r->mem.bytes[0x1000], 0);
    out32(r, 0x514, UINT32_MAX); /* a request outside of memory does nothing */
    out32(r, 0x518, UINT32_MAX);
    rig_free(r);
}

/* ---- contents */

static void test_hardware(void **state)
{
    struct rig *r = rig_new();
    struct vm_config c = {.ram_bytes = 4ull << 30};
    struct bios_files *f = fill(r, &c);
    uint8_t b[MAX_FILE];

    assert_int_equal(read_file(r, "etc/e820", b), 40);
    assert_int_equal(le(b, 8), 0);
    assert_int_equal(le(b + 8, 8), 3ull << 30);
    assert_int_equal(le(b + 16, 4), 1);
    assert_int_equal(le(b + 20, 8), 4ull << 30);
    assert_int_equal(le(b + 28, 8), 1ull << 30);
    assert_int_equal(cmos(r, 0x5b) | cmos(r, 0x5c) << 8 | cmos(r, 0x5d) << 16, (1 << 30) >> 16);
    pick(r, FW_CFG_NB_CPUS);
    take(r, b, 2);
    assert_int_equal(le(b, 2), 1);
    pick(r, FW_CFG_IRQ0_OVERRIDE);
    assert_int_equal(in8(r, 0x511), 1);
    assert_int_equal(read_file(r, "etc/boot-fail-wait", b), 4);
    assert_int_equal(le(b, 4), UINT32_MAX);
    unsigned sum = 0;
    for (uint8_t i = 0x10; i < 0x2e; i++)
        sum += cmos(r, i);
    assert_int_equal(cmos(r, 0x2e) << 8 | cmos(r, 0x2f), sum);
    /* The identity by which firmware knows a virtual PC. */
    assert_int_equal(cfg_read(r, 0, 0, 4), 0x12378086);
    assert_int_equal(cfg_read(r, 0, 0x2c, 4), 0x11001af4);
    assert_int_equal(cfg_read(r, PCI_DEVFN(1, 3), 0x5b, 1), 0x02);
    rig_free(r);
    bios_files_free(f);
}

static void no_io(void *opaque, struct blk_req *r)
{
}

static void test_boot_order(void **state)
{
    struct rig *r = rig_new();
    struct vm_config c = {
        .ram_bytes = 64u << 20,
        .boot_order = {VM_BOOT_FLOPPY, VM_BOOT_NET, VM_BOOT_DISK, VM_BOOT_CDROM},
        .floppy = {[1] = {.present = true, .port = {.submit = no_io}}},
        .ide = {{.present = true}, {.present = false}, {.present = true, .cdrom = true}, {.present = true}}};
    struct bios_files *f = fill(r, &c);
    uint8_t b[MAX_FILE];

    uint32_t len = read_file(r, "bootorder", b);
    assert_string_equal((char *)b, "/pci@i0cf8/isa@1/fdc@03f0/floppy@1\n"
                                   "/pci@i0cf8/ide@1,1/drive@0/disk@0\n"
                                   "/pci@i0cf8/ide@1,1/drive@1/disk@1\n"
                                   "/pci@i0cf8/ide@1,1/drive@1/disk@0");
    assert_int_equal(len, strlen((char *)b) + 1);
    assert_int_equal(cmos(r, 0x3d), 0x41);
    assert_int_equal(cmos(r, 0x38), 0x21);
    rig_free(r);
    bios_files_free(f);

    r = rig_new();
    c = (struct vm_config){.ram_bytes = 64u << 20};
    f = fill(r, &c);
    assert_int_equal(read_file(r, "bootorder", b), 0);
    assert_int_equal(cmos(r, 0x3d), 0x32); /* disk, then CD */
    assert_int_equal(cmos(r, 0x38), 0x11);
    rig_free(r);
    bios_files_free(f);
}

static void test_smbios(void **state)
{
    struct rig *r = rig_new();
    struct vm_config c = {.ram_bytes = 256u << 20};
    struct bios_files *f = fill(r, &c);
    uint8_t a[MAX_FILE], t[MAX_FILE], sum = 0, types[8] = {0};
    static const uint8_t expected[8] = {0, 1, 3, 4, 16, 17, 19, 32};
    unsigned n = 0, longest = 0;

    assert_int_equal(read_file(r, "etc/smbios/smbios-anchor", a), 31);
    uint32_t len = read_file(r, "etc/smbios/smbios-tables", t), at = 0;
    assert_memory_equal(a, "_SM_", 4);
    assert_memory_equal(a + 16, "_DMI_", 5);
    for (unsigned i = 0; i < 31; i++)
        sum = (uint8_t)(sum + a[i]);
    assert_int_equal(sum, 0);
    for (unsigned i = 16; i < 31; i++)
        sum = (uint8_t)(sum + a[i]);
    assert_int_equal(sum, 0);
    assert_int_equal(le(a + 22, 2), len);
    for (;;) {
        const uint8_t *s = t + at;
        assert_in_range(at + 4, 0, len);
        for (at += s[1]; le(t + at, 2); at++) /* strings, up to the empty one */
            assert_in_range(at + 2, 0, len);
        at += 2;
        longest = MAX(longest, (unsigned)(t + at - s));
        n++;
        if (s[0] == 127)
            break;
        assert_in_range(n, 1, 8);
        types[n - 1] = s[0];
        if (s[0] == 17)
            assert_int_equal(le(s + 12, 2), 256);
        if (s[0] == 19)
            assert_int_equal(le(s + 8, 4), (256 << 10) - 1);
        if (s[0] == 4)
            assert_int_equal(le(s + 8, 4), cpuid1[0]);
    }
    assert_int_equal(at, len);
    assert_memory_equal(types, expected, 8);
    assert_int_equal(le(a + 28, 2), n);
    assert_int_equal(le(a + 8, 2), longest);
    rig_free(r);
    bios_files_free(f);
}

/* ---- ACPI, as a linker/loader does it */

struct loaded {
    char name[56];
    uint32_t at; /* in the test's memory */
};

static struct loaded *find(struct loaded *l, unsigned n, const uint8_t *name)
{
    for (unsigned i = 0; i < n; i++)
        if (!strcmp(l[i].name, (const char *)name))
            return &l[i];
    fail_msg("%s is used before it is allocated", (const char *)name);
    return NULL;
}

static uint8_t sum_of(const uint8_t *p, uint64_t len)
{
    uint8_t s = 0;
    while (len--)
        s = (uint8_t)(s + *p++);
    return s;
}

static void test_acpi(void **state)
{
    struct rig *r = rig_new();
    struct vm_config c = {.ram_bytes = 256u << 20};
    struct bios_files *f = fill(r, &c);
    struct loaded files[4];
    cleanup(cleanup_free) uint8_t *mem = calloc(1, 1 << 20), *script = calloc(1, MAX_FILE);
    uint32_t len = read_file(r, "etc/table-loader", script), next = 0x10400, rsdp = 0;
    unsigned n = 0;

    assert_int_equal(len % 128, 0);
    for (const uint8_t *p = script; p < script + len; p += 128) {
        const uint8_t *q = p + 4;
        if (le(p, 4) == 1) {
            uint32_t align = (uint32_t)le(q + 56, 4);
            next = (next + align - 1) & ~(align - 1);
            memcpy(files[n].name, q, 56);
            files[n].at = next;
            next += read_file(r, files[n].name, mem + next) + 5; /* nothing is aligned by chance */
            if (q[60] == 2)
                rsdp = files[n].at;
            n++;
        } else if (le(p, 4) == 2) {
            uint8_t *at = mem + find(files, n, q)->at + le(q + 112, 4);
            uint64_t v = le(at, q[116]) + find(files, n, q + 56)->at;
            memcpy(at, &v, q[116]);
        } else {
            assert_int_equal(le(p, 4), 3);
            uint8_t *base = mem + find(files, n, q)->at;
            base[le(q + 56, 4)] = (uint8_t)(base[le(q + 56, 4)] - sum_of(base + le(q + 60, 4), le(q + 64, 4)));
        }
    }
    assert_int_equal(n, 2);
    assert_int_not_equal(rsdp, 0);
    assert_memory_equal(mem + rsdp, "RSD PTR ", 8);
    assert_int_equal(sum_of(mem + rsdp, 20), 0);
    assert_int_equal(sum_of(mem + rsdp, 36), 0);
    uint32_t rsdt = (uint32_t)le(mem + rsdp + 16, 4), xsdt = (uint32_t)le(mem + rsdp + 24, 8), seen = 0;
    assert_memory_equal(mem + rsdt, "RSDT", 4);
    assert_memory_equal(mem + xsdt, "XSDT", 4);
    assert_int_equal(sum_of(mem + rsdt, le(mem + rsdt + 4, 4)), 0);
    assert_int_equal(sum_of(mem + xsdt, le(mem + xsdt + 4, 4)), 0);
    for (uint32_t i = 0; i < (le(mem + rsdt + 4, 4) - 36) / 4; i++) {
        uint32_t t = (uint32_t)le(mem + rsdt + 36 + 4 * i, 4);
        assert_int_equal(le(mem + xsdt + 36 + 8 * i, 8), t);
        assert_int_equal(sum_of(mem + t, le(mem + t + 4, 4)), 0);
        seen++;
        if (memcmp(mem + t, "FACP", 4))
            continue;
        assert_memory_equal(mem + le(mem + t + 36, 4), "FACS", 4);
        assert_int_equal(le(mem + t + 36, 4) % 64, 0);
        assert_memory_equal(mem + le(mem + t + 40, 4), "DSDT", 4);
        assert_int_equal(le(mem + t + 140, 8), le(mem + t + 40, 4));
        seen += 10;
    }
    assert_int_equal(seen, 12); /* FADT and MADT */
    rig_free(r);
    bios_files_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ports),      cmocka_unit_test(test_dma),    cmocka_unit_test(test_hardware),
        cmocka_unit_test(test_boot_order), cmocka_unit_test(test_smbios), cmocka_unit_test(test_acpi),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
