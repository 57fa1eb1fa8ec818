/* The MultiProcessor Specification's tables (version 1.4, chapter 4), for direct boots: what a kernel without ACPI, or
 * told to leave ACPI alone, learns of the APICs and their inputs from. Firmware makes its own. */
#include <string.h>

#include "src/base/util.h"
#include "vmcore/boot.h"
#include "vmcore/dev/ioapic.h"
#include "vmcore/dev/lapic.h"

#define POINTER_AT 0xf0000u /* one of the places where it is looked for */
#define TABLE_AT   0xf0010u
#define ALL_APICS  0xffu
#define PCI_SLOTS  32u

enum entry { PROCESSOR, BUS, IO_APIC, IO_INTERRUPT, LOCAL_INTERRUPT };
enum kind { INT, NMI, SMI, EXTINT };
enum { PCI_BUS, ISA_BUS };

struct table {
    uint8_t bytes[44 + 20 + 2 * 8 + 8 + (15 + PCI_SLOTS * 4) * 8 + 2 * 8];
    unsigned len, entries;
};

static void put(uint8_t *p, uint64_t v, unsigned size)
{
    memcpy(p, &v, size);
}

static uint8_t *entry(struct table *t, enum entry type, unsigned len)
{
    uint8_t *p = t->bytes + t->len;

    vt_assert(t->len + len <= sizeof t->bytes); /* all of it is constant */
    p[0] = type;
    t->len += len;
    t->entries++;
    return p;
}

static void bus(struct table *t, unsigned id, const char *name)
{
    uint8_t *p = entry(t, BUS, 8);

    p[1] = (uint8_t)id;
    memcpy(p + 2, name, 6);
}

/* Polarity and trigger are the bus's own. */
static void interrupt(struct table *t, enum entry type, enum kind kind, unsigned from, unsigned irq, unsigned apic,
                      unsigned input)
{
    uint8_t *p = entry(t, type, 8);

    p[1] = kind;
    p[4] = (uint8_t)from;
    p[5] = (uint8_t)irq;
    p[6] = (uint8_t)apic;
    p[7] = (uint8_t)input;
}

static uint8_t missing(const uint8_t *p, unsigned len)
{
    uint8_t sum = 0;

    for (unsigned i = 0; i < len; i++)
        sum += p[i];
    return (uint8_t)-sum;
}

static void build(struct table *t, const uint32_t cpuid1[4])
{
    enum { LAPIC_VERSION = 0x14, IOAPIC_VERSION = 0x20, USABLE = 1, BOOT_PROCESSOR = 2 };
    uint8_t *p;

    *t = (struct table){.len = 44};
    p = entry(t, PROCESSOR, 20);
    p[2] = LAPIC_VERSION;
    p[3] = USABLE | BOOT_PROCESSOR;
    put(p + 4, cpuid1[0], 4);
    put(p + 8, cpuid1[3], 4);
    bus(t, PCI_BUS, "PCI   ");
    bus(t, ISA_BUS, "ISA   ");
    p = entry(t, IO_APIC, 8);
    p[2] = IOAPIC_VERSION;
    p[3] = USABLE;
    put(p + 4, IOAPIC_BASE, 4);
    for (unsigned irq = 0; irq < 16; irq++)
        if (irq != 2)
            interrupt(t, IO_INTERRUPT, INT, ISA_BUS, irq, 0, irq ? irq : 2);
    for (unsigned slot = 0; slot < PCI_SLOTS; slot++) /* swizzled as in dsdt.asl */
        for (unsigned pin = 0; pin < 4; pin++)
            interrupt(t, IO_INTERRUPT, INT, PCI_BUS, slot << 2 | pin, 0, 16 + (pin + slot + 3) % 4);
    /* the 8259s, which are at I/O APIC input 0 too: Linux takes an input that is not set up so for a mistake */
    interrupt(t, LOCAL_INTERRUPT, EXTINT, ISA_BUS, 0, 0, 0);
    interrupt(t, LOCAL_INTERRUPT, NMI, ISA_BUS, 0, ALL_APICS, 1);
    p = t->bytes;
    memcpy(p, "PCMP", 4);
    put(p + 4, t->len, 2);
    p[6] = 4;
    memcpy(p + 8, "VMTEST  PC          ", 20);
    put(p + 34, t->entries, 2);
    put(p + 36, LAPIC_BASE, 4);
    p[7] = missing(p, t->len);
}

int mptable_load(const struct boot_mem *m, const uint32_t cpuid1[4], struct err *e)
{
    uint8_t pointer[16] = {'_', 'M', 'P', '_'};
    struct table t;
    int r;

    build(&t, cpuid1);
    put(pointer + 4, TABLE_AT, 4);
    pointer[8] = 1; /* in paragraphs */
    pointer[9] = 4;
    pointer[10] = missing(pointer, sizeof pointer);
    r = m->write(m->opaque, POINTER_AT, pointer, sizeof pointer, e);
    return r ? r : m->write(m->opaque, TABLE_AT, t.bytes, t.len, e);
}
