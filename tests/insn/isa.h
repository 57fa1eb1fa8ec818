/* Instruction sets that a processor may lack. */
#ifndef INSN_ISA_H
#define INSN_ISA_H

#include <stdbool.h>

/* False where the host's CPUID denies the Zydis ISA set, or its kernel has not enabled the registers; true for sets
 * that every 64-bit processor has, and for those that are not asked about here. */
bool isa_on_host(unsigned isa_set);
/* Is the set one of those that isa_on_host() asks CPUID about? */
bool isa_is_optional(unsigned isa_set);

#endif
