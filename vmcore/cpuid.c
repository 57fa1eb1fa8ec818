/* CPU models. The identity is a performance decision: a vendor, family and feature bits on which current kernels need
 * no page-table isolation, VERW or retpolines, and which nearly every host can run. AMD APM vol. 3, appendix E. */
#include "vmcore/cpuid.h"

#include <Zydis/Zydis.h>
#include "src/base/cpumodel.h"
#include "vmcore/cpu.h"
#include "vmcore/helpers.h"
#include "vmcore/rt.h"

#define EDX1                                                                                                       \
    (1u << 0 /* FPU */ | 1u << 1 /* VME */ | 1u << 2 /* DE */ | 1u << 3 /* PSE */ | 1u << 4 /* TSC */ |            \
     1u << 5 /* MSR */ | 1u << 6 /* PAE */ | 1u << 7 /* MCE */ | 1u << 8 /* CX8 */ | 1u << 9 /* APIC */ |          \
     1u << 11 /* SEP */ | 1u << 12 /* MTRR */ | 1u << 13 /* PGE */ | 1u << 14 /* MCA */ | 1u << 15 /* CMOV */ |    \
     1u << 16 /* PAT */ | 1u << 17 /* PSE36 */ | 1u << 19 /* CLFSH */ | 1u << 23 /* MMX */ | 1u << 24 /* FXSR */ | \
     1u << 25 /* SSE */ | 1u << 26 /* SSE2 */)
#define ECX1                                                                                                        \
    (1u << 0 /* SSE3 */ | 1u << 9 /* SSSE3 */ | 1u << 13 /* CX16 */ | 1u << 17 /* PCID */ | 1u << 19 /* SSE4.1 */ | \
     1u << 20 /* SSE4.2 */ | 1u << 23 /* POPCNT */ | 1u << 24 /* TSC deadline */ | 1u << 31 /* hypervisor */)
/* what 8000_0001h repeats of EDX1 */
#define EDX_DUP (EDX1 & 0x0183f3ffu)

static const struct cpuid_leaf v2_leaves[] = {
    {1, 0, 0x00b00f21, 0x00010800, ECX1, EDX1}, /* family 1Ah; CLFLUSH 64 bytes, one logical processor */
    {6, 0, 4, 0, 0, 0},                         /* ARAT */
    {7, 0, 0,
     1u << 0 /* FSGSBASE */ | 1u << 1 /* TSC_ADJUST */ | 1u << 6 /* FDP on exceptions only */ | 1u << 7 /* SMEP */ |
         1u << 9 /* ERMS */ | 1u << 10 /* INVPCID */ | 1u << 13 /* no FCS, FDS */,
     1u << 2 /* UMIP */ | 1u << 22 /* RDPID */, 1u << 4 /* FSRM */},
    {0x80000001, 0, 0x00b00f21, 0, 1u << 0 /* LAHF */ | 1u << 8 /* PREFETCHW */,
     EDX_DUP | 1u << 11 /* SYSCALL */ | 1u << 20 /* NX */ | 1u << 26 /* 1 GiB pages */ | 1u << 27 /* RDTSCP */ |
         1u << 29 /* LM */},
    {0x80000005, 0, 0xff40ff40, 0xff40ff40, 0x20080140, 0x20080140}, /* L1: 32 KiB, 8 ways */
    {0x80000006, 0, 0x60006000, 0x60006000, 0x02006140, 0x00000000}, /* L2: 512 KiB, 8 ways */
    {0x80000007, 0, 0, 0, 0, 1u << 8 /* invariant TSC */},
    {0x80000008, 0, 0x3028 /* 40 physical, 48 linear bits */, 1u << 26 /* SSB_NO */, 0, 0},
    {0x80000021, 0,
     1u << 0 | 1u << 2 /* LFENCE serialises */ | 1u << 6 /* null clears base */ | 1u << 8 /* Automatic IBRS */ |
         1u << 29 /* SRSO_NO */,
     0, 0, 0},
};

