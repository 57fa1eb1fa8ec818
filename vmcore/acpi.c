/* The fixed ACPI tables (ACPI 2.0 layouts) round the DSDT that iasl compiled from dsdt.asl: what the board is made of,
 * as constants but for what struct acpi_config says. */
#include <string.h>

#include "src/base/util.h"
#include "vmcore/boot.h"
#include "vmcore/dev/hpet.h"
#include "vmcore/dev/ioapic.h"
#include "vmcore/dev/piix.h"

#include "vmcore/dsdt.h"

#define HEADER   36u
#define RSDP_LEN 36u

/* A pointer holds an offset into the tables until somebody knows where they lie. */
struct pointer {
    bool in_rsdp;
    uint16_t at;
    uint8_t size;
};
/* len bytes from start on are to sum to zero by the byte at `at`; in the order in which they are to be made. */
struct sum {
    bool in_rsdp;
    uint16_t at, start, len;
};
struct area {
    uint8_t bytes[0x2000];
    uint32_t used;
    uint8_t rsdp[RSDP_LEN];
    struct pointer pointer[16];
    struct sum sum[16];
    unsigned npointers, nsums;
};

static void put(uint8_t *p, unsigned off, uint64_t v, unsigned size)
{
    memcpy(p + off, &v, size);
}

static uint32_t offset(const struct area *a, const uint8_t *p)
{
    return (uint32_t)(p - a->bytes);
}

static bool in_rsdp(const struct area *a, const uint8_t *p)
{
    return p >= a->rsdp && p < a->rsdp + RSDP_LEN;
}

static void point(struct area *a, uint8_t *p, unsigned off, const uint8_t *to, unsigned size)
{
    bool r = in_rsdp(a, p);

    vt_assert(a->npointers < ARRAY_LEN(a->pointer)); /* all of it is constant */
    put(p, off, offset(a, to), size);
    a->pointer[a->npointers++] =
        (struct pointer){r, (uint16_t)(off + (r ? (uint32_t)(p - a->rsdp) : offset(a, p))), (uint8_t)size};
}

static void checksum(struct area *a, uint8_t *p, unsigned at, unsigned len)
{
    bool r = in_rsdp(a, p);
    uint16_t start = (uint16_t)(r ? (uint32_t)(p - a->rsdp) : offset(a, p));

    vt_assert(a->nsums < ARRAY_LEN(a->sum));
    a->sum[a->nsums++] = (struct sum){r, (uint16_t)(start + at), start, (uint16_t)len};
}

static uint8_t *take(struct area *a, uint32_t len, uint32_t align)
{
    a->used = (a->used + align - 1) & ~(align - 1);
    uint8_t *p = a->bytes + a->used;
    a->used += len;
    vt_assert(a->used <= sizeof a->bytes);
    return p;
}

static uint8_t *table(struct area *a, const char *signature, uint8_t revision, uint32_t len)
{
    uint8_t *p = take(a, len, 16);
    memcpy(p, signature, 4);
    put(p, 4, len, 4);
    p[8] = revision;
    memcpy(p + 10, "VMTEST", 6);
    memcpy(p + 16, "VMTPC   ", 8);
    put(p, 24, 1, 4);
    memcpy(p + 28, "VMT ", 4);
    put(p, 32, 1, 4);
    return p;
}

static void finish(struct area *a, uint8_t *p)
{
    uint32_t len;
    memcpy(&len, p + 4, 4);
    checksum(a, p, 9, len);
}

/* A generic address structure in I/O space. */
static void put_gas(uint8_t *p, unsigned off, uint32_t port, unsigned bits, unsigned access)
{
    p[off] = 1;
    p[off + 1] = (uint8_t)bits;
    p[off + 2] = 0;
    p[off + 3] = (uint8_t)access;
    put(p, off + 4, port, 8);
}

enum { GAS_BYTE = 1, GAS_WORD = 2, GAS_DWORD = 3 };

