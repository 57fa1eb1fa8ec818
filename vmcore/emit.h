/* Writing host instructions. An emitter runs over the write mapping; errors are sticky: past the limit nothing is
 * written and `full` is set, checked once a block. Host registers are 0..15. */
#ifndef VT_EMIT_H
#define VT_EMIT_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include "vmcore/cpu_offsets.h"

enum { H_RAX, H_RCX, H_RDX, H_RBX, H_RSP, H_RBP, H_RSI, H_RDI, H_R8, H_R9, H_R10, H_R11, H_R12, H_R13, H_R14, H_R15 };
enum { H_NONE = -1 };
enum { CC_O, CC_NO, CC_B, CC_AE, CC_E, CC_NE, CC_BE, CC_A, CC_S, CC_NS, CC_P, CC_NP, CC_L, CC_GE, CC_LE, CC_G };

struct em {
    uint8_t *p, *limit;
    bool full;
};

static inline void e8(struct em *e, unsigned v)
{
    if (e->p < e->limit)
        *e->p++ = (uint8_t)v;
    else
        e->full = true;
}
static inline void e16(struct em *e, unsigned v)
{
    e8(e, v);
    e8(e, v >> 8);
}
static inline void e32(struct em *e, uint32_t v)
{
    if (e->p + 4 <= e->limit) {
        memcpy(e->p, &v, 4);
        e->p += 4;
    } else
        e->full = true;
}

