#include "src/gdbregs.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "src/base/banned.h"
#include "src/base/util.h"

enum kind {
    R_GPR,
    R_PC,
    R_FLAGS,
    R_SEL,
    R_ST,
    R_FPU,
    R_XMM,
    R_MXCSR,
    R_BASE,
    R_CR0,
    R_CR2,
    R_CR3,
    R_CR4,
    R_CR8,
    R_EFER
};

/* R_FPU: which of the control registers, in gdb's order */
enum { FCTRL, FSTAT, FTAG, FISEG, FIOFF, FOSEG, FOOFF, FOP };

/* FXSAVE's layout (Intel SDM vol. 1, table 10-2; the 32-bit form of the pointers) */
enum {
    FX_FCW = 0,
    FX_FSW = 2,
    FX_FTW = 4,
    FX_FOP = 6,
    FX_FIP = 8,
    FX_FCS = 12,
    FX_FDP = 16,
    FX_FDS = 20,
    FX_MXCSR = 24,
    FX_ST = 32,
    FX_XMM = 160
};

struct reg {
    const char *name, *type, *group;
    uint16_t bits;
    uint8_t kind, n;
};

struct feature {
    const char *name;
    const char *types; /* XML of the types that its registers use */
    const struct reg *reg;
    unsigned nregs;
};

/* ---- the table */

#define GPR32(name, type, n)                \
    {                                       \
        name, type, "general", 32, R_GPR, n \
    }
#define GPR64(name, type, n)                \
    {                                       \
        name, type, "general", 64, R_GPR, n \
    }
#define FLAGS_AND_SELECTORS                                                                                 \
    {"eflags", "i386_eflags", "general", 32, R_FLAGS, 0}, {"cs", "int32", "general", 32, R_SEL, VM_SEG_CS}, \
        {"ss", "int32", "general", 32, R_SEL, VM_SEG_SS}, {"ds", "int32", "general", 32, R_SEL, VM_SEG_DS}, \
        {"es", "int32", "general", 32, R_SEL, VM_SEG_ES}, {"fs", "int32", "general", 32, R_SEL, VM_SEG_FS}, \
    {                                                                                                       \
        "gs", "int32", "general", 32, R_SEL, VM_SEG_GS                                                      \
    }
#define ST(i)                                  \
    {                                          \
        "st" #i, "i387_ext", NULL, 80, R_ST, i \
    }
#define FPU(name, n)                       \
    {                                      \
        name, "int", "float", 32, R_FPU, n \
    }
#define FLOATING                                                                                               \
    ST(0), ST(1), ST(2), ST(3), ST(4), ST(5), ST(6), ST(7), FPU("fctrl", FCTRL), FPU("fstat", FSTAT),          \
        FPU("ftag", FTAG), FPU("fiseg", FISEG), FPU("fioff", FIOFF), FPU("foseg", FOSEG), FPU("fooff", FOOFF), \
        FPU("fop", FOP)
#define XMM(i)                                  \
    {                                           \
        "xmm" #i, "vec128", NULL, 128, R_XMM, i \
    }
#define MXCSR                                           \
    {                                                   \
        "mxcsr", "i386_mxcsr", "vector", 32, R_MXCSR, 0 \
    }
#define BASE(name, bits, seg)                          \
    {                                                  \
        name, "int" #bits, "system", bits, R_BASE, seg \
    }
