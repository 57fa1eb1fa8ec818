/* Memory operands of a case: a target, then the registers or the displacement that lead there. Private to setup.c and
 * aim.c. */
#ifndef INSN_AIM_H
#define INSN_AIM_H

#include "setup.h"

struct setup {
    const struct mode *mode;
    const struct optional_pages *pages;
    struct rng *r;
    struct insn_case *c;
    uint32_t busy;    /* registers whose value an instruction relies on */
    uint32_t written; /* registers that an earlier instruction writes */
};

enum { EAX, ECX, EDX, EBX, ESP, EBP, ESI, EDI };

/* Gives a register a value if nothing relies on it. */
void want(struct setup *s, int reg, uint64_t value);
/* An access of memory, gathers too. */
bool touches_memory(const ZydisDecodedOperand *op);
/* A target for an operand of `size` bytes. */
uint64_t target_for(struct setup *s, uint32_t size, const struct dec *d, const ZydisDecodedOperand *op);
/* Makes the operand's address in instruction k `target`, by the base, the index or the displacement; returns what
 * became of it. */
uint64_t aim(struct setup *s, unsigned k, const struct dec *d, const ZydisDecodedOperand *op, uint64_t target);
/* Sets the registers of a string instruction. */
void aim_string(struct setup *s, const struct dec *d);

#endif
