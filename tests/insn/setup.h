/* Registers and memory for given code: addresses that land where something is to be seen. */
#ifndef INSN_SETUP_H
#define INSN_SETUP_H

#include "decode.h"
#include "rng.h"

/* Which of the pages that a host may deny there are. */
struct optional_pages {
    bool low, edge, wrap, smc;
};

/* Takes c->code (c->len bytes, c->n_insn instructions, c->off set, c->code_va set) with its decoded form and chooses
 * the state; changes displacements, branch distances and some immediates in the code; fills c->native and c->int3_end.
 */
void setup_case(const struct decoder *dec, struct rng *r, struct insn_case *c, const struct dec *d,
                const struct optional_pages *pages);

#endif
