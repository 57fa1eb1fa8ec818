/* Offsets in struct cpu that enter.S and emitted code rely on; cpu.c asserts each. GS points at struct cpu. */
#ifndef VT_CPU_OFFSETS_H
#define VT_CPU_OFFSETS_H

#define CPU_SELF     0x00
#define CPU_HOST_RSP 0x08
#define CPU_STUB     0x10 /* address of vcpu_stub */
#define CPU_ATTN     0x18
#define CPU_HFL      0x1c /* host flags at a stub: AH of lahf in bits 15:8, OF in bit 0 */
#define CPU_KINDS    0x20 /* pointer to the table of C functions by site kind */
#define CPU_STUB64   0x28 /* address of vcpu_stub64 */
#define CPU_GO       0x30 /* where vcpu_restore goes on in 64-bit code */
#define CPU_MODE     0x38
#define CPU_GPR      0x40 /* 16 x 8 bytes, hardware order */
/* Host registers 8..15 of 32-bit code; 64-bit code keeps here what 32-bit code has in them. */
#define CPU_R8       0xc0
#define CPU_R9       0xc8
#define CPU_R10      0xd0
#define CPU_R11      0xd8
#define CPU_R12      0xe0
#define CPU_R13      0xe8
#define CPU_R14      0xf0
#define CPU_R15      0xf8  /* vbase: EIP minus the offset in its page */
#define CPU_SEG      0x100 /* struct cpu_seg seg[8] */
#define CPU_SEG_SIZE 40
#define CPU_SEG_BASE 0
#define CPU_SEG_LIM  16    /* int64: highest offset that needs no closer look, -1 for none */
#define CPU_BOUNCE   0x240 /* 128 bytes */

#define CPU_MODE_CODE64 0x4000 /* M_CODE64 */

/* struct site */
#define SITE_KIND 7

/* Tables beyond struct cpu, by GS displacement; [0] supervisor, [1] user, [2] supervisor whom SMAP bars from users'
 * pages, data only. */
#define TLB_SETS       3
#define CPU_STRUCT_MAX 0x600000
#define TLB_TAGS(u)    (0x600000 + (u)*0x800000)  /* {u32 read, u32 write} a linear page */
#define TLB_ADDEND(u)  (0x1e00000 + (u)*0x800000) /* u64 a linear page */
#define TLB_CODE(u)    (0x3600000 + (u)*0x400000) /* u32 a linear page: backing page + 1, 0 none */
/* 64-bit code: 4,096 entries of 16 bytes by linear page, {tag, addend}, for reads and for writes; and {tag, backing
 * page + 1} for code. */
#define TLB64_BITS      12
#define TLB64(u, w)     (0x3e00000 + (u)*0x20000 + (w)*0x10000)
#define TLB64_CODE(u)   (0x3e60000 + (u)*0x10000)
#define CPU_REGION_SIZE 0x3e80000

#endif
