/* CPU models: what CPUID says, and so which instructions exist. */
#ifndef VT_CPUID_H
#define VT_CPUID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cpuid_leaf {
    uint32_t leaf, sub;
    uint32_t eax, ebx, ecx, edx;
};

/* What models beyond x86-64-v2 add. A set of them is a mask, bit n being feature n. */
enum cpu_feature {
    FEAT_PCLMULQDQ,
    FEAT_FMA,
    FEAT_MOVBE,
    FEAT_AES,
    FEAT_XSAVE,
    FEAT_AVX,
    FEAT_F16C,
    FEAT_RDRAND,
    FEAT_BMI1,
    FEAT_AVX2,
    FEAT_BMI2,
    FEAT_RDSEED,
    FEAT_ADX,
    FEAT_CLFLUSHOPT,
    FEAT_CLWB,
    FEAT_SHA,
    FEAT_VAES,
    FEAT_VPCLMULQDQ,
    FEAT_LZCNT,
    FEAT_COUNT
};
#define FEAT(n)      (1u << FEAT_##n)
#define FEATURES_ALL ((1u << FEAT_COUNT) - 1)
#define FEATURES_V3                                                                                          \
    (FEAT(FMA) | FEAT(MOVBE) | FEAT(XSAVE) | FEAT(AVX) | FEAT(F16C) | FEAT(BMI1) | FEAT(AVX2) | FEAT(BMI2) | \
     FEAT(LZCNT))

struct cpu_model {
    const char *name;
    uint32_t max_basic, max_ext;
    uint8_t phys_bits;
    bool pages_1g;
    bool as_host;      /* of its features, those that the host has; else it needs all of them */
    uint32_t features; /* beyond its leaves */
    const struct cpuid_leaf *leaves;
    unsigned nleaves;
    const char *brand; /* 48 bytes or fewer */
    const char *vendor;
};

const struct cpu_model *cpu_model_find(const char *name); /* NULL name: the default; NULL: no such model */
const struct cpu_model *cpu_model_at(unsigned i);         /* NULL past the end */
void cpuid_query(const struct cpu_model *m, uint32_t leaf, uint32_t sub, uint32_t out[4]); /* eax ebx ecx edx */
/* A feature bit: leaf (its top bit at 15), register (0 EAX to 3 EDX), number. */
#define CPUID_BIT(leaf, reg, bit) (((leaf) >> 16 & 0x8000u) << 16 | ((leaf)&0xffu) << 16 | (reg) << 8 | (bit))
#define CPUID_TSC_DEADLINE        CPUID_BIT(1u, 2u, 24u)
#define CPUID_FSGSBASE            CPUID_BIT(7u, 1u, 0u)
#define CPUID_PCID                CPUID_BIT(1u, 2u, 17u)
#define CPUID_INVPCID             CPUID_BIT(7u, 1u, 10u)
#define CPUID_SMAP                CPUID_BIT(7u, 1u, 20u)
#define CPUID_RDPID               CPUID_BIT(7u, 2u, 22u)
#define CPUID_PAGES_1G            CPUID_BIT(0x80000001u, 3u, 26u)
#define CPUID_RDTSCP              CPUID_BIT(0x80000001u, 3u, 27u)
#define CPUID_LAHF                CPUID_BIT(0x80000001u, 2u, 0u)
bool cpuid_has(const struct cpu_model *m, uint32_t feature);
uint32_t cpuid_leaf_of(uint32_t feature);
/* Is an instruction of this Zydis ISA set offered? */
bool cpuid_offers(const struct cpu_model *m, unsigned isa_set);
uint32_t cpuid_cr4(const struct cpu_model *m);  /* CR4's bits that may be set */
uint64_t cpuid_xcr0(const struct cpu_model *m); /* XCR0's */

/* What a leaf of any processor's CPUID says of features. */
uint32_t cpuid_features(uint32_t leaf, uint32_t sub, const uint32_t v[4]);

/* ---- features.c */
/* A leaf of a processor's CPUID, subleaf 0: eax ebx ecx edx. */
typedef void cpuid_fn(uint32_t leaf, uint32_t v[4]);
void cpu_host_cpuid(uint32_t leaf, uint32_t v[4]);
/* Of a model's flags that its features are not: what the first x86-64 processors had not and the host runs as it is.
 * Those that this processor lacks are added to a text of names. */
void cpu_model_lacks(const struct cpu_model *m, cpuid_fn *host, char *out, size_t size);
/* The same for the models that a text of names has. */
void cpu_models_lack(const char *text, cpuid_fn *host, char *out, size_t size);
const char *cpu_feature_name(unsigned feature); /* as /proc/cpuinfo has it; NULL past the last */
uint32_t cpu_features_of_host(void);
/* Names with blanks between, for people and for a snapshot: cut where they do not fit. */
void cpu_features_text(uint32_t features, char *out, size_t size);
/* The features of such a text that `have` lacks, as a text; empty: none. A word that is no feature but a model's name
 * is passed over, one that is neither is lacking. */
void cpu_features_missing(const char *text, uint32_t have, char *out, size_t size);

/* VMware's hypervisor interface, as far as it tells a guest its clock rates: Linux then calibrates nothing, which on a
 * loaded host fails, and does not test the timer interrupt. */
#define HYPERVISOR_PORT  0x5658
#define HYPERVISOR_MAGIC 0x564d5868u
#define HYPERVISOR_GETHZ 45

#endif
