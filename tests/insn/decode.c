#include "decode.h"

#include <stdio.h>
#include <string.h>

#include "isa.h"

void decoder_init(struct decoder *d, const struct mode *mode, const char *model, bool on_host)
{
    static const ZydisMachineMode machine[] = {ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_MACHINE_MODE_LONG_64,
                                               ZYDIS_MACHINE_MODE_LEGACY_16};
    static const ZydisStackWidth stack[] = {ZYDIS_STACK_WIDTH_32, ZYDIS_STACK_WIDTH_64, ZYDIS_STACK_WIDTH_16};
    d->mode = mode;
    d->model = model;
    d->on_host = on_host;
    for (unsigned i = 0; i <= ZYDIS_ISA_SET_MAX_VALUE; i++) {
        d->lacks[i] = !isa_on_host(i);
        d->model_has[i] = cpu_test_isa_offered(model, i);
    }
    ZydisDecoderInit(&d->host, machine[mode->mode], stack[mode->mode]);
    d->guest = d->host;
    static const ZydisDecoderMode newer[] = {
        ZYDIS_DECODER_MODE_MPX,   ZYDIS_DECODER_MODE_CET,      ZYDIS_DECODER_MODE_LZCNT,
        ZYDIS_DECODER_MODE_TZCNT, ZYDIS_DECODER_MODE_WBNOINVD, ZYDIS_DECODER_MODE_CLDEMOTE,
    };
    for (unsigned i = 0; i < sizeof(newer) / sizeof(newer[0]); i++)
        ZydisDecoderEnableMode(&d->guest, newer[i], ZYAN_FALSE);
    ZydisDecoderEnableMode(&d->guest, ZYDIS_DECODER_MODE_LZCNT, decode_offered(d, ZYDIS_ISA_SET_LZCNT));
    ZydisDecoderEnableMode(&d->guest, ZYDIS_DECODER_MODE_TZCNT, decode_offered(d, ZYDIS_ISA_SET_BMI1));
}

bool decode_offered(const struct decoder *d, unsigned isa_set)
{
    if (d->on_host) {
        switch (isa_set) {
        case ZYDIS_ISA_SET_LONGMODE:
        case ZYDIS_ISA_SET_FXSAVE64:
            return d->mode->mode == CPU_TEST_64;
        default:
            if (isa_is_optional(isa_set))
                return !d->lacks[isa_set];
        }
    }
    return d->model_has[isa_set];
}

/* Instructions whose outcome is the environment's (kernel, descriptor tables, time) or that leave the 32-bit world. */
static bool incomparable(const ZydisDecodedInstruction *i)
{
    switch (i->mnemonic) {
    case ZYDIS_MNEMONIC_SYSCALL:
    case ZYDIS_MNEMONIC_SYSENTER:
    case ZYDIS_MNEMONIC_SYSRET:
    case ZYDIS_MNEMONIC_SYSEXIT:
    case ZYDIS_MNEMONIC_INT:
    case ZYDIS_MNEMONIC_INT1:
    case ZYDIS_MNEMONIC_IRET:
    case ZYDIS_MNEMONIC_IRETD:
    case ZYDIS_MNEMONIC_CPUID:
    case ZYDIS_MNEMONIC_RDTSC:
    case ZYDIS_MNEMONIC_RDTSCP:
    case ZYDIS_MNEMONIC_RDPMC:
    case ZYDIS_MNEMONIC_SGDT:
    case ZYDIS_MNEMONIC_SIDT:
    case ZYDIS_MNEMONIC_SLDT:
    case ZYDIS_MNEMONIC_STR:
    case ZYDIS_MNEMONIC_SMSW:
    case ZYDIS_MNEMONIC_RSM:
    case ZYDIS_MNEMONIC_UD0:
    case ZYDIS_MNEMONIC_IRETQ:
    case ZYDIS_MNEMONIC_RDRAND:
    case ZYDIS_MNEMONIC_RDSEED:
    case ZYDIS_MNEMONIC_RDPID:
    case ZYDIS_MNEMONIC_XGETBV:   /* the host kernel's XCR0 */
    case ZYDIS_MNEMONIC_RDFSBASE: /* its CR4.FSGSBASE, and bases that the runner needs */
    case ZYDIS_MNEMONIC_RDGSBASE:
    case ZYDIS_MNEMONIC_WRFSBASE:
    case ZYDIS_MNEMONIC_WRGSBASE:
        return true;
    default:
        return i->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR;
    }
}

