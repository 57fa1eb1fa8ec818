/* The fixed ACPI tables (ACPI 2.0 layouts) round the DSDT that iasl compiled from dsdt.asl: what the board is made of,
 * as constants; nothing here depends on the machine's configuration. */
#include <string.h>

#include "vmcore/boot.h"
#include "vmcore/dev/ioapic.h"
#include "vmcore/dev/piix.h"

#include "vmcore/dsdt.h"

#define HEADER 36u

struct area {
    uint8_t bytes[0x2000];
    uint32_t used;
};

static void put(uint8_t *p, unsigned off, uint64_t v, unsigned size)
{
    memcpy(p + off, &v, size);
}

static void checksum(uint8_t *p, unsigned at, unsigned len)
{
    uint8_t sum = 0;
    p[at] = 0;
    for (unsigned i = 0; i < len; i++)
        sum += p[i];
    p[at] = (uint8_t)-sum;
}

static uint32_t address(const struct area *a, const uint8_t *p)
{
    return ACPI_AREA + (uint32_t)(p - a->bytes);
}

static uint8_t *take(struct area *a, uint32_t len, uint32_t align)
{
    a->used = (a->used + align - 1) & ~(align - 1);
    uint8_t *p = a->bytes + a->used;
    a->used += len;
    vt_assert(a->used <= sizeof a->bytes); /* all of it is constant */
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

static void finish(uint8_t *p)
{
    uint32_t len;
    memcpy(&len, p + 4, 4);
    checksum(p, 9, len);
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

static uint8_t *build_fadt(struct area *a, uint32_t facs, uint32_t dsdt)
{
    enum {
        WBINVD = 1 << 0,
        PROC_C1 = 1 << 2,
        NO_SLEEP_BUTTON = 1 << 5,
        NO_FIXED_RTC = 1 << 6,
        RESET_REG = 1 << 10,
        BOOT_LEGACY = 1 << 0,
        BOOT_8042 = 1 << 1,
        BOOT_NO_VGA = 1 << 2,
    };
    uint8_t *p = table(a, "FACP", 3, 244);

    put(p, 36, facs, 4);
    put(p, 40, dsdt, 4);
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
    put(p, 109, BOOT_LEGACY | BOOT_8042 | BOOT_NO_VGA, 2);
    put(p, 112, WBINVD | PROC_C1 | NO_SLEEP_BUTTON | NO_FIXED_RTC | RESET_REG, 4);
    put_gas(p, 116, 0xcf9, 8, GAS_BYTE);
    p[128] = 0x06;        /* what to write there */
    put(p, 140, dsdt, 8); /* the FACS goes by its 32-bit address only: given both ways, it counts twice */
    put_gas(p, 148, PIIX4_PM_BASE, 32, GAS_WORD);
    put_gas(p, 172, PIIX4_PM_BASE + 4, 16, GAS_WORD);
    put_gas(p, 208, PIIX4_PM_BASE + 8, 32, GAS_DWORD);
    put_gas(p, 220, PIIX4_PM_BASE + 12, 32, GAS_BYTE);
    finish(p);
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
    finish(p);
    return p;
}

int acpi_load(const struct boot_mem *m, uint32_t *ret_rsdp, struct err *e)
{
    struct area a = {0};
    uint8_t *rsdp = take(&a, 36, 16);
    uint8_t *facs = take(&a, 64, 64);
    uint8_t *dsdt = take(&a, sizeof dsdt_aml_code, 16);

    memcpy(facs, "FACS", 4);
    put(facs, 4, 64, 4);
    facs[32] = 1;
    memcpy(dsdt, dsdt_aml_code, sizeof dsdt_aml_code);

    uint32_t tables[] = {address(&a, build_fadt(&a, address(&a, facs), address(&a, dsdt))),
                         address(&a, build_madt(&a))};
    const unsigned n = sizeof tables / sizeof tables[0];
    uint8_t *rsdt = table(&a, "RSDT", 1, HEADER + 4 * n), *xsdt = table(&a, "XSDT", 1, HEADER + 8 * n);
    for (unsigned i = 0; i < n; i++) {
        put(rsdt, HEADER + 4 * i, tables[i], 4);
        put(xsdt, HEADER + 8 * i, tables[i], 8);
    }
    finish(rsdt);
    finish(xsdt);

    memcpy(rsdp, "RSD PTR ", 8);
    memcpy(rsdp + 9, "VMTEST", 6);
    rsdp[15] = 2;
    put(rsdp, 16, address(&a, rsdt), 4);
    put(rsdp, 20, 36, 4);
    put(rsdp, 24, address(&a, xsdt), 8);
    checksum(rsdp, 8, 20);
    checksum(rsdp, 32, 36);
    if (m->ram_bytes < ACPI_AREA + sizeof a.bytes)
        return err_set(e, VT_USAGE, "%llu KiB of RAM are too little for ACPI tables",
                       (unsigned long long)(m->ram_bytes >> 10));
    int r = m->write(m->opaque, ACPI_AREA, a.bytes, a.used, e);
    if (!r)
        *ret_rsdp = address(&a, rsdp);
    return r;
}