/* An opcode of one to three bytes, as in 0x8b, 0x0fb7, 0x0f38f1; w: REX.W. */
static inline void e_opcode(struct em *e, unsigned op)
{
    if (op > 0xffff)
        e8(e, op >> 16);
    if (op > 0xff)
        e8(e, op >> 8);
    e8(e, op);
}
static inline void e_rr(struct em *e, int w, unsigned op, int reg, int rm)
{
    unsigned rex = (w ? 8 : 0) | (reg & 8 ? 4 : 0) | (rm & 8 ? 1 : 0);
    if (rex)
        e8(e, 0x40 | rex);
    e_opcode(e, op);
    e8(e, 0xc0 | (reg & 7) << 3 | (rm & 7));
}
/* ModRM, SIB and displacement of [base + index << scale + disp], without REX. */
static inline void e_modrm_mem(struct em *e, int reg, int base, int index, int scale, int32_t disp)
{
    unsigned r = (unsigned)(reg & 7) << 3;

    if (base == H_NONE) { /* no base: SIB form, never RIP-relative */
        e8(e, r | 4);
        e8(e, (unsigned)scale << 6 | (index == H_NONE ? 4u : (unsigned)(index & 7)) << 3 | 5);
        e32(e, (uint32_t)disp);
        return;
    }
    unsigned mod = disp == 0 && (base & 7) != 5 ? 0 : disp >= -128 && disp <= 127 ? 1 : 2;
    if (index == H_NONE && (base & 7) != 4)
        e8(e, mod << 6 | r | (base & 7));
    else {
        e8(e, mod << 6 | r | 4);
        e8(e, (unsigned)scale << 6 | (index == H_NONE ? 4u : (unsigned)(index & 7)) << 3 | (base & 7));
    }
    if (mod == 1)
        e8(e, (unsigned)disp);
    else if (mod == 2)
        e32(e, (uint32_t)disp);
}
static inline unsigned e_rex_mem(int w, int reg, int base, int index)
{
    return (w ? 8 : 0) | (reg & 8 ? 4 : 0) | (index != H_NONE && (index & 8) ? 2 : 0) |
           (base != H_NONE && (base & 8) ? 1 : 0);
}
static inline void e_mem(struct em *e, int w, unsigned op, int reg, int base, int index, int scale, int32_t disp)
{
    unsigned rex = e_rex_mem(w, reg, base, index);
    if (rex)
        e8(e, 0x40 | rex);
    e_opcode(e, op);
    e_modrm_mem(e, reg, base, index, scale, disp);
}
/* Operand at %gs:disp, or %gs:disp(,index,1<<scale). */
static inline void e_gs(struct em *e, int w, unsigned op, int reg, int index, int scale, int32_t disp)
{
    e8(e, 0x65);
    e_mem(e, w, op, reg, H_NONE, index, scale, disp);
}
static inline void e_mov(struct em *e, int dst, int src) /* 32 bits, zero-extends */
{
    e_rr(e, 0, 0x89, src, dst);
}
static inline void e_mov64(struct em *e, int dst, int src)
{
    e_rr(e, 1, 0x89, src, dst);
}
static inline void e_mov_imm(struct em *e, int dst, uint32_t v)
{
    if (dst & 8)
        e8(e, 0x41);
    e8(e, 0xb8 | (dst & 7));
    e32(e, v);
}
static inline void e_mov_imm64(struct em *e, int dst, uint64_t v)
{
    if ((uint64_t)(int64_t)(int32_t)v == v) { /* mov r64, imm32 */
        e8(e, 0x48 | (dst & 8 ? 1u : 0));
        e8(e, 0xc7);
        e8(e, 0xc0 | (unsigned)(dst & 7));
        e32(e, (uint32_t)v);
        return;
    }
    e8(e, 0x48 | (dst & 8 ? 1u : 0));
    e8(e, 0xb8 | (unsigned)(dst & 7));
    e32(e, (uint32_t)v);
    e32(e, (uint32_t)(v >> 32));
}
static inline void e_lea(struct em *e, int dst, int base, int32_t disp)
{
    e_mem(e, 0, 0x8d, dst, base, H_NONE, 0, disp);
}
static inline void e_movzx16(struct em *e, int dst, int src)
{
    e_rr(e, 0, 0x0fb7, dst, src);
}
/* op /ext r32, imm8 with opcode 83h (add 0, or 1, and 4, sub 5, xor 6, cmp 7), or a shift with C1h */
static inline void e_alu_i8(struct em *e, int ext, int rm, int imm)
{
    e_rr(e, 0, 0x83, ext, rm);
    e8(e, (unsigned)imm);
}
static inline void e_alu_i32(struct em *e, int ext, int rm, uint32_t imm)
{
    e_rr(e, 0, 0x81, ext, rm);
    e32(e, imm);
}
static inline void e_shift(struct em *e, int ext, int rm, int n) /* shl 4, shr 5, sar 7 */
{
    e_rr(e, 0, 0xc1, ext, rm);
    e8(e, (unsigned)n);
}
static inline void e_shift64(struct em *e, int ext, int rm, int n)
{
    e_rr(e, 1, 0xc1, ext, rm);
    e8(e, (unsigned)n);
}
/* Jumps: give back where the displacement is. */
static inline uint8_t *e_jcc32(struct em *e, unsigned cc)
{
    e8(e, 0x0f);
    e8(e, 0x80 | cc);
    e32(e, 0);
    return e->p - 4;
}
static inline uint8_t *e_jmp32(struct em *e)
{
    e8(e, 0xe9);
    e32(e, 0);
    return e->p - 4;
}
static inline uint8_t *e_jcc8(struct em *e, unsigned op)
{
    e8(e, op);
    e8(e, 0);
    return e->p - 1;
}
static inline void e_patch32(struct em *e, uint8_t *at, const uint8_t *to)
{
    int32_t d = (int32_t)(to - (at + 4));
    if (!e->full)
        memcpy(at, &d, 4);
}
static inline void e_patch8(struct em *e, uint8_t *at, const uint8_t *to)
{
    long d = to - (at + 1);
    if (e->full)
        return;
    if (d < -128 || d > 127)
        e->full = true;
    *at = (uint8_t)d;
}
/* lea r10, [rip + to]; jmp *%gs:CPU_STUB. Gives back the place of the displacement to the site. */
static inline uint8_t *e_stub(struct em *e)
{
    uint8_t *at;

    e8(e, 0x4c);
    e8(e, 0x8d);
    e8(e, 0x15);
    e32(e, 0);
    at = e->p - 4;
    e_gs(e, 0, 0xff, 4, H_NONE, 0, CPU_STUB);
    return at;
}

/* The same with the site in rx, by way of a routine at `to` in the cache. */
static inline uint8_t *e_stub_to(struct em *e, int rx, const uint8_t *to)
{
    uint8_t *at, *jump;

    e8(e, 0x48 | (rx & 8 ? 4u : 0));
    e8(e, 0x8d);
    e8(e, 0x05 | (unsigned)(rx & 7) << 3);
    e32(e, 0);
    at = e->p - 4;
    jump = e_jmp32(e);
    e_patch32(e, jump, to);
    return at;
}

/* A plan is four registers that 64-bit code has spilled to their places in struct cpu: see plan.c. */
static inline bool plan_has(uint16_t plan, int r)
{
    for (unsigned i = 0; i < 4; i++)
        if ((plan >> (4 * i) & 15) == r)
            return true;
    return false;
}
static inline void plan_move(struct em *e, unsigned op, int r) /* 89h: there; 8Bh: back */
{
    e_gs(e, 1, op, r, H_NONE, 0, CPU_GPR + 8 * r);
}

#endif