/* Whether XSAVE's header notes a state as in use is up to the processor, and XRSTOR's checks want a header. */
static bool is_xsave(const ZydisDecodedInstruction *i)
{
    return i->meta.isa_set == ZYDIS_ISA_SET_XSAVE || i->meta.isa_set == ZYDIS_ISA_SET_XSAVEC ||
           i->meta.isa_set == ZYDIS_ISA_SET_XSAVEOPT || i->meta.isa_set == ZYDIS_ISA_SET_XSAVES;
}

/* 64-bit code only: where processors differ, and the guest need not have the vendor of the host. */
static bool vendor_specific(const ZydisDecodedInstruction *i)
{
    if (i->machine_mode != ZYDIS_MACHINE_MODE_LONG_64)
        return false;
    switch (i->mnemonic) {
    case ZYDIS_MNEMONIC_LFS:
    case ZYDIS_MNEMONIC_LGS:
    case ZYDIS_MNEMONIC_LSS:
        return i->attributes & ZYDIS_ATTRIB_HAS_REX && i->raw.rex.W;
    case ZYDIS_MNEMONIC_MOVSXD: /* 66: reads 16 or 32 bits */
        return i->operand_width == 16;
    default: /* 66 before a near branch */
        return i->meta.branch_type != ZYDIS_BRANCH_TYPE_NONE && i->attributes & ZYDIS_ATTRIB_HAS_OPERANDSIZE;
    }
}

/* SIB without a base, REX.B set, 32-bit address: the decoder takes R13D for the base and drops the displacement. */
static void drop_false_base(struct dec *d)
{
    if (d->i.address_width != 32 || !(d->i.attributes & ZYDIS_ATTRIB_HAS_SIB) || d->i.raw.modrm.mod != 0 ||
        d->i.raw.sib.base != 5)
        return;
    for (unsigned i = 0; i < d->i.operand_count; i++) {
        ZydisDecodedOperand *op = &d->op[i];
        if (op->type != ZYDIS_OPERAND_TYPE_MEMORY || op->encoding != ZYDIS_OPERAND_ENCODING_MODRM_RM ||
            op->mem.base != ZYDIS_REGISTER_R13D)
            continue;
        op->mem.base = ZYDIS_REGISTER_NONE;
        op->mem.disp.has_displacement = ZYAN_TRUE;
        op->mem.disp.value = d->i.raw.disp.value;
    }
}

enum dec_class decode(const struct decoder *d, const uint8_t *code, size_t n, struct dec *ret)
{
    if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&d->guest, code, n, &ret->i, ret->op)))
        return DEC_BAD;
    drop_false_base(ret);
    if (!decode_offered(d, ret->i.meta.isa_set))
        return DEC_NOT_OFFERED;
    if (ret->i.mnemonic == ZYDIS_MNEMONIC_VPCLMULQDQ && !decode_offered(d, ZYDIS_ISA_SET_PCLMULQDQ))
        return DEC_NOT_OFFERED; /* the decoder has its narrow form with AVX */
    if (d->lacks[ret->i.meta.isa_set])
        return DEC_SKIP;
    return incomparable(&ret->i) || is_xsave(&ret->i) || vendor_specific(&ret->i) ? DEC_SKIP : DEC_COMPARE;
}

