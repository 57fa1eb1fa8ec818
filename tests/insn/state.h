/* Random machine state, biased to what goes wrong. */
#ifndef INSN_STATE_H
#define INSN_STATE_H

#include "insn.h"
#include "rng.h"

uint32_t random_u32(struct rng *r); /* often a border value */
uint64_t random_u64(struct rng *r);
/* What a general register of the mode may hold. */
uint64_t random_gpr(struct rng *r, uint64_t mask);
/* Fills n bytes (a multiple of 16) with integers, floats of all sizes and kinds, text-like runs. */
void random_memory(struct rng *r, uint8_t *mem, size_t n);
/* An FXSAVE image with n_xmm registers; in most, every exception is masked. */
void random_fx(struct rng *r, unsigned n_xmm, uint8_t fx[512]);
void random_ymm(struct rng *r, unsigned n, uint8_t ymmh[16][16]);
uint16_t random_fcw(struct rng *r);
uint32_t random_mxcsr(struct rng *r);
uint32_t random_eflags(struct rng *r);

#endif