/* The same processor with no more than the first x86-64 processors had. */
static const struct cpuid_leaf v1_leaves[] = {
    {1, 0, 0x00b00f21, 0x00010800, 1u << 31 /* hypervisor */, EDX1},
    {6, 0, 4, 0, 0, 0},
    {7, 0, 0, 1u << 1 | 1u << 6 | 1u << 7 | 1u << 9 | 1u << 13, 1u << 2, 1u << 4},
    {0x80000001, 0, 0x00b00f21, 0, 1u << 0, EDX_DUP | 1u << 11 | 1u << 20 | 1u << 29},
    {0x80000005, 0, 0xff40ff40, 0xff40ff40, 0x20080140, 0x20080140},
    {0x80000006, 0, 0x60006000, 0x60006000, 0x02006140, 0x00000000},
    {0x80000007, 0, 0, 0, 0, 1u << 8},
    {0x80000008, 0, 0x3028, 1u << 26, 0, 0},
    {0x80000021, 0, 1u << 0 | 1u << 2 | 1u << 6 | 1u << 8 | 1u << 29, 0, 0, 0},
};

/* Intel's of the nineties. Intel application note 485; leaf 2 as those processors have it. */
static const struct cpuid_leaf pentium3_leaves[] = {
    {1, 0, 0x00000683, 0, 0, EDX1 & ~(1u << 19 /* CLFSH */ | 1u << 26 /* SSE2 */)},
    {2, 0, 0x03020101, 0, 0, 0x0c040882},
};
static const struct cpuid_leaf pentium_leaves[] = {
    {1, 0, 0x00000543, 0, 0,
     1u << 0 | 1u << 1 | 1u << 2 | 1u << 3 | 1u << 4 | 1u << 5 | 1u << 7 | 1u << 8 | 1u << 9 | 1u << 23 /* MMX */},
};
static const struct cpuid_leaf i486_leaves[] = {
    {1, 0, 0x00000480, 0, 0, 1u << 0 | 1u << 1 | 1u << 3},
};

#define LEAVES(l) l, sizeof l / sizeof l[0]
static const struct cpu_model models[] = {
    {CPU_X86_64_V2, 7, 0x80000021, 40, true, false, 0, LEAVES(v2_leaves), "vmtest virtual processor", "AuthenticAMD"},
    {CPU_X86_64_V3, 0xd, 0x80000021, 40, true, false, FEATURES_V3, LEAVES(v2_leaves), "vmtest virtual processor",
     "AuthenticAMD"},
    {CPU_HOST, 0xd, 0x80000021, 40, true, true, FEATURES_ALL, LEAVES(v2_leaves), "vmtest virtual processor",
     "AuthenticAMD"},
    {CPU_X86_64, 7, 0x80000021, 40, false, false, 0, LEAVES(v1_leaves), "vmtest virtual processor", "AuthenticAMD"},
    {CPU_PENTIUM3, 2, 0, 36, false, false, 0, LEAVES(pentium3_leaves), "", "GenuineIntel"},
    {CPU_PENTIUM, 1, 0, 32, false, false, 0, LEAVES(pentium_leaves), "", "GenuineIntel"},
    {CPU_I486, 1, 0, 32, false, false, 0, LEAVES(i486_leaves), "", "GenuineIntel"},
};
_Static_assert(sizeof models / sizeof models[0] == sizeof((const char *[]){CPU_MODEL_NAMES}) / sizeof(char *),
               "each model has a name that users are told of");

/* ECX selects among a leaf's subleaves, and means nothing to the others. */
static bool has_subleaves(uint32_t leaf)
{
    return leaf == 4 || leaf == 7 || leaf == 0xb || leaf == 0xd || leaf == 0x8000001d;
}

/* Where CPUID tells of a feature: leaf, register (1 EBX, 2 ECX) and bit. */
static const struct {
    uint32_t leaf;
    uint8_t reg, bit;
} places[FEAT_COUNT] = {
    [FEAT_PCLMULQDQ] = {1, 2, 1},      [FEAT_FMA] = {1, 2, 12},        [FEAT_MOVBE] = {1, 2, 22},
    [FEAT_AES] = {1, 2, 25},           [FEAT_XSAVE] = {1, 2, 26},      [FEAT_AVX] = {1, 2, 28},
    [FEAT_F16C] = {1, 2, 29},          [FEAT_RDRAND] = {1, 2, 30},     [FEAT_BMI1] = {7, 1, 3},
    [FEAT_AVX2] = {7, 1, 5},           [FEAT_BMI2] = {7, 1, 8},        [FEAT_RDSEED] = {7, 1, 18},
    [FEAT_ADX] = {7, 1, 19},           [FEAT_CLFLUSHOPT] = {7, 1, 23}, [FEAT_CLWB] = {7, 1, 24},
    [FEAT_SHA] = {7, 1, 29},           [FEAT_VAES] = {7, 2, 9},        [FEAT_VPCLMULQDQ] = {7, 2, 10},
    [FEAT_LZCNT] = {0x80000001, 2, 5},
};

