/* SMBIOS tables (DMTF DSP0134, version 2.8 layouts with the 32-bit entry point): what a guest's inventory tools read.
 * Firmware places them; the entry point's address and checksums are its to fill. */
#include <string.h>

#include "src/base/util.h"
#include "vmcore/boot.h"

enum {
    T_BIOS = 0,
    T_SYSTEM = 1,
    T_CHASSIS = 3,
    T_PROCESSOR = 4,
    T_MEMORY_ARRAY = 16,
    T_MEMORY_DEVICE = 17,
    T_MEMORY_MAPPING = 19,
    T_BOOT = 32,
    T_END = 127,

    UNKNOWN = 2, /* most enumerations' word for it */
    OTHER = 1,
};
#define HANDLE(type) ((uint16_t)((type) << 8))

struct writer {
    struct smbios_files *f;
    uint32_t start; /* of the structure being written */
    uint16_t count, longest;
    uint8_t strings;
};

static void put(uint8_t *p, unsigned off, uint64_t v, unsigned size)
{
    memcpy(p + off, &v, size);
}

/* What makes the bytes sum to zero. */
static uint8_t checksum(const uint8_t *p, unsigned len)
{
    uint8_t sum = 0;
    while (len--)
        sum = (uint8_t)(sum - *p++);
    return sum;
}

/* A structure's formatted part of len bytes, its header set, the rest zero; string() and finish() follow. */
static uint8_t *begin(struct writer *w, uint8_t type, uint16_t handle, uint8_t len)
{
    uint8_t *p = w->f->tables + w->f->tables_len;

    vt_assert(w->f->tables_len + len + 2 <= sizeof w->f->tables); /* all of it is constant but for numbers */
    w->start = w->f->tables_len;
    w->strings = 0;
    w->f->tables_len += len;
    p[0] = type;
    p[1] = len;
    put(p, 2, handle, 2);
    return p;
}

static uint8_t string(struct writer *w, const char *s)
{
    size_t n = strlen(s) + 1;

    vt_assert(w->f->tables_len + n + 1 <= sizeof w->f->tables);
    memcpy(w->f->tables + w->f->tables_len, s, n);
    w->f->tables_len += (uint32_t)n;
    return ++w->strings;
}

static void finish(struct writer *w)
{
    w->f->tables_len += w->strings ? 1 : 2; /* the set of strings ends in an empty one */
    w->longest = MAX(w->longest, (uint16_t)(w->f->tables_len - w->start));
    w->count++;
}

static void add_bios_and_system(struct writer *w)
{
    uint8_t *p = begin(w, T_BIOS, HANDLE(T_BIOS), 24);
    put(p, 6, 0xe800, 2);        /* where it starts: segment */
    put(p, 10, 1 << 3, 8);       /* characteristics: not given */
    put(p, 18, 0x14 << 8, 2);    /* extension bytes: it is a virtual machine; targeted content distribution */
    p[20] = p[21] = 0;           /* release */
    p[22] = p[23] = 0xff;        /* no embedded controller */
    p[4] = string(w, "SeaBIOS"); /* strings follow the formatted part, so they come last */
    p[5] = string(w, "1");
    p[8] = string(w, "04/01/2014");
    finish(w);

    p = begin(w, T_SYSTEM, HANDLE(T_SYSTEM), 27);
    p[24] = 6; /* woken by the power switch */
    p[4] = string(w, "vmtest");
    p[5] = string(w, "PC (i440FX + PIIX)");
    p[6] = string(w, "1");
    finish(w);

    p = begin(w, T_CHASSIS, HANDLE(T_CHASSIS), 22);
    p[5] = OTHER;
    p[9] = p[10] = p[11] = 3; /* boot-up, power supply and thermal state: safe */
    p[12] = UNKNOWN;
    p[4] = string(w, "vmtest");
    finish(w);
}

