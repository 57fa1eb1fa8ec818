/* CPU models: what CPUID says, and so which instructions exist. */
#ifndef VT_CPUID_H
#define VT_CPUID_H

#include <stdbool.h>
#include <stdint.h>

struct cpuid_leaf {
    uint32_t leaf, sub;
    uint32_t eax, ebx, ecx, edx;
};
struct cpu_model {
    const char *name;
    uint32_t max_basic, max_ext;
    uint8_t phys_bits;
    bool pages_1g;
    const struct cpuid_leaf *leaves;
    unsigned nleaves;
    const char *brand; /* 48 bytes or fewer */
    const char *vendor;
};

const struct cpu_model *cpu_model_find(const char *name); /* NULL name: the default; NULL: no such model */
const struct cpu_model *cpu_model_at(unsigned i);         /* NULL past the end */
void cpuid_query(const struct cpu_model *m, uint32_t leaf, uint32_t sub, uint32_t out[4]); /* eax ebx ecx edx */
/* Is an instruction of this Zydis ISA set offered? */
bool cpuid_offers(const struct cpu_model *m, unsigned isa_set);
uint32_t cpuid_cr4(const struct cpu_model *m); /* CR4's bits that may be set */

/* VMware's hypervisor interface, as far as it tells a guest its clock rates: Linux then calibrates nothing, which on a
 * loaded host fails, and does not test the timer interrupt. */
#define HYPERVISOR_PORT  0x5658
#define HYPERVISOR_MAGIC 0x564d5868u
#define HYPERVISOR_GETHZ 45

#endif