uint32_t cpuid_features(uint32_t leaf, uint32_t sub, const uint32_t v[4])
{
    uint32_t f = 0;

    for (unsigned i = 0; i < FEAT_COUNT && !(sub && has_subleaves(leaf)); i++)
        if (places[i].leaf == leaf)
            f |= (v[places[i].reg] >> places[i].bit & 1) << i;
    return f;
}

static bool same(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}

const struct cpu_model *cpu_model_at(unsigned i)
{
    return i < sizeof models / sizeof models[0] ? &models[i] : NULL;
}

const struct cpu_model *cpu_model_find(const char *name)
{
    const struct cpu_model *m;

    if (!name)
        return &models[0];
    for (unsigned i = 0; (m = cpu_model_at(i)); i++)
        if (same(m->name, name))
            return m;
    return NULL;
}

static uint32_t word(const char *s, unsigned at)
{
    uint32_t v = 0;
    unsigned n = 0;

    while (s[n])
        n++;
    for (unsigned i = 0; i < 4; i++)
        if (at + i < n)
            v |= (uint32_t)(unsigned char)s[at + i] << (8 * i);
    return v;
}

uint64_t cpuid_xcr0(const struct cpu_model *m)
{
    if (!(m->features & FEAT(XSAVE)))
        return XCR0_X87;
    return XCR0_X87 | XCR0_SSE | (m->features & FEAT(AVX) ? XCR0_AVX : 0);
}

/* Extended states: x87, SSE and AVX in the standard format. EBX of subleaf 0 is for XCR0 as it is at reset. */
static void xsave_leaf(const struct cpu_model *m, uint32_t sub, uint32_t out[4])
{
    bool avx = m->features & FEAT(AVX);

    if (sub == 0) {
        out[0] = (uint32_t)cpuid_xcr0(m);
        out[1] = xsave_size(XCR0_X87);
        out[2] = xsave_size(cpuid_xcr0(m));
    } else if (sub == 1) {
        out[0] = 1; /* XSAVEOPT */
    } else if (sub == 2 && avx) {
        out[0] = sizeof(((struct xarea *)0)->ymmh);
        out[1] = offsetof(struct xarea, ymmh);
    }
}

/* What needs nothing of the host and brings a guest no speed: for who asks for all that there is. */
static const uint32_t not_by_default[] = {CPUID_SMAP};

uint32_t cpuid_leaf_of(uint32_t feature)
{
    return (feature & 0x80000000u) | (feature >> 16 & 0xff);
}

void cpuid_query(const struct cpu_model *m, uint32_t leaf, uint32_t sub, uint32_t out[4])
{
    memset(out, 0, 16);
    if (leaf == 0 || (leaf == 0x80000000u && m->max_ext)) {
        out[0] = leaf ? m->max_ext : m->max_basic;
        out[1] = word(m->vendor, 0);
        out[3] = word(m->vendor, 4);
        out[2] = word(m->vendor, 8);
        return;
    }
    if (leaf == 0x40000000u && m->max_ext) {
        out[0] = leaf;
        out[1] = word("VMwareVMware", 0);
        out[2] = word("VMwareVMware", 4);
        out[3] = word("VMwareVMware", 8);
        return;
    }
    if (leaf >= 0x80000002u && leaf <= 0x80000004u && m->max_ext) {
        for (unsigned i = 0; i < 4; i++)
            out[i] = word(m->brand, (leaf - 0x80000002u) * 16 + i * 4);
        return;
    }
    if (leaf == 0xd && m->features & FEAT(XSAVE)) {
        xsave_leaf(m, sub, out);
        return;
    }
    for (unsigned i = 0; i < m->nleaves; i++)
        if (m->leaves[i].leaf == leaf && (m->leaves[i].sub == sub || !has_subleaves(leaf))) {
            out[0] = m->leaves[i].eax;
            out[1] = m->leaves[i].ebx;
            out[2] = m->leaves[i].ecx;
            out[3] = m->leaves[i].edx;
            break;
        }
    for (unsigned i = 0; i < FEAT_COUNT && !(sub && has_subleaves(leaf)); i++)
        if (places[i].leaf == leaf && m->features >> i & 1)
            out[places[i].reg] |= 1u << places[i].bit;
    for (unsigned i = 0; m->as_host && i < sizeof not_by_default / sizeof not_by_default[0]; i++)
        if (cpuid_leaf_of(not_by_default[i]) == leaf && !(sub && has_subleaves(leaf)))
            out[not_by_default[i] >> 8 & 3] |= 1u << (not_by_default[i] & 31);
}