static uint8_t *build_fadt(struct area *a, const uint8_t *facs, const uint8_t *dsdt)
{
    enum {
        WBINVD = 1 << 0,
        PROC_C1 = 1 << 2,
        NO_SLEEP_BUTTON = 1 << 5,
        NO_FIXED_RTC = 1 << 6,
        RESET_REG = 1 << 10,
        BOOT_LEGACY = 1 << 0,
        BOOT_8042 = 1 << 1,
    };
    uint8_t *p = table(a, "FACP", 3, 244);

    point(a, p, 36, facs, 4);
    point(a, p, 40, dsdt, 4);
    put(p, 46, PIIX4_SCI_IRQ, 2);
    put(p, 48, 0xb2, 4); /* SMI command port, with the values that turn ACPI on and off */
    p[52] = 0xf1;
    p[53] = 0xf0;
    put(p, 56, PIIX4_PM_BASE, 4);      /* PM1a event */
    put(p, 64, PIIX4_PM_BASE + 4, 4);  /* PM1a control */
    put(p, 76, PIIX4_PM_BASE + 8, 4);  /* PM timer */
    put(p, 80, PIIX4_PM_BASE + 12, 4); /* GPE0 */
    p[88] = 4;
    p[89] = 2;
    p[91] = 4;
    p[92] = 4;
    put(p, 96, 0xfff, 2); /* C2 and C3 latencies: not supported */
    put(p, 98, 0xfff, 2);
    p[108] = 0x32; /* century in CMOS */
    put(p, 109, BOOT_LEGACY | BOOT_8042, 2);
    put(p, 112, WBINVD | PROC_C1 | NO_SLEEP_BUTTON | NO_FIXED_RTC | RESET_REG, 4);
    put_gas(p, 116, 0xcf9, 8, GAS_BYTE);
    p[128] = 0x06;             /* what to write there */
    point(a, p, 140, dsdt, 8); /* the FACS goes by its 32-bit address only: given both ways, it counts twice */
    put_gas(p, 148, PIIX4_PM_BASE, 32, GAS_WORD);
    put_gas(p, 172, PIIX4_PM_BASE + 4, 16, GAS_WORD);
    put_gas(p, 208, PIIX4_PM_BASE + 8, 32, GAS_DWORD);
    put_gas(p, 220, PIIX4_PM_BASE + 12, 32, GAS_BYTE);
    finish(a, p);
    return p;
}

static uint8_t *build_madt(struct area *a)
{
    enum { PCAT_COMPAT = 1, ENABLED = 1, ACTIVE_HIGH = 1, LEVEL = 3 << 2 };
    uint8_t *p = table(a, "APIC", 1, HEADER + 8 + 8 + 12 + 10 + 10 + 6), *e = p + HEADER;

    put(e, 0, LAPIC_BASE, 4);
    put(e, 4, PCAT_COMPAT, 4);
    e += 8;
    e[0] = 0; /* processor 0, local APIC 0 */
    e[1] = 8;
    put(e, 4, ENABLED, 4);
    e += 8;
    e[0] = 1; /* I/O APIC 0, its inputs from GSI 0 on */
    e[1] = 12;
    put(e, 4, IOAPIC_BASE, 4);
    e += 12;
    e[0] = 2; /* IRQ 0 is at input 2 */
    e[1] = 10;
    put(e, 4, 2, 4);
    e += 10;
    e[0] = 2; /* the SCI is level-triggered */
    e[1] = 10;
    e[3] = PIIX4_SCI_IRQ;
    put(e, 4, PIIX4_SCI_IRQ, 4);
    put(e, 8, ACTIVE_HIGH | LEVEL, 2);
    e += 10;
    e[0] = 4; /* NMI at LINT1 of all processors */
    e[1] = 6;
    e[2] = 0xff;
    e[5] = 1;
    finish(a, p);
    return p;
}

static uint8_t *build_hpet(struct area *a)
{
    enum { PERIODIC_TICKS = 1000 }; /* shorter periods may lose interrupts */
    uint8_t *p = table(a, "HPET", 1, 56);

    put(p, 36, HPET_ID, 4);
    p[41] = 64; /* a generic address structure, in memory */
    put(p, 44, HPET_BASE, 8);
    put(p, 53, PERIODIC_TICKS, 2);
    finish(a, p);
    return p;
}

/* The status of one of the DSDT's devices, "Name (_STA, 0x0F)", is 0 where it is not there: firmware that reads the
 * table can do without evaluating a method. */
static void set_present(uint8_t *dsdt, size_t len, const char *name, bool present)
{
    static const uint8_t status[] = {0x08, '_', 'S', 'T', 'A', 0x0a, 0x0f};
    uint8_t *device = memmem(dsdt, len, name, 4), *at;

    vt_assert(device);
    at = memmem(device, (size_t)(dsdt + len - device), status, sizeof status);
    vt_assert(at && at < device + 64);
    if (!present)
        at[6] = 0;
}

static void build(struct area *a, const struct acpi_config *c)
{
    uint8_t *facs = take(a, 64, 64);
    uint8_t *dsdt = take(a, sizeof dsdt_aml_code, 16);

    memcpy(facs, "FACS", 4);
    put(facs, 4, 64, 4);
    facs[32] = 1;
    memcpy(dsdt, dsdt_aml_code, sizeof dsdt_aml_code);
    set_present(dsdt, sizeof dsdt_aml_code, "FDC0", c->floppy);
    set_present(dsdt, sizeof dsdt_aml_code, "HPET", c->hpet);
    dsdt[9] = 0;
    finish(a, dsdt);

    const uint8_t *tables[] = {build_fadt(a, facs, dsdt), build_madt(a), c->hpet ? build_hpet(a) : NULL};
    const unsigned n = c->hpet ? 3 : 2;
    uint8_t *rsdt = table(a, "RSDT", 1, HEADER + 4 * n), *xsdt = table(a, "XSDT", 1, HEADER + 8 * n);
    for (unsigned i = 0; i < n; i++) {
        point(a, rsdt, HEADER + 4 * i, tables[i], 4);
        point(a, xsdt, HEADER + 8 * i, tables[i], 8);
    }
    finish(a, rsdt);
    finish(a, xsdt);

    memcpy(a->rsdp, "RSD PTR ", 8);
    memcpy(a->rsdp + 9, "VMTEST", 6);
    a->rsdp[15] = 2;
    put(a->rsdp, 20, RSDP_LEN, 4);
    point(a, a->rsdp, 16, rsdt, 4);
    point(a, a->rsdp, 24, xsdt, 8);
    checksum(a, a->rsdp, 8, 20);
    checksum(a, a->rsdp, 32, RSDP_LEN);
}

