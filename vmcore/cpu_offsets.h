/* Offsets in struct cpu that enter.S and emitted code rely on; cpu.c asserts each. GS points at struct cpu. */
#ifndef VT_CPU_OFFSETS_H
#define VT_CPU_OFFSETS_H

#define CPU_SELF     0x00
#define CPU_HOST_RSP 0x08
#define CPU_STUB     0x10 /* address of vcpu_stub */
#define CPU_ATTN     0x18
#define CPU_HFL      0x1c /* host flags at a stub: AH of lahf in bits 15:8, OF in bit 0 */
#define CPU_KINDS    0x20 /* pointer to the table of C functions by site kind */
#define CPU_GPR      0x40 /* 8 x 8 bytes, hardware order */
#define CPU_R8       0x80
#define CPU_R9       0x88
#define CPU_R10      0x90
#define CPU_R11      0x98
#define CPU_R12      0xa0 /* saved guest flags, same form as CPU_HFL */
#define CPU_R13      0xa8
#define CPU_R14      0xb0
#define CPU_R15      0xb8 /* vbase: EIP minus the offset in its page */
#define CPU_SEG      0xc0 /* struct cpu_seg seg[8], 32 bytes each */
#define CPU_SEG_SIZE 32
#define CPU_SEG_BASE 0
#define CPU_SEG_LIM  8     /* int64: highest offset that needs no closer look, -1 for none */
#define CPU_BOUNCE   0x1c0 /* 128 bytes */

/* struct site */
#define SITE_KIND 7

/* Tables beyond struct cpu, by GS displacement; [0] supervisor, [1] user. */
#define CPU_STRUCT_MAX  0x200000
#define TLB_TAGS(u)     (0x200000 + (u)*0x800000)  /* {u32 read, u32 write} a linear page */
#define TLB_ADDEND(u)   (0x1200000 + (u)*0x800000) /* u64 a linear page */
#define TLB_CODE(u)     (0x2200000 + (u)*0x400000) /* u32 a linear page: backing page + 1, 0 none */
#define CPU_REGION_SIZE 0x2a00000

#endif
