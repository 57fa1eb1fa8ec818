/* What the ways between privilege levels share: gate.c (legacy modes), gate64.c (long mode). */
#ifndef VT_GATE_H
#define VT_GATE_H

#include "vmcore/cpu.h"

enum { /* system descriptor types; 286 and 386 ones differ in bit 3 */
       T_TSS16 = 1,
       T_LDT,
       T_TSS16_BUSY,
       T_CALL16,
       T_TASK,
       T_INT16,
       T_TRAP16,
       T_TSS32 = 9,
       T_TSS32_BUSY = 11,
       T_CALL32,
       T_INT32 = 14,
       T_TRAP32
};

/* A frame in the making: pushed to a buffer, then written in one go so that nothing changes where it faults. */
struct frame {
    uint8_t bytes[192];
    unsigned n;
    bool wide; /* 32-bit slots */
};
void frame_put(struct frame *f, uint32_t v);
/* Below esp in the stack segment ss; #SS(err) where it does not fit. */
int frame_write(struct cpu *c, const struct frame *f, const struct cpu_seg *ss, uint32_t esp, uint32_t err,
                uint32_t *ret_esp);

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
int gate_limit(struct cpu *c, const uint32_t raw[2], uint64_t eip, unsigned ext); /* EIP inside the code segment? */
/* SS and ESP for an inner level from the TSS, and that stack's descriptor. */
int gate_tss_stack(struct cpu *c, unsigned level, unsigned ext, uint16_t *ret_ss, uint32_t *ret_esp);
int gate_check_stack(struct cpu *c, uint16_t sel, unsigned cpl, unsigned ext, struct cpu_seg *ret);
bool gate_fault_class(unsigned vector); /* is the pushed EIP the faulting instruction's? */
void gate_outer_null(struct cpu *c);    /* data segments that the outer level may not have */
/* size bytes at ESP + off, zero-extended. */
int gate_pop(struct cpu *c, uint32_t off, uint64_t *ret, unsigned size);

/* task.c. eip is the new task's afterwards (next_eip, too). A task gate's, or a TSS's, selector. */
enum task_way { TASK_JMP, TASK_CALL, TASK_IRET, TASK_INT };
int task_switch(struct cpu *c, uint16_t sel, enum task_way way, bool has_error, uint32_t error);
int task_gate(struct cpu *c, uint16_t sel, unsigned ext, bool has_error, uint32_t error);

int gate64_interrupt(struct cpu *c, unsigned vector, bool soft, bool has_error, uint32_t error);
int gate64_return(struct cpu *c, const struct far_frame *f); /* sets next_eip */
int gate64_iret(struct cpu *c, unsigned size);

#endif
