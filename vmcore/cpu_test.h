/* One-instruction runs for the differential test. */
#ifndef VT_CPU_TEST_H
#define VT_CPU_TEST_H

#include <stdbool.h>
#include <stdint.h>

struct cpu_test_regs { /* user-visible state, both directions */
    uint32_t gpr[8];   /* eax ecx edx ebx esp ebp esi edi */
    uint32_t eip, eflags;
    uint8_t fx[512] __attribute__((
        aligned(16))); /* FXSAVE image, 64-bit layout of fxsave (no REX.W): FOP/FIP/FDP as the guest sees them */
};
struct cpu_test_fault {
    int vector; /* -1: none */
    uint32_t error;
    uint32_t cr2;
};
struct cpu_test; /* an own VM: ring 3, flat 32-bit segments, paging on */
int cpu_test_new(struct cpu_test **ret);
void cpu_test_free(struct cpu_test *t);
/* maps a page of guest memory at linear address va (page aligned); prot bits 1 = writable, 2 = user (always set);
 * returns the host pointer to its 4096 bytes */
uint8_t *cpu_test_map(struct cpu_test *t, uint32_t va, int writable);
void cpu_test_unmap(struct cpu_test *t, uint32_t va);
/* runs from r->eip until a fault/trap/exception is raised or eip reaches `until`; at most max_blocks blocks. Test code
 * always puts an INT3 after the instruction, so the normal end is vector 3 with eip after it. */
void cpu_test_run(struct cpu_test *t, struct cpu_test_regs *r, uint32_t until, struct cpu_test_fault *f);
/* tell the translator that code bytes were changed behind its back */
void cpu_test_flush_code(struct cpu_test *t);
/* coverage of the COPY table: number of rows, row name, and how often row i was emitted in this process */
unsigned cpu_test_rows(void);
const char *cpu_test_row_name(unsigned i);
bool cpu_test_row_is_copy(unsigned i);
uint64_t cpu_test_row_hits(struct cpu_test *t, unsigned i);
/* which CPUID the guest is offered: a Zydis ISA-set is legal? the test skips what is not offered but checks that it
 * gives #UD */
bool cpu_test_isa_offered(unsigned zydis_isa_set);

#endif
