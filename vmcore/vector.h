/* The guest's vector state: in the host's registers while it runs, and in memory. */
#ifndef VT_VECTOR_H
#define VT_VECTOR_H

#include <stddef.h>
#include <stdint.h>
#include "vmcore/cpu_regs.h"
#include "vmcore/cpuid.h"

/* Vector state in XSAVE's standard format, up to AVX. */
struct xarea {
    uint8_t fx[512];
    uint64_t in_use, compacted, reserved[6];
    uint8_t ymmh[16][16];
} __attribute__((aligned(64)));
/* Bytes of such an area for the states of a mask. */
static inline uint32_t xsave_size(uint64_t states)
{
    return states & XCR0_AVX ? sizeof(struct xarea) : offsetof(struct xarea, ymmh);
}

/* All that the model offers. */
static inline void vector_save(const struct cpu_model *m, struct xarea *x)
{
    if (m->features & FEAT(AVX))
        __asm__ volatile("xsave64 %0" : "+m"(*x) : "a"(7), "d"(0));
    else
        __asm__ volatile("fxsave64 %0" : "=m"(*x));
}
static inline void vector_load(const struct cpu_model *m, struct xarea *x)
{
    x->in_use = 7;
    x->compacted = 0;
    if (m->features & FEAT(AVX))
        __asm__ volatile("xrstor64 %0" : : "m"(*x), "a"(7), "d"(0));
    else
        __asm__ volatile("fxrstor64 %0" : : "m"(*x));
}

#endif
