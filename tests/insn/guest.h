/* The translated side. */
#ifndef INSN_GUEST_H
#define INSN_GUEST_H

#include "insn.h"
#include "src/base/err.h"

struct guest {
    struct cpu_test *t;
    uint8_t *page[MEM_PAGES];
    uint8_t *code[CODE_PAGES];
};

/* low, smc: map those pages too. */
int guest_start(struct guest *g, bool low, bool smc, struct err *e);
void guest_stop(struct guest *g);
/* Lays out the code of n cases and the memory they start from. */
void guest_load(struct guest *g, const struct insn_case *cases, uint32_t n, const uint8_t *base);
void guest_run(struct guest *g, const struct insn_case *c, const uint8_t *base, struct insn_result *r);

#endif