void decode_native_form(const struct decoder *d, const struct dec *in, const uint8_t *code, uint8_t *out)
{
    struct dec host;
    memcpy(out, code, in->i.length);
    if (ZYAN_SUCCESS(ZydisDecoderDecodeFull(&d->host, code, in->i.length, &host.i, host.op)) &&
        host.i.mnemonic == in->i.mnemonic)
        return;
    if (in->i.mnemonic != ZYDIS_MNEMONIC_BSF && in->i.mnemonic != ZYDIS_MNEMONIC_BSR)
        return;
    for (unsigned i = 0; i < in->i.raw.prefix_count; i++)
        if (out[i] == 0xf3)
            out[i] = 0xf2; /* F2 has no meaning there on any processor */
}

static bool shift_by_count(const struct dec *in)
{
    switch (in->i.mnemonic) {
    case ZYDIS_MNEMONIC_SHL:
    case ZYDIS_MNEMONIC_SHR:
    case ZYDIS_MNEMONIC_SAR:
    case ZYDIS_MNEMONIC_ROL:
    case ZYDIS_MNEMONIC_ROR:
    case ZYDIS_MNEMONIC_RCL:
    case ZYDIS_MNEMONIC_RCR:
    case ZYDIS_MNEMONIC_SHLD:
    case ZYDIS_MNEMONIC_SHRD:
        return true;
    default:
        return false;
    }
}

uint32_t dec_flags_undefined(const struct dec *in)
{
    if (in->i.mnemonic == ZYDIS_MNEMONIC_AAD || in->i.mnemonic == ZYDIS_MNEMONIC_AAM)
        return ZYDIS_CPUFLAG_OF | ZYDIS_CPUFLAG_AF | ZYDIS_CPUFLAG_CF;
    return in->i.cpu_flags ? in->i.cpu_flags->undefined : 0;
}

uint32_t dec_flags_read(const struct dec *in)
{
    if (in->i.mnemonic == ZYDIS_MNEMONIC_PUSHF || in->i.mnemonic == ZYDIS_MNEMONIC_PUSHFD ||
        in->i.mnemonic == ZYDIS_MNEMONIC_PUSHFQ)
        return STATUS_FLAGS;
    return in->i.cpu_flags ? in->i.cpu_flags->tested : 0;
}

uint32_t dec_flags_killed(const struct dec *in)
{
    const ZydisAccessedFlags *f = in->i.cpu_flags;
    if (!f || dec_is_rep_string(in))
        return 0;
    if (shift_by_count(in)) {
        /* a count of 0 leaves them all */
        const ZydisDecodedOperand *count = &in->op[in->i.operand_count_visible - 1];
        if (count->type != ZYDIS_OPERAND_TYPE_IMMEDIATE ||
            (count->imm.value.u & (in->i.operand_width == 64 ? 63 : 31)) == 0)
            return 0;
    }
    uint32_t killed = (f->modified | f->set_0 | f->set_1) & STATUS_FLAGS;
    switch (in->i.mnemonic) {
    case ZYDIS_MNEMONIC_AND:
    case ZYDIS_MNEMONIC_OR:
    case ZYDIS_MNEMONIC_XOR:
    case ZYDIS_MNEMONIC_TEST: /* the translator takes AF as written */
        return killed | ZYDIS_CPUFLAG_AF;
    default:
        return killed;
    }
}

bool dec_is_branch(const struct dec *in)
{
    return in->i.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE;
}

bool dec_pops_flags(const struct dec *in)
{
    return in->i.mnemonic == ZYDIS_MNEMONIC_POPF || in->i.mnemonic == ZYDIS_MNEMONIC_POPFD ||
           in->i.mnemonic == ZYDIS_MNEMONIC_POPFQ;
}

bool dec_is_string(const struct dec *in)
{
    return in->i.meta.category == ZYDIS_CATEGORY_STRINGOP;
}