/* What a model reports at a leaf, in EDX or ECX. */
static bool reports(const struct cpu_model *m, uint32_t leaf, bool edx, unsigned bit)
{
    uint32_t v[4];

    cpuid_query(m, leaf, 0, v);
    return v[edx ? 3 : 2] >> bit & 1;
}

static const struct {
    uint16_t isa_set;
    uint8_t feature;
} extra[] = {
    {ZYDIS_ISA_SET_AVX, FEAT_AVX},
    {ZYDIS_ISA_SET_AVX2, FEAT_AVX2},
    {ZYDIS_ISA_SET_AVX2GATHER, FEAT_AVX2},
    {ZYDIS_ISA_SET_VAES, FEAT_VAES},
    {ZYDIS_ISA_SET_VPCLMULQDQ, FEAT_VPCLMULQDQ},
    {ZYDIS_ISA_SET_FMA, FEAT_FMA},
    {ZYDIS_ISA_SET_F16C, FEAT_F16C},
    {ZYDIS_ISA_SET_BMI1, FEAT_BMI1},
    {ZYDIS_ISA_SET_BMI2, FEAT_BMI2},
    {ZYDIS_ISA_SET_LZCNT, FEAT_LZCNT},
    {ZYDIS_ISA_SET_MOVBE, FEAT_MOVBE},
    {ZYDIS_ISA_SET_AES, FEAT_AES},
    {ZYDIS_ISA_SET_PCLMULQDQ, FEAT_PCLMULQDQ},
    {ZYDIS_ISA_SET_SHA, FEAT_SHA},
    {ZYDIS_ISA_SET_ADOX_ADCX, FEAT_ADX},
    {ZYDIS_ISA_SET_CLFLUSHOPT, FEAT_CLFLUSHOPT},
    {ZYDIS_ISA_SET_CLWB, FEAT_CLWB},
    {ZYDIS_ISA_SET_RDRAND, FEAT_RDRAND},
    {ZYDIS_ISA_SET_RDSEED, FEAT_RDSEED},
    {ZYDIS_ISA_SET_XSAVE, FEAT_XSAVE},
    {ZYDIS_ISA_SET_XSAVEOPT, FEAT_XSAVE},
};
bool cpuid_has(const struct cpu_model *m, uint32_t feature)
{
    uint32_t v[4];

    cpuid_query(m, cpuid_leaf_of(feature), 0, v);
    return v[feature >> 8 & 3] >> (feature & 31) & 1;
}

bool cpuid_offers(const struct cpu_model *m, unsigned isa_set)
{
    switch (isa_set) {
    case ZYDIS_ISA_SET_I86:
    case ZYDIS_ISA_SET_I186:
    case ZYDIS_ISA_SET_I286REAL:
    case ZYDIS_ISA_SET_I286PROTECTED:
    case ZYDIS_ISA_SET_I386:
    case ZYDIS_ISA_SET_I486REAL:
    case ZYDIS_ISA_SET_X87:
    case ZYDIS_ISA_SET_PAUSE: /* to others it is NOP */
        return true;
    case ZYDIS_ISA_SET_PENTIUMREAL: /* RDTSC, MSRs, CMPXCHG8B */
        return reports(m, 1, true, 8);
    case ZYDIS_ISA_SET_PPRO:
    case ZYDIS_ISA_SET_CMOV:
    case ZYDIS_ISA_SET_FCMOV:
    case ZYDIS_ISA_SET_FAT_NOP:
    case ZYDIS_ISA_SET_PREFETCH_NOP:
    case ZYDIS_ISA_SET_RDPMC:
        return reports(m, 1, true, 15);
    case ZYDIS_ISA_SET_PENTIUMMMX:
        return reports(m, 1, true, 23);
    case ZYDIS_ISA_SET_FXSAVE:
        return reports(m, 1, true, 24);
    case ZYDIS_ISA_SET_SSE:
    case ZYDIS_ISA_SET_SSEMXCSR:
    case ZYDIS_ISA_SET_SSE_PREFETCH:
        return reports(m, 1, true, 25);
    case ZYDIS_ISA_SET_CLFSH:
        return reports(m, 1, true, 19);
    case ZYDIS_ISA_SET_SSE2:
    case ZYDIS_ISA_SET_SSE2MMX:
        return reports(m, 1, true, 26);
    case ZYDIS_ISA_SET_SSE3:
    case ZYDIS_ISA_SET_SSE3X87:
        return reports(m, 1, false, 0);
    case ZYDIS_ISA_SET_SSSE3:
    case ZYDIS_ISA_SET_SSSE3MMX:
        return reports(m, 1, false, 9);
    case ZYDIS_ISA_SET_CMPXCHG16B:
        return reports(m, 1, false, 13);
    case ZYDIS_ISA_SET_SSE4:
        return reports(m, 1, false, 19);
    case ZYDIS_ISA_SET_SSE42:
        return reports(m, 1, false, 20);
    case ZYDIS_ISA_SET_POPCNT:
        return reports(m, 1, false, 23);
    case ZYDIS_ISA_SET_LAHF:
        return true; /* long mode's bit; all of this have it elsewhere */
    case ZYDIS_ISA_SET_RDTSCP:
        return cpuid_has(m, CPUID_RDTSCP);
    case ZYDIS_ISA_SET_INVPCID:
        return cpuid_has(m, CPUID_INVPCID);
    case ZYDIS_ISA_SET_SMAP:
        return cpuid_has(m, CPUID_SMAP);
    case ZYDIS_ISA_SET_RDPID:
        return cpuid_has(m, CPUID_RDPID);
    case ZYDIS_ISA_SET_RDWRFSGS:
        return cpuid_has(m, CPUID_FSGSBASE);
    case ZYDIS_ISA_SET_LONGMODE:
    case ZYDIS_ISA_SET_FXSAVE64:
        return reports(m, 0x80000001, true, 29);
    case ZYDIS_ISA_SET_AVXAES:
        return ~m->features & (FEAT(AVX) | FEAT(AES)) ? false : true;
    default:
        break;
    }
    for (unsigned i = 0; i < sizeof extra / sizeof extra[0]; i++)
        if (extra[i].isa_set == isa_set)
            return m->features >> extra[i].feature & 1;
    return false;
}

