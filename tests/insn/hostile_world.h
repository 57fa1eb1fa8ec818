/* Machines for the hostile guest: random tables, random code and a processor in a random mode, all made from a seed. */
#ifndef INSN_HOSTILE_WORLD_H
#define INSN_HOSTILE_WORLD_H

#include <stdint.h>
#include "rng.h"

struct vm;

enum start { /* how the processor begins */
             START_REAL,
             START_V86,
             START_PROT16,
             START_PROT32,
             START_PAE,
             START_COMPAT,
             START_LONG,
             START_COUNT
};

/* Physical memory, identity-mapped where the random page tables leave that alone. */
enum {
    W_GDT = 0x1000,
    W_LDT = 0x1800,
    W_IDT = 0x2000,
    W_TSS = 0x3000, /* its I/O permission map ends before W_TSS_END */
    W_TSS16 = 0x3e00,
    W_DIR = 0x4000,
    W_TABLE = 0x5000,
    W_PAE_PDPT = 0x7000,
    W_PML4 = 0x8000,
    W_PDPT = 0x9000,
    W_PD = 0xa000,
    W_PT = 0xb000,
    W_DATA = 0xc000,
    W_CODE = 0x10000,
    W_STUBS = 0x1f000, /* exception handlers */
    W_CODE_END = 0x20000,
    W_END = 0x40000
};

/* Resets the machine and makes its memory and processor as the numbers in r say. */
void world_make(struct vm *vm, struct rng *r, enum start start);
const char *start_name(enum start start);

/* Fills len bytes with random instructions for code of so many bits. */
void code_fill(struct rng *r, unsigned bits, uint8_t *buf, unsigned len);
/* A handler for an exception: it makes its stack anew and goes on at another place in the code each time, in ring 3 if
 * ss and cs are not 0. Returns its length. */
enum { STUB_MAX = 96 };
unsigned code_stub(struct rng *r, unsigned bits, unsigned ss, unsigned cs, uint8_t *buf);
/* An address that a hostile guest would pick, and a value. */
uint64_t pick_address(struct rng *r);
uint64_t pick_value(struct rng *r);

#endif
