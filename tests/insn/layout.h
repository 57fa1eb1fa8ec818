/* Linear addresses of the differential test, the same on the host CPU and in the translated machine, and the page that
 * the native runner uses to change between 64-bit and 32-bit code. Included by C and by assembly. */
#ifndef INSN_LAYOUT_H
#define INSN_LAYOUT_H

/* Test code: one slot a case, filled with INT3 around the case's bytes. */
#define CODE_VA    0x10000000
#define CODE_PAGES 12
#define SLOT_BYTES 96
#define BATCH      512

/* Two writable pages, then one read-only page; unmapped pages on both sides. */
#define DATA_VA  0x20000000
#define STACK_VA 0x30000000 /* two writable pages, unmapped ones on both sides */
/* Two writable pages that 16-bit addresses reach, where the host allows such mappings. Truncating an address in the
 * code area to 16 bits never gives one in here: whether data can be executed is not asked. */
#define LOW_VA 0x0000d000

/* Two pages that are writable and executable, for code that changes itself. */
#define SMC_VA 0x18000000

/* Only the native runner has these two. */
#define SAVE_VA 0x5ab7c000
#define EXIT_VA 0x5ab7d000

/* User selectors of the host kernel; the translated machine has the same descriptors under the same selectors. */
#define SEL_CODE32 0x23
#define SEL_CODE64 0x33
#define SEL_DATA   0x2b

/* struct native_save, for assembly */
#define SAVE_FX_IN     0x000
#define SAVE_FX_OUT    0x200
#define SAVE_IN_GPR    0x400
#define SAVE_IN_EIP    0x420
#define SAVE_IN_FLAGS  0x428
#define SAVE_IN_FSGS   0x430
#define SAVE_OUT_GPR   0x440
#define SAVE_OUT_FLAGS 0x460
#define SAVE_HOST_RSP  0x468

#endif
