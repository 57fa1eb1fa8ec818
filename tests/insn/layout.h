/* What the native runner needs to change between its own code and the tested code: a page of registers and a page of
 * code, both in the low 2 GiB, where every kind of code can name them. Included by C and by assembly. */
#ifndef INSN_LAYOUT_H
#define INSN_LAYOUT_H

#define CODE_PAGES 12
#define SLOT_BYTES 96
#define BATCH      512

#define SAVE_VA 0x5ab7c000
#define EXIT_VA 0x5ab7d000

/* User selectors of the host kernel; the translated machine has the same descriptors under the same selectors. */
#define SEL_CODE32 0x23
#define SEL_CODE64 0x33
#define SEL_DATA   0x2b
/* The host kernel's alone (with any RPL): its limit is the processor's number, and programs may load it. */
#define SEL_HOST_CPU 0x78

/* struct native_save, for assembly */
#define SAVE_X_IN      0x000
#define SAVE_X_OUT     0x380
#define SAVE_IN_GPR    0x700
#define SAVE_IN_RIP    0x780
#define SAVE_IN_FLAGS  0x788
#define SAVE_IN_CS     0x790
#define SAVE_IN_SS     0x798
#define SAVE_IN_DS     0x7a0
#define SAVE_IN_ES     0x7a4
#define SAVE_IN_FAR    0x7a8
#define SAVE_OUT_GPR   0x7b0
#define SAVE_OUT_FLAGS 0x830
#define SAVE_HOST_RSP  0x838
#define SAVE_EXIT_RIP  0x840
#define SAVE_INSIDE    0x848
#define SAVE_AVX       0x84c

#endif