bool dec_is_rep_string(const struct dec *in)
{
    return in->i.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE);
}

int dec_gpr(ZydisRegister reg)
{
    switch (ZydisRegisterGetClass(reg)) {
    case ZYDIS_REGCLASS_GPR8: {
        int id = ZydisRegisterGetId(reg);
        return id < 4 ? id : id - 4; /* AL CL DL BL AH CH DH BH SPL BPL SIL DIL R8B.. */
    }
    case ZYDIS_REGCLASS_GPR16:
    case ZYDIS_REGCLASS_GPR32:
    case ZYDIS_REGCLASS_GPR64:
        return ZydisRegisterGetId(reg);
    default:
        return -1;
    }
}

uint32_t dec_gprs_written(const struct dec *in)
{
    uint32_t mask = 0;
    for (unsigned i = 0; i < in->i.operand_count; i++) {
        const ZydisDecodedOperand *op = &in->op[i];
        if (op->type != ZYDIS_OPERAND_TYPE_REGISTER || !(op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE))
            continue;
        int g = dec_gpr(op->reg.value);
        if (g >= 0)
            mask |= 1u << g;
    }
    if (in->i.mnemonic == ZYDIS_MNEMONIC_POPA || in->i.mnemonic == ZYDIS_MNEMONIC_POPAD)
        mask = 0xff;
    return mask;
}

int dec_vector(ZydisRegister reg)
{
    ZydisRegisterClass c = ZydisRegisterGetClass(reg);
    int id = ZydisRegisterGetId(reg);
    return (c == ZYDIS_REGCLASS_XMM || c == ZYDIS_REGCLASS_YMM) && id < 16 ? id : -1;
}

uint64_t dec_segment_base(const struct mode *m, ZydisRegister segment, const struct cpu_test_regs *r)
{
    switch (segment) {
    case ZYDIS_REGISTER_CS:
        return m->cs_base;
    case ZYDIS_REGISTER_SS:
        return m->ss_base;
    case ZYDIS_REGISTER_DS:
        return m->ds_base;
    case ZYDIS_REGISTER_FS:
        return r->fs_base;
    case ZYDIS_REGISTER_GS:
        return r->gs_base;
    default:
        return 0;
    }
}

uint64_t dec_operand_va(const struct mode *m, const struct dec *in, const ZydisDecodedOperand *op,
                        const struct cpu_test_regs *r, uint64_t next)
{
    int base = dec_gpr(op->mem.base), index = dec_gpr(op->mem.index);
    uint64_t a = (uint64_t)op->mem.disp.value;
    if (ZydisRegisterGetClass(op->mem.base) == ZYDIS_REGCLASS_IP)
        a += next;
    a += base >= 0 ? r->gpr[base] : 0;
    a += index >= 0 ? r->gpr[index] * op->mem.scale : 0;
    if (in->i.address_width < 64)
        a &= (1ull << in->i.address_width) - 1;
    return (a + dec_segment_base(m, op->mem.segment, r)) & m->mask;
}

void decode_print(const struct decoder *d, const uint8_t *code, size_t n, uint64_t va, char *out, size_t size)
{
    ZydisFormatter fmt;
    ZydisFormatterInit(&fmt, ZYDIS_FORMATTER_STYLE_INTEL);
    size_t used = 0;
    out[0] = 0;
    for (size_t at = 0; at < n && used + 128 < size;) {
        struct dec in;
        char text[96];
        if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&d->guest, code + at, n - at, &in.i, in.op))) {
            used += (size_t)snprintf(out + used, size - used, "%s(bad)", at ? "; " : "");
            return;
        }
        ZydisFormatterFormatInstruction(&fmt, &in.i, in.op, in.i.operand_count_visible, text, sizeof(text), va + at,
                                        NULL);
        used += (size_t)snprintf(out + used, size - used, "%s%s", at ? "; " : "", text);
        at += in.i.length;
    }
}
