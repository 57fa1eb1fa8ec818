/* Random machine state, biased to what goes wrong. */
#ifndef INSN_STATE_H
#define INSN_STATE_H

#include "insn.h"
#include "rng.h"

uint32_t random_u32(struct rng *r); /* often a border value */
/* Fills n bytes (a multiple of 16) with integers, floats of all sizes and kinds, text-like runs. */
void random_memory(struct rng *r, uint8_t *mem, size_t n);
/* An FXSAVE image; in most, every exception is masked. */
void random_fx(struct rng *r, uint8_t fx[512]);
uint16_t random_fcw(struct rng *r);
uint32_t random_mxcsr(struct rng *r);
uint32_t random_eflags(struct rng *r);

#endif
