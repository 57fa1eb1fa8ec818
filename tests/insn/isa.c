#include "isa.h"

#include <Zydis/Zydis.h>
#include <cpuid.h>
#include <stdint.h>

enum { EBX = 1, ECX = 2 };

struct feature {
    uint16_t isa_set;
    uint32_t leaf;
    uint8_t reg, bit;
    bool ymm; /* works on YMM registers: XCR0 must have them */
};

/* AMD APM vol. 3, appendix E; Intel SDM vol. 2, CPUID. */
static const struct feature features[] = {
    {ZYDIS_ISA_SET_SSE3, 1, ECX, 0, false},
    {ZYDIS_ISA_SET_PCLMULQDQ, 1, ECX, 1, false},
    {ZYDIS_ISA_SET_SSSE3, 1, ECX, 9, false},
    {ZYDIS_ISA_SET_SSSE3MMX, 1, ECX, 9, false},
    {ZYDIS_ISA_SET_FMA, 1, ECX, 12, true},
    {ZYDIS_ISA_SET_CMPXCHG16B, 1, ECX, 13, false},
    {ZYDIS_ISA_SET_SSE4, 1, ECX, 19, false},
    {ZYDIS_ISA_SET_SSE42, 1, ECX, 20, false},
    {ZYDIS_ISA_SET_MOVBE, 1, ECX, 22, false},
    {ZYDIS_ISA_SET_POPCNT, 1, ECX, 23, false},
    {ZYDIS_ISA_SET_AES, 1, ECX, 25, false},
    {ZYDIS_ISA_SET_XSAVE, 1, ECX, 26, false},
    {ZYDIS_ISA_SET_AVX, 1, ECX, 28, true},
    {ZYDIS_ISA_SET_AVXAES, 1, ECX, 25, true},
    {ZYDIS_ISA_SET_F16C, 1, ECX, 29, true},
    {ZYDIS_ISA_SET_RDRAND, 1, ECX, 30, false},
    {ZYDIS_ISA_SET_RDWRFSGS, 7, EBX, 0, false},
    {ZYDIS_ISA_SET_BMI1, 7, EBX, 3, false},
    {ZYDIS_ISA_SET_AVX2, 7, EBX, 5, true},
    {ZYDIS_ISA_SET_AVX2GATHER, 7, EBX, 5, true},
    {ZYDIS_ISA_SET_BMI2, 7, EBX, 8, false},
    {ZYDIS_ISA_SET_RDSEED, 7, EBX, 18, false},
    {ZYDIS_ISA_SET_ADOX_ADCX, 7, EBX, 19, false},
    {ZYDIS_ISA_SET_CLFLUSHOPT, 7, EBX, 23, false},
    {ZYDIS_ISA_SET_CLWB, 7, EBX, 24, false},
    {ZYDIS_ISA_SET_SHA, 7, EBX, 29, false},
    {ZYDIS_ISA_SET_VAES, 7, ECX, 9, true},
    {ZYDIS_ISA_SET_VPCLMULQDQ, 7, ECX, 10, true},
    {ZYDIS_ISA_SET_LZCNT, 0x80000001, ECX, 5, false},
    {ZYDIS_ISA_SET_LAHF, 0x80000001, ECX, 0, false},
};

static const struct feature *find(unsigned isa_set)
{
    for (unsigned i = 0; i < sizeof(features) / sizeof(features[0]); i++)
        if (features[i].isa_set == isa_set)
            return &features[i];
    return NULL;
}

static bool ymm_enabled(void)
{
    uint32_t a, b, c, d, xcr0;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & 1u << 27)) /* OSXSAVE */
        return false;
    __asm__ volatile("xgetbv" : "=a"(xcr0), "=d"(d) : "c"(0));
    return (xcr0 & 6) == 6;
}

bool isa_is_optional(unsigned isa_set)
{
    return find(isa_set) != NULL;
}

bool isa_on_host(unsigned isa_set)
{
    const struct feature *f = find(isa_set);
    uint32_t r[4];
    if (!f)
        return true;
    if (!__get_cpuid_count(f->leaf, 0, &r[0], &r[EBX], &r[ECX], &r[3]) || !(r[f->reg] >> f->bit & 1))
        return false;
    return !f->ymm || ymm_enabled();
}
