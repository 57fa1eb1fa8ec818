/* What the test knows of an instruction: Zydis, and a few rules beside it. */
#ifndef INSN_DECODE_H
#define INSN_DECODE_H

#include <Zydis/Zydis.h>

#include "insn.h"

#define STATUS_FLAGS \
    (ZYDIS_CPUFLAG_CF | ZYDIS_CPUFLAG_PF | ZYDIS_CPUFLAG_AF | ZYDIS_CPUFLAG_ZF | ZYDIS_CPUFLAG_SF | ZYDIS_CPUFLAG_OF)

struct dec {
    ZydisDecodedInstruction i;
    ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
};

enum dec_class {
    DEC_BAD,         /* does not decode: both sides must refuse it */
    DEC_COMPARE,     /* run natively and translated */
    DEC_NOT_OFFERED, /* the guest's CPUID does not offer it: translated only, must be #UD */
    DEC_SKIP,        /* leaves the tested world (system calls, far transfers) or has no comparable outcome */
};

struct decoder {
    const struct mode *mode;
    const char *model;                       /* of the guest's processor; NULL: the default one */
    bool on_host;                            /* what the host has is offered, whatever the model */
    bool lacks[ZYDIS_ISA_SET_MAX_VALUE + 1]; /* ISA sets that the host has not */
    bool model_has[ZYDIS_ISA_SET_MAX_VALUE + 1];
    ZydisDecoder guest; /* old bytes have the meaning of the guest's CPUID: F3 BSF is no TZCNT */
    ZydisDecoder host;
};

void decoder_init(struct decoder *d, const struct mode *mode, const char *model, bool on_host);
/* Decodes one instruction of at most n bytes as the guest has it. */
enum dec_class decode(const struct decoder *d, const uint8_t *code, size_t n, struct dec *ret);
/* Copies one instruction to out as the host must run it to do what the guest's CPUID promises. */
void decode_native_form(const struct decoder *d, const struct dec *in, const uint8_t *code, uint8_t *out);

/* Is any instruction of the ISA set in the CPUID that the guest is given? */
bool decode_offered(const struct decoder *d, unsigned isa_set);

/* EFLAGS bits that the instruction leaves undefined; that it reads; that it certainly writes. */
uint32_t dec_flags_undefined(const struct dec *in);
uint32_t dec_flags_read(const struct dec *in);
uint32_t dec_flags_killed(const struct dec *in);

bool dec_is_branch(const struct dec *in);
bool dec_pops_flags(const struct dec *in);
bool dec_is_rep_string(const struct dec *in);
bool dec_is_string(const struct dec *in);

/* Number 0..15 of the general register that is or holds reg (AH is 0), -1 for others. */
int dec_gpr(ZydisRegister reg);
/* General registers written, as a mask. */
uint32_t dec_gprs_written(const struct dec *in);
/* Number 0..15 of an XMM or YMM register, -1 for others. */
int dec_vector(ZydisRegister reg);

/* Base of a segment with these registers. */
uint64_t dec_segment_base(const struct mode *m, ZydisRegister segment, const struct cpu_test_regs *r);
/* Linear address of a memory operand; next: instruction pointer behind the instruction. A vector index counts as 0. */
uint64_t dec_operand_va(const struct mode *m, const struct dec *in, const ZydisDecodedOperand *op,
                        const struct cpu_test_regs *r, uint64_t next);

/* "mov eax, dword ptr [ebx]; ..." of n bytes at va; stops at what does not decode. */
void decode_print(const struct decoder *d, const uint8_t *code, size_t n, uint64_t va, char *out, size_t size);

#endif