#define CONTROL(bits)                                                                                   \
    {"cr0", "int" #bits, "system", bits, R_CR0, 0}, {"cr2", "int" #bits, "system", bits, R_CR2, 0},     \
        {"cr3", "int" #bits, "system", bits, R_CR3, 0}, {"cr4", "int" #bits, "system", bits, R_CR4, 0}, \
        {"cr8", "int" #bits, "system", bits, R_CR8, 0},                                                 \
    {                                                                                                   \
        "efer", "int64", "system", 64, R_EFER, 0                                                        \
    }

static const struct reg core32[] = {GPR32("eax", "int32", 0),
                                    GPR32("ecx", "int32", 1),
                                    GPR32("edx", "int32", 2),
                                    GPR32("ebx", "int32", 3),
                                    GPR32("esp", "data_ptr", 4),
                                    GPR32("ebp", "data_ptr", 5),
                                    GPR32("esi", "int32", 6),
                                    GPR32("edi", "int32", 7),
                                    {"eip", "code_ptr", "general", 32, R_PC, 0},
                                    FLAGS_AND_SELECTORS,
                                    FLOATING};
static const struct reg core64[] = {GPR64("rax", "int64", 0),
                                    GPR64("rbx", "int64", 3),
                                    GPR64("rcx", "int64", 1),
                                    GPR64("rdx", "int64", 2),
                                    GPR64("rsi", "int64", 6),
                                    GPR64("rdi", "int64", 7),
                                    GPR64("rbp", "data_ptr", 5),
                                    GPR64("rsp", "data_ptr", 4),
                                    GPR64("r8", "int64", 8),
                                    GPR64("r9", "int64", 9),
                                    GPR64("r10", "int64", 10),
                                    GPR64("r11", "int64", 11),
                                    GPR64("r12", "int64", 12),
                                    GPR64("r13", "int64", 13),
                                    GPR64("r14", "int64", 14),
                                    GPR64("r15", "int64", 15),
                                    {"rip", "code_ptr", "general", 64, R_PC, 0},
                                    FLAGS_AND_SELECTORS,
                                    FLOATING};
static const struct reg sse32[] = {XMM(0), XMM(1), XMM(2), XMM(3), XMM(4), XMM(5), XMM(6), XMM(7), MXCSR};
static const struct reg sse64[] = {XMM(0), XMM(1),  XMM(2),  XMM(3),  XMM(4),  XMM(5),  XMM(6),  XMM(7), XMM(8),
                                   XMM(9), XMM(10), XMM(11), XMM(12), XMM(13), XMM(14), XMM(15), MXCSR};
static const struct reg bases64[] = {BASE("fs_base", 64, VM_SEG_FS), BASE("gs_base", 64, VM_SEG_GS)};
static const struct reg system32[] = {BASE("cs_base", 32, VM_SEG_CS),
                                      BASE("ss_base", 32, VM_SEG_SS),
                                      BASE("ds_base", 32, VM_SEG_DS),
                                      BASE("es_base", 32, VM_SEG_ES),
                                      BASE("fs_base", 32, VM_SEG_FS),
                                      BASE("gs_base", 32, VM_SEG_GS),
                                      CONTROL(32)};
static const struct reg system64[] = {BASE("cs_base", 64, VM_SEG_CS), BASE("ss_base", 64, VM_SEG_SS),
                                      BASE("ds_base", 64, VM_SEG_DS), BASE("es_base", 64, VM_SEG_ES), CONTROL(64)};

#define FIELD_1(name, bit) "<field name=\"" name "\" start=\"" #bit "\" end=\"" #bit "\"/>"
static const char eflags_types[] = "<flags id=\"i386_eflags\" size=\"4\">" FIELD_1("CF", 0) FIELD_1("", 1)
    FIELD_1("PF", 2) FIELD_1("AF", 4) FIELD_1("ZF", 6) FIELD_1("SF", 7) FIELD_1("TF", 8) FIELD_1("IF", 9)
        FIELD_1("DF", 10) FIELD_1("OF", 11) FIELD_1("NT", 14) FIELD_1("RF", 16) FIELD_1("VM", 17) FIELD_1("AC", 18)
            FIELD_1("VIF", 19) FIELD_1("VIP", 20) FIELD_1("ID", 21) "</flags>\n";
static const char sse_types[] =
    "<vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/><vector id=\"v2d\" type=\"ieee_double\" count=\"2\"/>"
    "<vector id=\"v16i8\" type=\"int8\" count=\"16\"/><vector id=\"v8i16\" type=\"int16\" count=\"8\"/>"
    "<vector id=\"v4i32\" type=\"int32\" count=\"4\"/><vector id=\"v2i64\" type=\"int64\" count=\"2\"/>"
    "<union id=\"vec128\"><field name=\"v4_float\" type=\"v4f\"/><field name=\"v2_double\" type=\"v2d\"/>"
    "<field name=\"v16_int8\" type=\"v16i8\"/><field name=\"v8_int16\" type=\"v8i16\"/>"
    "<field name=\"v4_int32\" type=\"v4i32\"/><field name=\"v2_int64\" type=\"v2i64\"/>"
    "<field name=\"uint128\" type=\"uint128\"/></union>"
    "<flags id=\"i386_mxcsr\" size=\"4\">" FIELD_1("IE", 0) FIELD_1("DE", 1) FIELD_1("ZE", 2) FIELD_1("OE", 3)
        FIELD_1("UE", 4) FIELD_1("PE", 5) FIELD_1("DAZ", 6) FIELD_1("IM", 7) FIELD_1("DM", 8) FIELD_1("ZM", 9)
            FIELD_1("OM", 10) FIELD_1("UM", 11) FIELD_1("PM", 12) FIELD_1("FZ", 15) "</flags>\n";

#define REGS(t) t, ARRAY_LEN(t)
static const struct feature i386_features[] = {{"org.gnu.gdb.i386.core", eflags_types, REGS(core32)},
                                               {"org.gnu.gdb.i386.sse", sse_types, REGS(sse32)},
                                               {"org.vmtest.x86.system", "", REGS(system32)}};
static const struct feature amd64_features[] = {{"org.gnu.gdb.i386.core", eflags_types, REGS(core64)},
                                                {"org.gnu.gdb.i386.sse", sse_types, REGS(sse64)},
                                                {"org.gnu.gdb.i386.segments", "", REGS(bases64)},
                                                {"org.vmtest.x86.system", "", REGS(system64)}};

static const struct feature *features(bool amd64, unsigned *ret_n)
{
    *ret_n = amd64 ? ARRAY_LEN(amd64_features) : ARRAY_LEN(i386_features);
    return amd64 ? amd64_features : i386_features;
}

unsigned gdbregs_count(bool amd64)
{
    unsigned n, count = 0;
    const struct feature *f = features(amd64, &n);

    for (unsigned i = 0; i < n; i++)
        count += f[i].nregs;
    return count;
}

static const struct reg *find(bool amd64, unsigned n)
{
    unsigned nf;
    const struct feature *f = features(amd64, &nf);

    for (; n >= f->nregs; f++)
        n -= f->nregs;
    return &f->reg[n];
}

void gdbregs_xml(bool amd64, bool code16, struct buf *to)
{
    unsigned n;
    const struct feature *f = features(amd64, &n);

    buf_printf(to,
               "<?xml version=\"1.0\"?>\n<!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n<target>\n"
               "<architecture>%s</architecture>\n",
               amd64    ? "i386:x86-64"
               : code16 ? "i8086"
                        : "i386");
    for (; n; n--, f++) {
        buf_printf(to, "<feature name=\"%s\">\n%s", f->name, f->types);
        for (unsigned i = 0; i < f->nregs; i++) {
            const struct reg *r = &f->reg[i];

            buf_printf(to, "<reg name=\"%s\" bitsize=\"%u\" type=\"%s\"", r->name, r->bits, r->type);
            if (r->group)
                buf_printf(to, " group=\"%s\"", r->group);
            buf_str(to, "/>\n");
        }
        buf_str(to, "</feature>\n");
    }
    buf_str(to, "</target>\n");
}

/* ---- values */

uint64_t gdbregs_pc(const struct vm_debug_regs *r)
{
    return r->code_bits == 64 ? r->rip : (uint32_t)(r->seg[VM_SEG_CS].base + r->rip);
}

static uint32_t fx_get(const struct vm_debug_regs *r, unsigned off, unsigned size)
{
    uint32_t v = 0;

    memcpy(&v, r->fx + off, size);
    return v;
}

/* The 16-bit tag word from FXSAVE's 8 bits and the registers' contents (SDM vol. 1, 8.1.7). Bits are by physical
 * register, the saved registers by their place on the stack. */
static uint32_t tag_word(const struct vm_debug_regs *r)
{
    unsigned top = fx_get(r, FX_FSW, 2) >> 11 & 7;
    uint32_t tags = 0;

    for (unsigned i = 0; i < 8; i++) {
        const uint8_t *st = r->fx + FX_ST + 16 * ((i - top) & 7);
        uint64_t mantissa;
        uint16_t exponent;
        uint32_t tag = 3;

        memcpy(&mantissa, st, 8);
        memcpy(&exponent, st + 8, 2);
        exponent &= 0x7fff;
        if (r->fx[FX_FTW] >> i & 1)
            tag = exponent == 0 && mantissa == 0 ? 1 : exponent == 0 || exponent == 0x7fff || !(mantissa >> 63) ? 2 : 0;
        tags |= tag << (2 * i);
    }
    return tags;
}

static uint32_t fpu_get(const struct vm_debug_regs *r, unsigned n)
{
    switch (n) {
    case FCTRL:
        return fx_get(r, FX_FCW, 2);
    case FSTAT:
        return fx_get(r, FX_FSW, 2);
    case FTAG:
        return tag_word(r);
    case FISEG:
        return fx_get(r, FX_FCS, 2);
    case FIOFF:
        return fx_get(r, FX_FIP, 4);
    case FOSEG:
        return fx_get(r, FX_FDS, 2);
    case FOOFF:
        return fx_get(r, FX_FDP, 4);
    default:
        return fx_get(r, FX_FOP, 2);
    }
}

static uint64_t value(const struct reg *d, const struct vm_debug_regs *r)
{
    switch ((enum kind)d->kind) {
    case R_GPR:
        return r->gpr[d->n];
    case R_PC:
        return gdbregs_pc(r);
    case R_FLAGS:
        return r->rflags;
    case R_SEL:
        return r->seg[d->n].sel;
    case R_FPU:
        return fpu_get(r, d->n);
    case R_MXCSR:
        return fx_get(r, FX_MXCSR, 4);
    case R_BASE:
        return r->seg[d->n].base;
    case R_CR0:
        return r->cr0;
    case R_CR2:
        return r->cr2;
    case R_CR3:
        return r->cr3;
    case R_CR4:
        return r->cr4;
    case R_CR8:
        return r->cr8;
    case R_EFER:
        return r->efer;
    case R_ST:
    case R_XMM:
        break;
    }
    return 0;
}

static uint8_t *wide(const struct reg *d, struct vm_debug_regs *r)
{
    return d->kind == R_ST    ? r->fx + FX_ST + 16 * (size_t)d->n
           : d->kind == R_XMM ? r->fx + FX_XMM + 16 * (size_t)d->n
                              : NULL;
}

unsigned gdbregs_get(bool amd64, unsigned n, const struct vm_debug_regs *r, uint8_t ret[GDBREG_BYTES])
{
    const struct reg *d = find(amd64, n);
    const uint8_t *from = wide(d, (struct vm_debug_regs *)r);
    uint64_t v = value(d, r);

    memcpy(ret, from ? from : (const uint8_t *)&v, d->bits / 8u);
    return d->bits / 8u;
}

bool gdbregs_set(bool amd64, unsigned n, struct vm_debug_regs *r, const uint8_t bytes[GDBREG_BYTES])
{
    const struct reg *d = find(amd64, n);
    uint8_t *to = wide(d, r);
    uint64_t v = 0;

    if (to) {
        memcpy(to, bytes, d->bits / 8u);
        return true;
    }
    memcpy(&v, bytes, MIN(d->bits / 8u, 8u));
    switch ((enum kind)d->kind) {
    case R_GPR:
        r->gpr[d->n] = v;
        return true;
    case R_PC:
        r->rip = r->code_bits == 64 ? v : (uint32_t)(v - r->seg[VM_SEG_CS].base);
        return true;
    case R_FLAGS:
        r->rflags = v;
        return true;
    case R_MXCSR:
        memcpy(r->fx + FX_MXCSR, &v, 4);
        return true;
    case R_FPU:
        if (d->n == FCTRL || d->n == FSTAT) {
            memcpy(r->fx + (d->n == FCTRL ? FX_FCW : FX_FSW), &v, 2);
            return true;
        }
        break;
    default:
        break;
    }
    return v == value(d, r);
}

/* ---- text */

void gdbregs_print(const struct vm_debug_regs *r, struct buf *to)
{
    static const char *const gpr[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                        "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    static const char *const seg[8] = {"es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr"};

    for (unsigned i = 0; i < 16; i++)
        buf_printf(to, "%-3s %016" PRIx64 "%s", gpr[i], r->gpr[i], i % 4 == 3 ? "\n" : "  ");
    buf_printf(to, "rip %016" PRIx64 "  rflags %08" PRIx64 "  cpl %u  %u-bit code%s\n", r->rip, r->rflags, r->cpl,
               r->code_bits, r->halted ? "  halted" : "");
    for (unsigned i = 0; i < 8; i++)
        buf_printf(to, "%-4s %04x  base %016" PRIx64 "  limit %08x  attr %04x\n", seg[i], r->seg[i].sel, r->seg[i].base,
                   r->seg[i].limit, r->seg[i].attr);
    buf_printf(to, "gdt  base %016" PRIx64 "  limit %04x\nidt  base %016" PRIx64 "  limit %04x\n", r->gdt_base,
               r->gdt_limit, r->idt_base, r->idt_limit);
    buf_printf(to,
               "cr0 %08" PRIx64 "  cr2 %016" PRIx64 "  cr3 %016" PRIx64 "  cr4 %08" PRIx64 "  cr8 %" PRIx64
               "  efer %" PRIx64 "\n",
               r->cr0, r->cr2, r->cr3, r->cr4, r->cr8, r->efer);
    for (unsigned i = 0; i < 8; i++)
        if (i != 4 && i != 5)
            buf_printf(to, "dr%u %016" PRIx64 "%s", i, r->dr[i], i == 3 || i == 7 ? "\n" : "  ");
}
