/* What the manuals leave open, or leave to the processor: where native and translated results may differ. */
#ifndef INSN_LEEWAY_H
#define INSN_LEEWAY_H

#include "decode.h"

/* Bytes of memory that nobody promises: x87 pointers, the upper half of a pushed selector. */
struct unspecified {
    unsigned n;
    bool everywhere; /* the address is not known */
    bool spread;     /* a later instruction reads them: what it makes of them is open too */
    struct {
        uint64_t va;
        uint32_t len;
    } range[MAX_SEQ + 2];
};

/* Finds them for the first n instructions of a case; pointers: x87's are compared. */
void find_unspecified(const struct mode *m, const struct insn_case *c, const struct dec *d, unsigned n, bool pointers,
                      struct unspecified *p);
bool is_unspecified(const struct unspecified *p, uint64_t va);

/* Addresses that no program may have (with the last page below the middle): the guest's descriptor tables are there,
 * and a host kernel reports every fault there as one of a page that is present. */
bool is_system_address(const struct mode *m, uint64_t va);
/* Where the stack's top is in memory. */
uint64_t stack_top(const struct mode *m, const struct cpu_test_regs *r);

/* Instructions of several accesses: which of them faults first, and so the address, is the implementation's choice. */
bool many_accesses(const struct dec *d);
bool uses_mmx(const struct dec *d);
bool loads_x87(const struct dec *d); /* the whole state: FRSTOR, FXRSTOR, FLDENV */
/* An x87 store whose operand raises an unmasked exception does not store, so it may miss a page fault too. */
bool store_withheld(const struct dec *at, const struct insn_result *native);
/* A selector popped as 32 or 64 bits: some processors read two bytes of it, others all. */
bool pops_part(const struct dec *at);
bool is_access_fault(int vector);
/* A load of SEL_HOST_CPU, which fails in the guest alone. */
bool takes_host_descriptor(const struct dec *guest_at, const struct cpu_test_fault *guest);
/* Where an operand breaks several rules (the segment's limit, a page's rights, alignment), which of them counts is the
 * processor's choice for operands that it reads or writes in parts, and for aligned ones. */
bool may_choose(const struct mode *m, const struct dec *at, const struct cpu_test_fault *a,
                const struct cpu_test_fault *b);
/* 64-bit code: an operand at the end of the low 4 GiB, by a 32-bit address, that the host accesses in parts; each
 * part's address may wrap there. Nothing is mapped at 0. */
bool wraps_in_parts(const struct mode *m, const struct dec *at, const struct insn_result *native);
/* A repeated string instruction with 32-bit registers, in 64-bit code, that moved nothing: some processors clear their
 * upper halves all the same. */
bool may_keep_upper(const struct mode *m, const struct insn_case *c, const struct dec *d, unsigned n, unsigned reg,
                    const struct insn_result *native, const struct insn_result *guest);

#endif
