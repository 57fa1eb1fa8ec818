/* CPU features by name, and those that the host can run. Intel SDM vol. 1, chapter 13.3 and 14.3: AVX needs the
 * operating system, too. */
#include "vmcore/cpuid.h"

#include <stdio.h>
#include <string.h>
#include "src/base/util.h"

static const char *const names[FEAT_COUNT] = {
    [FEAT_PCLMULQDQ] = "pclmulqdq",
    [FEAT_FMA] = "fma",
    [FEAT_MOVBE] = "movbe",
    [FEAT_AES] = "aes",
    [FEAT_XSAVE] = "xsave",
    [FEAT_AVX] = "avx",
    [FEAT_F16C] = "f16c",
    [FEAT_RDRAND] = "rdrand",
    [FEAT_BMI1] = "bmi1",
    [FEAT_AVX2] = "avx2",
    [FEAT_BMI2] = "bmi2",
    [FEAT_RDSEED] = "rdseed",
    [FEAT_ADX] = "adx",
    [FEAT_CLFLUSHOPT] = "clflushopt",
    [FEAT_CLWB] = "clwb",
    [FEAT_SHA] = "sha_ni",
    [FEAT_VAES] = "vaes",
    [FEAT_VPCLMULQDQ] = "vpclmulqdq",
    [FEAT_LZCNT] = "abm",
};

/* Those that work on YMM registers. */
#define FEATURES_YMM (FEAT(FMA) | FEAT(AVX) | FEAT(F16C) | FEAT(AVX2) | FEAT(VAES) | FEAT(VPCLMULQDQ))

const char *cpu_feature_name(unsigned feature)
{
    return feature < FEAT_COUNT ? names[feature] : NULL;
}

/* Instructions of the host's that models show. A processor that lacks one of these is older than x86-64-v2; all other
 * flags are the first x86-64 processors' or done here. */
static const struct {
    uint32_t flag;
    const char *name;
} natives[] = {
    {CPUID_BIT(1u, 2u, 0u), "sse3"},
    {CPUID_BIT(1u, 2u, 9u), "ssse3"},
    {CPUID_BIT(1u, 2u, 13u), "cx16"},
    {CPUID_BIT(1u, 2u, 19u), "sse4_1"},
    {CPUID_BIT(1u, 2u, 20u), "sse4_2"},
    {CPUID_BIT(1u, 2u, 23u), "popcnt"},
    {CPUID_LAHF, "lahf_lm"},
};

void cpu_host_cpuid(uint32_t leaf, uint32_t v[4])
{
    __asm__ volatile("cpuid" : "=a"(v[0]), "=b"(v[1]), "=c"(v[2]), "=d"(v[3]) : "0"(leaf), "2"(0));
}

uint32_t cpu_features_of_host(void)
{
    static const uint32_t leaves[] = {1, 7, 0x80000001u};
    uint32_t f = 0, v[4], max[4], lo, hi;

    for (unsigned i = 0; i < ARRAY_LEN(leaves); i++) {
        cpu_host_cpuid(leaves[i] & 0x80000000u, max);
        if (max[0] < leaves[i])
            continue;
        cpu_host_cpuid(leaves[i], v);
        f |= cpuid_features(leaves[i], 0, v);
    }
    cpu_host_cpuid(1, v);
    if (!(v[2] & 1u << 27)) /* OSXSAVE */
        return f & ~(FEATURES_YMM | FEAT(XSAVE));
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (lo & 6) == 6 ? f : f & ~FEATURES_YMM;
}

static void add_word(char *out, size_t size, const char *word, size_t len)
{
    size_t used = strlen(out);

    if (used + 1 < size)
        snprintf(out + used, size - used, "%s%.*s", used ? " " : "", (int)len, word);
}

void cpu_features_text(uint32_t features, char *out, size_t size)
{
    out[0] = 0;
    for (unsigned i = 0; i < FEAT_COUNT; i++)
        if (features >> i & 1)
            add_word(out, size, names[i], strlen(names[i]));
}

static bool is_word(const char *word, size_t len, const char *name)
{
    return strlen(name) == len && memcmp(word, name, len) == 0;
}

static bool has(const char *word, size_t len, uint32_t have)
{
    const struct cpu_model *m;

    for (unsigned i = 0; i < FEAT_COUNT; i++)
        if (is_word(word, len, names[i]))
            return have >> i & 1;
    for (unsigned i = 0; (m = cpu_model_at(i)); i++)
        if (is_word(word, len, m->name))
            return true;
    return false;
}

void cpu_features_missing(const char *text, uint32_t have, char *out, size_t size)
{
    out[0] = 0;
    for (size_t len; *text; text += len) {
        text += strspn(text, " ");
        len = strcspn(text, " ");
        if (len && !has(text, len, have))
            add_word(out, size, text, len);
    }
}

void cpu_model_lacks(const struct cpu_model *m, cpuid_fn *host, char *out, size_t size)
{
    uint32_t v[4];

    for (unsigned i = 0; i < ARRAY_LEN(natives); i++) {
        uint32_t flag = natives[i].flag;
        if (!cpuid_has(m, flag))
            continue;
        host(cpuid_leaf_of(flag), v);
        if (!(v[flag >> 8 & 3] >> (flag & 31) & 1))
            add_word(out, size, natives[i].name, strlen(natives[i].name));
    }
}

void cpu_models_lack(const char *text, cpuid_fn *host, char *out, size_t size)
{
    const struct cpu_model *m;

    for (size_t len; *text; text += len) {
        text += strspn(text, " ");
        len = strcspn(text, " ");
        for (unsigned i = 0; (m = cpu_model_at(i)); i++)
            if (is_word(text, len, m->name))
                cpu_model_lacks(m, host, out, size);
    }
}