/* Control register bits that the model has: CR4's by feature. */
uint32_t cpuid_cr4(const struct cpu_model *m)
{
    uint32_t v[4], seven[4], bits = 0;

    cpuid_query(m, 1, 0, v);
    cpuid_query(m, 7, 0, seven);
    bits |= v[3] & 1u << 1 ? CR4_VME | CR4_PVI : 0;
    bits |= v[3] & 1u << 4 ? CR4_TSD : 0;
    bits |= v[3] & 1u << 2 ? CR4_DE : 0;
    bits |= v[3] & 1u << 3 ? CR4_PSE : 0;
    bits |= v[3] & 1u << 6 ? CR4_PAE : 0;
    bits |= v[3] & 1u << 7 ? CR4_MCE : 0;
    bits |= v[3] & 1u << 13 ? CR4_PGE : 0;
    bits |= v[3] & 1u << 15 ? CR4_PCE : 0;
    bits |= v[3] & 1u << 24 ? CR4_OSFXSR : 0;
    bits |= v[3] & 1u << 25 ? CR4_OSXMMEXCPT : 0;
    bits |= seven[1] & 1u << 7 ? CR4_SMEP : 0;
    bits |= seven[2] & 1u << 2 ? CR4_UMIP : 0;
    bits |= m->features & FEAT(XSAVE) ? CR4_OSXSAVE : 0;
    bits |= seven[1] & 1u << 0 ? CR4_FSGSBASE : 0;
    bits |= seven[1] & 1u << 20 ? CR4_SMAP : 0;
    bits |= v[2] & 1u << 17 ? CR4_PCIDE : 0;
    return bits;
}

int help_cpuid(struct cpu *c, const struct site *s, uint64_t addr)
{
    uint32_t v[4];

    cpuid_query(c->model, (uint32_t)c->gpr[R_EAX], (uint32_t)c->gpr[R_ECX], v);
    if ((uint32_t)c->gpr[R_EAX] == 1 && !(c->apic_base & 0x800))
        v[3] &= ~(1u << 9);
    if ((uint32_t)c->gpr[R_EAX] == 1 && (c->cr4 & CR4_OSXSAVE))
        v[2] |= 1u << 27;
    if ((uint32_t)c->gpr[R_EAX] == 0xd && !(uint32_t)c->gpr[R_ECX] && v[1])
        v[1] = xsave_size(c->xcr0);
    c->gpr[R_EAX] = v[0];
    c->gpr[R_EBX] = v[1];
    c->gpr[R_ECX] = v[2];
    c->gpr[R_EDX] = v[3];
    return 0;
}
