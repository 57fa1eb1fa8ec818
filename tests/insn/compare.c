/* Compares what a case left behind. Masked is only what the manuals leave open: flags that an instruction leaves
 * undefined; at a fault, flags that the rest of the block overwrites in any case (the translator does not keep those);
 * RF and IF, which user code does not see; bit 4 of a page fault's code, which needs NX; x87 instruction and data
 * pointers. */
#include "compare.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "leeway.h"

#define EFLAGS_COMPARED 0x247dd5u /* ID AC NT IOPL OF DF TF SF ZF AF PF CF */
#define PF_PRESENT      0x01u
#define PF_FETCH        0x10u
#define ERROR_IDT       0x02u
#define PARTIAL_PUSHES  264u /* of ENTER with 31 levels */

struct text {
    char *out;
    size_t size, used;
};

static void add(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add(struct text *t, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = t->used < t->size ? vsnprintf(t->out + t->used, t->size - t->used, fmt, ap) : 0;
    va_end(ap);
    t->used += n > 0 ? (size_t)n : 0;
}

static void add_bytes(struct text *t, const uint8_t *bytes, unsigned n)
{
    while (n-- > 0)
        add(t, "%02x", bytes[n]);
}

static unsigned decode_all(const struct decoder *dec, const struct insn_case *c, struct dec d[MAX_SEQ])
{
    for (unsigned k = 0; k < c->n_insn; k++)
        if (decode(dec, c->code + c->off[k], CODE_MAX - c->off[k], &d[k]) == DEC_BAD)
            return k;
    return c->n_insn;
}

/* EFLAGS bits that are defined when control stands at rip. */
static uint32_t defined_flags(const struct insn_case *c, const struct dec *d, unsigned n, uint64_t rip, bool at_fault)
{
    uint32_t undefined = 0, dead = 0;
    unsigned at = n;
    if (c->shape != SHAPE_LINE) { /* any instruction may have been the one before */
        for (unsigned k = 0; k < n; k++)
            undefined |= dec_flags_undefined(&d[k]);
        return EFLAGS_COMPARED & ~undefined & ~(at_fault ? STATUS_FLAGS : 0);
    }
    for (unsigned k = 0; k < n && at_fault; k++)
        if (rip == c->in.rip + c->off[k])
            at = k;
    for (unsigned k = n; k-- > 0 && !at_fault;) /* an INT3 among them ends it early */
        if (rip - c->in.rip < c->len && c->off[k] >= rip - c->in.rip)
            at = k;
    bool jumped = false;
    for (unsigned k = 0; k < at; k++) {
        if (!jumped) /* what comes behind a branch may have been left out */
            undefined &= ~dec_flags_killed(&d[k]);
        undefined |= dec_flags_undefined(&d[k]);
        jumped |= dec_is_branch(&d[k]);
    }
    for (unsigned k = at; k < n && at_fault; k++)
        if (dec_is_branch(&d[k])) /* which way it goes on is the translator's to know */
            return EFLAGS_COMPARED & ~undefined & ~STATUS_FLAGS;
    for (unsigned k = n; k-- > at;) {
        if (dec_is_branch(&d[k]) &&
            (d[k].i.mnemonic == ZYDIS_MNEMONIC_RET || d[k].op[0].type != ZYDIS_OPERAND_TYPE_IMMEDIATE))
            dead = 0;
        dead = (dead | dec_flags_killed(&d[k])) & ~dec_flags_read(&d[k]);
    }
    return EFLAGS_COMPARED & ~undefined & ~dead;
}

/* x87: false where only MXCSR and the XMM registers are defined. */
static void compare_fx(struct text *t, unsigned n_xmm, const uint8_t *a, const uint8_t *b, bool pointers, bool x87)
{
    static const struct {
        uint16_t at, len;
        const char *name;
    } head[] = {{0, 2, "fcw"}, {2, 2, "fsw"}, {4, 1, "ftw"},  {24, 4, "mxcsr"}, {28, 4, "mxcsr_mask"},
                {6, 2, "fop"}, {8, 4, "fip"}, {12, 2, "fcs"}, {16, 4, "fdp"},   {20, 2, "fds"}};
    for (unsigned i = 0; i < (pointers ? sizeof(head) / sizeof(head[0]) : 5); i++) {
        uint32_t x = 0, y = 0;
        memcpy(&x, a + head[i].at, head[i].len);
        memcpy(&y, b + head[i].at, head[i].len);
        if (x != y && (x87 || head[i].at >= 24))
            add(t, " %s %#x/%#x", head[i].name, x, y);
    }
    for (unsigned i = x87 ? 0 : 8; i < 8 + n_xmm; i++) {
        unsigned at = 32 + 16 * i, len = i < 8 ? 10 : 16;
        if (memcmp(a + at, b + at, len) == 0)
            continue;
        add(t, i < 8 ? " st%u " : " xmm%u ", i < 8 ? i : i - 8);
        add_bytes(t, a + at, len);
        add(t, "/");
        add_bytes(t, b + at, len);
    }
}

/* The line of a result, or the base image's where the run left it alone. */
static const uint8_t *line_of(const struct insn_result *r, uint32_t index, const uint8_t *base)
{
    for (uint32_t i = 0; i < r->n_lines && i < MAX_LINES; i++)
        if (r->line[i].index == index)
            return r->line[i].bytes;
    return base + index * LINE;
}

static void compare_line(const struct mode *m, struct text *t, uint32_t index, const uint8_t *a, const uint8_t *b,
                         const struct unspecified *p)
{
    uint64_t va = mode_page(m, index * LINE / INSN_PAGE) + index * LINE % INSN_PAGE;
    for (unsigned k = 0; k < LINE; k++)
        if (a[k] != b[k] && !is_unspecified(p, va + k))
            add(t, " [%08" PRIx64 "] %02x/%02x", va + k, a[k], b[k]);
}

static void compare_memory(const struct mode *m, struct text *t, const struct insn_result *a,
                           const struct insn_result *b, const uint8_t *base, const struct unspecified *p)
{
    if (a->n_lines == b->n_lines && a->hash == b->hash)
        return;
    size_t before = t->used;
    bool cut = a->n_lines > MAX_LINES || b->n_lines > MAX_LINES;
    for (uint32_t i = 0; i < a->n_lines && i < MAX_LINES; i++)
        compare_line(m, t, a->line[i].index, a->line[i].bytes, line_of(b, a->line[i].index, base), p);
    for (uint32_t i = 0; i < b->n_lines && i < MAX_LINES; i++) {
        const uint8_t *other = line_of(a, b->line[i].index, base);
        if (other == base + b->line[i].index * LINE)
            compare_line(m, t, b->line[i].index, other, b->line[i].bytes, p);
    }
    if (t->used == before && cut && p->n == 0)
        add(t, " memory (%u and %u lines)", a->n_lines, b->n_lines);
}

/* The host runs other bytes than the guest (see decode_native_form) and the case reads them, or may: after CALL and
 * POP ESP the stack is in the code. */
static bool reads_native_form(const struct decoder *dec, const struct insn_case *c, const struct dec *d, unsigned n)
{
    uint32_t written = 0;

    if (memcmp(c->code, c->native, c->len) == 0)
        return false;
    for (unsigned k = 0; k < n; k++) {
        for (unsigned i = 0; i < d[k].i.operand_count; i++) {
            int base = dec_gpr(d[k].op[i].mem.base), index = dec_gpr(d[k].op[i].mem.index);
            if (d[k].op[i].type != ZYDIS_OPERAND_TYPE_MEMORY)
                continue;
            if ((base >= 0 && written >> base & 1) || (index >= 0 && written >> index & 1))
                return true;
            if (dec_operand_va(dec->mode, &d[k], &d[k].op[i], &c->in, c->in.rip + c->off[k + 1]) - c->code_va + 64 <
                c->len + 64u)
                return true;
        }
        written |= dec_gprs_written(&d[k]);
    }
    return false;
}

/* The 32-bit guest's page tables have no room for NX. */
static bool has_nx(const struct mode *m)
{
    return m->mode == CPU_TEST_64;
}

static void compare_fault(const struct mode *m, struct text *t, const struct cpu_test_fault *a,
                          const struct cpu_test_fault *b, uint64_t linear_ip, bool any_address)
{
    if (a->vector != b->vector) {
        add(t, " vector %d/%d (error %#x/%#x, cr2 %#" PRIx64 "/%#" PRIx64 ")", a->vector, b->vector, a->error, b->error,
            a->cr2, b->cr2);
        return;
    }
    uint32_t ea = a->error, eb = b->error;
    if (any_address)
        ea = eb;
    if (is_system_address(m, a->cr2))
        ea |= PF_PRESENT, eb |= PF_PRESENT;
    if (!has_nx(m) && a->vector == 14 && a->cr2 - linear_ip < 16) {
        ea &= ~PF_FETCH;
        eb &= ~PF_FETCH;
    }
    if (ea != eb)
        add(t, " error %#x/%#x", ea, eb);
    if (a->vector == 14 && a->cr2 != b->cr2 && !any_address)
        add(t, " cr2 %#" PRIx64 "/%#" PRIx64, a->cr2, b->cr2);
}

/* The instruction that faulted. */
static const struct dec *stopped_at(const struct insn_case *c, const struct dec *d, unsigned n,
                                    const struct insn_result *r)
{
    for (unsigned k = 0; k < n && r->fault.vector != 3; k++)
        if (r->out.rip == c->in.rip + c->off[k])
            return &d[k];
    return NULL;
}

static const char *gpr_name(const struct mode *m, unsigned i)
{
    static const ZydisRegister first[] = {ZYDIS_REGISTER_EAX, ZYDIS_REGISTER_RAX, ZYDIS_REGISTER_EAX};
    return ZydisRegisterGetString(first[m->mode] + (ZydisRegister)i);
}

/* Loading a null selector clears the base on some processors and keeps it on others. */
static void compare_bases(struct text *t, const struct insn_case *c, const struct dec *d, unsigned n,
                          const struct insn_result *native, const struct insn_result *guest)
{
    const struct cpu_test_regs *a = &native->out, *b = &guest->out;
    bool loads = false;
    for (unsigned k = 0; k < n; k++)
        for (unsigned i = 0; i < d[k].i.operand_count; i++)
            loads |= d[k].op[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
                     ZydisRegisterGetClass(d[k].op[i].reg.value) == ZYDIS_REGCLASS_SEGMENT &&
                     d[k].op[i].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
    if (a->fs_base != b->fs_base && !(loads && b->fs_base == c->in.fs_base))
        add(t, " fs_base %" PRIx64 "/%" PRIx64, a->fs_base, b->fs_base);
    if (a->gs_base != b->gs_base && !(loads && b->gs_base == c->in.gs_base))
        add(t, " gs_base %" PRIx64 "/%" PRIx64, a->gs_base, b->gs_base);
}

static void compare_ymm(struct text *t, unsigned n, const uint8_t a[16][16], const uint8_t b[16][16])
{
    for (unsigned i = 0; i < n; i++) {
        if (memcmp(a[i], b[i], 16) == 0)
            continue;
        add(t, " ymmh%u ", i);
        add_bytes(t, a[i], 16);
        add(t, "/");
        add_bytes(t, b[i], 16);
    }
}

bool compare_results(const struct decoder *dec, const struct insn_case *c, const struct insn_result *native,
                     const struct insn_result *guest, const uint8_t *base, bool pointers, char *why, size_t size)
{
    struct text t = {.out = why, .size = size};
    struct dec d[MAX_SEQ];
    struct unspecified p;
    unsigned n = decode_all(dec, c, d);

    why[0] = 0;
    if (native->fault.vector == VECTOR_HANG)
        return true;
    if (!has_nx(dec->mode) && native->fault.vector == 14 &&
        (native->fault.error & (PF_FETCH | PF_PRESENT)) == (PF_FETCH | PF_PRESENT))
        return true; /* data as code */
    if (guest->fault.vector >= VECTOR_HANG) {
        add(&t,
            guest->fault.vector == VECTOR_HANG ? " the translated run does not end" : " the translator died, signal %d",
            guest->fault.vector - VECTOR_DIED);
        return false;
    }
    const struct dec *at = stopped_at(c, d, n, native), *guest_at = stopped_at(c, d, n, guest);
    if (is_access_fault(guest->fault.vector) && (at != guest_at || native->fault.vector != guest->fault.vector) &&
        (store_withheld(guest_at, native) || pops_part(guest_at)))
        return true;
    find_unspecified(dec->mode, c, d, n, pointers, &p);
    if (p.spread || takes_host_descriptor(guest_at, &guest->fault))
        return true;
    /* 16-bit code may go on in the code of another case, which is in the same segment: that is not known here */
    bool elsewhere = dec->mode->mode == CPU_TEST_16 && native->out.rip - c->in.rip > c->len + 16u;
    if (elsewhere && native->fault.vector == 13 && native->fault.error & ERROR_IDT)
        return true; /* an INT n in the middle of another case: the guest has no descriptors for it */
    struct cpu_test_fault fault = guest->fault;
    if (elsewhere && fault.vector == 14 && fault.cr2 >> 12 == native->fault.cr2 >> 12)
        fault.cr2 = native->fault.cr2; /* a far return there, say: which of the two words is read first is open */
    if (reads_native_form(dec, c, d, n) || wraps_in_parts(dec->mode, at, native))
        return true;
    if (native->fault.vector == 17)
        return true; /* the host checks alignment when POPF has set AC; the guest's CR0.AM is clear */
    if (at && at->i.mnemonic == ZYDIS_MNEMONIC_BOUND && native->fault.vector == 5 &&
        is_access_fault(guest->fault.vector))
        return true; /* a value below the lower bound: the upper one need not be read */
    if (!may_choose(dec->mode, at, &native->fault, &guest->fault) || native->fault.vector == guest->fault.vector)
        compare_fault(dec->mode, &t, &native->fault, &fault, native->out.rip + dec->mode->cs_base,
                      at && many_accesses(at));
    for (unsigned i = 0; i < dec->mode->gprs; i++)
        if (native->out.gpr[i] != guest->out.gpr[i] && !may_keep_upper(dec->mode, c, d, n, i, native, guest))
            add(&t, " %s %08" PRIx64 "/%08" PRIx64, gpr_name(dec->mode, i), native->out.gpr[i], guest->out.gpr[i]);
    compare_bases(&t, c, d, n, native, guest);
    if (native->out.rip != guest->out.rip)
        add(&t, " rip %08" PRIx64 "/%08" PRIx64, native->out.rip, guest->out.rip);
    uint32_t flags = defined_flags(c, d, n, native->out.rip, native->fault.vector != 3);
    if (elsewhere)
        flags &= ~STATUS_FLAGS;
    if ((native->out.rflags ^ guest->out.rflags) & flags)
        add(&t, " eflags %" PRIx64 "/%" PRIx64 " (of %x)", native->out.rflags & flags, guest->out.rflags & flags,
            flags);
    /* MMX instructions set TOP and the tags; whether they do so when they fault is the implementation's choice, and so
     * is how much a load of the whole x87 state has done when its second part faults */
    uint8_t fx[512];
    memcpy(fx, guest->out.fx, sizeof(fx));
    if (at && at->i.mnemonic == ZYDIS_MNEMONIC_VCVTPS2PH) /* so may this one and its flags, when its store faults */
        memcpy(fx + 24, native->out.fx + 24, 4);
    compare_fx(&t, dec->mode->gprs, native->out.fx, fx, pointers,
               !elsewhere && !(at && (uses_mmx(at) || loads_x87(at))));
    if (decode_offered(dec, ZYDIS_ISA_SET_AVX))
        compare_ymm(&t, dec->mode->gprs, native->out.ymmh, guest->out.ymmh);
    if (at && many_accesses(at)) { /* what was written before the fault */
        p.range[p.n].va = stack_top(dec->mode, &native->out) - PARTIAL_PUSHES;
        p.range[p.n++].len = PARTIAL_PUSHES;
        if (at->op[0].type == ZYDIS_OPERAND_TYPE_MEMORY) {
            p.range[p.n].va = dec_operand_va(dec->mode, at, &at->op[0], &native->out, native->out.rip + at->i.length);
            p.range[p.n++].len = at->op[0].size / 8;
        }
    }
    compare_memory(dec->mode, &t, native, guest, base, &p);
    return t.used == 0;
}

bool compare_refused(const struct insn_case *c, const struct insn_result *guest, char *why, size_t size)
{
    struct text t = {.out = why, .size = size};
    why[0] = 0;
    if (guest->fault.vector >= VECTOR_DIED)
        add(&t, " the translator died, signal %d", guest->fault.vector - VECTOR_DIED);
    else if (guest->fault.vector != 6)
        add(&t, " vector 6/%d (error %#x, cr2 %#" PRIx64 "): not offered by the guest's CPUID", guest->fault.vector,
            guest->fault.error, guest->fault.cr2);
    if (memcmp(c->in.gpr, guest->out.gpr, sizeof(c->in.gpr)) != 0)
        add(&t, " registers changed");
    if (c->in.rip != guest->out.rip)
        add(&t, " rip %08" PRIx64 "/%08" PRIx64, c->in.rip, guest->out.rip);
    return t.used == 0;
}

bool result_completed(const struct insn_case *c, const struct insn_result *r)
{
    return r->fault.vector == 3 && r->out.rip > c->in.rip + c->off[c->n_insn ? c->n_insn - 1 : 0];
}

void describe_input(const struct mode *m, const struct insn_case *c, char *out, size_t size)
{
    struct text t = {.out = out, .size = size};
    uint16_t fcw, fsw;
    uint32_t mxcsr;
    memcpy(&fcw, c->in.fx, 2);
    memcpy(&fsw, c->in.fx + 2, 2);
    memcpy(&mxcsr, c->in.fx + 24, 4);
    for (unsigned i = 0; i < m->gprs; i++)
        add(&t, "%s %08" PRIx64 "%s", gpr_name(m, i), c->in.gpr[i], i % 8 == 7 ? "\n    " : " ");
    if (m->mode == CPU_TEST_64)
        add(&t, "fs_base %" PRIx64 " gs_base %" PRIx64 " ", c->in.fs_base, c->in.gs_base);
    add(&t, "rip %08" PRIx64 " rflags %" PRIx64 " fcw %x fsw %x ftw %02x mxcsr %x", c->in.rip, c->in.rflags, fcw, fsw,
        c->in.fx[4], mxcsr);
    for (unsigned i = 0; i < c->n_pokes; i++) {
        add(&t, " poke [%08" PRIx64 "]", c->poke[i].va);
        for (unsigned k = 0; k < c->poke[i].len; k++)
            add(&t, " %02x", c->poke[i].bytes[k]);
    }
}
