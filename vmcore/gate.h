/* What the ways between privilege levels share: gate.c (legacy modes), gate64.c (long mode). */
#ifndef VT_GATE_H
#define VT_GATE_H

#include "vmcore/cpu.h"

/* What a far return or IRET popped. */
struct far_frame {
    uint64_t eip, esp;
    uint16_t cs, ss;
    bool has_ss;     /* SS and ESP were popped whatever the level */
    uint32_t popped; /* bytes */
    uint32_t drop;   /* RETF's operand */
};

/* A code descriptor by selector, or #GP(sel | ext). */
int gate_code_descriptor(struct cpu *c, uint16_t sel, unsigned ext, uint32_t raw[2], uint64_t *addr);
void gate_load_cs(struct cpu *c, uint16_t sel, uint32_t raw[2], uint64_t addr, unsigned cpl);
bool gate_fault_class(unsigned vector); /* is the pushed EIP the faulting instruction's? */
void gate_outer_null(struct cpu *c);    /* data segments that the outer level may not have */
/* size bytes at ESP + off, zero-extended. */
int gate_pop(struct cpu *c, uint32_t off, uint64_t *ret, unsigned size);

int gate64_interrupt(struct cpu *c, unsigned vector, bool soft, bool has_error, uint32_t error);
int gate64_return(struct cpu *c, const struct far_frame *f); /* sets next_eip */
int gate64_iret(struct cpu *c, unsigned size);

#endif