/* ---- placed by us */

static void place(struct area *a, uint32_t base)
{
    for (unsigned i = 0; i < a->npointers; i++) {
        uint8_t *p = (a->pointer[i].in_rsdp ? a->rsdp : a->bytes) + a->pointer[i].at;
        uint64_t v = 0;
        memcpy(&v, p, a->pointer[i].size);
        put(p, 0, v + base, a->pointer[i].size);
    }
    for (unsigned i = 0; i < a->nsums; i++) {
        uint8_t *p = a->sum[i].in_rsdp ? a->rsdp : a->bytes, sum = 0;
        for (unsigned k = 0; k < a->sum[i].len; k++)
            sum += p[a->sum[i].start + k];
        p[a->sum[i].at] = (uint8_t)(p[a->sum[i].at] - sum);
    }
}

int acpi_load(const struct boot_mem *m, const struct acpi_config *c, uint32_t *ret_rsdp, struct err *e)
{
    const uint32_t tables_at = ACPI_AREA + 64;
    struct area a = {0};

    build(&a, c);
    place(&a, tables_at);
    if (m->ram_bytes < tables_at + sizeof a.bytes)
        return err_set(e, VT_USAGE, "%llu KiB of RAM are too little for ACPI tables",
                       (unsigned long long)(m->ram_bytes >> 10));
    int r = m->write(m->opaque, ACPI_AREA, a.rsdp, sizeof a.rsdp, e);
    if (!r)
        r = m->write(m->opaque, tables_at, a.bytes, a.used, e);
    if (!r)
        *ret_rsdp = ACPI_AREA;
    return r;
}

/* ---- placed by firmware: its linker/loader's commands, 128 bytes each */

enum {
    LOADER_ALLOCATE = 1,
    LOADER_ADD_POINTER = 2,
    LOADER_ADD_CHECKSUM = 3,
    LOADER_ZONE_HIGH = 1,
    LOADER_ZONE_FSEG = 2,
    LOADER_NAME = 56,
};

static uint8_t *command(struct acpi_files *f, unsigned code)
{
    uint8_t *p = f->loader + f->loader_len;

    vt_assert(f->loader_len + ACPI_LOADER_COMMAND <= sizeof f->loader);
    f->loader_len += ACPI_LOADER_COMMAND;
    put(p, 0, code, 4);
    return p + 4;
}

static void put_name(uint8_t *p, bool rsdp)
{
    const char *name = rsdp ? ACPI_RSDP_FILE : ACPI_TABLES_FILE;
    memcpy(p, name, strlen(name));
}

static void allocate(struct acpi_files *f, bool rsdp, uint32_t align, uint8_t zone)
{
    uint8_t *p = command(f, LOADER_ALLOCATE);
    put_name(p, rsdp);
    put(p, LOADER_NAME, align, 4);
    p[LOADER_NAME + 4] = zone;
}

void acpi_files(const struct acpi_config *c, struct acpi_files *ret)
{
    struct area a = {0};

    build(&a, c);
    memset(ret, 0, sizeof *ret);
    memcpy(ret->rsdp, a.rsdp, sizeof ret->rsdp);
    memcpy(ret->tables, a.bytes, a.used);
    ret->tables_len = a.used;
    allocate(ret, false, 64, LOADER_ZONE_HIGH);
    allocate(ret, true, 16, LOADER_ZONE_FSEG);
    for (unsigned i = 0; i < a.npointers; i++) {
        uint8_t *p = command(ret, LOADER_ADD_POINTER);
        put_name(p, a.pointer[i].in_rsdp);
        put_name(p + LOADER_NAME, false);
        put(p, 2 * LOADER_NAME, a.pointer[i].at, 4);
        p[2 * LOADER_NAME + 4] = a.pointer[i].size;
    }
    for (unsigned i = 0; i < a.nsums; i++) {
        uint8_t *p = command(ret, LOADER_ADD_CHECKSUM);
        put_name(p, a.sum[i].in_rsdp);
        put(p, LOADER_NAME, a.sum[i].at, 4);
        put(p, LOADER_NAME + 4, a.sum[i].start, 4);
        put(p, LOADER_NAME + 8, a.sum[i].len, 4);
    }
}
