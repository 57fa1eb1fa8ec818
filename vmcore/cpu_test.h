/* One-instruction runs for the differential test. */
#ifndef VT_CPU_TEST_H
#define VT_CPU_TEST_H

#include <stdbool.h>
#include <stdint.h>

enum cpu_test_mode { CPU_TEST_32, CPU_TEST_64, CPU_TEST_16 };

struct cpu_test_regs { /* user-visible state, both directions */
    uint64_t gpr[16];  /* rax rcx rdx rbx rsp rbp rsi rdi r8..r15; eight of 32 bits in 16- and 32-bit code */
    uint64_t rip;      /* offset in the code segment */
    uint64_t rflags;
    uint64_t fs_base, gs_base; /* 64-bit code only */
    uint8_t fx[512] __attribute__((
        aligned(16)));    /* FXSAVE image, 64-bit layout of fxsave (no REX.W): FOP/FIP/FDP as the guest sees them */
    uint8_t ymmh[16][16]; /* upper halves of YMM0..15; come back as they went in where AVX is not offered */
};
struct cpu_test_fault {
    int vector; /* -1: none */
    uint32_t error;
    uint64_t cr2;
};
/* An own VM: ring 3, paging on, NX where the model has it and the mode is 64-bit. Selectors are those of user programs
 * on 64-bit Linux: code 23h (32-bit, flat) or 33h (64-bit), 2Bh in SS, DS, ES, FS and GS. 16-bit code needs
 * descriptors: cpu_test_set_ldt() and cpu_test_set_selector(). */
struct cpu_test;
/* model: a name of cpu_model_find(), NULL for the default one. */
int cpu_test_new(enum cpu_test_mode mode, const char *model, struct cpu_test **ret);
void cpu_test_free(struct cpu_test *t);
/* maps a page of guest memory at linear address va (page aligned), for user code; returns the host pointer to its 4096
 * bytes */
enum { CPU_TEST_WRITE = 1, CPU_TEST_NOEXEC = 2 /* 64-bit code only: means nothing without PAE */ };
uint8_t *cpu_test_map(struct cpu_test *t, uint64_t va, unsigned prot);
void cpu_test_unmap(struct cpu_test *t, uint64_t va);
/* Loads the local descriptor table with n descriptors (8 bytes each, at most 8), for later runs. */
void cpu_test_set_ldt(struct cpu_test *t, const uint64_t *desc, unsigned n);
/* Each later run begins with this selector in segment register seg (0..5: ES CS SS DS FS GS). */
void cpu_test_set_selector(struct cpu_test *t, unsigned seg, uint16_t sel);
/* runs from r->rip until a fault/trap/exception is raised or rip reaches `until`; at most max_blocks blocks. Test code
 * always puts an INT3 after the instruction, so the normal end is vector 3 with rip after it. */
void cpu_test_run(struct cpu_test *t, struct cpu_test_regs *r, uint64_t until, struct cpu_test_fault *f);
/* tell the translator that code bytes were changed behind its back */
void cpu_test_flush_code(struct cpu_test *t);
/* coverage of the COPY table: number of rows, row name, and how often row i was emitted in this process */
unsigned cpu_test_rows(void);
const char *cpu_test_row_name(unsigned i);
bool cpu_test_row_is_copy(unsigned i);
uint64_t cpu_test_row_hits(struct cpu_test *t, unsigned i);
/* which CPUID the guest is offered: a Zydis ISA-set is legal? the test skips what is not offered but checks that it
 * gives #UD */
bool cpu_test_isa_offered(const char *model, unsigned zydis_isa_set);

#endif
