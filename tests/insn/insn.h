/* What the two sides of the differential test exchange: cases, results, and the memory both start from.
 *
 * The native runner is a process of its own (it gives up FS, GS and everything below 4 GiB to the tested code); it
 * shares one struct insn_shm with the test. A batch of cases goes over at a time, so that a case costs no system call.
 */
#ifndef INSN_H
#define INSN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layout.h"
#include "mode.h"
#include "vmcore/cpu_test.h"

#define MAX_SEQ   6
#define CODE_MAX  64
#define MAX_POKES 8
#define MAX_LINES 64
#define LINE      64u

/* Vectors beyond the processor's own: the run did not end; the translator died of a signal, whose number is added. */
#define VECTOR_HANG 0x100
#define VECTOR_DIED 0x200

/* insn_shm.ready */
#define RUNNER_READY   1
#define RUNNER_REFUSED 2 /* the host does not run code of this mode: message says why */
#define RUNNER_FAILED  3

struct insn_poke { /* bytes put into memory before the run, over the base image */
    uint64_t va;
    uint8_t len;
    uint8_t bytes[16];
};

enum insn_shape {
    SHAPE_LINE, /* branches are given a target by setup.c */
    SHAPE_LOOP, /* ends in a LOOP back */
    SHAPE_CALL, /* a call to the part behind the jump, which returns */
    SHAPE_SMC,  /* changes its own code; lives in the SMC pages */
};

struct insn_case {
    uint64_t id;
    uint64_t code_va;         /* linear; in.rip is the offset in the code segment */
    uint8_t len;              /* of the code, without what ends it */
    uint8_t n_insn;           /* decoded instructions; 0: bytes that do not decode */
    uint8_t off[MAX_SEQ + 1]; /* where each begins, and the end */
    uint8_t n_pokes;
    uint8_t shape;    /* enum insn_shape */
    bool int3_end;    /* natively too, the code must end in INT3 (a far jump is quicker) */
    bool skip_native; /* run translated only */
    bool open_end;    /* the code runs into an unmapped page: nothing is put behind it */
    uint8_t code[CODE_MAX];
    uint8_t native[CODE_MAX]; /* what the host runs: differs where the guest's CPUID gives old bytes an old meaning */
    struct insn_poke poke[MAX_POKES];
    struct cpu_test_regs in;
};

struct insn_line { /* a 64-byte line of memory that differs from the base image after the run */
    uint32_t index;
    uint8_t bytes[LINE];
};

struct insn_result {
    struct cpu_test_regs out;
    struct cpu_test_fault fault;
    uint32_t n_lines; /* may be larger than MAX_LINES: the hash covers all */
    uint64_t hash;
    struct insn_line line[MAX_LINES];
};

struct insn_shm {
    uint32_t go;      /* futex: number of the batch handed to the runner */
    uint32_t done;    /* futex: number of the last batch it finished */
    uint32_t n;       /* cases in the batch */
    uint32_t mode;    /* enum cpu_test_mode */
    uint32_t low;     /* the runner could map the LOW pages */
    uint32_t wrap;    /* the runner could map the WRAP pages */
    uint32_t edge;    /* the runner could map the EDGE page */
    uint32_t smc;     /* the runner could map the SMC pages: some policies deny writable code */
    uint32_t avx;     /* the runner loads and reports the upper halves of the YMM registers */
    uint32_t ready;   /* 1: the runner stands; RUNNER_*: it does not, see message */
    uint32_t reverse; /* run the batch from its end, to find cases that depend on what ran before */
    char message[256];
    uint8_t base[MEM_BYTES] __attribute__((aligned(4096)));
    uint8_t code[CODE_PAGES * INSN_PAGE] __attribute__((aligned(4096)));
    struct insn_case cases[BATCH];
    struct insn_result results[BATCH];
};

/* Bytes of the jump back to the native runner, at most EXIT_MAX; returns how many. */
#define EXIT_MAX 8
unsigned native_put_exit(const struct mode *m, uint8_t *out);

/* Puts the case's pokes, and code that changes itself, into mem, an array of MEM_PAGES page pointers (NULL: not
 * mapped). */
void mem_poke(const struct mode *m, uint8_t *const page[MEM_PAGES], const struct insn_case *c);
/* Finds the lines of mem that differ from base, notes them in r, and makes mem equal to base again. */
void mem_collect(uint8_t *const page[MEM_PAGES], const uint8_t *base, struct insn_result *r);

#endif
