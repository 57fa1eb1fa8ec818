/* Registers and memory for given code: addresses that land where something is to be seen. */
#ifndef INSN_SETUP_H
#define INSN_SETUP_H

#include "decode.h"
#include "rng.h"

/* Takes c->code (c->len bytes, c->n_insn instructions, c->off set, c->code_va set) with its decoded form and chooses
 * the state; changes displacements, branch distances and some immediates in the code; fills c->native and c->int3_end.
 * low: LOW_VA is mapped. */
void setup_case(const struct decoder *dec, struct rng *r, struct insn_case *c, const struct dec *d, bool low);

#endif