static void add_processor(struct writer *w, const struct smbios_config *c)
{
    uint8_t *p = begin(w, T_PROCESSOR, HANDLE(T_PROCESSOR), 42);
    p[5] = 3; /* a central processor */
    p[6] = OTHER;
    put(p, 8, c->cpu_signature, 4);
    put(p, 12, c->cpu_features, 4);
    put(p, 20, 2000, 2); /* MHz: largest and current; a virtual processor has none of its own */
    put(p, 22, 2000, 2);
    p[24] = 0x41; /* populated, enabled */
    p[25] = OTHER;
    put(p, 26, 0xffff, 2); /* no cache structures */
    put(p, 28, 0xffff, 2);
    put(p, 30, 0xffff, 2);
    p[35] = p[36] = p[37] = 1; /* cores, enabled ones, threads */
    put(p, 38, UNKNOWN, 2);
    put(p, 40, OTHER, 2);
    p[4] = string(w, "CPU 0");
    p[7] = string(w, "vmtest");
    finish(w);
}

static void add_mapping(struct writer *w, unsigned n, uint64_t start, uint64_t end)
{
    uint8_t *p = begin(w, T_MEMORY_MAPPING, (uint16_t)(HANDLE(T_MEMORY_MAPPING) + n), 31);
    uint64_t last = (end >> 10) - 1; /* in KiB */
    if (last < UINT32_MAX) {
        put(p, 4, start >> 10, 4);
        put(p, 8, last, 4);
    } else {
        put(p, 4, UINT32_MAX, 4);
        put(p, 8, UINT32_MAX, 4);
        put(p, 15, start, 8);
        put(p, 23, end - 1, 8);
    }
    put(p, 12, HANDLE(T_MEMORY_ARRAY), 2);
    p[14] = 1;
    finish(w);
}

static void add_memory(struct writer *w, const struct smbios_config *c)
{
    uint64_t bytes = c->low_ram + c->high_ram, mib = bytes >> 20;
    uint8_t *p = begin(w, T_MEMORY_ARRAY, HANDLE(T_MEMORY_ARRAY), 23);

    p[4] = OTHER;
    p[5] = 3; /* system memory */
    p[6] = 3; /* no error correction */
    put(p, 7, bytes >> 10, 4);
    put(p, 11, 0xfffe, 2); /* no error information */
    put(p, 13, 1, 2);
    finish(w);

    p = begin(w, T_MEMORY_DEVICE, HANDLE(T_MEMORY_DEVICE), 40);
    put(p, 4, HANDLE(T_MEMORY_ARRAY), 2);
    put(p, 6, 0xfffe, 2);
    put(p, 8, 0xffff, 2); /* widths: not known */
    put(p, 10, 0xffff, 2);
    put(p, 12, mib < 0x7fff ? mib : 0x7fff, 2);
    if (mib >= 0x7fff)
        put(p, 28, mib, 4);
    p[14] = 9; /* DIMM */
    p[18] = 7; /* RAM */
    put(p, 19, UNKNOWN << 1, 2);
    p[16] = string(w, "DIMM 0");
    p[23] = string(w, "vmtest");
    finish(w);

    add_mapping(w, 0, 0, c->low_ram);
    if (c->high_ram)
        add_mapping(w, 1, 1ull << 32, (1ull << 32) + c->high_ram);
}

void smbios_files(const struct smbios_config *c, struct smbios_files *ret)
{
    struct writer w = {.f = ret};
    uint8_t *a = ret->anchor;

    memset(ret, 0, sizeof *ret);
    add_bios_and_system(&w);
    add_processor(&w, c);
    add_memory(&w, c);
    begin(&w, T_BOOT, HANDLE(T_BOOT), 11); /* status 0: no errors */
    finish(&w);
    begin(&w, T_END, HANDLE(T_END), 4);
    finish(&w);

    memcpy(a, "_SM_", 4);
    a[5] = sizeof ret->anchor;
    a[6] = 2;
    a[7] = 8;
    put(a, 8, w.longest, 2);
    memcpy(a + 16, "_DMI_", 5);
    put(a, 22, ret->tables_len, 2);
    put(a, 28, w.count, 2);
    a[30] = 0x28;
    a[21] = checksum(a + 16, sizeof ret->anchor - 16);
    a[4] = checksum(a, sizeof ret->anchor);
}
